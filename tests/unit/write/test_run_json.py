"""run.json; the golden file is made by `python tests/golden/write/regenerate.py`."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from record_world import run_info

from pipeline.errors import InputError
from pipeline.write.run_json import (
    collect_versions,
    kept_text,
    read_run_json,
    run_json_bytes,
    run_json_of,
    write_run_json,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "write"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    info = run_info()
    assert read_run_json(write_run_json(tmp_path / "run.json", info)) == info


@pytest.mark.parametrize("nodata", [math.nan, math.inf, -9999.0, None])
def test_json_has_no_nan_but_nodata_may_be_one(tmp_path: Path, nodata: float | None) -> None:
    info = run_info()
    info = replace(info, scenes=(replace(info.scenes[0], nodata=nodata, bands="red = 1"),))
    path = write_run_json(tmp_path / "run.json", info)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    json.loads(path.read_text(), parse_constant=refuse)
    (scene,) = read_run_json(path).scenes
    assert repr(scene.nodata) == repr(nodata)
    assert scene.bands == "red = 1"


def test_no_token_reaches_the_file(tmp_path: Path) -> None:
    info = run_info()
    scene = replace(info.scenes[0], href="https://user:SECRET@h/a.tif?sig=SECRET")
    info = replace(
        info,
        scenes=(scene,),
        parameters={"source": ["https://h/a.tif?sig=SECRET"]},
        models={"prompter": {"id": "https://hub/m?token=SECRET"}},
        warnings=("could not read https://h/a.tif?sig=SECRET",),
    )
    text = write_run_json(tmp_path / "run.json", info).read_text()
    assert "SECRET" not in text
    assert read_run_json(tmp_path / "run.json").scenes[0].href == "https://h/a.tif"


def strict(text: str) -> dict[str, Any]:
    """JSON as the standard has it: no NaN, no Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    found: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return found


@pytest.mark.parametrize(
    ("nodata", "written"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"), (-9999.0, -9999.0)]
)
def test_a_nodata_that_json_cannot_hold_is_named_and_read_back(
    tmp_path: Path, nodata: float, written: object
) -> None:
    info = replace(run_info(), scenes=(replace(run_info().scenes[0], nodata=nodata),))
    path = write_run_json(tmp_path / "run.json", info)
    assert strict(path.read_text())["scenes"][0]["nodata"] == written
    assert repr(read_run_json(path).scenes[0].nodata) == repr(nodata)


def test_any_other_figure_that_is_no_number_is_null(tmp_path: Path) -> None:
    qa = {"tanks": {"ratio": math.inf, "bins": [1.0, math.nan], "objects": 3}}
    document = strict(write_run_json(tmp_path / "run.json", replace(run_info(), qa=qa)).read_text())
    assert document["qa"] == {"tanks": {"ratio": None, "bins": [1.0, None], "objects": 3}}


def test_the_golden_run_is_still_readable() -> None:
    """It is of a version that knew no snapshots."""
    assert "snapshot" not in json.loads((GOLDEN / "run.json").read_text())
    assert read_run_json(GOLDEN / "run.json") == run_info()


def test_it_says_which_snapshot_counts_and_who_may_publish(tmp_path: Path) -> None:
    info = replace(run_info(), snapshot="abc", earlier=("older", "oldest"), at_work="a driver")
    path = write_run_json(tmp_path / "run.json", info)
    assert read_run_json(path) == run_json_of(run_json_bytes(info), path) == info
    document = json.loads(path.read_text())
    assert (document["snapshot"], document["earlier"]) == ("abc", ["older", "oldest"])


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"run_json_version": 99}', '{"run_json_version": 1}'])
def test_a_damaged_or_newer_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"run\.json.*To fix"):
        read_run_json(path)


def test_every_prefix_of_a_run_json_is_refused(tmp_path: Path) -> None:
    text = write_run_json(tmp_path / "run.json", run_info()).read_text().rstrip()
    for n in range(0, len(text), 97):
        (tmp_path / "cut.json").write_text(text[:n])
        with pytest.raises(InputError):
            read_run_json(tmp_path / "cut.json")


def test_versions_name_the_libraries_that_shape_pixels() -> None:
    versions = collect_versions()
    assert {"rasterio", "zarr", "pyarrow", "gdal", "proj (pyproj)"} <= set(versions)
    assert collect_versions(["no-such-package-for-sure"]).keys() == {
        "gdal",
        "proj (rasterio)",
        "proj (pyproj)",
    }
    json.dumps(versions)


def test_a_gates_figures_are_there_only_when_there_was_one(tmp_path: Path) -> None:
    assert "gate" not in json.loads(write_run_json(tmp_path / "run.json", run_info()).read_text())
    gated = replace(run_info(), gate={"recall": 0.9, "rejected": 3})
    assert read_run_json(write_run_json(tmp_path / "run.json", gated)) == gated


def test_what_the_merge_kept_in_words() -> None:
    pixels = {"given": 52_765, "kept": 52_680, "kept_share": 0.9983, "published": 52_900}
    info = replace(run_info(), qa={"tanks": {"pixels": pixels}, "lakes": {"pixels": {"kept_share": None}}})
    assert kept_text(info, "tanks") == "99.83 % of 52,765 mask pixels kept by the merge"
    assert kept_text(info, "lakes") == kept_text(info, "never asked") == ""
