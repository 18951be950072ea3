"""Damage to a run of several zones, in a zone and above them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damaged_runs import edit_json, edit_table, findings_of, results_of

from pipeline.run.verify.verify_run import verify

Rows = list[dict[str, Any]]


def test_a_sound_run_of_two_zones_is_sound(sound_zones: Path) -> None:
    verdict = verify(sound_zones)
    assert verdict.sound, verdict.findings
    assert sorted(verdict.counts) == sorted(
        ["run.json", "plan", "records", "ledger", "objects", "rasters", "manifest", "item"]
    )


@pytest.mark.parametrize(
    ("damage", "check", "told"),
    [
        (
            lambda run: shutil.rmtree(results_of(run / "zones" / "EPSG_26918") / "masks.zarr"),
            "rasters",
            "EPSG_26918: masks.zarr: it cannot be read",
        ),
        (
            lambda run: next((run / "zones" / "EPSG_26917" / "blocks").glob("*.parquet")).unlink(),
            "records",
            "EPSG_26917: b0000",
        ),
        (
            lambda run: edit_json(run / "run.json", lambda d: d["zones"][0].update(fingerprint="0" * 64)),
            "run.json",
            "zones/EPSG_26917: it holds another run",
        ),
        (
            lambda run: edit_json(run / "run.json", lambda d: d["zones"][1].update(status="incomplete")),
            "run.json",
            "zones/EPSG_26918: it is complete, and the whole says incomplete",
        ),
        (
            lambda run: edit_json(run / "run.json", lambda d: d["counters"].update(instances=1)),
            "objects",
            "counters.instances: run.json counts 1",
        ),
        (
            lambda run: (results_of(run / "zones" / "EPSG_26918") / "report.html").unlink(),
            "manifest",
            "EPSG_26918: report.html: it is missing or cannot be read",
        ),
        (
            lambda run: (results_of(run) / "report.html").write_text("another"),
            "manifest",
            "report.html: it has 7 bytes instead of",
        ),
        (
            lambda run: (results_of(run) / "manifest.json").unlink(),
            "manifest",
            "manifest.json: it is missing",
        ),
        (
            lambda run: (results_of(run) / "coverage.parquet").unlink(),
            "ledger",
            "coverage.parquet: it cannot be read",
        ),
    ],
)
def test_a_wrong_file(zoned: Path, damage: Callable[[Path], object], check: str, told: str) -> None:
    damage(zoned)
    found = findings_of(zoned)[check]
    assert any(text.startswith(told) for text in found), found


@pytest.mark.parametrize(
    ("name", "change", "check", "told"),
    [
        ("plan", lambda rows: rows.pop(), "plan", "column tile_id: "),
        ("coverage", lambda rows: rows[1].update(zone="EPSG_1"), "ledger", "column zone: 1 rows differ"),
        ("coverage", lambda rows: rows[1].update(status="failed"), "ledger", "column status: 1 rows differ"),
    ],
)
def test_a_wrong_table(zoned: Path, name: str, change: Callable[[Rows], None], check: str, told: str) -> None:
    edit_table(zoned / f"{name}.parquet", change)
    found = findings_of(zoned)[check]
    assert any(text.startswith(told) for text in found), found


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows.append(rows[0]), "2 rows have this id and part"),
        (lambda rows: rows[0].update(zone_instance_ids=[10**6]), "has no object 1000000"),
        (lambda rows: rows[0].update(zones=["EPSG_1"]), "zone EPSG_1 has no object"),
        (lambda rows: rows[0].update(zones=[]), "0 zones and"),
        (lambda rows: rows[0].update(area_m2=rows[0]["area_m2"] * 1.01), "area_m2 says"),
        (lambda rows: rows[0]["bbox"].update(xmin=-79.0), "its column bbox is not the box"),
        (lambda rows: rows[0].update(query="tree"), "not 'tree'"),
        (lambda rows: rows[0].update(run_id="x"), "run_id x is not"),
    ],
)
def test_a_wrong_row(zoned: Path, change: Callable[[Rows], None], told: str) -> None:
    edit_table(zoned / "instances" / "part-00000.parquet", change)
    found = findings_of(zoned)["objects"]
    assert any(told in text for text in found), found


def test_a_missing_zone(zoned: Path) -> None:
    shutil.rmtree(zoned / "zones" / "EPSG_26917")
    verdict = verify(zoned)
    assert not verdict.sound
    assert sorted(verdict.not_made) == ["ledger", "objects"]
    assert any(finding.place == "zones/EPSG_26917" for finding in verdict.findings)
