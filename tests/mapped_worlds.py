"""A page with nothing but the map of four objects, small enough to know where everything is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shapely
from object_table import ObjectTable, write_objects
from record_world import grid_of, lattice_of

from pipeline.schema.tiling import TileLattice
from pipeline.write.instances import InstanceMeta
from pipeline.write.report.map.map_section import LATER_SECTIONS, map_section
from pipeline.write.report.report_data import TILE_STATES
from pipeline.write.report.report_objects import ObjectSummary, read_objects
from pipeline.write.report.report_page import report_page
from pipeline.write.report.report_sections import Pixels
from pipeline.write.run_dir import RunDir

WIDTH = 400
HEIGHT = 300
QUERIES = ("roofs", "ponds </script>")
LATTICE: TileLattice = lattice_of(grid_of(WIDTH, HEIGHT), tile_px=100, halo_px=10, block_tiles=2)
"""5 x 4 tiles of 80 px, blocks of 160 px."""

POND = shapely.box(260, 180, 340, 260).difference(shapely.box(290, 210, 310, 230))
SHAPES = (shapely.box(20, 20, 60, 50), shapely.box(150, 100, 190, 140), POND, shapely.box(100, 250, 102, 252))
IDS = (11, 2**53 + 1, 33, 44)
SCORES = (0.9, 0.4, 0.7, 0.2)
WHY = ("a flat roof", "<b>two</b> tiles", "water with an island", "")


def objects_of(shapes: tuple[shapely.Geometry, ...] = SHAPES) -> ObjectTable:
    n = len(shapes)
    return ObjectTable(
        instance_id=np.array(IDS[:n], dtype=np.uint64),
        query_index=np.array([0, 0, 1, 1][:n], dtype=np.int32),
        label=["roof", "roof", "pond", ""][:n],
        score=np.array(SCORES[:n], dtype=np.float32),
        area_px=np.array([int(shape.area) for shape in shapes], dtype=np.int64),
        polygons=np.array(shapes, dtype=object),
        rationale=list(WHY[:n]),
        box_px=np.full((n, 4), np.nan),
        points=[[]] * n,
        tile_ids=[["r00000c00000"], ["r00001c00001", "r00001c00002"], ["r00002c00003"], ["r00003c00001"]][:n],
        truncated=np.array([False, False, False, True][:n]),
        one_sided=np.zeros(n, dtype=np.bool_),
        scene_ids=[["s"]] * n,
        datetime=[None] * n,
    )


def write_run(
    folder: Path, table: ObjectTable | None = None, *, snapshot: str = ""
) -> tuple[RunDir, ObjectSummary]:
    """instances/ of the four objects, and what the report knows of them."""
    run_dir = RunDir(folder).in_snapshot(snapshot)
    meta = InstanceMeta(queries=QUERIES, prompter_id="p", segmenter_id="s", run_id="r")
    write_objects(run_dir, objects_of() if table is None else table, grid=LATTICE.grid, meta=meta)
    return run_dir, read_objects(run_dir, n_queries=2, seed=0)


def states() -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """4 x 5 tiles: one failed, one that the gate rejected, one without imagery, one judged in part."""
    codes = np.full((4, 5), 2 * TILE_STATES.index("nothing found"), dtype=np.uint8)
    for row, col in ((0, 0), (1, 1), (1, 2), (2, 3), (3, 1)):
        codes[row, col] = 2 * TILE_STATES.index("found")
    codes[0, 4] = 2 * TILE_STATES.index("failed")
    codes[3, 0] = 2 * TILE_STATES.index("gate")
    codes[3, 4] = 2 * TILE_STATES.index("no imagery")
    codes[3, 1] += 1
    return codes


def ground() -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """The imagery: squares of 20 px in two greys, brighter to the east."""
    row, col = np.mgrid[0:HEIGHT, 0:WIDTH]
    grey = 60 + 80 * ((row // 20 + col // 20) % 2) + col // 8
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def map_page(folder: Path, snapshot: str = "") -> bytes:
    """The page."""
    run_dir, objects = write_run(folder, snapshot=snapshot)
    pixels = Pixels(LATTICE.grid.window, ground(), None)
    section = map_section(
        run_dir, objects, pixels, LATTICE.grid, queries=QUERIES, states=states(), lattice=LATTICE
    )
    return report_page(QUERIES, [section, LATER_SECTIONS], mapped=True)
