"""Whole runs over clouds, with oracle models. Oracle: the truth with the holes that numpy cuts into it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import zarr
from item_files import item_document, projection_fields, write_items
from job_files import load_job
from numpy.typing import NDArray
from rasterio.transform import from_origin

RunJob = Callable[..., int]
SIDE = 192
CORE = 48
"""Core of a tile of 64 px with a halo of 8; 4 x 4 tiles."""


def write(path: Path, pixels: NDArray[np.generic], gsd: int = 1) -> Path:
    profile = {
        "driver": "GTiff",
        "count": pixels.shape[0],
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": pixels.dtype.name,
        "crs": "EPSG:32633",
        "transform": from_origin(500_000, 5_500_000, gsd, gsd),
    }
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(pixels)
    return path


def scene(folder: Path, name: str, mask: NDArray[np.uint8]) -> Path:
    """A scene of noise, and its mask at half its resolution."""
    rng = np.random.default_rng(len(name))
    write(folder / f"{name}_SCL.tif", mask[None], gsd=2)
    return write(folder / f"{name}.tif", rng.integers(30, 220, (3, SIDE, SIDE)).astype(np.uint8))


def fine(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return mask.repeat(2, axis=0).repeat(2, axis=1)


def run(run_job: RunJob, sources: Sequence[Path], labels: Path, out: Path, *extra: str) -> int:
    words = [word for path in sources for word in ("--source", path)]
    words += ["--whole-scene", "--query", "anything", "--models", f"oracle:{labels}", "--out", out]
    words += ["--tile", 64, "--halo", 8, "--block", 2, "--runner", "local"]
    return run_job(*words, "--mask-file", "{stem}_SCL.tif", *extra)


@pytest.fixture
def boxes(tmp_path: Path) -> tuple[Path, NDArray[np.int32]]:
    """Objects of 12 x 12 px on a lattice of 16 px, one in every place."""
    labels = np.zeros((SIDE, SIDE), dtype=np.int32)
    places = [(row, col) for row in range(2, SIDE - 12, 16) for col in range(2, SIDE - 12, 16)]
    for number, (row, col) in enumerate(places, start=1):
        labels[row : row + 12, col : col + 12] = number
    return write(tmp_path / "labels.tif", labels[None]), labels


def test_clouds_are_filled_or_told_and_nothing_is_found_below_them(
    run_job: RunJob, tmp_path: Path, boxes: tuple[Path, NDArray[np.int32]]
) -> None:
    path, labels = boxes
    half = CORE // 2
    first = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    second = first.copy()
    first[:half, :half] = 9  # tile (0, 0): the second scene shows it
    for mask in (first, second):
        mask[half : 2 * half, :half] = 8  # tile (1, 0): under clouds in both
        mask[70:74, 70:74] = 3  # a shadow across objects of tile (2, 2), (3, 3) and between them
        mask[50:53, 10:13] = 10  # cirrus in the middle of an object
    second[:, -half:] = 3  # the first scene shows it
    sources = [scene(tmp_path, name, mask) for name, mask in (("one", first), ("second", second))]
    out = tmp_path / "out"
    assert run(run_job, sources, path, out) == 0

    hidden = np.isin(fine(first), [3, 8, 9, 10]) & np.isin(fine(second), [3, 8, 9, 10])
    group = zarr.open_group(str(out / "masks.zarr"), mode="r")
    found = np.asarray(group["instance_id"][0])
    mask = np.asarray(group["mask"][0])
    assert not found[hidden].any(), "nothing is found below clouds"
    assert (mask[hidden] == 255).all(), "and nothing is said to be absent there"
    assert ((found > 0) == ((labels > 0) & ~hidden)).all(), "all else is found, to the pixel"
    assert (mask[~hidden] != 255).all()

    rows = pq.read_table(out / "coverage.parquet").to_pylist()
    told = {(row["tile_row"], row["tile_col"]): row for row in rows}
    assert {place for place, row in told.items() if row["reason"] == "cloud"} == {(1, 0)}
    assert {row["status"] for place, row in told.items() if place != (1, 0)} == {"found"}
    for (row, col), entry in told.items():
        core = hidden[CORE * row : CORE * (row + 1), CORE * col : CORE * (col + 1)]
        assert entry["cloud_share"] == pytest.approx(core.mean())
        assert entry["cloud_share"] + entry["valid_share"] == pytest.approx(1.0)
    info = json.loads((out / "run.json").read_text())
    counters = info["counters"]
    assert counters["tiles_planned"] == 16 == counters["tiles_found"] + counters["tiles_empty"]
    assert info["reasons"]["empty/cloud"] == 1
    shares = {name: entry["unjudged"]["cloud"] for name, entry in info["stretches"].items()}
    for name, own in (("one", first), ("second", second)):
        assert shares[name] == pytest.approx(np.isin(own, [3, 8, 9, 10]).mean())
    assert {entry["quality"]["rule"] for entry in info["scenes"]} == {"values:3,8,9,10;fill:0"}
    assert "under clouds" in (out / "report.html").read_text()


def test_a_later_merge_keeps_the_clouds_of_the_ledger(
    run_job: RunJob, tmp_path: Path, boxes: tuple[Path, NDArray[np.int32]]
) -> None:
    path, _ = boxes
    mask = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    mask[: CORE // 2, : CORE // 2] = 9
    out = tmp_path / "out"
    assert run(run_job, [scene(tmp_path, "one", mask)], path, out) == 0
    again = tmp_path / "again"
    words = ["--run", str(out), "--out", str(again), "--runner", "local"]
    assert load_job("restitch_region").main(words) == 0
    ledgers = [pq.read_table(folder / "coverage.parquet") for folder in (out, again)]
    assert "cloud_share" in ledgers[0].column_names
    assert ledgers[0].equals(ledgers[1])
    assert load_job("verify_run").main([str(out)]) == 0


def test_the_limit_decides_and_nodata_is_not_cloud(
    run_job: RunJob, tmp_path: Path, boxes: tuple[Path, NDArray[np.int32]]
) -> None:
    path, _ = boxes
    half = CORE // 2
    mask = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    mask[: half // 2, :half] = 9  # half of tile (0, 0)
    mask[: half * 3 // 4, half : 2 * half] = 9  # three quarters of tile (0, 1)
    mask[half : 2 * half, :] = 0  # row 1: no imagery
    source = scene(tmp_path, "one", mask)
    for limit, cloudy in (("60", {(0, 1)}), ("40", {(0, 0), (0, 1)}), ("100", set())):
        out = tmp_path / limit
        assert run(run_job, [source], path, out, "--max-cloud-tile", limit) == 0
        rows = pq.read_table(out / "coverage.parquet").to_pylist()
        reasons = {(row["tile_row"], row["tile_col"]): row["reason"] for row in rows}
        assert {place for place, reason in reasons.items() if reason == "cloud"} == cloudy
        assert {place for place, reason in reasons.items() if reason == "nodata"} == {
            (1, c) for c in range(4)
        }


def test_a_missing_mask_starts_nothing(
    run_job: RunJob, tmp_path: Path, boxes: tuple[Path, NDArray[np.int32]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = boxes
    source = scene(tmp_path, "one", np.full((SIDE // 2, SIDE // 2), 4, np.uint8))
    (tmp_path / "one_SCL.tif").unlink()
    out = tmp_path / "out"
    assert run(run_job, [source], path, out) == 2
    assert "one_SCL.tif" in capsys.readouterr().err
    assert not out.exists()


def test_a_mask_changes_the_fingerprint_and_none_does_not(
    run_job: RunJob, tmp_path: Path, boxes: tuple[Path, NDArray[np.int32]]
) -> None:
    path, _ = boxes
    source = scene(tmp_path, "one", np.full((SIDE // 2, SIDE // 2), 4, np.uint8))

    def fingerprint(name: str, *extra: str) -> str:
        assert run(run_job, [source], path, tmp_path / name, *extra) == 0
        return str(json.loads((tmp_path / name / "run.json").read_text())["fingerprint"])

    plain = fingerprint("plain", "--mask", "off")
    assert fingerprint("limit", "--mask", "off", "--max-cloud-tile", "10") == plain
    masked = fingerprint("masked")
    assert masked != plain
    assert fingerprint("rule", "--mask", "SCL in (9)") not in (plain, masked)
    assert fingerprint("tile", "--max-cloud-tile", "10") not in (plain, masked)


def items_of(folder: Path, *names: str, **assets: Path) -> Path:
    """A file of items, each of a picture and its SCL, and of more `assets` of the first."""
    documents = []
    for name in names:
        files = {"image": folder / f"{name}.tif", "scl": folder / f"{name}_SCL.tif"}
        more = assets if name == names[0] else {}
        documents.append(
            item_document(name, {**files, **more}, on_item=projection_fields(folder / f"{name}.tif"))
        )
        for key in ("scl", *more):
            documents[-1]["assets"][key]["roles"] = ["data-mask"]
            documents[-1]["assets"][key] |= projection_fields(documents[-1]["assets"][key]["href"])  # type: ignore[arg-type]
    return write_items(folder / "items.json", documents)


def run_items(run_job: RunJob, items: Path, labels: Path, out: Path, *extra: object) -> int:
    words = ["--source", items, "--whole-scene", "--query", "anything", "--models", f"oracle:{labels}"]
    words += ["--tile", 64, "--halo", 8, "--block", 2, "--runner", "local", "--out", out]
    return run_job(*words, *extra)


def reasons_of(out: Path) -> dict[tuple[int, int], str]:
    rows = pq.read_table(out / "coverage.parquet").to_pylist()
    return {(row["tile_row"], row["tile_col"]): f"{row['status']}/{row['reason']}" for row in rows}


def test_items_bring_their_own_mask(
    run_job: RunJob, tmp_path: Path, boxes: tuple[Path, NDArray[np.int32]]
) -> None:
    path, labels = boxes
    half = CORE // 2
    mask = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    mask[:half, :half] = 9
    mask[60:64, 60:64] = 8
    scene(tmp_path, "one", mask)
    items = items_of(tmp_path, "one")
    assert run_items(run_job, items, path, tmp_path / "out") == 0
    hidden = fine(mask) > 4
    found = np.asarray(zarr.open_group(str(tmp_path / "out" / "masks.zarr"), mode="r")["instance_id"][0])
    assert ((found > 0) == ((labels > 0) & ~hidden)).all()
    told = reasons_of(tmp_path / "out")
    assert {place for place, why in told.items() if why == "empty/cloud"} == {(0, 0)}
    assert run_items(run_job, items, path, tmp_path / "off", "--mask", "off") == 0
    assert set(reasons_of(tmp_path / "off").values()) == {"found/"}
    info = json.loads((tmp_path / "out" / "run.json").read_text())
    assert info["scenes"][0]["quality"]["file"]["identity"]["sha256"]


def test_an_items_broken_mask_is_that_scenes_failure(
    run_job: RunJob, tmp_path: Path, boxes: tuple[Path, NDArray[np.int32]]
) -> None:
    """The mask of the second scene lies elsewhere; tiles that need this scene fail, and no other."""
    path, _ = boxes
    half = CORE // 2
    first = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    first[:half, :half] = 9  # tile (0, 0), and the halos of its neighbours, need the second scene
    scene(tmp_path, "one", first)
    scene(tmp_path, "second", np.full((SIDE // 2, SIDE // 2), 4, np.uint8))
    write(tmp_path / "second_SCL.tif", np.full((1, 40, 40), 4, np.uint8), gsd=2)
    out = tmp_path / "out"
    assert run_items(run_job, items_of(tmp_path, "one", "second"), path, out) == 3
    told = reasons_of(out)
    failed = {place for place, why in told.items() if why == "failed/unreadable"}
    assert failed == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert {why for place, why in told.items() if place not in failed} == {"found/"}
    rows = pq.read_table(out / "coverage.parquet").to_pylist()
    assert all("second_SCL.tif must cover" in row["error"] for row in rows if row["status"] == "failed")


def test_items_without_a_mask_get_a_computed_one(
    run_job: RunJob, tmp_path: Path, boxes: tuple[Path, NDArray[np.int32]]
) -> None:
    """A real chip of Sentinel-2, cut to the world's size."""
    pytest.importorskip("ukis_csmask", reason="needs the extra `clouds`")
    pytest.importorskip("onnxruntime", reason="needs the extra `clouds`")
    chip = Path(__file__).parents[2] / ".." / "shared" / "data" / "clouds" / "sentinel2.npz"
    if not chip.is_file():
        pytest.skip("the sample data folder ../shared/data is absent")
    path, labels = boxes
    data = np.load(chip)
    values = np.rint(np.moveaxis(data["img"][:SIDE, :SIDE], -1, 0) * 10_000).clip(1).astype(np.uint16)
    truth = np.isin(data["msk"][:SIDE, :SIDE, 0], (0, 4))
    keys = ("blue", "green", "red", "nir", "swir16", "swir22")
    files = {key: write(tmp_path / f"{key}.tif", band[None]) for key, band in zip(keys, values, strict=True)}
    document = item_document("chip", files, on_item=projection_fields(files["red"]), collection="tiles-l1c")
    for asset in document["assets"].values():
        asset["raster:bands"] = [{"scale": 0.0001, "offset": 0.0, "data_type": "uint16"}]
        asset["eo:bands"] = [{"common_name": Path(asset["href"]).stem}]
    items = write_items(tmp_path / "items.json", [document])
    out = tmp_path / "out"
    assert run_items(run_job, items, path, out, "--mask", "csmask", "--max-cloud-tile", "100") == 0
    group = zarr.open_group(str(out / "masks.zarr"), mode="r")
    hidden = np.asarray(group["mask"][0]) == 255
    found = np.asarray(group["instance_id"][0]) > 0
    assert (found == ((labels > 0) & ~hidden)).all()
    assert 0.1 < truth.mean() < 0.9
    assert (hidden & truth).sum() / truth.sum() > 0.9
    assert (hidden == truth).mean() > 0.8
    info = json.loads((out / "run.json").read_text())
    assert info["scenes"][0]["quality"]["model"] == "csmask-l1c"
    assert any("coverage.parquet" in note for note in info["stretches"]["chip"]["notes"])
