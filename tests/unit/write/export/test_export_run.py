"""What is exported, where to, and what is refused."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.errors import RasterioIOError
from record_world import golden_run, id_raster, run_info

from pipeline.errors import InputError
from pipeline.write.export import export_run as module
from pipeline.write.export.export_run import ExportRequest, export_run, plan_export
from pipeline.write.run_json import write_run_json


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of the queries "roofs" and "été"."""
    golden_run(tmp_path / "run")
    return tmp_path / "run"


def request_for(run: Path, **changes: Any) -> ExportRequest:
    return replace(ExportRequest(run=str(run), cog=True, gpkg=True), **changes)


def exported(request: ExportRequest) -> list[str]:
    return [path.name for path in export_run(plan_export(request), progress=lambda *_: None)]


ROOFS = ["q0-roofs-mask.tif", "q0-roofs-ids.tif", "q0-roofs-score.tif"]
SUMMERS = ["q1-ete-mask.tif", "q1-ete-ids.tif", "q1-ete-score.tif"]


def test_everything_is_exported_beside_the_run_and_nothing_else_is_left(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert exported(request_for(run)) == [*ROOFS, *SUMMERS, "results.gpkg"]
    assert {path.name for path in (run / "export").iterdir()} == {*ROOFS, *SUMMERS, "results.gpkg"}
    assert {path: path.read_bytes() for path in before} == before
    for name, seed in ((ROOFS[1], 0), (SUMMERS[1], 1)):
        with rasterio.open(run / "export" / name) as file:
            np.testing.assert_array_equal(file.read(1), id_raster(seed=seed))
            assert file.tags()["RUN_ID"] == "run-1"


def test_one_format_and_one_query_into_another_folder(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    assert exported(request_for(run, gpkg=False, queries=("été",), out=str(out))) == SUMMERS
    assert exported(request_for(run, cog=False, out=str(out))) == ["results.gpkg"]
    assert not (run / "export").exists()


def test_objects_below_a_score_are_in_no_file(run: Path) -> None:
    exported(request_for(run, min_score=0.5))
    table = gpd.read_file(run / "export/results.gpkg", layer="instances")
    everything = gpd.read_parquet(run / "instances")
    assert 0 < len(table) < len(everything)
    for query, names in enumerate((ROOFS, SUMMERS)):
        kept = table[table["query_index"] == query]["instance_id"]
        layers = []
        for name in names:
            with rasterio.open(run / "export" / name) as file:
                layers.append(file.read(1))
                assert file.tags()["MIN_SCORE"] == "0.5"
        mask, ids, score = layers
        before = id_raster(seed=query)
        np.testing.assert_array_equal(ids, np.where(np.isin(before, kept), before, 0))
        np.testing.assert_array_equal(mask == 1, ids > 0)
        np.testing.assert_array_equal(score < 255, ids > 0)
        assert (mask[1:][ids[1:] == 0] == 0).all(), "looked at, and nothing there"
        never = (before[0] == 0) & (ids[0] == 0)
        assert (mask[0][never] == 255).all(), "the first row was not judged"


def test_an_earlier_export_is_replaced_when_asked_only(run: Path) -> None:
    exported(request_for(run, cog=False))
    old = run / "export" / "results.gpkg"
    old.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"not replaced unasked.*results\.gpkg.*--overwrite"):
        plan_export(request_for(run))
    exported(request_for(run, gpkg=False))
    statistics = run / "export" / f"{ROOFS[0]}.aux.xml"
    statistics.write_text("<PAMDataset/>")
    exported(request_for(run, overwrite=True))
    assert old.stat().st_size > 1000
    assert not statistics.exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cog": False, "gpkg": False}, "add --cog, --gpkg, --pmtiles or several"),
        ({"min_score": 1.2}, r"--min-score must lie between 0 and 1.*1\.2"),
        ({"min_score": float("nan")}, r"--min-score must lie between 0 and 1"),
        ({"gpkg": False, "cleaned": True}, r"neither --gpkg nor --pmtiles"),
        ({"gpkg": False, "oriented": True}, r"a layer of the GeoPackage.*add --gpkg"),
        ({"queries": ("roof",)}, r"word for word.*'roof'.*'roofs', 'été'"),
    ],
)
def test_requests_that_ask_for_nothing_are_refused(run: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        plan_export(request_for(run, **changes))


def test_what_is_no_run_or_has_not_ended_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"directory of a run.*without a run\.json"):
        plan_export(request_for(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="must be a folder"):
        plan_export(request_for(run, out=str(tmp_path / "file")))
    shutil.rmtree(run / "masks.zarr")
    with pytest.raises(InputError, match=r"only a run that has ended.*without masks\.zarr"):
        plan_export(request_for(run))
    plan_export(request_for(run, cog=False))
    write_run_json(run / "run.json", replace(run_info(), status="running"))
    with pytest.raises(InputError, match="status running"):
        plan_export(request_for(run, cog=False))


def test_file_names_are_plain_short_and_never_the_same() -> None:
    queries = ["Storage tanks & silos?", "storage-tanks silos", "湖", "x" * 99, "../../etc"]
    stems = [module._stem(index, query) for index, query in enumerate(queries)]
    assert stems == ["q0-storage-tanks-silos", "q1-storage-tanks-silos", "q2", f"q3-{'x' * 40}", "q4-etc"]


def test_a_failed_export_leaves_nothing_and_a_full_disk_is_named(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second raster cannot be written, first on a disk with room, then on a full one."""
    write = module.write_cog

    def fails(masks: Path, path: Path, **rest: Any) -> None:
        if "ids" in path.name:
            raise RasterioIOError("Write failed")
        write(masks, path, **rest)

    monkeypatch.setattr(module, "write_cog", fails)
    with pytest.raises(RasterioIOError):
        exported(request_for(run))
    assert list((run / "export").iterdir()) == []
    monkeypatch.setattr(module, "_FULL_BYTES", 2**62)
    with pytest.raises(OSError, match="No space left") as caught:
        exported(request_for(run))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(run / "export"))
    assert list((run / "export").iterdir()) == []


def test_what_a_killed_export_left_is_swept_up_after_a_day(run: Path) -> None:
    old, young = (run / "export" / f".export-{name}" for name in ("old", "young"))
    for folder in (old, young):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    exported(request_for(run, cog=False))
    assert young.exists()
    assert not old.exists()
