"""Scenes under clouds, read together. Oracle: the mosaic painted with numpy."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fault_server import FaultServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine

from pipeline.errors import SourceError
from pipeline.files import raster_access
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.grid.tiles import GridOptions, plan_tiles
from pipeline.load import quality as quality_module
from pipeline.load.prepare_scenes import LoadOptions, SceneSource, prepare_scenes
from pipeline.load.reader import CogReader
from pipeline.schema.imagery import BlockImage, QualityMask, Scene, SceneFile
from pipeline.schema.tiling import Window

MakeTif = Callable[..., str]
SIDE = 96
FINE = Affine(10, 0, 450000, 0, -10, 5540000)
COARSE = Affine(20, 0, 450000, 0, -20, 5540000)
CLEAR, CLOUD, NONE = 4, 9, 0


def masked(scene_path: str, mask_path: str, scene_id: str) -> Scene:
    (scene,) = open_scenes(SourceOptions(hrefs=(scene_path,)))
    file = SceneFile(href=str(Path(mask_path).absolute()))
    quality = QualityMask(file=file, rule="values:3,8,9,10;fill:0", source="a test")
    return replace(scene, scene_id=scene_id, quality=quality)


def sources_of(
    scenes: tuple[Scene, ...], options: GridOptions, load: LoadOptions | None = None
) -> tuple[object, tuple[SceneSource, ...]]:
    plan = plan_tiles(None, scenes, options)
    load = load or LoadOptions()
    return plan, prepare_scenes(plan.scenes, load, offsets=plan.offsets, windows=plan.scene_windows)


def read_all(scenes: tuple[Scene, ...], options: GridOptions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rgb, valid, hidden) of the whole grid, from the cores; halos must show the same."""
    plan, sources = sources_of(scenes, options)
    grid = plan.grid  # type: ignore[attr-defined]
    reader = CogReader(sources, grid)
    rgb = np.zeros((grid.height, grid.width, 3), "uint8")
    valid = np.zeros((grid.height, grid.width), bool)
    hidden = np.zeros((grid.height, grid.width), bool)
    images: list[BlockImage] = [reader.read(block) for block in plan.blocks()]  # type: ignore[attr-defined]
    reader.close()
    views = [image.tile_image(tile) for image in images for tile in image.block.tiles]
    for view in views:
        place = view.tile.core.slices_in(grid.window)
        own = view.tile.core.slices_in(view.tile.read)
        rgb[place], valid[place] = view.rgb[own], view.valid[own]
        hidden[place] = False if view.hidden is None else view.hidden[own]
    for view in views:
        place = view.tile.read.slices_in(grid.window)
        assert (view.rgb == rgb[place]).all()
        assert (view.valid == valid[place]).all()
        assert ((False if view.hidden is None else view.hidden) == hidden[place]).all()
    return rgb, valid, hidden


def patches(rng: np.random.Generator, *, nodata: bool = True) -> np.ndarray:
    """A mask of SIDE / 2 pixels: clear, with rectangles of cloud and of no imagery."""
    mask = np.full((SIDE // 2, SIDE // 2), CLEAR, "uint8")
    for value in (CLOUD, CLOUD, NONE if nodata else CLOUD):
        row, col = rng.integers(0, SIDE // 2, 2)
        mask[row : row + rng.integers(1, 30), col : col + rng.integers(1, 30)] = value
    return mask


@given(seed=st.integers(0, 2**16), tile=st.sampled_from([24, 40, 64]), n_scenes=st.integers(1, 3))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_clouds_are_holes_that_the_next_scene_fills(
    make_tif: MakeTif, seed: int, tile: int, n_scenes: int
) -> None:
    rng = np.random.default_rng(seed)
    scenes = []
    want = np.zeros((SIDE, SIDE, 3), "uint8")
    valid = np.zeros((SIDE, SIDE), bool)
    hidden = np.zeros((SIDE, SIDE), bool)
    for number in range(n_scenes):
        pixels = rng.integers(20, 250, (3, SIDE, SIDE)).astype("uint8")
        row = int(rng.integers(0, SIDE))
        pixels[:, row : row + 20] = 0
        mask = patches(rng)
        scenes.append(
            masked(
                make_tif(f"s{number}.tif", pixels, transform=FINE, nodata=0),
                make_tif(f"m{number}.tif", mask[None], transform=COARSE),
                f"s{number}",
            )
        )
        classes = mask.repeat(2, 0).repeat(2, 1)
        imagery = (pixels > 0).any(axis=0) & (classes != NONE)
        shown = imagery & (classes != CLOUD)
        take = shown & ~valid
        want[take] = np.moveaxis(pixels, 0, -1)[take]
        valid |= shown
        hidden |= imagery & (classes == CLOUD)
    rgb, own_valid, own_hidden = read_all(tuple(scenes), GridOptions(tile_px=tile, halo_px=6, block_tiles=2))
    assert (own_valid == valid).all()
    assert (own_hidden == (hidden & ~valid)).all()
    assert (rgb == want).all()


def test_a_scene_of_another_zone_has_its_clouds_where_they_are(make_tif: MakeTif) -> None:
    """Two cuts give the same pixels, and the hidden share of the ground is the mask's."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(20, 250, (3, SIDE, SIDE)).astype("uint8")
    mask = np.full((SIDE // 2, SIDE // 2), CLEAR, "uint8")
    mask[10:30, 12:40] = CLOUD
    scene = masked(
        make_tif("s.tif", pixels, transform=FINE, nodata=0),
        make_tif("m.tif", mask[None], transform=COARSE),
        "s",
    )
    whole = read_all((scene,), GridOptions(tile_px=64, halo_px=6, block_tiles=2, crs="EPSG:32635"))
    again = read_all((scene,), GridOptions(tile_px=40, halo_px=4, block_tiles=1, crs="EPSG:32635"))
    for one, other in zip(whole, again, strict=True):
        assert (one == other).all()
    _, valid, hidden = whole
    share = hidden.sum() / (hidden.sum() + valid.sum())
    assert share == pytest.approx((mask == CLOUD).mean(), abs=0.02)


def test_a_mask_that_cannot_be_read_is_the_scenes_failure(make_tif: MakeTif) -> None:
    pixels = np.random.default_rng(0).integers(20, 250, (3, SIDE, SIDE)).astype("uint8")
    mask_path = make_tif(
        "m.tif", patches(np.random.default_rng(4))[None], transform=COARSE, blockxsize=16, blockysize=16
    )
    scene = masked(make_tif("s.tif", pixels, transform=FINE), mask_path, "s")
    other = masked(
        make_tif("t.tif", pixels, transform=FINE),
        make_tif("n.tif", np.full((1, 48, 48), 9, "uint8"), transform=COARSE),
        "t",
    )
    plan, sources = sources_of((scene, other), GridOptions(tile_px=40, halo_px=4, block_tiles=1))
    Path(mask_path).unlink()
    reader = CogReader(sources, plan.grid)  # type: ignore[attr-defined]
    images = [reader.read(block) for block in plan.blocks()]  # type: ignore[attr-defined]
    for image in images:
        assert image.unreadable.keys() == {tile.tile_id for tile in image.block.tiles}
        assert all("m.tif" in text for text in image.unreadable.values())


def test_a_mask_that_changes_after_planning_fails_its_tiles(make_tif: MakeTif) -> None:
    pixels = np.random.default_rng(0).integers(20, 250, (3, SIDE, SIDE)).astype("uint8")
    mask_path = make_tif("m.tif", np.full((1, 48, 48), CLEAR, "uint8"), transform=COARSE)
    scene = masked(make_tif("s.tif", pixels, transform=FINE), mask_path, "s")
    assert scene.quality is not None
    pinned = replace(scene.quality.file, identity=raster_access.open_identified(mask_path)[1])
    scene = replace(scene, quality=replace(scene.quality, file=pinned))
    plan, sources = sources_of((scene,), GridOptions(tile_px=40, halo_px=4, block_tiles=4))
    reader = CogReader(sources, plan.grid)  # type: ignore[attr-defined]
    (block,) = plan.blocks()  # type: ignore[attr-defined]
    assert not reader.read(block).unreadable
    make_tif("m.tif", np.full((1, 48, 48), CLOUD, "uint8"), transform=COARSE)
    os.utime(mask_path, ns=(1, 1))
    assert all("is not the file" in text for text in reader.read(block).unreadable.values())


def test_no_mask_is_opened_where_the_scene_has_no_imagery(
    make_tif: MakeTif, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(20, 250, (3, SIDE, SIDE)).astype("uint8")
    pixels[:, :, 48:] = 0
    scene = masked(
        make_tif("s.tif", pixels, transform=FINE, nodata=0),
        make_tif("m.tif", np.full((1, 48, 48), CLEAR, "uint8"), transform=COARSE),
        "s",
    )
    plan, sources = sources_of((scene,), GridOptions(tile_px=34, halo_px=1, block_tiles=1))
    asked: list[Window] = []
    real = quality_module.QualityFile.marks

    def noted(self: object, window: Window) -> object:
        asked.append(window)
        return real(self, window)  # type: ignore[arg-type]

    monkeypatch.setattr(quality_module.QualityFile, "marks", noted)
    reader = pickle.loads(pickle.dumps(CogReader(sources, plan.grid)))  # type: ignore[attr-defined]
    for block in plan.blocks():  # type: ignore[attr-defined]
        reader.read(block)
    assert {w.col0 for w in asked} == {0, 31}, "of three columns of tiles, the third has no imagery"


def test_clouds_do_not_settle_the_stretch_and_their_share_is_told(make_tif: MakeTif) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(500, 1500, (3, SIDE, SIDE)).astype("uint16")
    mask = np.full((SIDE // 2, SIDE // 2), CLEAR, "uint8")
    mask[:12] = CLOUD
    mask[12:18] = NONE
    pixels[:, :24] = 12000
    paths = make_tif("s.tif", pixels, transform=FINE), make_tif("m.tif", mask[None], transform=COARSE)
    _, (source,) = sources_of((masked(*paths, "s"),), GridOptions(tile_px=48, halo_px=4, block_tiles=2))
    assert max(source.stretch.hi) < 1500
    assert source.unjudged == {"cloud": pytest.approx(0.25), "nodata": pytest.approx(0.125)}
    told = source.to_dict()
    assert told["judged_share"] == pytest.approx(0.625)
    assert told["clouds"] == "a test: values 3, 8, 9, 10 hide the ground"


def test_a_scene_that_is_all_cloud_says_so(make_tif: MakeTif) -> None:
    pixels = np.full((3, SIDE, SIDE), 9000, "uint16")
    mask = np.full((1, SIDE // 2, SIDE // 2), CLOUD, "uint8")
    scene = masked(make_tif("s.tif", pixels, transform=FINE), make_tif("m.tif", mask, transform=COARSE), "s")
    _, (source,) = sources_of((scene,), GridOptions(tile_px=48, halo_px=4, block_tiles=2))
    assert source.unjudged == {"cloud": 1.0}
    assert any("clouds hide it" in note for note in source.notes)


def test_a_damaged_mask_is_found_before_the_run(make_tif: MakeTif) -> None:
    pixels = np.full((3, SIDE, SIDE), 90, "uint8")
    rng = np.random.default_rng(0)
    mask_path = make_tif("m.tif", rng.integers(0, 12, (1, 48, 48)).astype("uint8"), transform=COARSE)
    scene = masked(make_tif("s.tif", pixels, transform=FINE), mask_path, "s")
    size = Path(mask_path).stat().st_size
    with Path(mask_path).open("r+b") as file:
        file.truncate(size - 800)
    with pytest.raises(SourceError, match=r"m\.tif"):
        sources_of((scene,), GridOptions(tile_px=48, halo_px=4, block_tiles=2))


def test_a_served_mask_is_read_by_ranges_and_its_faults_fail_its_tiles(
    make_tif: MakeTif, range_server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.01")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "1")
    monkeypatch.setattr("pipeline.load.reader.RETRY_PAUSE_S", 0.0)
    rng = np.random.default_rng(0)
    pixels = rng.integers(20, 250, (3, SIDE, SIDE)).astype("uint8")
    mask = patches(rng, nodata=False)
    make_tif("s.tif", pixels, transform=FINE)
    make_tif("s_SCL.tif", mask[None], transform=COARSE)
    options = SourceOptions(hrefs=(f"{range_server.url}/s.tif?token=secret",), mask_file="{stem}_SCL.tif")
    scenes = open_scenes(options)
    assert "secret" not in repr(scenes)
    plan, sources = sources_of(scenes, GridOptions(tile_px=40, halo_px=4, block_tiles=4))
    reader = CogReader(sources, plan.grid)  # type: ignore[attr-defined]
    (block,) = plan.blocks()  # type: ignore[attr-defined]
    image = reader.read(block)
    assert not image.unreadable
    assert image.hidden is not None
    assert (image.hidden == (mask == CLOUD).repeat(2, 0).repeat(2, 1)).all()
    assert all("token=secret" in path for _, path, _ in range_server.requests)
    reader.close()
    make_tif("s_SCL.tif", np.full((1, 48, 48), CLEAR, "uint8"), transform=COARSE)
    failed = reader.read(block).unreadable
    assert failed.keys() == {tile.tile_id for tile in block.tiles}
    assert all("s_SCL.tif" in text and "secret" not in text for text in failed.values())
