"""Masks of clouds on the run grid. Oracle: numpy.repeat, and rasterio's own nearest neighbour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.warp import reproject

from pipeline.errors import SourceError
from pipeline.files.raster_access import raster_environment
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.load import quality as quality_module
from pipeline.load.quality import QualityFile, quality_source, quality_text
from pipeline.schema.imagery import QualityMask, Scene, SceneFile
from pipeline.schema.tiling import RunGrid, Window

MakeTif = Callable[..., str]
HERE = (450000.0, 5540000.0)


def place(side: float, *, east: float = 0.0, south: float = 0.0) -> Affine:
    return Affine(side, 0, HERE[0] + east, 0, -side, HERE[1] - south)


def masked_scene(scene_path: str, mask_path: str, rule: str, **changes: object) -> Scene:
    (scene,) = open_scenes(SourceOptions(hrefs=(scene_path,)))
    file = SceneFile(href=str(Path(mask_path).absolute()), band=int(changes.pop("band", 1)))  # type: ignore[call-overload]
    return replace(scene, quality=QualityMask(file=file, rule=rule, source="a test"), **changes)  # type: ignore[arg-type]


def grid_of(scene: Scene) -> RunGrid:
    return RunGrid(crs_wkt=scene.crs_wkt, transform=scene.transform, width=scene.width, height=scene.height)


def classes(height: int, width: int, *, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 12, (1, height, width)).astype("uint8")


def hidden_of(scene: Scene, grid: RunGrid, window: Window | None = None) -> np.ndarray:
    with raster_environment(quality_source(scene)):
        mask = QualityFile(scene, grid)
        try:
            return mask.marks(window or grid.window).hidden
        finally:
            mask.close()


def test_every_pixel_takes_the_nearest_of_a_coarser_mask(make_tif: MakeTif) -> None:
    values = classes(40, 50)
    scene = masked_scene(
        make_tif("s.tif", np.ones((3, 80, 100), "uint8"), transform=place(10)),
        make_tif("m.tif", values, transform=place(20)),
        "values:3,8,9,10;fill:0",
    )
    with raster_environment(quality_source(scene)):
        mask = QualityFile(scene, grid_of(scene))
        marks = mask.marks(Window(row0=0, col0=0, row1=80, col1=100))
        mask.close()
    fine = values[0].repeat(2, axis=0).repeat(2, axis=1)
    assert (marks.hidden == np.isin(fine, [3, 8, 9, 10])).all()
    assert (marks.lacking == (fine == 0)).all()


@given(
    side=st.sampled_from([4.0, 10.0, 15.0, 20.0, 60.0, 7.3]),
    east=st.sampled_from([0.0, -3.0, -5.0]),
    data=st.data(),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_pixel_depends_on_the_cut_and_all_are_the_nearest(
    make_tif: MakeTif, side: float, east: float, data: st.DataObject
) -> None:
    height, width = 60, 90
    count = [int(np.ceil((n * 10 + 20) / side)) for n in (height, width)]
    values = classes(*count)
    scene = masked_scene(
        make_tif("s.tif", np.ones((3, height, width), "uint8"), transform=place(10)),
        make_tif("m.tif", values, transform=place(side, east=east, south=east)),
        "values:3,8,9,10",
    )
    grid = grid_of(scene)
    whole = hidden_of(scene, grid)
    row = data.draw(st.integers(0, height - 1))
    col = data.draw(st.integers(0, width - 1))
    part = Window(
        row0=row,
        col0=col,
        row1=data.draw(st.integers(row + 1, height)),
        col1=data.draw(st.integers(col + 1, width)),
    )
    assert (hidden_of(scene, grid, part) == whole[part.slices_in(grid.window)]).all()
    rows = [int(((r + 0.5) * 10 - east) // side) for r in range(height)]
    cols = [int(((c + 0.5) * 10 - east) // side) for c in range(width)]
    assert (whole == np.isin(values[0], [3, 8, 9, 10])[np.ix_(rows, cols)]).all()


def test_a_mask_finer_than_the_grid_is_read_in_strips(
    make_tif: MakeTif, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = classes(300, 300)
    scene = masked_scene(
        make_tif("s.tif", np.ones((3, 60, 60), "uint8"), transform=place(10)),
        make_tif("m.tif", values, transform=place(2)),
        "values:3,8,9,10",
    )
    monkeypatch.setattr(quality_module, "STRIP_PX", 5000)
    assert (hidden_of(scene, grid_of(scene)) == np.isin(values[0, 2::5, 2::5], [3, 8, 9, 10])).all()


def test_a_run_grid_in_another_zone_gets_the_warped_mask_whatever_the_cut(make_tif: MakeTif) -> None:
    values = classes(60, 70)
    scene = masked_scene(
        make_tif("s.tif", np.ones((3, 120, 140), "uint8"), transform=place(10)),
        make_tif("m.tif", values, transform=place(20), nodata=4),
        "values:3,4,8,9,10",
    )
    crs = CRS.from_epsg(32635)
    left, bottom, right, top = rasterio.warp.transform_bounds(
        CRS.from_epsg(32636), crs, HERE[0], HERE[1] - 1200, HERE[0] + 1400, HERE[1]
    )
    west, north = np.floor(left / 10) * 10, np.ceil(top / 10) * 10
    width, height = int((right - west) // 10) + 1, int((north - bottom) // 10) + 1
    grid = RunGrid(
        crs_wkt=crs.to_wkt(), transform=(10.0, 0.0, west, 0.0, -10.0, north), width=width, height=height
    )
    whole = hidden_of(scene, grid)
    want = np.zeros((height, width), "uint8")
    reproject(
        values[0] + 20,
        want,
        src_transform=place(20),
        src_crs=CRS.from_epsg(32636),
        dst_transform=Affine(*grid.transform),
        dst_crs=crs,
        resampling=Resampling.nearest,
        tolerance=0,
    )
    inside = want > 0
    assert inside.mean() > 0.5
    differs = whole[inside] != np.isin(want[inside], [23, 24, 28, 29, 30])
    assert differs.mean() < 0.001, "GDAL's coordinates are interpolated to a thousandth of a pixel"
    assert whole[~inside].mean() > 0.98, "nothing is known beyond the mask"
    for part in (
        Window(row0=3, col0=5, row1=90, col1=77),
        Window(row0=60, col0=0, row1=61, col1=width),
        Window(row0=0, col0=60, row1=height, col1=62),
    ):
        assert (hidden_of(scene, grid, part) == whole[part.slices_in(grid.window)]).all()


def test_rotated_and_pixel_space_scenes_have_masks_too(make_tif: MakeTif) -> None:
    turn = Affine.translation(*HERE) @ Affine.rotation(25)
    values = classes(30, 40)
    for name, fine, coarse, crs in (
        ("turned", turn @ Affine.scale(10, -10), turn @ Affine.scale(20, -20), "EPSG:32636"),
        ("south", Affine(10, 0, 0, 0, 10, 0), Affine(20, 0, 0, 0, 20, 0), "EPSG:32636"),
    ):
        scene = masked_scene(
            make_tif(f"{name}.tif", np.ones((3, 60, 80), "uint8"), transform=fine, crs=crs),
            make_tif(f"{name}_m.tif", values, transform=coarse, crs=crs),
            "values:3",
        )
        assert (hidden_of(scene, grid_of(scene)) == (values[0] == 3).repeat(2, 0).repeat(2, 1)).all()


def test_a_scene_on_another_turn_of_the_globe_takes_its_mask_along(make_tif: MakeTif) -> None:
    values = classes(20, 30)
    transform = Affine(0.1, 0, -180, 0, -0.1, 10)
    scene = masked_scene(
        make_tif("s.tif", np.ones((3, 20, 30), "uint8"), transform=transform, crs="EPSG:4326"),
        make_tif("m.tif", values, transform=transform, crs="EPSG:4326"),
        "values:3",
    )
    scene = replace(scene, transform=(0.1, 0.0, 180.0, 0.0, -0.1, 10.0))
    assert (hidden_of(scene, grid_of(scene)) == (values[0] == 3)).all()


def test_a_look_sees_the_mask_where_it_sees_the_scene(make_tif: MakeTif) -> None:
    values = classes(40, 50)
    scene = masked_scene(
        make_tif("s.tif", np.ones((3, 80, 100), "uint8"), transform=place(10)),
        make_tif("m.tif", values, transform=place(20)),
        "values:3,8;fill:0",
    )
    with raster_environment(quality_source(scene)):
        mask = QualityFile(scene)
        full = mask.marks_of_look(Window(row0=0, col0=0, row1=80, col1=100), (80, 100))
        part = mask.marks_of_look(Window(row0=20, col0=30, row1=60, col1=90), (40, 60))
        half = mask.marks_of_look(Window(row0=0, col0=0, row1=80, col1=100), (40, 50))
        mask.close()
    assert (full.hidden == np.isin(values[0], [3, 8]).repeat(2, 0).repeat(2, 1)).all()
    assert (part.hidden == full.hidden[20:60, 30:90]).all()
    assert (half.lacking == (values[0] == 0)).all()


@pytest.mark.parametrize(
    ("profile", "shape", "rule", "band", "said"),
    [
        ({"transform": place(20, east=200)}, (40, 50), "values:3", 1, "cover its scene"),
        ({"transform": place(20)}, (30, 50), "values:3", 1, "cover its scene"),
        ({"transform": place(20) @ Affine.rotation(3)}, (60, 70), "values:3", 1, "lie on its axes"),
        ({"transform": Affine(20, 0, HERE[0], 0, 20, HERE[1] - 800)}, (40, 50), "values:3", 1, "its axes"),
        ({"transform": place(20), "crs": "EPSG:32635"}, (40, 50), "values:3", 1, "the CRS of its scene"),
        ({"transform": place(20)}, (40, 50), "values:3", 2, "a band 2"),
        ({"transform": place(20), "dtype": "float32"}, (40, 50), "bits:3", 1, "fit the rule bits:3"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(
    make_tif: MakeTif, profile: dict[str, object], shape: tuple[int, int], rule: str, band: int, said: str
) -> None:
    values = classes(*shape).astype(str(profile.get("dtype", "uint8")))
    scene = masked_scene(
        make_tif("s.tif", np.ones((3, 80, 100), "uint8"), transform=place(10)),
        make_tif("m.tif", values, **profile),
        rule,
        band=band,
    )
    with pytest.raises(SourceError, match=rf"m\.tif must .*{said}.* To fix: "):
        hidden_of(scene, grid_of(scene))


def test_a_mask_may_lack_a_crs_and_a_part_of_a_pixel(make_tif: MakeTif) -> None:
    values = classes(40, 50)
    scene = masked_scene(
        make_tif("s.tif", np.ones((3, 81, 101), "uint8"), transform=place(10)),
        make_tif("m.tif", values, transform=place(20), crs=None),
        "values:3",
    )
    want = (values[0] == 3).repeat(2, 0).repeat(2, 1)
    assert (hidden_of(scene, grid_of(scene)) == np.pad(want, ((0, 1), (0, 1)), mode="edge")).all()


def test_another_file_than_the_planned_one_is_refused(make_tif: MakeTif) -> None:
    values = classes(40, 50)
    scene = masked_scene(
        make_tif("s.tif", np.ones((3, 80, 100), "uint8"), transform=place(10)),
        make_tif("m.tif", values, transform=place(20)),
        "values:3",
    )
    assert scene.quality is not None
    pinned = replace(scene.quality.file, identity={"size_bytes": "1", "sha256": "0"})
    scene = replace(scene, quality=replace(scene.quality, file=pinned))
    with pytest.raises(SourceError, match=r"m\.tif is not the file"):
        hidden_of(scene, grid_of(scene))


def test_a_person_reads_what_hides_the_ground() -> None:
    file = SceneFile(href="m.tif")
    told = [
        quality_text(QualityMask(file=file, rule=rule, source="QA"))
        for rule in ("values:3,8;fill:0", "bits:1,2", "above:40")
    ]
    assert told == [
        "QA: values 3, 8 hide the ground",
        "QA: bits 1, 2 hide the ground",
        "QA: values above 40 hide the ground",
    ]


def test_landsats_own_bits_on_a_real_scene(data_dir: Path) -> None:
    """Oracle: the bits of the Collection 1 quality band, taken apart with numpy."""
    folder = data_dir / "landsat8_elkton"
    mask_path = str(folder / "L8-BQA-Elkton-VA.tiff")
    files = {"red": 4, "green": 3, "blue": 2}
    bands = ",".join(f"{name}={folder}/L8-B{number}-Elkton-VA.tiff" for name, number in files.items())
    with rasterio.open(mask_path) as dataset:
        values = dataset.read(1)
    assert set(np.unique(values).tolist()) == {2720, 2724}
    cloud = values >> 4 & 1
    shadow = values >> 7 & 3
    cirrus = values >> 11 & 3
    assert not (cloud | (shadow >= 2) | (cirrus >= 2)).any()
    scene = masked_scene(bands, mask_path, "bits:4,8,12;fill:0")
    assert not hidden_of(scene, grid_of(scene)).any()
    saturated = masked_scene(bands, mask_path, "bits:2")
    assert (hidden_of(saturated, grid_of(saturated)) == (values == 2724)).all()
