"""Hand-made and generated block records for the tests of the write stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from object_table import ObjectTable, write_objects

from pipeline.schema.imagery import Scene
from pipeline.schema.tile_answers import BlockRecord, Fragment, Prompt, Reason, TileRecord, TileStatus
from pipeline.schema.tiling import RunGrid, TileLattice, Window
from pipeline.write.coverage import write_coverage
from pipeline.write.instances import InstanceMeta
from pipeline.write.masks_zarr import MaskStore, ShardPixels, create_masks, write_shard
from pipeline.write.plan_table import write_plan
from pipeline.write.records.block_records import write_block_record
from pipeline.write.records.record_keys import AlikeKeys
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo, write_run_json
from pipeline.write.stac_item import ItemInputs, footprint_lonlat, write_item

UTM36N = "EPSG:32636"


def grid_of(
    width: int = 50, height: int = 40, *, crs: str | None = UTM36N, transform: tuple[float, ...] | None = None
) -> RunGrid:
    from pyproj import CRS

    wkt = None if crs is None else CRS.from_user_input(crs).to_wkt()
    return RunGrid(
        crs_wkt=wkt,
        transform=transform or (0.5, 0.0, 450000.0, 0.0, -0.5, 36000.0),
        width=width,
        height=height,
    )


def lattice_of(
    grid: RunGrid | None = None, *, tile_px: int = 16, halo_px: int = 3, block_tiles: int = 2
) -> TileLattice:
    return TileLattice(grid=grid or grid_of(), tile_px=tile_px, halo_px=halo_px, block_tiles=block_tiles)


def fragments_of(
    labels: NDArray[np.uint16], tile_read: Window, core: Window, width: int
) -> tuple[Fragment, ...]:
    """Fragments counted pixel by pixel, as a slow and obvious oracle would."""
    found = []
    for local in sorted(set(labels.ravel().tolist()) - {0}):
        rows, cols = np.nonzero(labels == local)
        rows, cols = rows + tile_read.row0, cols + tile_read.col0
        inside = (rows >= core.row0) & (rows < core.row1) & (cols >= core.col0) & (cols < core.col1)
        anchors = (rows * width + cols)[inside]
        found.append(
            Fragment(
                local=local,
                prompt_index=0,
                score_q=60000 + local,
                full_px=len(rows),
                core_px=int(inside.sum()),
                anchor=int(anchors.min()) if anchors.size else -1,
                window=Window(
                    row0=int(rows.min()),
                    col0=int(cols.min()),
                    row1=int(rows.max()) + 1,
                    col1=int(cols.max()) + 1,
                ),
                censored=0,
                margin=2,
            )
        )
    return tuple(found)


def found_tile(
    lattice: TileLattice, row: int, col: int, *, query_index: int = 0, seed: int = 0
) -> TileRecord:
    tile = lattice.tile(row, col)
    rng = np.random.default_rng((seed, row, col, query_index))
    labels = np.zeros(tile.read.shape, dtype=np.uint16)
    for local in (1, 2, 3):
        r = rng.integers(0, labels.shape[0] - 2)
        c = rng.integers(0, labels.shape[1] - 2)
        labels[r : r + 4, c : c + 3] = local
    return TileRecord(
        tile=tile,
        query_index=query_index,
        status=TileStatus.FOUND,
        reason=Reason.NONE,
        reply='<think>two "roofs" – é</think><answer>[…]</answer>',
        rationale='two "roofs" – é',
        prompts=(
            Prompt(
                box_xyxy=(1.5, 2.0, 9.25, 7.0),
                points_xy=((3.0, 4.0), (5.5, 6.5)),
                point_labels=(1, 0),
                label="roof",
            ),
            Prompt(box_xyxy=None, points_xy=((0.1, 0.2),), point_labels=(1,)),
        ),
        n_dropped=1,
        n_calls=2,
        valid_px=tile.core.area_px,
        labels=labels,
        fragments=fragments_of(labels, tile.read, tile.core, lattice.grid.width),
    )


def plain_tile(
    lattice: TileLattice,
    row: int,
    col: int,
    status: TileStatus,
    reason: Reason,
    *,
    query_index: int = 0,
    error: str = "",
) -> TileRecord:
    tile = lattice.tile(row, col)
    return TileRecord(
        tile=tile,
        query_index=query_index,
        status=status,
        reason=reason,
        error=error,
        n_calls=1,
        valid_px=tile.core.area_px,
    )


def mixed_record(lattice: TileLattice, *, fingerprint: str = "f" * 64) -> BlockRecord:
    """Block (0, 0), two queries: found+empty, found+found, empty+empty, failed+found."""
    tiles = (
        found_tile(lattice, 0, 0),
        plain_tile(lattice, 0, 0, TileStatus.EMPTY, Reason.PROMPTER, query_index=1),
        found_tile(lattice, 0, 1),
        found_tile(lattice, 0, 1, query_index=1),
        plain_tile(lattice, 1, 0, TileStatus.EMPTY, Reason.PROMPTER),
        plain_tile(lattice, 1, 0, TileStatus.EMPTY, Reason.GATE, query_index=1),
        plain_tile(lattice, 1, 1, TileStatus.FAILED, Reason.MALFORMED, error="no JSON in the reply"),
        found_tile(lattice, 1, 1, query_index=1),
    )
    valid = {}
    for row in tiles:
        mask = np.ones(row.tile.core.shape, dtype=np.bool_)
        mask[0, : row.tile.tile_col + 1] = False
        valid[row.tile.tile_id] = mask
    return BlockRecord(
        block_id="b00000_00000",
        fingerprint=fingerprint,
        tiles=tiles,
        valid=valid,
        n_embeddings=4,
        elapsed_s=1.25,
    )


def assert_same_record(got: BlockRecord, want: BlockRecord) -> None:
    assert (got.block_id, got.fingerprint, got.n_embeddings) == (
        want.block_id,
        want.fingerprint,
        want.n_embeddings,
    )
    assert got.elapsed_s == 0.0, "equal work gives equal records, however long it took"
    assert len(got.tiles) == len(want.tiles)
    for a, b in zip(got.tiles, want.tiles, strict=True):
        for name in TileRecord.__slots__:
            if name != "labels":
                assert getattr(a, name) == getattr(b, name), name
        assert (a.labels is None) == (b.labels is None)
        if a.labels is not None and b.labels is not None:
            np.testing.assert_array_equal(a.labels, b.labels)
            assert a.labels.dtype == np.uint16
    assert set(got.valid) == set(want.valid)
    for tile_id, mask in want.valid.items():
        np.testing.assert_array_equal(got.valid[tile_id], mask)


def run_info() -> RunInfo:
    grid = grid_of()
    scene = Scene(
        scene_id="west",
        href="https://host/west.tif",
        crs_wkt=grid.crs_wkt,
        transform=grid.transform,
        width=50,
        height=40,
        count=4,
        dtype="uint8",
        rgb_bands=(1, 2, 3),
        nodata=None,
        identity={"etag": "abc", "size_bytes": "123"},
        datetime="2024-05-06T07:08:09Z",
    )
    return RunInfo(
        run_id="run-1",
        fingerprint="f" * 64,
        status="complete",
        parameters={"query": ["roofs"], "tile": {"px": 16}},
        queries=("roofs", "été"),
        lattice=lattice_of(grid),
        scenes=(scene,),
        settings={"runner": "local"},
        models={"prompter": {"id": "p", "revision": "1"}, "segmenter": {"id": "s", "revision": "2"}},
        stretches={"west": {"kind": "identity"}},
        versions={"rasterio": "1.5.2"},
        counters={"tiles_planned": 4, "n_embeddings": 4},
        timings_s={"inference": 1.5},
        reasons={"found": 2, "empty/prompter": 1, "failed/malformed": 1},
        warnings=("the embedded models know only the procedural world",),
        started="2024-05-06T08:00:00Z",
        ended="2024-05-06T08:01:00Z",
    )


QUERIES = ("roofs", "été")
META = InstanceMeta(queries=QUERIES, prompter_id="p@1", segmenter_id="s@2", run_id="run-1")


def id_raster(height: int = 40, width: int = 50, *, seed: int = 0, n: int = 6) -> NDArray[np.uint64]:
    """Random rectangles, some with holes, as 4-connected objects with id 1 + smallest pixel index."""
    rng = np.random.default_rng(seed)
    raw = np.zeros((height, width), dtype=np.int32)
    for value in range(1, n + 1):
        r = int(rng.integers(0, height - 3))
        c = int(rng.integers(0, width - 3))
        h = int(rng.integers(2, height // 2))
        w = int(rng.integers(2, width // 2))
        raw[r : r + h, c : c + w] = value
        if h > 4 and w > 4:
            raw[r + 2 : r + h - 2, c + 2 : c + w - 2] = 0
    return canonical_ids(raw)


def canonical_ids(raw: NDArray[np.int32]) -> NDArray[np.uint64]:
    """4-connected components of equal value, flood-filled pixel by pixel; id = 1 + smallest pixel index."""
    height, width = raw.shape
    ids = np.zeros(raw.shape, dtype=np.uint64)
    for start in range(raw.size):
        r0, c0 = divmod(start, width)
        if raw[r0, c0] == 0 or ids[r0, c0]:
            continue
        stack = [(r0, c0)]
        while stack:
            r, c = stack.pop()
            if 0 <= r < height and 0 <= c < width and raw[r, c] == raw[r0, c0] and not ids[r, c]:
                ids[r, c] = start + 1
                stack += [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]
    return ids


def table_of(rasters: list[NDArray[np.uint64]]) -> ObjectTable:
    """Instances of one id raster per query; polygons are unions of pixel squares."""
    rows = [(q, int(value)) for q, ids in enumerate(rasters) for value in np.unique(ids) if value]
    polygons = np.empty(len(rows), dtype=object)
    areas = np.zeros(len(rows), dtype=np.int64)
    for i, (q, value) in enumerate(rows):
        r, c = np.nonzero(rasters[q] == value)
        polygons[i] = shapely.union_all(shapely.box(c, r, c + 1, r + 1)).simplify(0)
        areas[i] = len(r)
    n = len(rows)
    boxes = shapely.bounds(polygons).reshape(-1, 4)
    boxes[::2] = np.nan
    return ObjectTable(
        instance_id=np.array([value for _, value in rows], dtype=np.uint64),
        query_index=np.array([q for q, _ in rows], dtype=np.int32),
        label=["roof"] * n,
        score=np.linspace(0, 1, n, dtype=np.float32) if n else np.zeros(0, dtype=np.float32),
        area_px=areas,
        polygons=polygons,
        rationale=["<b>because</b>"] * n,
        box_px=boxes,
        points=[[(1.5, 2.5, 1), (3.0, 4.0, 0)][: i % 3] for i in range(n)],
        tile_ids=[["r00000c00000", "r00000c00001"][: 1 + i % 2] for i in range(n)],
        truncated=np.arange(n) % 3 == 0,
        one_sided=np.arange(n) % 4 == 0,
        scene_ids=[["west"]] * n,
        datetime=["2024-05-06T07:08:09Z" if i % 2 else None for i in range(n)],
    )


def score_bytes(ids: NDArray[np.uint64], scores: dict[int, float]) -> NDArray[np.uint8]:
    """The score raster of an id raster, pixel by pixel: round(score * 254), 255 where there is no object."""
    found = [round(scores[value] * 254) if value else 255 for value in ids.ravel().tolist()]
    return np.array(found, dtype=np.uint8).reshape(ids.shape)


def write_rasters(
    path: Path, lattice: TileLattice, rasters: list[NDArray[np.uint64]], table: ObjectTable
) -> MaskStore:
    """The whole store, shard by shard; everything was looked at but the grid's first row."""
    store = create_masks(path, lattice, QUERIES[: len(rasters)])
    ids = np.stack(rasters)
    scores = np.stack(
        [
            score_bytes(
                raster,
                dict(
                    zip(
                        table.instance_id[table.query_index == q].tolist(),
                        table.score[table.query_index == q].tolist(),
                        strict=True,
                    )
                ),
            )
            for q, raster in enumerate(rasters)
        ]
    )
    looked_at = np.ones(ids.shape, dtype=np.bool_)
    looked_at[:, 0] = False
    for block_row in range(lattice.n_block_rows):
        for block_col in range(lattice.n_block_cols):
            window = lattice.block_core(block_row, block_col)
            rows, cols = window.slices_in(lattice.grid.window)
            pixels = ShardPixels(
                ids=ids[:, rows, cols], scores=scores[:, rows, cols], looked_at=looked_at[:, rows, cols]
            )
            write_shard(store, block_row, block_col, pixels)
    return store


def golden_run(folder: Path) -> None:
    """Every format of a run directory, from the worlds of this file."""
    run_dir = RunDir(folder)
    info = run_info()
    lattice = info.lattice
    write_run_json(run_dir.run_json, info)
    inside = np.zeros((lattice.n_tile_rows, lattice.n_tile_cols), dtype=np.bool_)
    inside[:2, :2] = True
    write_plan(run_dir.plan, lattice, inside)
    write_block_record(run_dir, mixed_record(lattice), lattice=lattice)
    write_coverage(run_dir, lattice, inside, keys=AlikeKeys(info.fingerprint), queries=QUERIES).require()
    rasters = [id_raster(seed=0), id_raster(seed=1)]
    table = table_of(rasters)
    write_objects(run_dir, table, grid=lattice.grid, meta=META)
    write_rasters(run_dir.masks, lattice, rasters, table)
    write_item(run_dir, ItemInputs(info=info, geometry=footprint_lonlat(lattice, inside)), "")
