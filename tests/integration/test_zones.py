"""Scenes of several zones: every object once, in one CRS, however the seam cuts it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import rasterio.warp
import shapely
import zarr
from job_files import load_job
from page_links import followed
from pyproj import Transformer
from segment.fakes_segment import FakeSegmenter
from zone_worlds import (
    CUT,
    LONLAT,
    UTM_17_18,
    Frame,
    ZoneWorld,
    assert_each_once,
    draw_world,
    geodesic_m2,
    local_to_lonlat,
    matched,
    read_instances,
    seam_world,
    town,
)

from pipeline.geo.globe import cut_at_180
from pipeline.run import flow
from pipeline.run.infer import shared_models
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Prompt, Reason, TilePrompts, TileStatus
from pipeline.segment.segmenter import Embedding

RunJob = Callable[..., int]
NAIP = Path(__file__).parents[3] / "shared" / "data" / "naip_utm17_18"


@pytest.fixture(scope="module")
def seam_run(run_job: RunJob, tmp_path_factory: pytest.TempPathFactory) -> tuple[ZoneWorld, Path]:
    world = seam_world(tmp_path_factory.mktemp("seam"))
    out = world.folder / "out"
    assert run_job(*world.words(out, *CUT)) == 0
    return world, out


class TestSeam:
    def test_every_object_comes_out_once_with_its_true_area(self, seam_run: tuple[ZoneWorld, Path]) -> None:
        world, out = seam_run
        frame = read_instances(out)
        assert frame.crs == "OGC:CRS84"
        assert_each_once(frame, world.objects)
        assert frame["area_m2"].sum() == pytest.approx(sum(map(geodesic_m2, world.objects)), rel=0.005)
        assert (frame["zones"].map(len) == 2).sum() > 20

    def test_no_slit_and_no_gap_along_the_seam(self, seam_run: tuple[ZoneWorld, Path]) -> None:
        """What the seam line crosses is covered on both sides of it, as far as the truth is."""
        world, out = seam_run
        crossing = [
            shape for shape in world.objects if shape.bounds[0] < -78.00003 < -77.99997 < shape.bounds[2]
        ]
        assert len(crossing) >= 7
        frame = read_instances(out)
        whole = shapely.union_all(frame.geometry.to_numpy())
        line = shapely.box(-78.000005, 36.6, -77.999995, 36.7)
        for shape in crossing:
            inner = shapely.intersection(shapely.buffer(shape, -1.5e-5), line)
            assert shapely.difference(inner, whole).area < 1e-6 * max(inner.area, 1e-15)
            assert len(shapely.get_parts(frame.geometry[matched(frame, np.array([shape])) == 0].iloc[0])) == 1

    def test_rows_name_the_pixels_of_every_zone(self, seam_run: tuple[ZoneWorld, Path]) -> None:
        _, out = seam_run
        zones = {zone["name"]: zone for zone in json.loads((out / "run.json").read_text())["zones"]}
        rasters = {
            name: np.asarray(
                zarr.open_group(str(out / zone["path"] / "masks.zarr"), mode="r")["instance_id"][0]
            )
            for name, zone in zones.items()
        }
        frame = read_instances(out)
        for row in frame.itertuples():
            for zone, number in zip(row.zones, row.zone_instance_ids, strict=True):
                assert (rasters[zone] == number).any()
            ids = [
                number + zones[zone]["id_offset"]
                for zone, number in zip(row.zones, row.zone_instance_ids, strict=True)
            ]
            assert row.instance_id == min(ids)
            assert {tile.partition("/")[0] for tile in row.tile_ids} == set(row.zones)

    def test_the_ledger_counts_every_place_once(self, seam_run: tuple[ZoneWorld, Path]) -> None:
        world, out = seam_run
        ledger = gpd.read_parquet(out / "coverage.parquet")
        assert ledger.crs == "OGC:CRS84"
        assert set(ledger["zone"]) == {"EPSG_26917", "EPSG_26918"}
        covers = [gpd.GeoSeries.from_wkt([_cover(frame)], crs=frame.crs) for frame in world.frames]
        whole = shapely.union_all([cover.segmentize(5).to_crs("OGC:CRS84").iloc[0] for cover in covers])
        assert ledger["searched_km2"].sum() * 1e6 == pytest.approx(geodesic_m2(whole), rel=1e-4)
        info = json.loads((out / "run.json").read_text())
        assert info["searched"]["searched_km2"] == [pytest.approx(ledger["searched_km2"].sum())]
        assert info["counters"]["tiles_planned"] == len(ledger) == len(pq.read_table(out / "plan.parquet"))

    def test_the_directory_says_what_it_is(self, seam_run: tuple[ZoneWorld, Path]) -> None:
        _, out = seam_run
        assert sorted(path.name for path in out.iterdir()) == [
            ".swap.lock",
            "cost.json",
            "coverage.parquet",
            "current",
            "instances",
            "item.json",
            "logs",
            "manifest.json",
            "plan.parquet",
            "report.html",
            "run.json",
            "scenes.parquet",
            "snapshots",
            "zones",
        ]
        info = json.loads((out / "run.json").read_text())
        assert info["status"] == "complete"
        assert all(zone["status"] == "complete" for zone in info["zones"])
        item = json.loads((out / "item.json").read_text())
        assert [link["href"] for link in item["links"] if link["rel"] == "item"] == [
            "./zones/EPSG_26917/item.json",
            "./zones/EPSG_26918/item.json",
        ]
        report = (out / "report.html").read_text()
        for page in (out / "report.html", out / "current/report.html", out / info["outputs"]["report"]):
            linked = followed(page)
            assert linked == [page.parent / zone["path"] / "report.html" for zone in info["zones"]]
            for path, zone in zip(linked, info["zones"], strict=True):
                assert path.read_bytes() == (out / zone["path"] / "report.html").read_bytes()
        for picture in (
            "overview of the imagery",
            "map of tile statuses",
            "object ",
            "tile EPSG_26917/r0000",
        ):
            assert f'alt="{picture}' in report
        assert info["notes"] == []

    def test_a_second_start_infers_nothing_and_gives_the_same_bytes(
        self, run_job: RunJob, seam_run: tuple[ZoneWorld, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world, out = seam_run
        before = result_bytes(out)
        monkeypatch.setattr(flow, "_run_here", lambda *_: pytest.fail("a block was done again"))
        assert run_job(*world.words(out, *CUT)) == 0
        assert result_bytes(out) == before

    def test_it_is_found_sound(self, seam_run: tuple[ZoneWorld, Path]) -> None:
        _, out = seam_run
        assert load_job("verify_run").main([str(out), "--quiet"]) == 0

    def test_export_takes_the_joint_tables_and_each_zones_rasters(
        self, seam_run: tuple[ZoneWorld, Path], tmp_path: Path
    ) -> None:
        _, out = seam_run
        main = load_job("export_results").main
        assert main([str(out), "--cog", "--gpkg", "--quiet", "--out", str(tmp_path / "export")]) == 0
        layer = gpd.read_file(tmp_path / "export" / "results.gpkg", layer="instances")
        assert len(layer) == len(read_instances(out))
        ledger = gpd.read_file(tmp_path / "export" / "results.gpkg", layer="coverage")
        assert set(ledger["zone"]) == {"EPSG_26917", "EPSG_26918"}
        with rasterio.open(tmp_path / "export" / "EPSG_26918-q0-anything-ids.tif") as file:
            assert file.crs == "EPSG:26918"
            group = zarr.open_group(str(out / "zones/EPSG_26918/masks.zarr"), mode="r")
            np.testing.assert_array_equal(file.read(1), group["instance_id"][0])

    @pytest.mark.parametrize("words", [("--simplify-m", "1"), ("--cog", "--min-score", "0.5")])
    def test_export_makes_outlines_anew_zone_by_zone(
        self,
        seam_run: tuple[ZoneWorld, Path],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        words: tuple[str, ...],
    ) -> None:
        _, out = seam_run
        main = load_job("export_results").main
        place = ["--quiet", "--out", str(tmp_path)]
        assert main([str(out), "--gpkg", *words, *place]) == 2
        assert "a run of 2 zones" in capsys.readouterr().err
        assert main([str(out / "zones/EPSG_26918"), "--gpkg", *words, *place]) == 0
        assert main([str(out), "--gpkg", "--min-score", "0.5", "--oriented", *place, "--overwrite"]) == 0
        boxes = gpd.read_file(tmp_path / "results.gpkg", layer="rectangles")
        assert (boxes["length_m"] >= boxes["width_m"]).all()
        assert len(boxes) > 0

    @pytest.mark.parametrize(
        ("job", "words"),
        [
            ("restitch_region", ("--run", "{out}")),
            ("evaluate", ("--run", "{out}", "--truth", "{out}")),
        ],
    )
    def test_jobs_that_work_on_one_grid_name_the_zones(
        self,
        seam_run: tuple[ZoneWorld, Path],
        job: str,
        words: tuple[str, ...],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        _, out = seam_run
        before = result_bytes(out)
        assert load_job(job).main([word.format(out=out) for word in words]) == 2
        assert f"{out}/zones/EPSG_26917" in capsys.readouterr().err
        assert result_bytes(out) == before


class TestExplainTile:
    def test_a_tile_of_a_zone_is_told_as_the_zones_own_run_tells_it(
        self, seam_run: tuple[ZoneWorld, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        """Before the run too, but for what became of it."""
        world, out = seam_run
        main = load_job("segment_region").main
        place = ["--explain-tile", "1", "2"]
        told = []
        for where in ([str(out), "--zone", "EPSG_26918"], [str(out / "zones" / "EPSG_26918")]):
            assert main(["--out", *where, *place]) == 0
            told.append(capsys.readouterr().out)
        assert told[0] == told[1]
        assert "EPSG_26918.tif" not in told[0]
        assert told[0].startswith("tile r00001c00002 reads 96 x 96 px")
        assert '"anything": found' in told[0]
        words = [str(word) for word in world.words(tmp_path / "no", *CUT)]
        assert main([*words, *place, "--zone", "EPSG_26918"]) == 0
        assert told[0].startswith(capsys.readouterr().out.rstrip())
        assert not (tmp_path / "no").exists()

    @pytest.mark.parametrize("there", [True, False])
    @pytest.mark.parametrize(
        ("named", "came"), [((), "none"), (("--zone", "EPSG_32632"), "--zone EPSG_32632")]
    )
    def test_the_zones_of_the_run_are_named_where_none_of_them_is(
        self,
        seam_run: tuple[ZoneWorld, Path],
        capsys: pytest.CaptureFixture[str],
        tmp_path: Path,
        named: tuple[str, ...],
        came: str,
        there: bool,
    ) -> None:
        world, out = seam_run
        words = [str(word) for word in world.words(out if there else tmp_path / "no", *CUT)]
        assert load_job("segment_region").main([*words, "--explain-tile", "0", "0", *named]) == 2
        said = capsys.readouterr().err
        assert f"Got: {came}. To fix: add --zone with one of EPSG_26917, EPSG_26918;" in said

    def test_a_zone_of_a_run_that_has_none_is_refused(
        self, seam_run: tuple[ZoneWorld, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        world, out = seam_run
        main = load_job("segment_region").main
        one = ["--out", str(out / "zones" / "EPSG_26918"), "--explain-tile", "0", "0", "--zone", "EPSG_26918"]
        assert main(one) == 2
        assert "there is one grid. To fix: drop it" in capsys.readouterr().err
        words = [str(word) for word in world.words(tmp_path / "no", *CUT)]
        assert main([*words[2:], "--explain-tile", "0", "0", "--zone", "EPSG_26918"]) == 2
        assert "there is one grid" in capsys.readouterr().err
        assert main([*words, "--zone", "EPSG_26918"]) == 2
        assert "add --explain-tile R C" in capsys.readouterr().err


def result_bytes(out: Path) -> dict[str, bytes]:
    """Content of everything that is made of all zones, without times."""
    files = [*(out / "instances").iterdir(), out / "coverage.parquet", out / "plan.parquet"]
    return {path.name: path.read_bytes() for path in files}


def _cover(frame: Frame) -> str:
    left, top = frame.transform @ (0, 0)
    right, bottom = frame.transform @ (frame.width, frame.height)
    return shapely.box(left, bottom, right, top).wkt


@pytest.mark.parametrize(
    ("frames", "place"),
    [
        (
            (Frame("EPSG:32760", 179.9996, -17.0, 160, 200), Frame("EPSG:32701", -179.9996, -17.0, 160, 200)),
            (180.0, -17.0),
        ),
        (
            (Frame("EPSG:32661", 20.0, 84.0004, 200, 180), Frame("EPSG:32633", 20.0, 83.9996, 200, 180)),
            (20.0, 84.0),
        ),
    ],
    ids=["antimeridian", "polar cap"],
)
def test_other_seams(
    run_job: RunJob, tmp_path: Path, frames: tuple[Frame, ...], place: tuple[float, float]
) -> None:
    world = draw_world(tmp_path, frames, local_to_lonlat(town(4, side=5), *place))
    assert run_job(*world.words(tmp_path / "out", *CUT)) == 0
    objects = np.array([cut_at_180(shape) for shape in world.objects], dtype=object)
    frame = read_instances(tmp_path / "out")
    assert_each_once(frame, objects)
    crossing = shapely.get_num_geometries(objects) > 1
    assert crossing.any() == (place[0] == 180.0)
    for number in np.flatnonzero(crossing).tolist():
        shape = frame.geometry[matched(frame, objects) == number].iloc[0]
        assert shape.bounds[0] == -180.0
        assert shape.bounds[2] == 180.0


def test_zones_of_a_catalogue_are_those_of_its_files(run_job: RunJob, tmp_path: Path) -> None:
    """Items that say where their pixels lie; what was asked stands in run.json of the whole."""
    world = seam_world(tmp_path)
    items = [_item(path) for path in world.scenes]
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    words = world.words(tmp_path / "out", *CUT)
    assert run_job("--source", tmp_path / "items.json", *words[4:]) == 0
    assert_each_once(read_instances(tmp_path / "out"), world.objects)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["searches"] == [
        {"source": str(tmp_path / "items.json")}
    ]


def test_every_scene_is_listed_once_with_its_zone_or_why_it_was_left(run_job: RunJob, tmp_path: Path) -> None:
    """Beside the two zones: a scene far away, one of a third CRS that shows nothing new, and a bad item."""
    within = Frame("EPSG:32617", -78.0006, 36.62, 60, 60)
    world = seam_world(tmp_path, (*UTM_17_18, within))
    draw_world(tmp_path / "far", (Frame("EPSG:26917", -78.1, 36.62, 60, 60),), world.objects[:1])
    far = (tmp_path / "far" / "EPSG_26917.tif").rename(tmp_path / "far.tif")
    items = [_item(path) for path in world.scenes]
    items.append({**items[0], "id": "no-file", "assets": {}})
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    sources = ("--source", tmp_path / "items.json", "--source", far)
    area = ("--bbox", -78.0012, 36.6192, -77.9988, 36.6208, *CUT[1:])
    assert run_job(*sources, *world.words(tmp_path / "out", *area)[6:], "--dry-run") == 0
    scenes = gpd.read_parquet(tmp_path / "out" / "scenes.parquet")
    assert scenes.crs == "OGC:CRS84"
    listed = pq.read_table(tmp_path / "out" / "scenes.parquet").to_pylist()
    rows = [(row["zone"], row["scene_id"], row["taken"], row["reason"][:22]) for row in listed]
    assert rows[:2] == [
        ("EPSG_26917", "EPSG_26917", True, ""),
        ("EPSG_26918", "EPSG_26918", True, ""),
    ]
    assert sorted(rows[2:4]) == [
        (None, "EPSG_32617", False, "is of another CRS, and"),
        (None, "far", False, "shows nothing of the a"),
    ]
    assert [row[:3] for row in rows[4:]] == [(None, "no-file", False)]
    assert rows[4][3]
    own = gpd.read_parquet(tmp_path / "out/zones/EPSG_26918/scenes.parquet").set_index("scene_id")
    assert own.loc["EPSG_26917", "reason"] == "is of zone EPSG_26917"
    assert run_job(*sources, *world.words(tmp_path / "out", *area)[6:]) == 0
    assert gpd.read_parquet(tmp_path / "out" / "scenes.parquet").equals(scenes)


def _item(path: Path) -> dict[str, object]:
    with rasterio.open(path) as file:
        box = shapely.box(*rasterio.warp.transform_bounds(file.crs, "OGC:CRS84", *file.bounds))
        place = {
            "proj:code": file.crs.to_string(),
            "proj:shape": list(file.shape),
            "proj:transform": list(file.transform)[:6],
        }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": path.stem,
        "bbox": list(box.bounds),
        "geometry": shapely.geometry.mapping(box),
        "properties": {"datetime": "2024-05-01T00:00:00Z", **place},
        "links": [],
        "assets": {"visual": {"href": f"./{path.name}", "type": "image/tiff", "roles": ["data", "visual"]}},
    }


@pytest.mark.skipif(not NAIP.is_dir(), reason="../shared/data is not here")
def test_naip_of_two_zones_is_one_seamless_result(run_job: RunJob, tmp_path: Path) -> None:
    """The western image is in the eastern zone and the other way round: they share some 30 m."""
    paths = {
        "EPSG_26917": "m_3607824_se_17_1_20160620_subset.tif",
        "EPSG_26918": "m_3607717_sw_18_1_20160620_subset.tif",
    }
    frames = (Frame("EPSG:26917", 0, 0, 300, 300), Frame("EPSG:26918", 0, 0, 300, 300))
    objects = local_to_lonlat(
        [*town(2, side=10), shapely.segmentize(shapely.box(-250, -135, 250, -128), 3)], -78.0, 36.62204
    )
    world = draw_world(tmp_path, frames, objects, like=[NAIP / paths[frame.name] for frame in frames])
    sources = [word for name in paths.values() for word in ("--source", NAIP / name)]
    words = ("--query", "anything", "--models", world.labels, "--out", tmp_path / "out", "--runner", "local")
    assert run_job(*sources, *words, *CUT) == 0
    assert_each_once(read_instances(tmp_path / "out"), objects)


def test_killed_between_zones_and_inside_one_it_goes_on_to_the_same_bytes(
    run_job: RunJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = seam_world(tmp_path, seed=5)
    assert run_job(*world.words(tmp_path / "once", *CUT)) == 0
    whole = result_bytes(tmp_path / "once")
    done = flow._run_here
    for n_blocks in (2, 2, 0):  # after 3 of the first zone's 4 blocks, after 2 of the second's, after 3
        left = iter(range(n_blocks))

        def until_killed(*args: object, left: object = left) -> object:
            for summary in done(*args):
                if next(left, None) is None:
                    raise KeyboardInterrupt
                yield summary

        monkeypatch.setattr(flow, "_run_here", until_killed)
        with pytest.raises(KeyboardInterrupt):
            flow.run_region(request_of(world, tmp_path / "out"), say=lambda _: None)
        assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "running"
    monkeypatch.setattr(flow, "_run_here", done)
    assert run_job(*world.words(tmp_path / "out", *CUT)) == 0
    assert result_bytes(tmp_path / "out") == whole


class AnyTile(FakeSegmenter):
    """Tiles of two zones may have one id."""

    def embed(self, image: TileImage) -> Embedding:
        self.embedded.clear()
        return super().embed(image)


class Loads:
    """Models that judge pictures alone, counted when they are built; they find one thing in every tile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.built: list[str] = []
        self.asked: list[TileImage] = []
        monkeypatch.setattr(shared_models, "build_prompter", lambda *_: self.build("prompter"))
        monkeypatch.setattr(shared_models, "build_segmenter", lambda *_: self.build("segmenter"))

    def build(self, role: str) -> Any:
        self.built.append(role)
        return self if role == "prompter" else AnyTile()

    async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        self.asked.append(image)
        thing = Prompt(box_xyxy=(40.0, 40.0, 60.0, 60.0))
        found = {"status": TileStatus.FOUND, "reason": Reason.NONE, "prompts": (thing,)}
        return [TilePrompts(tile_id=image.tile.tile_id, query_index=q, **found) for q in range(len(queries))]

    def close(self) -> None:
        self.built.append("closed")


def test_models_are_loaded_once_for_all_zones(
    run_job: RunJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = seam_world(tmp_path)
    loads = Loads(monkeypatch)
    words = ["--query", "a", "--query", "b", "--out", tmp_path / "out", "--runner", "local", *CUT]
    assert run_job(*(word for path in world.scenes for word in ("--source", path)), *words) == 0
    assert loads.built == ["prompter", "segmenter", "closed"]
    ledger = gpd.read_parquet(tmp_path / "out" / "coverage.parquet")
    per_zone = ledger.groupby("zone")["tile_id"].nunique()
    assert len(per_zone) == 2
    assert len(loads.asked) == per_zone.sum()
    runs = [json.loads(path.read_text())["timings_s"] for path in tmp_path.glob("out/zones/*/run.json")]
    whole = json.loads((tmp_path / "out/run.json").read_text())["timings_s"]
    assert {run["inference of all zones"] for run in runs} == {whole["inference"]}


def request_of(world: ZoneWorld, out: Path) -> object:
    job = load_job("segment_region")
    return job.request_of(job.parser().parse_args([str(word) for word in world.words(out, *CUT)]))


def test_an_area_over_the_seam_takes_what_it_touches(run_job: RunJob, tmp_path: Path) -> None:
    """What lies inside is there, whole and once; what lies outside is not, but for a pixel of its outline."""
    world = seam_world(tmp_path)
    west, south, east, north = area = (-78.0006, 36.6195, -77.9995, 36.6206)
    cut = ("--bbox", west, south, east, north, *CUT[1:])
    assert run_job(*world.words(tmp_path / "out", *cut)) == 0
    frame = read_instances(tmp_path / "out")
    found = matched(frame, world.objects)
    inside = np.flatnonzero(shapely.covers(shapely.box(*area), world.objects))
    assert len(inside) > 40
    rows = np.isin(found, inside)
    assert_each_once(frame[rows], world.objects[inside])
    near = np.flatnonzero(shapely.intersects(shapely.buffer(shapely.box(*area), 1.5e-5), world.objects))
    assert set(found.tolist()) <= set(near.tolist())
    assert len(set(found.tolist())) == len(frame)


def test_where_the_owner_has_no_imagery_the_other_zone_has_the_say(run_job: RunJob, tmp_path: Path) -> None:
    """A slanted stripe of the western scene, beside the seam, holds no data; the eastern scene has it all."""
    world = seam_world(tmp_path)
    with rasterio.open(world.scenes[0], "r+") as file:
        pixels = file.read()
        rows, cols = np.indices(pixels.shape[1:])
        pixels[:, np.abs(cols - 150 - rows // 20) < 4] = 0
        file.write(pixels)
        file.nodata = 0
    assert run_job(*world.words(tmp_path / "out", *CUT)) == 0
    assert_each_once(read_instances(tmp_path / "out"), world.objects)


def test_a_hole_wider_than_the_seam_band_is_left_to_the_other_zone(run_job: RunJob, tmp_path: Path) -> None:
    """The western scene has no data from 19 to 129 m beside the seam, the band has 40 m, and nothing says so.

    Houses stand in the hole, over its edge, on both sides of the seam and on it.
    """
    frames = (
        Frame("EPSG:26917", -78.0006, 36.62, 400, 240),
        Frame("EPSG:26918", -77.9994, 36.62, 400, 240),
    )
    houses = [
        shapely.segmentize(shapely.box(x, y, x + 13, y + 11), 3)
        for x in (-118, -75, -26, -6, 40, 90)
        for y in (-70, -5, 60)
    ]
    world = draw_world(tmp_path, frames, local_to_lonlat(houses, -78.0, 36.62))
    with rasterio.open(world.scenes[0], "r+") as file:
        pixels = file.read()
        pixels[:, :, 125:235] = 0
        file.write(pixels)
        file.nodata = 0
    out = tmp_path / "out"
    assert run_job(*world.words(out, "--whole-scene", "--tile", 56, "--halo", 16, "--block", 2)) == 0
    assert_each_once(read_instances(out), world.objects)
    west, east = (
        [_ground(frame, 0, 125), _ground(frame, 235, 400)] if number == 0 else [_ground(frame, 0, 400)]
        for number, frame in enumerate(frames)
    )
    shown_km2 = geodesic_m2(shapely.union_all([*west, *east])) / 1e6
    (searched_km2,) = json.loads((out / "run.json").read_text())["searched"]["searched_km2"]
    assert searched_km2 == pytest.approx(shown_km2, rel=1e-6), "all that any scene shows"


def _ground(frame: Frame, first_col: int, last_col: int) -> shapely.Geometry:
    """Columns of a frame, in degrees (pyproj and shapely alone)."""
    corners = [frame.transform @ (col, row) for col in (first_col, last_col) for row in (0, frame.height)]
    ring = shapely.segmentize(shapely.MultiPoint(corners).convex_hull, 10)
    move = Transformer.from_crs(frame.crs, LONLAT, always_xy=True)
    return shapely.transform(ring, lambda xy: np.column_stack(move.transform(xy[:, 0], xy[:, 1])))


def test_in_semantic_mode_whatever_touches_is_one_over_the_seam(run_job: RunJob, tmp_path: Path) -> None:
    """Houses in rows, joined by bridges or four metres apart. Oracle: the connected parts of their union."""
    rng = np.random.default_rng(8)
    shapes = []
    for i in range(-6, 6):
        for j in range(-5, 5):
            shapes.append(shapely.box(15 * i, 15 * j, 15 * i + 11, 15 * j + 11))
            if rng.random() < 0.35:
                shapes.append(shapely.box(15 * i + 10, 15 * j + 2, 15 * i + 16, 15 * j + 8))
            if rng.random() < 0.35:
                shapes.append(shapely.box(15 * i + 2, 15 * j + 10, 15 * i + 8, 15 * j + 16))
    groups = shapely.get_parts(shapely.union_all(shapes))
    across = shapely.intersects(groups, shapely.LineString([(5, -90), (5, 90)]))
    assert 3 <= across.sum() < len(groups) < 60 < len(shapes)
    moved = [shapely.transform(shapely.segmentize(shape, 3), lambda xy: xy + 2.0) for shape in shapes]
    world = draw_world(tmp_path, UTM_17_18, local_to_lonlat(moved, -78.0, 36.62))
    assert run_job(*world.words(tmp_path / "out", *CUT, "--semantic")) == 0
    truth = [shapely.transform(shapely.segmentize(group, 3), lambda xy: xy + 2.0) for group in groups]
    frame = read_instances(tmp_path / "out")
    assert_each_once(frame, local_to_lonlat(truth, -78.0, 36.62))
    assert (frame["zones"].map(lambda zones: len(set(zones))) == 2).sum() >= 3


def test_a_road_far_longer_than_the_seam_band_is_one(run_job: RunJob, tmp_path: Path) -> None:
    """Both scenes show everything, and each zone looks 40 m beyond the seam. A road, a bend that crosses the
    seam three times, and a U whose arms lie in one zone and whose bottom is in the other.
    """
    frames = (Frame("EPSG:26917", -78.0, 36.62, 400, 240), Frame("EPSG:26918", -78.0, 36.62, 400, 240))
    road = shapely.box(-170, -20, 170, -12)
    bend = shapely.LineString([(-160, 40), (-20, 60), (60, 30), (-60, 10), (150, 75)]).buffer(4)
    u = shapely.LineString([(-150, -90), (100, -90), (100, -60), (-150, -60)]).buffer(3)
    houses = [shapely.box(x, 85, x + 9, 95) for x in range(-160, 160, 16)]
    shapes = [shapely.segmentize(shape, 3) for shape in (road, bend, u, *houses)]
    world = draw_world(tmp_path, frames, local_to_lonlat(shapes, -78.0, 36.62))
    assert run_job(*world.words(tmp_path / "out", "--whole-scene", "--tile", 48, "--halo", 8)) == 0
    frame = read_instances(tmp_path / "out")
    assert_each_once(frame, world.objects)
    assert not frame["truncated"].any()
    seen = [len(set(zones)) for zones in frame["zones"]]
    assert seen.count(2) >= 3
    assert seen.count(1) >= 10, "most houses lie beyond what the other zone looks at"


@pytest.mark.parametrize("noise", ["mild", "strong"])
def test_zones_that_disagree_never_publish_a_place_twice(run_job: RunJob, tmp_path: Path, noise: str) -> None:
    """Objects missed, moved, fused and split, differently in each zone."""
    world = seam_world(tmp_path)
    words = [
        f"{word}?noise={noise}" if word == world.labels else word for word in world.words(tmp_path / "out")
    ]
    assert run_job(*words, *CUT) == 0
    frame = read_instances(tmp_path / "out")
    assert frame["instance_id"].is_unique
    assert frame.geometry.is_valid.all()
    shapes = frame.geometry.to_numpy()
    one, other = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    overlap = shapely.area(shapely.intersection(shapes[one], shapes[other]))[one < other]
    assert overlap.max() * 111_000**2 < 2e-3
    seen = [
        (zone, number)
        for zones, numbers in zip(frame["zones"], frame["zone_instance_ids"], strict=True)
        for zone, number in zip(zones, numbers, strict=True)
    ]
    assert len(set(seen)) == len(seen)


class TestRequests:
    def test_a_dry_run_leaves_plans_and_the_run_may_follow(
        self, run_job: RunJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world = seam_world(tmp_path)
        assert run_job(*world.words(tmp_path / "out", *CUT, "--dry-run")) == 0
        files = sorted(
            path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")
        )
        assert files == [
            "plan.parquet",
            "scenes.parquet",
            *(
                f"zones/{zone}/{name}.parquet"
                for zone in ("EPSG_26917", "EPSG_26918")
                for name in ("plan", "scenes")
            ),
        ]
        assert run_job(*world.words(tmp_path / "out", *CUT, "--dry-run")) == 0
        assert "2 zones" in capsys.readouterr().out

    def test_an_area_in_one_zone_is_an_ordinary_run(
        self, run_job: RunJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """All that is nearest to zone 17 is covered by its scene; its scenes alone tell of another one."""
        world = seam_world(tmp_path)
        cut = ("--bbox", -78.0004, 36.6196, -78.0002, 36.6204, "--tile", 96, "--halo", 16)
        assert run_job(*world.words(tmp_path / "out", *cut)) == 0
        assert "EPSG_26917 alone is used" in capsys.readouterr().out
        assert not (tmp_path / "out" / "zones").exists()
        both = world.words(tmp_path / "alone", *cut)
        labels = world.labels.replace("{zone}", "EPSG_26917")
        alone = [labels if word == world.labels else word for word in [*both[:2], *both[4:]]]
        assert run_job(*alone) == 0
        scenes = gpd.read_parquet(tmp_path / "out" / "scenes.parquet")
        assert scenes["taken"].tolist() == [True, False]
        assert scenes["reason"][1] == "is of another CRS, and scenes of others cover all of its ground"
        runs = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("out", "alone")]
        assert runs[0]["fingerprint"] == runs[1]["fingerprint"]

    @pytest.mark.parametrize(
        ("more", "labels", "said"),
        [
            (("--resolution", "1"), None, "--gsd in metres"),
            (("--gsd", "1", "--resolution", "1"), None, "both say how large a pixel is"),
            ((), "oracle:labels.tif", "{zone}"),
        ],
    )
    def test_bad_input_is_refused_before_anything_is_written(
        self,
        run_job: RunJob,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        more: tuple[str, ...],
        labels: str | None,
        said: str,
    ) -> None:
        frames = (Frame("EPSG:4326", -78.0006, 36.62, 60, 60, 1e-5), UTM_17_18[1])
        world = draw_world(tmp_path, frames, local_to_lonlat([shapely.box(0, 0, 9, 9)], -78.0, 36.62))
        words = [
            labels if labels and word == world.labels else word for word in world.words(tmp_path / "out")
        ]
        assert run_job(*words, *CUT, *more) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_a_run_of_zones_takes_the_place_of_another_run_only_when_told(
        self, run_job: RunJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world = seam_world(tmp_path)
        out = tmp_path / "out"
        warped = [
            word if word != world.labels else f"oracle:{tmp_path}/labels_EPSG_26917.tif"
            for word in world.words(out)
        ]
        one = [*warped[2:], *CUT]  # the second scene alone
        one[one.index(f"oracle:{tmp_path}/labels_EPSG_26917.tif")] = (
            f"oracle:{tmp_path}/labels_EPSG_26918.tif"
        )
        assert run_job(*one) == 0
        assert run_job(*world.words(out, *CUT)) == 2
        assert "holds a run with other parameters" in capsys.readouterr().err
        assert run_job(*world.words(out, *CUT, "--new-run")) == 0
        assert not (out / "masks.zarr").exists()
        assert run_job(*one, "--new-run") == 0
        assert not (out / "zones").exists()

    def test_small_objects_are_dropped_once_they_are_whole(self, run_job: RunJob, tmp_path: Path) -> None:
        """Each zone sees 60 m2 of a long roof on its own ground; the whole has far more."""
        shapes = [shapely.box(-60, 0, 60, 10), shapely.box(-50, 40, -45, 45), shapely.box(-3, 60, 3, 64)]
        world = draw_world(
            tmp_path, UTM_17_18, local_to_lonlat([shapely.segmentize(s, 3) for s in shapes], -78.0, 36.62)
        )
        assert run_job(*world.words(tmp_path / "out", *CUT, "--min-area-m2", 1000)) == 0
        frame = read_instances(tmp_path / "out")
        assert matched(frame, world.objects).tolist() == [0]
        assert frame["area_m2"].iloc[0] == pytest.approx(1200, rel=0.02)
        assert json.loads((tmp_path / "out/run.json").read_text())["qa"]["anything"]["below_min_area_m2"] == 2

    def test_a_metre_of_web_mercator_is_not_a_metre(self, run_job: RunJob, tmp_path: Path) -> None:
        """At 60 N its pixels measure half as much on the ground, and --gsd and areas know it."""
        shapes = [shapely.segmentize(shapely.box(-20, -20, 20, 20), 3)]
        frame = Frame("EPSG:3857", 10.0, 60.0, 240, 240, 0.5)
        world = draw_world(tmp_path, (frame,), local_to_lonlat(shapes, 10.0, 60.0))
        labels = world.labels.replace("{zone}", "EPSG_3857")
        words = [labels if word == world.labels else word for word in world.words(tmp_path / "out")]
        assert run_job(*words, *CUT, "--gsd", 0.25) == 0  # its own pixels: 0.5 units are 0.2504 m there
        found = read_instances(tmp_path / "out")
        assert found["area_m2"].tolist() == [pytest.approx(1600, rel=0.01)]
        assert json.loads((tmp_path / "out/run.json").read_text())["lattice"]["grid"]["transform"][0] == 0.5
