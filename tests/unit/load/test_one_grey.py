"""Scenes whose values are reflectance: the same ground has the same grey, and the file's tags count once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from stac_items import stac_item

from pipeline.grid.band_files import band_source
from pipeline.grid.catalog.catalog_options import CatalogOptions
from pipeline.grid.find_scenes import find_scenes, settle_scenes
from pipeline.grid.radiometry import LANDSAT_C2_L2, Radiometry
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.grid.tiles import GridOptions, plan_tiles
from pipeline.load.prepare_scenes import LoadOptions, SceneSource, prepare_scenes
from pipeline.load.reader import CogReader
from pipeline.run.imagery_text import imagery_text
from pipeline.schema.imagery import Reflectance

MakeTif = Callable[..., str]
WHOLE = GridOptions(tile_px=256, halo_px=8, block_tiles=1)

OLD = Reflectance(scale=1e-4, offset=0.0, source="before baseline 04.00")
NEW = Reflectance(scale=1e-4, offset=-0.1, source="since baseline 04.00")


def ground(side: int = 120) -> NDArray[Any]:
    """Reflectance (3, H, W) in ten-thousandths: darker in the west, with clouds and some below 0."""
    rng = np.random.default_rng(11)
    steps = rng.integers(100, 2500, (3, side, side)) * np.linspace(0.3, 1, side)
    steps[:, :10] = 7000
    steps[:, 10:14] = -50
    return steps.astype(np.int64)


def tag(path: str, scale: float, offset: float, **more: Any) -> str:
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (scale,) * dataset.count
        dataset.offsets = (offset,) * dataset.count
        for name, value in more.items():
            setattr(dataset, name, value)
    return path


def prepared(
    *paths: str,
    radiometry: Radiometry = "auto",
    load: LoadOptions | None = None,
    known: tuple[Reflectance, ...] = (),
    grid: GridOptions = WHOLE,
) -> tuple[Any, tuple[SceneSource, ...]]:
    """Plan and sources. `known`: what a catalogue says of each scene, in place of what the files do."""
    scenes = open_scenes(SourceOptions(hrefs=paths, radiometry=radiometry))
    scenes = tuple(
        replace(scene, reflectance=own)
        for scene, own in zip(scenes, known or [s.reflectance for s in scenes], strict=True)
    )
    plan = plan_tiles(None, scenes, grid)
    sources = prepare_scenes(
        plan.scenes, load or LoadOptions(), offsets=plan.offsets, windows=plan.scene_windows
    )
    return plan, sources


def picture(plan: Any, sources: tuple[SceneSource, ...]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    reader = CogReader(sources, plan.grid)
    image = reader.read(next(plan.blocks()))
    reader.close()
    assert image.unreadable == {}
    place = plan.grid.window.slices_in(image.block.read)
    return image.rgb[place], image.valid[place]


def test_the_same_ground_has_the_same_bytes_whatever_its_baseline(make_tif: MakeTif) -> None:
    """Two dates: the second is stored with an offset of 1000, shows half of the ground, and more clouds."""
    steps = ground()
    old = make_tif("old.tif", np.maximum(steps, 1).astype("uint16"), nodata=0)
    new = make_tif("new.tif", (steps + 1000).astype("uint16"), nodata=0)
    part = make_tif("part.tif", (steps + 1000).astype("uint16")[:, :60, 20:], nodata=0)
    rgb, valid = picture(*prepared(old, known=(OLD,)))
    again, also = picture(*prepared(new, known=(NEW,)))
    assert valid.all()
    assert also.all()
    assert (rgb == again).all()
    some, _ = picture(*prepared(part, known=(NEW,)))
    assert (some == rgb[:60, 20:]).all()
    assert (rgb[:10] == 255).all()
    assert (rgb[10:14] == 0).all()  # below 0 is black, and valid
    exact = np.clip(np.moveaxis(steps, 0, -1) / 3000, 0, 1) * 255
    assert np.abs(rgb - exact).max() <= 0.5 + 2e-4


def test_warped_scenes_have_the_same_bytes_too(make_tif: MakeTif) -> None:
    """Interpolated values are whole numbers in both, 1000 apart."""
    steps = np.clip(ground(), 1, None)
    steps[:, 40:60, 30:50] = 0
    old = make_tif("old.tif", steps.astype("uint16"), nodata=0)
    new = make_tif("new.tif", np.where(steps == 0, 0, steps + 1000).astype("uint16"), nodata=0)
    grid = replace(WHOLE, crs="EPSG:32635", resolution=0.6)
    rgb, valid = picture(*prepared(old, known=(OLD,), grid=grid))
    again, also = picture(*prepared(new, known=(NEW,), grid=grid))
    assert 0.2 < valid.mean() < 0.99
    assert (valid == also).all()
    assert (rgb == again).all()


def test_neighbouring_scenes_of_two_providers_make_one_picture(make_tif: MakeTif) -> None:
    """Halves of one ground in two scenes: no step where they meet, and none between their tiles."""
    steps = np.clip(ground(), 1, None)
    west = make_tif("west.tif", steps.astype("uint16")[:, :, :70], nodata=0)
    east = make_tif(
        "east.tif",
        (steps + 1000).astype("uint16")[:, :, 50:],
        nodata=0,
        transform=rasterio.Affine(0.5, 0, 450000 + 25, 0, -0.5, 40000),
    )
    both, valid = picture(*prepared(west, east, known=(OLD, NEW)))
    one, _ = picture(*prepared(make_tif("one.tif", steps.astype("uint16"), nodata=0), known=(OLD,)))
    assert valid.all()
    assert (both == one).all()


def test_nodata_stays_no_imagery(make_tif: MakeTif) -> None:
    """0 would be a reflectance of -0.1."""
    stored = (ground() + 1000).astype("uint16")
    stored[:, 30:50] = 0
    rgb, valid = picture(*prepared(make_tif("a.tif", stored, nodata=0), known=(NEW,)))
    assert (~valid[30:50]).all()
    assert valid.sum() == 100 * 120
    assert (rgb[30:50] == 0).all()


def test_tags_of_a_file_count_once(make_tif: MakeTif) -> None:
    steps = ground()
    path = tag(make_tif("a.tif", (steps + 1000).astype("uint16")), 1e-4, -0.1)
    plan, (source,) = prepared(path)
    assert source.scene.reflectance == Reflectance(scale=1e-4, offset=-0.1, source="the file's tags")
    assert (source.stretch.kind, source.stretch.lo[0], source.stretch.hi[0]) == ("reflectance", 1000, 4000)
    assert not any("tags" in note for note in source.notes)
    plain = make_tif("b.tif", (steps + 1000).astype("uint16"))
    assert (picture(plan, (source,))[0] == picture(*prepared(plain, known=(NEW,)))[0]).all()
    assert (
        "  grey levels  1000..4000 become 0..255 (black..white): reflectance 0..0.3 = value * 0.0001 - 0.1, "
        "by the file's tags" in imagery_text([source.to_dict()])
    )


def test_tags_of_each_band_count_once(make_tif: MakeTif) -> None:
    """The same ground, stored in three ways, has the grey of a file whose bands are all alike."""
    steps = np.maximum(ground(), 0)
    known = ((1e-4, -0.1), (1e-4, 0.0), (5e-5, 0.0))
    stored = np.stack([steps[0] + 1000, steps[1], steps[2] * 2]).astype("uint16")
    path = make_tif("a.tif", stored)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = zip(*known, strict=True)
    plan, (source,) = prepared(path)
    assert source.scene.reflectance is not None
    assert source.scene.reflectance.by_band == known
    assert not any("tags" in note for note in source.notes)
    alike = tag(make_tif("b.tif", (steps + 1000).astype("uint16")), 1e-4, -0.1)
    assert (picture(plan, (source,))[0] == picture(*prepared(alike))[0]).all()
    files = []
    for name, band, (scale, offset) in zip(("B04", "B03", "B02"), stored, known, strict=True):
        files.append(tag(make_tif(f"{name}.tif", band[None]), scale, offset))
    of_files, (joint,) = prepared(band_source(files))
    assert joint.stretch == source.stretch
    assert (picture(of_files, (joint,))[0] == picture(*prepared(alike))[0]).all()


def test_tags_of_three_band_files_count_too(make_tif: MakeTif) -> None:
    stored = (ground() + 1000).astype("uint16")
    files = [tag(make_tif(f"B0{n}.tif", stored[4 - n : 5 - n]), 1e-4, -0.1) for n in (4, 3, 2)]
    _, (source,) = prepared(band_source(files))
    assert source.stretch.kind == "reflectance"
    assert not any("tags" in note for note in source.notes)
    tag(files[2], 0.1, 0.0)  # decimetres, as it were
    _, (source,) = prepared(band_source(files))
    assert source.scene.reflectance is None
    assert source.stretch.kind == "percentile"
    (note,) = [note for note in source.notes if "tags" in note]
    assert "value * 0.0001 - 0.1 and value * 0.1 + 0, which is not used" in note


def test_tags_that_are_no_reflectance_are_said_and_not_guessed(make_tif: MakeTif) -> None:
    path = tag(make_tif("a.tif", (ground() + 1000).astype("uint16")), 0.1, 0.0, units=("m", "m", "m"))
    _, (source,) = prepared(path)
    assert source.stretch.kind == "percentile"
    assert any("value * 0.1 + 0 m, which is not used; --radiometry SCALE,OFFSET" in n for n in source.notes)


def test_the_user_may_say_that_values_are_only_numbers_or_what_they_are(make_tif: MakeTif) -> None:
    path = tag(make_tif("a.tif", (ground() + 1000).astype("uint16")), 1e-4, -0.1)
    _, (source,) = prepared(path, radiometry="stored")
    assert source.stretch.kind == "percentile"
    assert any("is not used" in note for note in source.notes)
    _, (source,) = prepared(path, radiometry=LANDSAT_C2_L2)
    assert source.scene.reflectance == LANDSAT_C2_L2
    assert source.stretch.lo[0] == pytest.approx(0.2 / 2.75e-5)
    assert any("value * 0.0001 - 0.1, which is not used" in note for note in source.notes)


def test_the_users_scale_wins_and_the_range_is_an_option(make_tif: MakeTif) -> None:
    path = tag(make_tif("a.tif", (ground() + 1000).astype("uint16")), 1e-4, -0.1)
    _, (source,) = prepared(path, load=LoadOptions(scale=(0.0, 5000.0)))
    assert (source.stretch.kind, source.stretch.hi[0]) == ("linear", 5000.0)
    _, (source,) = prepared(path, load=LoadOptions(reflectance_range=(0.0, 1.0)))
    assert (source.stretch.kind, source.stretch.hi[0]) == ("reflectance", 11000.0)


def test_a_scene_of_clouds_keeps_the_range_of_others(make_tif: MakeTif) -> None:
    """Percentiles would make clouds grey; the range does not look at the scene."""
    clouds = np.random.default_rng(2).integers(8000, 9000, (3, 120, 120)).astype("uint16")
    plan, sources = prepared(make_tif("a.tif", clouds), known=(OLD,))
    assert (picture(plan, sources)[0] == 255).all()
    assert any("nearly white" in note for note in sources[0].notes)


def test_a_catalogues_scene_of_which_nobody_knows_it_says_so(make_tif: MakeTif) -> None:
    (scene,) = open_scenes(SourceOptions(hrefs=(make_tif("a.tif", ground().clip(1).astype("uint16")),)))
    plan = plan_tiles(None, (scene,), WHOLE)
    for load, told in ((LoadOptions(), True), (LoadOptions(scale=(0.0, 3000.0)), False)):
        (source,) = prepare_scenes(
            (replace(scene, no_reflectance="no baseline"),),
            load,
            offsets=plan.offsets,
            windows=plan.scene_windows,
        )
        said = [note for note in source.notes if "look different in other scenes: no baseline." in note]
        assert bool(said) == told
    (source,) = prepare_scenes((scene,), LoadOptions(), offsets=plan.offsets, windows=plan.scene_windows)
    assert not any("other scenes" in note for note in source.notes)


def test_items_of_two_baselines_show_the_same_ground_alike(make_tif: MakeTif, tmp_path: Path) -> None:
    """From a catalogue to bytes: assets are band files, and the item alone tells their offset."""
    steps = np.clip(ground(), 1, None)
    pictures = []
    for name, baseline, offset in (("old", "03.01", 0), ("new", "05.11", 1000)):
        stored = (steps + offset).astype("uint16")
        assets = {}
        for index, colour in enumerate(("red", "green", "blue")):
            href = make_tif(f"{name}_{colour}.tif", stored[index : index + 1], nodata=0)
            assets[colour] = {"href": href, "type": "image/tiff; application=geotiff", "roles": ["data"]}
        document = stac_item(name, collection="sentinel-2-l2a", **{"s2:processing_baseline": baseline})
        (tmp_path / f"{name}.json").write_text(json.dumps({**document, "assets": assets}))
        found = find_scenes(SourceOptions(hrefs=(str(tmp_path / f"{name}.json"),)), CatalogOptions(), None)
        (scene,) = settle_scenes(found, found.scenes)
        assert (len(scene.band_files), scene.failure) == (3, "")
        assert scene.reflectance is not None
        assert scene.reflectance.offset == pytest.approx(-offset / 10_000)
        plan = plan_tiles(None, (scene,), WHOLE)
        sources = prepare_scenes(plan.scenes, LoadOptions(), offsets=plan.offsets, windows=plan.scene_windows)
        pictures.append(picture(plan, sources))
    assert pictures[0][1].all()
    assert (pictures[0][0] == pictures[1][0]).all()
