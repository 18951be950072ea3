from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from record_world import run_info
from zone_results import zoned_info

from pipeline.errors import InputError, RunMismatchError
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import read_run_json, write_run_json
from pipeline.write.zoned.zoned_json import ZonedInfo, any_run_of, read_any_run, write_zoned_json

PARAMETERS = {"queries": ["roofs"], "zones": {"EPSG_32630": "a", "EPSG_32631": "b"}}

INFO = zoned_info(PARAMETERS)


def test_it_comes_back_as_it_was_but_for_tokens(tmp_path: Path) -> None:
    asked = replace(INFO, searches=({"url": "https://h/api", "limit": 9},))
    path = write_zoned_json(tmp_path / "run.json", asked)
    assert read_any_run(path) == replace(asked, warnings=("https://h/a.tif is old",))
    assert "token" not in path.read_text()


def test_it_says_which_snapshot_counts_and_who_may_publish(tmp_path: Path) -> None:
    info = replace(INFO, snapshot="abc", earlier=("older", "oldest"), at_work="a driver")
    found = read_any_run(write_zoned_json(tmp_path / "run.json", info))
    assert (found.snapshot, found.earlier, found.at_work) == ("abc", ("older", "oldest"), "a driver")


def test_zones_that_it_had_and_an_update_are_named_where_there_are_some(tmp_path: Path) -> None:
    path = write_zoned_json(tmp_path / "run.json", INFO)
    assert json.loads(path.read_text()).keys().isdisjoint({"left_zones", "update"})
    first, second = INFO.zones
    shown = replace(first, snapshot="made of this")
    info = replace(INFO, zones=(shown,), left_zones=(second,), update={"fingerprint": "f", "zones": {}})
    found = read_any_run(write_zoned_json(path, info))
    assert isinstance(found, ZonedInfo)
    assert (found.zones, found.left_zones, found.update) == ((shown,), (second,), info.update)


def test_one_of_a_version_without_snapshots_has_none(tmp_path: Path) -> None:
    path = write_zoned_json(tmp_path / "run.json", INFO)
    document = json.loads(path.read_text())
    for name in ("snapshot", "earlier", "at_work"):
        del document[name]
    found = any_run_of(json.dumps(document).encode(), path)
    assert (found.snapshot, found.earlier, found.at_work) == ("", (), "")


def test_a_run_on_one_grid_is_read_as_such(tmp_path: Path) -> None:
    path = write_run_json(tmp_path / "run.json", run_info())
    assert read_any_run(path) == read_run_json(path)


def test_whoever_needs_one_grid_is_told_where_the_zones_are(tmp_path: Path) -> None:
    path = write_zoned_json(tmp_path / "run.json", INFO)
    with pytest.raises(InputError, match=f"give the directory of one zone, e.g. {tmp_path}/zones/EPSG_32630"):
        read_run_json(path)


@pytest.mark.parametrize("fault", ["version", "zone", "cut"])
def test_a_damaged_document_is_refused(tmp_path: Path, fault: str) -> None:
    path = write_zoned_json(tmp_path / "run.json", INFO)
    document = json.loads(path.read_text())
    if fault == "version":
        document["run_json_version"] = 99
    if fault == "zone":
        del document["zones"][0]["name"]
    path.write_bytes(json.dumps(document)[: None if fault != "cut" else 50].encode())
    with pytest.raises(InputError, match=r"run\.json"):
        read_any_run(path)


def test_a_directory_of_zones_belongs_to_its_own_run(tmp_path: Path) -> None:
    write_zoned_json(tmp_path / "run.json", INFO)
    (tmp_path / "zones" / "EPSG_32630").mkdir(parents=True)
    (tmp_path / "zones" / "EPSG_32630" / "run.json").write_text("{}")
    run_dir = RunDir(tmp_path)
    assert run_dir.check(PARAMETERS) == "resume"
    with pytest.raises(RunMismatchError, match="queries"):
        run_dir.check({**PARAMETERS, "queries": ["roads"]})
    assert run_dir.claim({"queries": ["roads"]}, new_run=True) == "new"
    assert (tmp_path / "zones" / "EPSG_32630" / "run.json").exists(), "until the new run's run.json is there"
    run_dir.clear()
    assert not (tmp_path / "zones").exists()


def test_plans_of_a_dry_run_leave_the_directory_free(tmp_path: Path) -> None:
    plan = tmp_path / "zones" / "EPSG_32630" / "plan.parquet"
    plan.parent.mkdir(parents=True)
    plan.touch()
    assert RunDir(tmp_path).check(PARAMETERS) == "new"
    (plan.parent / "notes.txt").touch()
    with pytest.raises(InputError, match="must be empty or hold a run"):
        RunDir(tmp_path).check(PARAMETERS)
