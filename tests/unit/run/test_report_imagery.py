"""Pictures of imagery that goes while they are read: never black ground, always a note."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from pipeline.errors import SourceError
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.grid.tiles import GridOptions, plan_tiles
from pipeline.load.prepare_scenes import LoadOptions, SceneSource, prepare_scenes
from pipeline.run.closing_notes import Notes
from pipeline.run.report_imagery import report_imagery
from pipeline.schema.tiling import RunGrid, Window

LOAD = LoadOptions()
HERE = Window(row0=8, col0=0, row1=24, col1=64)


@pytest.fixture
def planned(tmp_path: Path) -> tuple[tuple[SceneSource, ...], RunGrid]:
    """Two scenes of 32 columns side by side, of 200 and of 90."""
    paths = []
    for name, value, east_m in (("west", 200, 0), ("east", 90, 32)):
        paths.append(str(tmp_path / f"{name}.tif"))
        transform = rasterio.Affine(1, 0, 500_000 + east_m, 0, -1, 5_500_000)
        with rasterio.open(
            paths[-1],
            "w",
            driver="GTiff",
            height=64,
            width=32,
            count=3,
            dtype="uint8",
            photometric="rgb",
            crs="EPSG:32633",
            transform=transform,
        ) as dataset:
            dataset.write(np.full((3, 64, 32), value, dtype=np.uint8))
    scenes = open_scenes(SourceOptions(hrefs=tuple(paths)))
    plan = plan_tiles(None, scenes, GridOptions(tile_px=32, halo_px=2))
    sources = prepare_scenes(plan.scenes, LOAD, offsets=plan.offsets, windows=plan.scene_windows)
    return sources, plan.grid


def test_a_picture_shows_all_scenes(planned: tuple[tuple[SceneSource, ...], RunGrid], tmp_path: Path) -> None:
    notes = Notes(pytest.fail, tmp_path / "log")
    with report_imagery(*planned, notes, load=LOAD) as imagery:
        rgb = imagery.read_rgb(HERE)
        overview = imagery.overview(notes)
    expected = np.repeat([200, 90], 32)[None, :, None]
    np.testing.assert_array_equal(rgb, np.broadcast_to(expected, (16, 64, 3)))
    assert overview is not None
    np.testing.assert_array_equal(overview, np.broadcast_to(expected, (64, 64, 3)))
    assert notes.texts == []


def test_imagery_that_has_gone_raises_and_is_noted_once(
    planned: tuple[tuple[SceneSource, ...], RunGrid], tmp_path: Path
) -> None:
    (tmp_path / "east.tif").unlink()
    said = list[str]()
    notes = Notes(said.append, tmp_path / "log")
    with report_imagery(*planned, notes, load=LOAD) as imagery:
        overview = imagery.overview(notes)
        for _ in range(2):
            with pytest.raises(SourceError, match=r"east: .*east\.tif"):
                imagery.read_rgb(HERE)
        assert imagery.read_rgb(Window(row0=0, col0=0, row1=8, col1=32)).min() == 200
    assert overview is not None
    assert (overview[:, :32].min(), overview[:, 32:].max()) == (200, 0)
    lacks, unread = notes.texts
    assert lacks.startswith("the overview lacks 1 of 2 scenes; the first: east: ")
    assert unread.startswith(
        "the pictures of report.html: 2 could not be read, and were cut from the overview; the first: east: "
    )
    assert said == [f"note: {lacks}", f"note: {unread}"]


def test_a_scene_that_failed_in_the_run_is_not_asked_again(
    planned: tuple[tuple[SceneSource, ...], RunGrid], tmp_path: Path
) -> None:
    sources, grid = planned
    failed = replace(sources[1], scene=replace(sources[1].scene, failure="403 from the server"))
    notes = Notes(lambda _: None, tmp_path / "log")
    with (
        report_imagery((sources[0], failed), grid, notes, load=LOAD) as imagery,
        pytest.raises(SourceError, match="east: 403 from the server"),
    ):
        imagery.read_rgb(HERE)
