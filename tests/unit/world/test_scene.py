from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.features import rasterize
from scipy import ndimage

from pipeline.errors import InputError
from pipeline.schema.tiling import Window
from pipeline.world.classes import CLASSES
from pipeline.world.landscape import World
from pipeline.world.render import render
from pipeline.world.scene import (
    FILES,
    SceneSummary,
    check_target,
    number_components,
    scene_window,
    write_world,
)

SEED = 12
SIZE = 1200
WINDOW = scene_window(SIZE, origin_row=-300, origin_col=500)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> SceneSummary:
    return write_world(World.from_seed(SEED), WINDOW, tmp_path_factory.mktemp("scene") / "w")


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read()


@settings(max_examples=80, deadline=None)
@given(arrays(np.int32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 3)))
def test_components_against_scipy(codes: np.ndarray) -> None:
    ids, code_of = number_components(codes)
    expected = np.zeros(codes.shape, np.int64)
    for code in (1, 2, 3):
        parts, n = ndimage.label(codes == code)  # 4-connected by default
        for k in range(1, n + 1):
            expected[parts == k] = 1 + np.flatnonzero(parts.ravel() == k)[0]
    np.testing.assert_array_equal(ids, expected)
    assert set(code_of) == set(expected[expected > 0].tolist())
    assert all(codes.ravel()[instance - 1] == code for instance, code in code_of.items())


def test_all_files_are_there_and_nothing_else(scene: SceneSummary) -> None:
    assert sorted(p.name for p in scene.out.iterdir()) == sorted(FILES)


def test_scene_is_a_cog_with_the_drawn_pixels(scene: SceneSummary) -> None:
    with rasterio.open(scene.out / "scene.tif") as source:
        assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert source.profile["tiled"]
        assert source.block_shapes == [(512, 512)] * 3
        assert source.overviews(1)
        assert source.crs.to_epsg() == 32633
        assert source.res == (0.5, 0.5)
        assert [c.name for c in source.colorinterp] == ["red", "green", "blue"]
        assert source.nodata is None
        assert (source.transform.c, source.transform.f) == (400_000 + 250, 5_800_000 + 150)
        pixels = source.read().transpose(1, 2, 0)
    part = Window(
        row0=WINDOW.row0 + 700, col0=WINDOW.col0 + 450, row1=WINDOW.row0 + 900, col1=WINDOW.col0 + 700
    )
    np.testing.assert_array_equal(pixels[700:900, 450:700], render(World.from_seed(SEED), part).rgb)


def test_labels_lie_on_the_lattice_and_partition_the_objects(scene: SceneSummary) -> None:
    with rasterio.open(scene.out / "labels.tif") as labels, rasterio.open(scene.out / "scene.tif") as image:
        assert (labels.transform, labels.crs, labels.shape) == (image.transform, image.crs, image.shape)
        assert labels.dtypes == ("uint32",)
        assert labels.nodata is None
        assert labels.block_shapes == [(512, 512)]
        ids = labels.read(1)
    drawn = render(World.from_seed(SEED), WINDOW)
    np.testing.assert_array_equal(ids > 0, drawn.labels > 0)
    for k in np.unique(ids[ids > 0]):
        where = ids == k
        assert int(k) == 1 + int(np.flatnonzero(where.ravel())[0])
        assert ndimage.label(where)[1] == 1
        assert len(np.unique(drawn.labels[where])) == 1
    flat = ids.ravel()
    joined = drawn.labels[:, 1:] == drawn.labels[:, :-1]
    assert (ids[:, 1:] == ids[:, :-1])[joined].all()
    assert flat.max() <= SIZE * SIZE


def test_polygons_rasterise_back_to_the_labels(scene: SceneSummary) -> None:
    table = gpd.read_parquet(scene.out / "truth.parquet")
    ids = read(scene.out / "labels.tif")[0]
    with rasterio.open(scene.out / "labels.tif") as labels:
        transform = labels.transform
    assert list(table.columns)[:3] == ["instance_id", "class", "geometry"]
    assert table.crs.to_epsg() == 32633
    assert table.instance_id.is_monotonic_increasing
    assert table.is_valid.all()
    assert set(table.geom_type) == {"Polygon"}
    back = rasterize(
        zip(table.geometry, table.instance_id, strict=True),
        out_shape=ids.shape,
        transform=transform,
        dtype="int32",
    )
    np.testing.assert_array_equal(back, ids)
    np.testing.assert_allclose(table.area, [0.25 * (ids == k).sum() for k in table.instance_id])


def test_truth_classes_are_those_drawn(scene: SceneSummary) -> None:
    table = gpd.read_parquet(scene.out / "truth.parquet")
    assert table["class"].value_counts().to_dict() == scene.counts
    assert len(scene.counts) >= 4
    assert set(scene.counts) <= set(CLASSES) - World.from_seed(SEED).absent
    drawn = render(World.from_seed(SEED), WINDOW)
    for instance, name in zip(table.instance_id, table["class"], strict=True):
        row, col = divmod(int(instance) - 1, SIZE)
        assert drawn.objects[drawn.labels[row, col] - 1].class_name == name


def test_truth_is_geoparquet_1_1_with_a_bbox_covering(scene: SceneSummary) -> None:
    meta = json.loads(pq.read_schema(scene.out / "truth.parquet").metadata[b"geo"])
    assert meta["version"] == "1.1.0"
    assert meta["columns"]["geometry"]["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    some = gpd.read_parquet(scene.out / "truth.parquet").geometry.iloc[0].bounds
    assert len(gpd.read_parquet(scene.out / "truth.parquet", bbox=some)) >= 1


def test_aoi_and_queries(scene: SceneSummary) -> None:
    area = gpd.read_file(scene.out / "aoi.geojson")
    assert area.crs.to_epsg() == 4326
    with rasterio.open(scene.out / "scene.tif") as source:
        assert area.to_crs(source.crs).geometry.iloc[0].covers(shapely.box(*source.bounds))
    rows = json.loads((scene.out / "queries.json").read_text())
    assert [row["kind"] for row in rows[:3]] == ["implicit", "explicit", "absent"]
    assert {rows[0]["class"], rows[1]["class"]} <= set(scene.counts)
    assert rows[2]["class"] in scene.absent


def test_scenes_of_one_world_overlap_on_the_map(scene: SceneSummary, tmp_path: Path) -> None:
    other = write_world(
        World.from_seed(SEED), scene_window(256, origin_row=0, origin_col=900), tmp_path / "o"
    )
    with rasterio.open(scene.out / "scene.tif") as a, rasterio.open(other.out / "scene.tif") as b:
        np.testing.assert_array_equal(a.read(window=a.window(*b.bounds)), b.read())


def test_again_gives_equal_results(tmp_path: Path) -> None:
    window = scene_window(300, origin_row=20_000)
    out = tmp_path / "w"
    first = write_world(World.from_seed(4), window, out)
    before = {name: (out / name).read_bytes() for name in FILES if not name.endswith(".tif")}
    pixels = read(out / "scene.tif"), read(out / "labels.tif")
    steps: list[tuple[str, float]] = []
    second = write_world(
        World.from_seed(4), window, out, progress=lambda step, share: steps.append((step, share))
    )
    assert first == second
    assert before == {name: (out / name).read_bytes() for name in before}
    np.testing.assert_array_equal(pixels[0], read(out / "scene.tif"))
    np.testing.assert_array_equal(pixels[1], read(out / "labels.tif"))
    assert steps[0] == ("drawing", 0.0)
    assert ("drawing", 1.0) in steps


def test_foreign_folders_are_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="--overwrite"):
        write_world(World.from_seed(4), scene_window(64), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    write_world(World.from_seed(4), scene_window(64), tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert {p.name for p in tmp_path.iterdir()} == {*FILES, "thesis.txt"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_failure_leaves_the_earlier_scene_whole_and_the_command_can_be_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "w"
    write_world(World.from_seed(4), scene_window(64), out)
    before = contents(out)

    def broken(*_: object) -> object:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.world.scene.truth_table", broken)
        with pytest.raises(OSError, match="disk full"):
            write_world(World.from_seed(5), scene_window(64), out)
    assert contents(out) == before
    assert not list(out.glob(".making-*"))
    write_world(World.from_seed(5), scene_window(64), out)
    assert json.loads((out / "world.json").read_text())["seed"] == 5


def test_a_first_draw_that_was_stopped_is_begun_again(tmp_path: Path) -> None:
    def stop(_step: str, _share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_world(World.from_seed(4), scene_window(64), tmp_path / "w", progress=stop)
    assert list((tmp_path / "w").iterdir()) == []
    write_world(World.from_seed(4), scene_window(64), tmp_path / "w")
    assert {p.name for p in (tmp_path / "w").iterdir()} == set(FILES)


@pytest.mark.parametrize("earlier", [False, True])
def test_what_a_killed_run_left_is_removed(tmp_path: Path, earlier: bool) -> None:
    out = tmp_path / "w"
    if earlier:
        write_world(World.from_seed(4), scene_window(64), out)
    (out / ".making-k1ll3d00").mkdir(parents=True)
    (out / ".making-k1ll3d00" / "plain.tif").write_bytes(b"gigabytes")
    write_world(World.from_seed(4), scene_window(64), out)
    assert {p.name for p in out.iterdir()} == set(FILES)


@pytest.mark.parametrize("n_moved", range(len(FILES)))
def test_a_move_that_was_interrupted_is_known_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_moved: int
) -> None:
    """Scene 5 over scene 4, stopped after some of its files are in place; a note of the user's lies beside
    them.
    """
    out = tmp_path / "w"
    moves = iter(range(len(FILES)))
    write_world(World.from_seed(4), scene_window(64), out)
    (out / "note.txt").write_text("mine")
    replace = Path.replace

    def stopping(self: Path, target: Path) -> Path:
        if next(moves) == n_moved:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopping)
        with pytest.raises(KeyboardInterrupt):
            write_world(World.from_seed(5), scene_window(64), out)
    assert not (out / "world.json").exists()
    write_world(World.from_seed(5), scene_window(64), out)
    assert {p.name for p in out.iterdir()} == {*FILES, "note.txt"}
    expected = write_world(World.from_seed(5), scene_window(64), tmp_path / "fresh")
    np.testing.assert_array_equal(read(out / "scene.tif"), read(expected.out / "scene.tif"))
    assert (out / "world.json").read_bytes() == (expected.out / "world.json").read_bytes()


def test_a_scene_of_the_users_own_is_not_taken_for_one_that_was_interrupted(tmp_path: Path) -> None:
    (tmp_path / "scene.tif").write_bytes(b"an orthophoto")
    (tmp_path / ".making-k1ll3d00").mkdir()  # of a run with --overwrite that was killed while it drew
    with pytest.raises(InputError, match="--overwrite"):
        write_world(World.from_seed(4), scene_window(64), tmp_path)
    assert (tmp_path / "scene.tif").read_bytes() == b"an orthophoto"


def test_a_place_below_a_file_or_without_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_text("x")
    with pytest.raises(InputError, match=r"must be writable.*Not a directory"):
        write_world(World.from_seed(4), scene_window(64), tmp_path / "f" / "w")

    def denied(**_: object) -> str:
        raise PermissionError("permission denied")

    monkeypatch.setattr("pipeline.world.scene.tempfile.mkdtemp", denied)
    with pytest.raises(InputError, match=r"must be writable.*permission denied"):
        write_world(World.from_seed(4), scene_window(64), tmp_path / "w")


@pytest.mark.parametrize("text", ["not json", "[]", '{"format": "other"}'])
def test_a_manifest_of_something_else_does_not_help(tmp_path: Path, text: str) -> None:
    (tmp_path / "world.json").write_text(text)
    with pytest.raises(InputError, match="earlier scene"):
        check_target(tmp_path, overwrite=False)


def test_a_file_as_target_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with pytest.raises(InputError, match="must be a folder"):
        check_target(tmp_path / "f", overwrite=True)


@pytest.mark.parametrize(
    ("size", "row", "col", "word"),
    [
        (10, 0, 0, "--size"),
        (20_000, 0, 0, "--size"),
        (64, 10**6, 0, "--origin-row"),
        (64, 0, -(10**6), "--origin-col"),
    ],
)
def test_bad_windows_are_refused(size: int, row: int, col: int, word: str) -> None:
    with pytest.raises(InputError, match=word):
        scene_window(size, origin_row=row, origin_col=col)
