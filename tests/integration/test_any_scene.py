"""Any scene that people have gives what rasterio alone says of its pixels, and a whole set of results.

`DrawnScene` knows validity and truth by rasterio. A run with oracle models must agree to the pixel, account
for every tile, and leave JSON that strict readers take.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pystac
import pytest
import shapely
import zarr
from drawn_scenes import Draw, DrawnScene, draws, write_drawn_scene
from hypothesis import HealthCheck, Phase, given, settings
from numpy.typing import NDArray
from rasterio.transform import Affine

RunJob = Callable[..., int]

SOME = settings(
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # whole runs: no shrinking
    suppress_health_check=[HealthCheck.too_slow],
)


def run_drawn(run_job: RunJob, folder: Path, draw: Draw) -> None:
    """Write, run and check one draw."""
    drawn = write_drawn_scene(folder, draw)
    words: list[object] = [
        "--source",
        drawn.scene,
        "--models",
        f"oracle:{drawn.labels}",
        "--query",
        "anything",
    ]
    words += ["--tile", draw.core_px + 2 * draw.halo_px, "--halo", draw.halo_px, "--block", draw.block]
    words += ["--bbox", *draw.bounds("EPSG:4326", draw.cut)] if draw.cut else ["--whole-scene"]
    if draw.bands < 3:
        words += ["--bands", "1,1,1"]
    if draw.warp is not None:
        words += ["--resolution", draw.resolution, *(["--crs", draw.warp[0]] if draw.warp[0] else [])]
    assert run_job(*words, "--out", folder / "out", "--runner", "local") == 0
    check_pixels_and_tiles(drawn, folder / "out")
    check_documents(folder / "out", placed=draw.crs is not None)


def check_pixels_and_tiles(drawn: DrawnScene, out: Path) -> None:
    """Every planned tile has one row, and what was judged is exactly what is imagery."""
    group = zarr.open_group(str(out / "masks.zarr"), mode="r")
    mask = np.asarray(group["mask"][0])
    transform = Affine(*group.attrs["spatial:transform"])
    least, most = drawn.valid(transform, mask.shape)
    draw = drawn.draw
    if draw.warp is None and draw.cut is None:
        assert mask.shape == (draw.height, draw.width)
    core = draw.core_px
    rows = pq.read_table(out / "coverage.parquet").to_pylist()
    places = {(row["tile_row"], row["tile_col"]) for row in rows}
    n_tiles = -(-mask.shape[0] // core) * -(-mask.shape[1] // core)
    assert len(places) == len(rows) == n_tiles
    looked_at = np.ones(mask.shape, dtype=np.bool_)
    for row in rows:
        top = row["tile_row"] * core
        left = row["tile_col"] * core
        own = np.s_[top : top + core, left : left + core]
        if (row["status"], row["reason"]) in {("empty", "nodata"), ("empty", "outside_aoi")}:
            looked_at[own] = False
        else:
            assert row["status"] == "empty" or (row["status"], row["error"]) == ("found", "")
        if row["reason"] != "outside_aoi":
            assert least[own].mean() - 1e-6 <= row["valid_share"] <= most[own].mean() + 1e-6
        if row["reason"] == "nodata":
            assert least[own].mean() < 0.05, "a tile with imagery counts as nodata"
    judged = mask != 255
    surely, perhaps = inside_area(out, transform, mask.shape)
    assert not (judged & ~(most & looked_at)).any(), "something was judged that is no imagery"
    assert not ((mask == 0) & ~perhaps).any(), "beside the area an empty pixel says nothing"
    assert not ((least & looked_at & surely) & ~judged).any(), "imagery was not judged"

    must, may = drawn.truth(transform, judged)
    assert not (must & (mask != 1)).any(), "an object is missing"
    assert not (~may & (mask == 1)).any(), "there is an object where none is"
    ids = np.asarray(group["instance_id"][0])
    np.testing.assert_array_equal(ids > 0, mask == 1)
    values, counts = np.unique(ids[ids > 0], return_counts=True)
    frame = gpd.read_parquet(out / "instances")
    assert dict(zip(frame["instance_id"], frame["area_px"], strict=True)) == dict(
        zip(values.tolist(), counts.tolist(), strict=True)
    )


def inside_area(
    out: Path, transform: Affine, shape: tuple[int, int]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(h, w) pixels whose middle lies in the area of the run, and those that touch it at all."""
    wkb = json.loads((out / "run.json").read_text()).get("aoi_wkb")
    if not wkb:
        return np.ones(shape, dtype=np.bool_), np.ones(shape, dtype=np.bool_)
    area = shapely.from_wkb(wkb)
    cols, rows = np.meshgrid(np.arange(shape[1]), np.arange(shape[0]))
    at = [transform @ (cols + right, rows + down) for right, down in ((0, 0), (1, 0), (1, 1), (0, 1))]
    pixels = shapely.polygons(np.stack([np.stack(xy, axis=-1) for xy in at], axis=-2))
    middles = transform @ (cols + 0.5, rows + 0.5)
    nearly = area.buffer(1e-6 * np.sqrt(abs(transform.determinant)))
    return shapely.contains_xy(area, *middles), shapely.intersects(pixels, nearly)


def check_documents(out: Path, *, placed: bool) -> None:
    """What a catalogue and a browser read is there and well formed."""
    run = strict_json(out / "run.json")
    assert run["status"] == "complete"
    item = strict_json(out / "item.json")
    pystac.Item.from_dict({**item, "stac_extensions": []}).validate()
    assert (item["geometry"] is not None) == placed
    assert (out / "report.html").stat().st_size > 1000


def strict_json(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{path.name} holds {constant}, which is no JSON")

    document: dict[str, Any] = json.loads(path.read_text(), parse_constant=refuse)
    return document


@settings(SOME, max_examples=5)
@given(draw=draws())
def test_any_scene(run_job: RunJob, tmp_path_factory: pytest.TempPathFactory, draw: Draw) -> None:
    run_drawn(run_job, tmp_path_factory.mktemp("drawn"), draw)


@settings(SOME, max_examples=3)
@given(draw=draws(warped=True))
def test_any_warp(run_job: RunJob, tmp_path_factory: pytest.TempPathFactory, draw: Draw) -> None:
    run_drawn(run_job, tmp_path_factory.mktemp("drawn"), draw)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("warped", [False, True])
def test_very_many_scenes(run_job: RunJob, tmp_path_factory: pytest.TempPathFactory, warped: bool) -> None:
    """SCENES=150 in the environment draws that many, others each time; the default is the same few."""
    drawn = int(os.environ.get("SCENES", "20"))

    @settings(SOME, max_examples=drawn, derandomize="SCENES" not in os.environ)
    @given(draw=draws(warped=warped))
    def every(draw: Draw) -> None:
        run_drawn(run_job, tmp_path_factory.mktemp("drawn"), draw)

    every()
