"""What is printed before and after a run, and the closing entry of run.json."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from pipeline.prepare import PlannedRun
from pipeline.publish import Published
from pipeline.schema import RunGrid
from pipeline.steps import RunContext
from pipeline.write.block_records import read_counts
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo, read_run_json, write_run_json

BOX_WIDTH = 100
"""Columns of the printed notice."""


def notice_box(text: str) -> str:
    """A notice that cannot be overlooked in a log."""
    lines = textwrap.wrap(text, BOX_WIDTH - 4)
    bar = "*" * BOX_WIDTH
    return "\n".join([bar, *(f"* {line.ljust(BOX_WIDTH - 4)} *" for line in lines), bar])


def plan_text(planned: PlannedRun) -> str:
    """The plan in a few lines: what will be looked at, read and asked."""
    plan, guess = planned.plan, planned.estimate
    lattice = plan.lattice
    to_read = f"about {_bytes(guess.bytes_to_read)}" if guess.bytes_to_read is not None else "unknown (sizes of the files are not known)"
    rows = {
        "run": planned.fingerprint[:16],
        "questions": "; ".join(planned.request.config.queries),
        "scenes": f"{len(plan.scenes)} ({plan.mode} mode)",
        "run grid": f"{lattice.grid.width} x {lattice.grid.height} px, {_crs_name(lattice.grid)}",
        "tiles": f"{guess.tiles} of {lattice.tile_px} px (core {lattice.core_px}, halo {lattice.halo_px}); {guess.tiles_outside} outside",
        "blocks": f"{guess.blocks} of {lattice.block_tiles} x {lattice.block_tiles} tiles",
        "pixels": f"{guess.pixels:,} in cores, {guess.pixels_read:,} read",
        "bytes to read": f"{to_read}, {_bytes(guess.bytes_decoded)} decoded",
        "model calls": f"at most {guess.model_calls} prompter calls and {guess.image_encodings} image encodings",
        "output": str(RunDir(planned.request.out).path.absolute()),
    }
    return table(rows)


def final_table(context: RunContext, published: Published, timings_s: Mapping[str, float]) -> str:
    """Counts of the ledger, instances per question, times."""
    return result_table(context.config.queries, context.run_dir, published, timings_s)


def result_table(queries: Sequence[str], run_dir: str, published: Published, timings_s: Mapping[str, float]) -> str:
    """`final_table` for any run directory."""
    ledger = published.conservation
    law = f"{ledger.planned} = {ledger.found} found + {ledger.empty} empty + {ledger.failed} failed"
    rows = {"planned tiles": law}
    rows |= {f"  {reason}": str(count) for reason, count in ledger.reasons.items() if "/" in reason}
    rows |= {f'"{query}"': f"{count} instances" for query, count in zip(queries, published.n_instances, strict=True)}
    rows["time"] = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in timings_s.items())
    rows["results"] = run_dir
    if ledger.failed:
        rows["attention"] = f"{ledger.failed} tiles failed; see status and error in coverage.parquet, then run again with --retry-failed"
    return table(rows)


def finish(planned: PlannedRun, context: RunContext, published: Published, timings_s: Mapping[str, float]) -> RunInfo:
    """Write the closing run.json: status, counters over all starts of the run, reasons, times."""
    return close_run(RunDir(context.run_dir), context.fingerprint, published, timings_s)


def close_run(run_dir: RunDir, record_fingerprint: str, published: Published, timings_s: Mapping[str, float]) -> RunInfo:
    """`finish` for any run directory; `record_fingerprint` is that of the block records."""
    info = read_run_json(run_dir.run_json)
    ledger = published.conservation
    counters = {
        "tiles_in_lattice": info.lattice.n_tile_rows * info.lattice.n_tile_cols,
        "tiles_planned": ledger.planned,
        "tiles_found": ledger.found,
        "tiles_empty": ledger.empty,
        "tiles_failed": ledger.failed,
        **model_counters(run_dir, record_fingerprint),
        "instances": sum(published.n_instances),
    }
    closed = replace(
        info,
        status="incomplete" if ledger.failed else "complete",
        counters=counters,
        reasons=dict(ledger.reasons),
        qa=published.qa,
        timings_s={name: round(seconds, 3) for name, seconds in timings_s.items()},
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_run_json(run_dir.run_json, closed)
    return closed


def model_counters(run_dir: RunDir, fingerprint: str) -> dict[str, int]:
    """Image encodings, encoded tiles and prompter calls over all committed blocks: encodings must equal encoded tiles."""
    encodings = encoded_tiles = calls = 0
    for path in sorted(run_dir.blocks.glob("*.parquet")):
        block = read_counts(path, fingerprint)
        encodings += block.n_embeddings
        encoded_tiles += len({row.tile.tile_id for row in block.tiles if row.n_prompts})
        calls += sum(row.n_calls for row in block.tiles)
    return {"image_encodings": encodings, "tiles_with_prompts": encoded_tiles, "prompter_calls": calls}


def table(rows: Mapping[str, str]) -> str:
    """Two aligned columns."""
    width = max(len(name) for name in rows)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in rows.items())


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _crs_name(grid: RunGrid) -> str:
    if grid.crs_wkt is None:
        return "no CRS (pixel space)"
    import pyproj

    crs = pyproj.CRS.from_wkt(grid.crs_wkt)
    code = crs.to_authority(min_confidence=70)
    return f"{code[0]}:{code[1]}" if code else crs.name
