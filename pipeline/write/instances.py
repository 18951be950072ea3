"""instances/*.parquet: what a row says, in which order rows come, and the part files.

1. `SCHEMA` says what a row holds. `instance_id` is unique within a query and is the value in the
   `instance_id` raster.
2. `file_order` sorts rows along a Hilbert curve, then by query, id and part. Equal input gives equal files.
3. `write_part` writes up to a million rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, takewhile

import geopandas
import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from pipeline.files.store.store_path import StorePath
from pipeline.schema.tiling import RunGrid
from pipeline.write.geo_parquet import write_geo_parquet
from pipeline.write.records.record_columns import POINT
from pipeline.write.run_dir import RunDir

PART_ROWS = 1_000_000
"""Rows per part file."""

SCHEMA = pa.schema(
    [
        ("instance_id", pa.uint64()),
        ("query_index", pa.int32()),
        ("query", pa.string()),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("area_px", pa.int64()),
        ("area_m2", pa.float64()),
        ("rationale", pa.string()),
        ("box_px", pa.list_(pa.float64())),
        ("points", pa.list_(POINT)),
        ("tile_ids", pa.list_(pa.string())),
        ("n_tiles", pa.int32()),
        ("truncated", pa.bool_()),
        ("one_sided", pa.bool_()),
        ("part_no", pa.int32()),
        ("n_parts", pa.int32()),
        ("scene_ids", pa.list_(pa.string())),
        ("datetime", pa.timestamp("ms", tz="UTC")),
        ("prompter_id", pa.string()),
        ("segmenter_id", pa.string()),
        ("run_id", pa.string()),
    ]
)
"""Attribute columns; `bbox` and `geometry` follow.

`box_px` (x0, y0, x1, y1) and `points` (x, y) are in pixel-edge coordinates of the run grid. `box_px` is null
for an object prompted by points alone.

An object of more tiles than `[stitch] split_tiles` has several rows: part_no 0 .. n_parts - 1, with disjoint
geometries. Each row counts its own area and tiles, so sums over rows are true.

`scene_ids` are the scenes whose valid pixels lie under the object, in order of priority: a scene that an
earlier one hides is not named. `datetime` is the earliest time that one of them has.
Polygons have integer pixel edges until the affine is applied, once, last.
"""

VERIFIED = pa.field("verified", pa.float32())
"""Last attribute column of a run with a verifier or examples: the probability that the piece which gave
label, box and rationale is right. Null: not judged."""


SOURCE_FEATURE = (pa.field("feature_id", pa.string()), pa.field("feature_attributes", pa.string()))
"""Columns of a run with known locations (`--prompts`): id and attributes (a JSON object with the names and
types of the file) of the feature whose prompt gave label and box. An object may cover more features than this
one.
"""


ZONES = (pa.field("zones", pa.list_(pa.string())), pa.field("zone_instance_ids", pa.list_(pa.uint64())))
"""Columns of a run of several zones, one entry per part of the object: the zone, and the `instance_id` there.
`box_px` and `points` are in pixels of the first one's run grid, and every tile of `tile_ids` has its zone
before it (`EPSG_26917/r00000c00001`).
"""


@dataclass(frozen=True, kw_only=True)
class InstanceMeta:
    """What is the same for all rows of a run."""

    queries: tuple[str, ...]
    prompter_id: str
    segmenter_id: str
    run_id: str
    verified: bool = False
    """Whether the run had a verifier, or a classifier of examples."""
    known_locations: bool = False
    """Whether prompts came from a vector file."""
    zoned: bool = False
    """Whether the rows are those of several zones."""

    @property
    def schema(self) -> pa.Schema:
        """Attribute columns of the run's instances."""
        more = [
            *(SOURCE_FEATURE if self.known_locations else ()),
            *((VERIFIED,) if self.verified else ()),
            *(ZONES if self.zoned else ()),
        ]
        return pa.schema([*SCHEMA, *more])


def part_files(run_dir: RunDir) -> list[StorePath]:
    """List the part files of a result, in order. They are numbered without gaps, so no listing is needed."""
    numbered = (part_file(run_dir, number) for number in count())
    return list(takewhile(StorePath.is_file, numbered))


def part_file(run_dir: RunDir, part: int) -> StorePath:
    """Path of one part file."""
    return run_dir.instances / f"part-{part:05d}.parquet"


def write_part(
    run_dir: RunDir, part: int, tables: Iterable[pa.Table], *, grid: RunGrid, schema: pa.Schema = SCHEMA
) -> int:
    """Write one part file from finished rows (attributes, bbox, geometry) in their final order.

    Row groups have a bbox covering, so a read with `bbox=` is small. Returns the number of rows.
    """
    return write_geo_parquet(part_file(run_dir, part), tables, schema=schema, grid=grid)


def hilbert_keys(rows: pa.Table, bounds: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Place each row along the Hilbert curve, (n,). `bounds`: xmin, ymin, xmax, ymax of the centres of ALL
    rows' bounding boxes, in CRS coordinates."""
    box = rows["bbox"].combine_chunks()
    edges = [
        np.asarray(box.field(name).to_numpy(zero_copy_only=False))
        for name in ("xmin", "ymin", "xmax", "ymax")
    ]
    if rows.num_rows == 0:
        return np.zeros(0, dtype=np.uint32)
    return np.asarray(
        geopandas.GeoSeries(shapely.box(*edges)).hilbert_distance(total_bounds=bounds).to_numpy(),
        dtype=np.uint32,
    )


def file_order(rows: pa.Table, bounds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Find the positions (n,) that sort rows as the files have them. `bounds` as in `hilbert_keys`."""
    part, instance, query = (rows[name].to_numpy() for name in ("part_no", "instance_id", "query_index"))
    return np.asarray(np.lexsort((part, instance, query, hilbert_keys(rows, bounds))), dtype=np.int64)


def timestamp_of(text: str) -> datetime:
    """Read RFC 3339 text as UTC; a time without zone counts as UTC."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
