"""The confidence of every object, as a table beside the run; and how reliable it is, as a drawing.

`write_confidence` writes confidence.parquet: one row per object of the queries that have a curve, to be
joined to instances/ by (query_index, instance_id). Its metadata name the result that it is of, as
assessment.json does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.assess.confidence import ConfidenceCurve
from pipeline.files.public_text import public_line
from pipeline.files.store.store_path import StorePath
from pipeline.write.report.report_html import Html, raw, tag
from pipeline.write.report.report_rows import batches, instance_files
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo

CONFIDENCE_NAME = "confidence.parquet"

SCHEMA = pa.schema(
    [
        ("instance_id", pa.uint64()),
        ("query_index", pa.int32()),
        ("score", pa.float32()),
        ("confidence", pa.float32()),
    ]
)

_STYLE = (
    "text{font:12px sans-serif;fill:#444}"
    ".axis{stroke:#999;fill:none}"
    ".ideal{stroke:#bbb;stroke-dasharray:4 4}"
    ".told{stroke:#0a6cd6;fill:#0a6cd6}"
    ".score{fill:#e08a00}"
)
_SIDE = 260
_MARGIN = 44


def write_confidence(run_dir: RunDir, info: RunInfo, curves: Mapping[int, ConfidenceCurve]) -> StorePath:
    """Write confidence.parquet. `curves`: per query. Memory: a batch of rows."""
    named = {b"fingerprint": info.fingerprint.encode(), b"snapshot": info.snapshot.encode()}
    path = run_dir.path / CONFIDENCE_NAME
    columns = ("instance_id", "query_index", "score", "part_no")
    with (
        path.being_written() as temporary,
        pq.ParquetWriter(temporary, SCHEMA.with_metadata(named), compression="zstd") as writer,
    ):
        for file in instance_files(run_dir):
            for batch in batches(file, columns):
                instance, query, score, part = (
                    batch[name].to_numpy(zero_copy_only=False) for name in columns
                )
                told = np.full(len(query), np.nan)
                for index, curve in curves.items():
                    mine = query == index
                    told[mine] = curve.of(score[mine].astype(np.float64))
                kept = (part == 0) & np.isfinite(told)
                rows = {
                    "instance_id": instance[kept],
                    "query_index": query[kept],
                    "score": score[kept],
                    "confidence": told[kept].astype(np.float32),
                }
                writer.write_table(pa.table(rows, schema=SCHEMA.with_metadata(named)))
    return path


def curve_of(entry: Mapping[str, Any]) -> ConfidenceCurve:
    """The curve of a query's entry in assessment.json."""
    return ConfidenceCurve(slope=entry["slope"], intercept=entry["intercept"], n=int(entry["n"]))


def reliability_svg(queries: Sequence[Mapping[str, Any]]) -> str:
    """Draw a panel per query of assessment.json that has a curve: what was told against what is right."""
    drawn = [query for query in queries if query.get("confidence")]
    width = max(len(drawn), 1) * (_SIDE + _MARGIN) + _MARGIN
    height = _SIDE + 2 * _MARGIN
    panels = [
        tag("g", *_panel(query), transform=f"translate({_MARGIN + i * (_SIDE + _MARGIN)} {_MARGIN})")
        for i, query in enumerate(drawn)
    ]
    return tag(
        "svg",
        tag("style", raw(_STYLE)),
        tag("rect", width=width, height=height, fill="#fff"),
        *panels,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
    )


def _panel(query: Mapping[str, Any]) -> list[Html]:
    """Squares: raw scores; dots with their intervals: confidences."""
    parts = [
        tag("rect", width=_SIDE, height=_SIDE, class_="axis"),
        tag("line", x1=0, y1=_SIDE, x2=_SIDE, y2=0, class_="ideal"),
        tag("text", public_line(query["query"], most_chars=40), x=0, y=-24),
        tag("text", "squares: score, dots: confidence", x=0, y=-8),
        tag("text", "share that is right, against what was told (0 to 1)", x=0, y=_SIDE + 18),
    ]
    for each in query["confidence"]["bins"]:
        x = f"{each['confidence'] * _SIDE:.1f}"
        low, right, high = (f"{(1 - each[name]) * _SIDE:.1f}" for name in ("low", "right", "high"))
        score = f"translate({each['score'] * _SIDE:.1f} {right})"
        parts += [
            tag("line", x1=x, y1=low, x2=x, y2=high, class_="told"),
            tag("circle", cx=x, cy=right, r=4, class_="told"),
            tag("rect", x=-4, y=-4, width=8, height=8, transform=score, class_="score"),
        ]
    return parts
