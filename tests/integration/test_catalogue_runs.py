"""Whole runs from catalogues, with oracle models. Oracle: the drawn labels, and rasterio alone.

A mosaic of six scenes is served by a web server that knows ranges, and its items by a real STAC API, as
stac-geoparquet, and as files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import rustac
import zarr
from fault_server import FaultServer, fault_server
from item_files import LEFT, TOP, item_document, projection_fields, write_items, write_pixels
from job_files import load_job
from label_worlds import blobs, canonical
from numpy.typing import NDArray
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from shapely.geometry import box, mapping
from stac_server import pgstac_server, rustac_server

from pipeline.load.prepare_scenes import LoadOptions, prepare_scenes
from pipeline.load.reader import CogReader
from pipeline.run import flow
from pipeline.run.prepare import PlannedRun, plan_request
from pipeline.schema.tiling import RunGrid

RunJob = Callable[..., int]
SIDE = 200
DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
PARTS = {
    "old-nw": (0, 0, 120, 130),
    "old-ne": (0, 110, 120, 90),
    "old-sw": (100, 0, 100, 130),
    "old-se": (100, 110, 100, 90),
    "new-west": (20, 5, 150, 100),
    "cloudy": (0, 0, 200, 200),
}
"""Name -> first row, first column, height, width of each scene."""


@dataclass(frozen=True)
class Served:
    """The mosaic, where it is served, and what is true of it."""

    folder: Path
    files: FaultServer
    documents: list[dict[str, Any]]
    labels: Path
    ids: NDArray[np.int64]


def drawn(folder: Path, labels: NDArray[np.int64]) -> None:
    """Six scenes of noise, of which one has a hole; together they have imagery everywhere."""
    rng = np.random.default_rng(7)
    for name, (row0, col0, height, width) in PARTS.items():
        pixels = rng.integers(30, 220, (3, height, width)).astype(np.uint8)
        if name == "new-west":
            pixels[:, 40:90, 30:75] = 0
        write_pixels(folder / f"{name}.tif", pixels, row0=row0, col0=col0)
    write_pixels(folder / "labels.tif", labels[None].astype(np.int32), nodata=None)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    ids = canonical(blobs(np.random.default_rng(1), SIDE, SIDE, grain=9))
    drawn(folder, ids)
    with fault_server(folder) as files:
        documents = []
        for number, name in enumerate(PARTS):
            path = folder / f"{name}.tif"
            document = item_document(
                name,
                {"image": f"{files.url}/{name}.tif"},
                on_item={**projection_fields(path), "eo:cloud_cover": 90.0 if name == "cloudy" else number},
                like=path,
                when=f"202{5 if name.startswith('new') else 3}-06-0{number + 1}T10:00:00Z",
            )
            documents.append(document)
        yield Served(folder=folder, files=files, documents=documents, labels=folder / "labels.tif", ids=ids)


@pytest.fixture(scope="module")
def aoi(served: Served) -> Path:
    """All of the mosaic but a strip in the south; it ends amid a row of pixels."""
    bounds = transform_bounds("EPSG:32633", "OGC:CRS84", LEFT, TOP - SIDE + 19.5, LEFT + SIDE, TOP)
    path = served.folder / "aoi.geojson"
    path.write_text(json.dumps(mapping(box(*bounds))))
    return path


def words(served: Served, source: str | Path, aoi: Path, out: Path, *more: object) -> list[object]:
    return [
        *("--source", source, "--aoi", aoi, "--datetime", "2023-01-01/..", "--max-cloud", 50),
        *("--query", "tanks", "--models", f"oracle:{served.labels}", "--allow-host", "127.0.0.1"),
        *("--tile", 64, "--halo", 8, "--block", 2, "--runner", "local", "--out", out, *more),
    ]


def planned(*command: object) -> PlannedRun:
    """The plan of a command, as far as it goes before anything is written."""
    job = load_job("segment_region")
    return plan_request(job.request_of(job.parser().parse_args([str(word) for word in command])))


def instance_ids(out: Path) -> NDArray[np.int64]:
    return np.asarray(zarr.open_group(str(out / "masks.zarr"), mode="r")["instance_id"][0]).astype(np.int64)


def winners(folder: Path, order: list[str]) -> NDArray[np.int64]:
    """(SIDE, SIDE): place in `order` of the first scene with imagery, -1 = none. By rasterio alone."""
    which = np.full((SIDE, SIDE), -1)
    for place, name in enumerate(order):
        row0, col0, height, width = PARTS[name]
        with rasterio.open(folder / f"{name}.tif") as dataset:
            part = which[row0 : row0 + height, col0 : col0 + width]
            part[(part < 0) & (dataset.dataset_mask() > 0)] = place
    return which


def assert_exact(served: Served, out: Path) -> None:
    """Every object in the tiles looked at is found to the pixel, and names the scenes that show it."""
    found = instance_ids(out)
    rows = found.shape[0]
    assert found.shape[1] == SIDE
    wanted = canonical(served.ids[:rows])
    np.testing.assert_array_equal(canonical(found), wanted)
    plan = gpd.read_parquet(out / "scenes.parquet")
    order = plan[plan["taken"]].sort_values("order")["scene_id"].tolist()
    which = winners(served.folder, order)[:rows]
    frame = gpd.read_parquet(out / "instances")
    assert len(frame) == len(np.unique(wanted)) - 1
    for own in frame.itertuples():
        places = np.unique(which[found == own.instance_id])
        assert list(own.scene_ids) == [order[place] for place in places.tolist()]


@pytest.mark.slow
def test_a_run_from_a_stac_api_is_exact(
    run_job: RunJob, served: Served, aoi: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with rustac_server(served.documents) as url:
        source = f"stac:{url}#drawn"
        assert run_job(*words(served, source, aoi, out, "--mosaic", "newest")) == 0
    assert_exact(served, out)
    frame = gpd.read_parquet(out / "scenes.parquet")
    assert frame[frame["taken"]]["scene_id"].tolist()[0] == "new-west"
    left = {row.scene_id: row.reason for row in frame[~frame["taken"]].itertuples()}
    assert set(left) == {"cloudy"}
    assert "90" in left["cloudy"]
    run = json.loads((out / "run.json").read_text())
    (search,) = run["searches"]
    assert search["source"] == f"stac:{url}"
    assert search["api"]["collections"] == ["drawn"]
    assert run["settings"]["mosaic"] == "newest"
    plan = pq.read_table(out / "plan.parquet").to_pylist()
    middle = next(row for row in plan if (row["tile_row"], row["tile_col"]) == (1, 1))
    assert middle["scene_ids"][0] == "new-west"
    assert len(middle["scene_ids"]) > 1
    assert "new-west" in capsys.readouterr().out
    assert run_job("--explain-tile", 1, 1, "--out", out) == 0
    told = capsys.readouterr().out
    lines = [line.split()[0] for line in told.splitlines() if re.match(r"(new|old)-", line)]
    assert lines == middle["scene_ids"]
    assert '"tanks": found' in told
    coverage = pq.read_table(out / "coverage.parquet").to_pylist()
    judged = next(row for row in coverage if row["tile_id"] == middle["tile_id"])
    assert judged["scene_ids"][0] == "new-west"
    assert set(judged["scene_ids"]) <= set(middle["scene_ids"])


def test_every_way_to_the_same_items_gives_the_same_plan(served: Served, aoi: Path, tmp_path: Path) -> None:
    parquet = tmp_path / "items.parquet"
    rustac.write_sync(str(parquet), {"type": "FeatureCollection", "features": served.documents})
    items = write_items(tmp_path / "items.json", served.documents)
    bare = [
        {**document, "properties": {k: v for k, v in document["properties"].items() if k[:5] != "proj:"}}
        for document in served.documents
    ]
    without = write_items(tmp_path / "bare.json", bare)
    with rustac_server(served.documents) as url:
        sources = [f"stac:{url}#drawn", parquet, items, without]
        plans = [planned(*words(served, source, aoi, tmp_path / "out")) for source in sources]
    assert len({plan.fingerprint for plan in plans}) == 1
    for plan in plans[1:]:
        assert plan.parameters == plans[0].parameters
        assert plan.plan.lattice == plans[0].plan.lattice
        assert (plan.plan.inside == plans[0].plan.inside).all()
        assert plan.plan.scene_windows == plans[0].plan.scene_windows
    searches = [dict(plan.searches[0]) for plan in plans]
    assert len({search["source"] for search in searches}) == 4
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_pgstac_gives_the_plan_that_files_give(served: Served, aoi: Path, tmp_path: Path) -> None:
    items = write_items(tmp_path / "items.json", served.documents)
    with pgstac_server(served.documents) as url:
        one = planned(*words(served, f"stac:{url}#drawn", aoi, tmp_path / "out"))
    assert one.fingerprint == planned(*words(served, items, aoi, tmp_path / "out")).fingerprint


def test_an_items_file_that_was_replaced_fails_its_tiles_only(
    run_job: RunJob, served: Served, aoi: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file of the north-east lies a metre beside where its item says."""
    documents = json.loads(json.dumps(served.documents))
    row0, col0, height, width = PARTS["old-ne"]
    pixels = np.full((3, height, width), 99, np.uint8)
    write_pixels(served.folder / "moved.tif", pixels, row0=row0, col0=col0 + 1)
    entry = next(document for document in documents if document["id"] == "old-ne")
    entry["assets"]["image"]["href"] = f"{served.files.url}/moved.tif"
    out = tmp_path / "out"
    assert run_job(*words(served, write_items(tmp_path / "items.json", documents), aoi, out)) == 3
    told = capsys.readouterr().out
    assert "1 of 5 scenes cannot be read, and every tile that needs one fails: old-ne" in told
    assert re.search(r"transform is \[1, 0, 500110, .* in the item, \[1, 0, 500111, .* in the file", told)
    coverage = pq.read_table(out / "coverage.parquet").to_pylist()
    plan = {row["tile_id"]: row["scene_ids"] for row in pq.read_table(out / "plan.parquet").to_pylist()}
    failed = {row["tile_id"]: row for row in coverage if row["status"] == "failed"}
    assert failed
    assert all("old-ne" in plan[tile] for tile in failed)
    assert all(row["reason"] == "unreadable" for row in failed.values())
    assert all("is not the file that its item describes" in row["error"] for row in failed.values())
    run = json.loads((out / "run.json").read_text())
    (scene,) = [scene for scene in run["scenes"] if "failure" in scene]
    assert scene["scene_id"] == "old-ne"
    assert run["reasons"]["failed/unreadable"] == len(failed)


def test_a_file_that_changes_after_the_plan_is_noticed(
    run_job: RunJob, served: Served, aoi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the same size and another content: only its ETag tells."""
    copy = served.folder / "changing.tif"
    copy.write_bytes((served.folder / "new-west.tif").read_bytes())
    documents = json.loads(json.dumps(served.documents))
    entry = next(document for document in documents if document["id"] == "new-west")
    entry["assets"]["image"]["href"] = f"{served.files.url}/changing.tif"
    claim = flow.claim

    def changed(plan: PlannedRun, **options: Any) -> Any:
        context = claim(plan, **options)
        with rasterio.open(copy, "r+") as dataset:
            dataset.write(255 - dataset.read())
        return context

    monkeypatch.setattr(flow, "claim", changed)
    out = tmp_path / "out"
    assert run_job(*words(served, write_items(tmp_path / "items.json", documents), aoi, out)) == 3
    coverage = pq.read_table(out / "coverage.parquet").to_pylist()
    failed = [row for row in coverage if row["status"] == "failed"]
    assert failed
    assert all("changing.tif" in row["error"] for row in failed)
    touched = {
        row["tile_id"]
        for row in pq.read_table(out / "plan.parquet").to_pylist()
        if "new-west" in row["scene_ids"]
    }
    assert {row["tile_id"] for row in failed} == touched


@pytest.mark.skipif(not DATA.is_dir(), reason="the sample data folder ../shared/data is absent")
@pytest.mark.parametrize(("order", "winner"), [("newest", 2), ("oldest", 1), ("closest-to:2020-06-01", 1)])
def test_the_value_of_each_pixel_proves_which_scene_won(
    run_job: RunJob, tmp_path: Path, order: str, winner: int
) -> None:
    """Two rotated Landsat footprints that overlap; all pixels of the first are 1, of the second 2."""
    files = {value: (DATA / "overlap" / f"mosaic_value_{value}.tif").resolve() for value in (1, 2)}
    documents = [
        item_document(
            f"value-{value}",
            {"image": path},
            on_item=projection_fields(path),
            when=f"202{value}-01-01T00:00:00Z",
        )
        for value, path in files.items()
    ]
    items = write_items(tmp_path / "items.json", documents)
    plan = planned(
        *("--source", items, "--whole-scene", "--query", "x", "--prompts", items, "--mosaic", order),
        *("--tile", 512, "--halo", 32, "--out", tmp_path / "out", "--allow-root", DATA.resolve()),
    ).plan
    assert [scene.scene_id for scene in plan.scenes] == [f"value-{winner}", f"value-{3 - winner}"]
    sources = prepare_scenes(
        plan.scenes, LoadOptions(scale=(0, 255)), offsets=plan.offsets, windows=plan.scene_windows
    )
    reader = CogReader(sources, plan.grid)
    seen = np.zeros((plan.grid.height, plan.grid.width), dtype=np.uint8)
    for block in plan.blocks():
        image = reader.read(block)
        assert not image.unreadable
        seen[block.read.slices_in(plan.grid.window)] = image.rgb[..., 0]
    first, second = (valid_on(plan.grid, files[value]) for value in (winner, 3 - winner))
    shifted = [(row, col) for row in (-2, 0, 2) for col in (-2, 0, 2)]
    surely = np.all([np.roll(first, by, (0, 1)) for by in shifted], axis=0)
    never = ~np.any([np.roll(first, by, (0, 1)) for by in shifted], axis=0)
    inside = np.all([np.roll(second, by, (0, 1)) for by in shifted], axis=0)
    assert (seen[surely] == winner).all()
    assert (seen[never & inside] == 3 - winner).all()
    assert (surely & inside).sum() > 1000, "they overlap, and the first one wins there"
    assert (never & inside).sum() > 1000, "and the other fills what it leaves"


def valid_on(grid: RunGrid, path: Path) -> NDArray[np.bool_]:
    """(H, W): where a file has imagery on a run grid, to about a pixel. By rasterio alone."""
    with (
        rasterio.open(path) as dataset,
        WarpedVRT(
            dataset,
            crs=rasterio.crs.CRS.from_wkt(grid.crs_wkt),
            transform=rasterio.Affine(*grid.transform),
            width=grid.width,
            height=grid.height,
        ) as warped,
    ):
        return np.asarray(warped.dataset_mask() > 0)


def without_geometry(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "geometry": None, "bbox": None}


BAD: dict[str, tuple[Callable[[list[dict[str, Any]]], Any], list[object], str]] = {
    "no item": (lambda found: [], [], "(?i)item"),
    "no JSON": (lambda found: "{", [], "items.json"),
    "nothing in that time": (lambda found: found, ["--datetime", "1999"], "(?s)datetime|date.*To fix"),
    "no such time": (lambda found: found, ["--datetime", "soon"], "--datetime"),
    "clouds beyond reason": (lambda found: found, ["--max-cloud", "120"], "--max-cloud"),
    "clouds everywhere": (
        lambda found: [{**own, "properties": {**own["properties"], "eo:cloud_cover": 99}} for own in found],
        [],
        "(?s)cloud.*To fix",
    ),
    "no CQL2": (lambda found: found, ["--stac-filter", "gsd <<"], "--stac-filter"),
    "no such asset": (lambda found: found, ["--assets", "red,green,blue"], "(?s)--assets.*image"),
    "two assets": (lambda found: found, ["--assets", "a,b"], "--assets must name"),
    "no such order": (lambda found: found, ["--mosaic", "best"], "--mosaic must be first"),
    "no such mask": (lambda found: found, ["--mask", "SCL in (3)"], "(?s)--mask must name.*image"),
    "no GeoTIFF": (
        lambda found: [
            {**own, "assets": {"x": {"href": "https://h/a.jp2", "type": "image/jp2"}}} for own in found
        ],
        [],
        "(?s)GeoTIFFs.*--assets",
    ),
    "no file": (
        lambda found: [{**own, "assets": {"image": {"href": "/nowhere/a.tif"}}} for own in found],
        ["--allow-root", "/"],
        "(?s)must be readable.*nowhere.*To fix",
    ),
    "a root that is none": (lambda found: found, ["--allow-root", "/nowhere"], "--allow-root.*nowhere"),
    "a host that nobody allowed": (
        lambda found: [{**own, "assets": {"image": {"href": "https://e.example/a.tif"}}} for own in found],
        [],
        "(?s)hosts that are allowed.*--allow-host e.example",
    ),
    "a file that is nobody's business": (
        lambda found: [{**own, "assets": {"image": {"href": "/etc/a.tif"}}} for own in found],
        [],
        "(?s)/etc/a.tif.*--allow-root",
    ),
    "items without a place": (lambda found: [without_geometry(own) for own in found], [], "To fix"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_the_remedy(
    run_job: RunJob, served: Served, aoi: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    change, more, message = BAD[case]
    content = change(served.documents)
    items = tmp_path / "items.json"
    if isinstance(content, str):
        items.write_text(content)
    else:
        write_items(items, content)
    out = tmp_path / "out"
    assert run_job(*words(served, items, aoi, out, *more)) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "Traceback" not in told
    assert re.search(message, told), told
    assert not out.exists()


def test_options_of_a_search_need_a_catalogue(
    run_job: RunJob, served: Served, aoi: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_job(*words(served, served.folder / "old-nw.tif", aoi, out)) == 2
    assert "--datetime, --max-cloud, --allow-host: a catalogue must" in capsys.readouterr().err
    assert not out.exists()
