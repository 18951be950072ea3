"""The design of a sample and its units as files, in a folder of their own.

    design.json      the run and its fingerprint, seed, sizes, strata with their sizes and draws, the rules
    sample.parquet   GeoParquet, one row per unit: stratum, weight, place (objects, cells, points)
    sample.csv       the same for other tools, with empty columns label and n_missed to fill in
    review.html      the page on which a person answers

`design_id` follows from the run's result, the seed and the sizes, and every unit's id begins with it. The
same plan has the same id and writes the same sample. `read_design` refuses a sample file that was changed:
units that somebody picked are no random sample.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from pipeline.assess.draw_units import DrawnStratum, Kind, Wanted
from pipeline.assess.sampling_frame import FrameOptions
from pipeline.errors import InputError
from pipeline.files.atomic_file import write_bytes_atomic
from pipeline.files.public_text import public_json, public_text
from pipeline.files.store.stored_files import read_parquet
from pipeline.schema.tiling import RunGrid, Window
from pipeline.write.geo_parquet import with_geometry, write_geo_parquet
from pipeline.write.georeference import crs_from_wkt, to_crs_coordinates, transformer
from pipeline.write.run_json import finite

DESIGN_VERSION = 1
"""Version of design.json; a reader refuses another one."""

DESIGN_NAME = "design.json"
SAMPLE_NAME = "sample.parquet"
CSV_NAME = "sample.csv"
PAGE_NAME = "review.html"

SCHEMA = pa.schema(
    [
        ("unit_id", pa.string()),
        ("kind", pa.string()),
        ("query_index", pa.int32()),
        ("query", pa.string()),
        ("stratum", pa.string()),
        ("stratum_size", pa.int64()),
        ("stratum_drawn", pa.int32()),
        ("weight", pa.float64()),
        ("review_order", pa.int32()),
        ("instance_id", pa.uint64()),
        ("score", pa.float64()),
        ("row0", pa.int32()),
        ("col0", pa.int32()),
        ("row1", pa.int32()),
        ("col1", pa.int32()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
    ]
)
"""Columns of sample.parquet; `bbox` and `geometry` follow.

weight is stratum_size / stratum_drawn: how many units of its stratum a unit stands for. review_order is
random within query and kind. instance_id and score are those of objects, else null. row0 to col1 are pixels
of the run grid; lon and lat are of the middle, null without a CRS."""

RULES = {
    "object": "yes: such an object is here, and the outline is mainly it. no: something else, or the outline "
    "is mainly not the object",
    "cell": "missed: how many such objects have their middle in the square, and no outline that deserves "
    "a yes; ground that was not judged does not count",
    "point": "yes: the pixel under the cross lies on such an object",
    "unsure": "left out of the estimate; the estimate is also given with all of them as no and as yes",
}
"""What the answers mean."""

CHANGE_RULES = {
    "change": "lost, gained, both or neither: the pixel under the cross lies on such an object at the first "
    "date alone, at the second alone, at both or at none",
    "unsure": "left out of the estimate",
}
"""The same of points at two dates."""

ALLOCATION = (
    "Neyman allocation with guessed standard deviations after a minimum of 8 per stratum (Neyman 1934; "
    "Olofsson et al. 2014); simple random sampling without replacement within strata"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleUnit:
    """A unit of a sample at its place."""

    unit_id: str
    kind: Kind
    query_index: int
    stratum: DrawnStratum
    review_order: int
    window: Window
    """Its extent on the run grid; of a point the pixel."""
    shape_px: shapely.Geometry
    """Its outline in pixel edges of the run grid; of a point the middle of the pixel."""
    instance_id: int | None = None
    score: float | None = None


@dataclass(frozen=True, kw_only=True)
class SampleDesign:
    """What makes a sample a probability sample, and of which result."""

    run: str
    """The run directory as it was given."""
    run_id: str
    fingerprint: str
    snapshot: str
    queries: tuple[str, ...]
    """All queries of the run."""
    chosen: tuple[int, ...]
    """Positions of those that are assessed."""
    seed: int
    wanted: Wanted
    frame: FrameOptions
    strata: Mapping[int, tuple[DrawnStratum, ...]]
    """Per query."""

    @property
    def asks_of_changes(self) -> bool:
        """Whether it is the design of a comparison of two dates."""
        return any(stratum.kind == "change" for strata in self.strata.values() for stratum in strata)

    @property
    def design_id(self) -> str:
        """Twelve hexadecimal digits, the same for the same plan on the same result."""
        told = (
            self.fingerprint,
            self.snapshot,
            self.seed,
            asdict(self.wanted),
            asdict(self.frame),
            self.chosen,
        )
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


def write_design(folder: Path, design: SampleDesign, units: Sequence[SampleUnit], grid: RunGrid) -> None:
    """Write sample.parquet, sample.csv and, last, design.json."""
    rows = [_row(design, unit) for unit in units]
    shapes = np.array([unit.shape_px for unit in units], dtype=object)
    placed = to_crs_coordinates(shapes, grid)
    for row, (lon, lat) in zip(rows, _lonlat(placed, grid), strict=True):
        row["lon"] = lon
        row["lat"] = lat
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    sample = folder / SAMPLE_NAME
    write_geo_parquet(sample, [with_geometry(table, placed)], schema=SCHEMA, grid=grid)
    write_bytes_atomic(folder / CSV_NAME, _csv(rows))
    document = {
        "design_version": DESIGN_VERSION,
        "design_id": design.design_id,
        **{
            key: value
            for key, value in asdict(design).items()
            if key not in ("strata", "wanted", "frame", "chosen")
        },
        "chosen": list(design.chosen),
        "wanted": asdict(design.wanted),
        "frame": asdict(design.frame),
        "allocation": ALLOCATION,
        "rules": CHANGE_RULES if design.asks_of_changes else RULES,
        "strata": [
            {"query_index": index, **asdict(stratum)}
            for index in design.chosen
            for stratum in design.strata[index]
        ],
        "sample_sha256": hashlib.sha256(sample.read_bytes()).hexdigest(),
    }
    write_bytes_atomic(folder / DESIGN_NAME, (public_json(finite(document)) + "\n").encode())


def read_design(folder: Path) -> tuple[SampleDesign, pa.Table]:
    """Read a design and the table of its units. Raises InputError for what is none, and for a sample that was
    changed since it was drawn.
    """
    path = folder / DESIGN_NAME
    remedy = "give the --out folder of `jobs/assess.py plan`"
    try:
        document = json.loads(path.read_text())
        version = document["design_version"]
        if version != DESIGN_VERSION:
            raise InputError(
                f"{path} must have design_version {DESIGN_VERSION}", came=str(version), remedy=remedy
            )
        design = _design(document)
        sample = (folder / SAMPLE_NAME).read_bytes()
    except OSError as error:
        raise InputError(
            f"an assessment needs {DESIGN_NAME} and {SAMPLE_NAME}", came=str(error), remedy=remedy
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} must be the design of a sample", came=repr(error), remedy=remedy) from error
    changed = hashlib.sha256(sample).hexdigest() != document.get("sample_sha256")
    if changed or design.design_id != document["design_id"]:
        raise InputError(
            f"{SAMPLE_NAME} and {DESIGN_NAME} must be those that were drawn",
            came=f"others in {folder}, so this is no probability sample",
            remedy="draw again with the same seed: jobs/assess.py plan gives the same units",
        )
    return design, read_parquet(folder / SAMPLE_NAME, SCHEMA.names)


def _design(document: dict[str, Any]) -> SampleDesign:
    strata: dict[int, list[DrawnStratum]] = {index: [] for index in document["chosen"]}
    for entry in document["strata"]:
        index = entry.pop("query_index")
        entry["area_m2"] = float("nan") if entry["area_m2"] is None else entry["area_m2"]
        strata[index].append(DrawnStratum(**entry))
    return SampleDesign(
        run=document["run"],
        run_id=document["run_id"],
        fingerprint=document["fingerprint"],
        snapshot=document["snapshot"],
        queries=tuple(document["queries"]),
        chosen=tuple(document["chosen"]),
        seed=document["seed"],
        wanted=Wanted(**document["wanted"]),
        frame=FrameOptions(**document["frame"]),
        strata={index: tuple(each) for index, each in strata.items()},
    )


def _row(design: SampleDesign, unit: SampleUnit) -> dict[str, Any]:
    return {
        "unit_id": unit.unit_id,
        "kind": unit.kind,
        "query_index": unit.query_index,
        "query": design.queries[unit.query_index],
        "stratum": unit.stratum.name,
        "stratum_size": unit.stratum.size,
        "stratum_drawn": unit.stratum.drawn,
        "weight": unit.stratum.size / unit.stratum.drawn,
        "review_order": unit.review_order,
        "instance_id": unit.instance_id,
        "score": unit.score,
        "row0": unit.window.row0,
        "col0": unit.window.col0,
        "row1": unit.window.row1,
        "col1": unit.window.col1,
    }


def _lonlat(placed: Any, grid: RunGrid) -> list[tuple[float | None, float | None]]:
    if grid.crs_wkt is None or not len(placed):
        return [(None, None)] * len(placed)
    bounds = shapely.bounds(placed)
    to_lonlat = transformer(grid.crs_wkt, crs_from_wkt(grid.crs_wkt).geodetic_crs.to_wkt())
    lon, lat = to_lonlat.transform((bounds[:, 0] + bounds[:, 2]) / 2, (bounds[:, 1] + bounds[:, 3]) / 2)
    return list(zip(np.round(lon, 7).tolist(), np.round(lat, 7).tolist(), strict=True))


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, [*SCHEMA.names, "label", "n_missed"], lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(
        {key: "" if value is None else _safe(value) for key, value in row.items()} for row in rows
    )
    return sink.getvalue().encode()


def _safe(value: object) -> object:
    """A text that no spreadsheet takes for a formula."""
    if isinstance(value, str):
        text = public_text(value)
        return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
    return value
