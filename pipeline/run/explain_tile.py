"""What one tile is made of: its scenes in order, and what each of them gives to it.

1. `explain_plan` plans a run, and `explain_run` takes the plan of one that is there. Where scenes have
   several CRSs, rows and columns count in the zone that is named.
2. `shares_of` reads the tile from each of its scenes alone, and then from all of them as a run does.
3. `tile_text` tells it as a table, with what became of the tile where the run is finished.

A scene that cannot be read now is told as that: what it gives to the tile is then not known. Nothing is
written, and no model is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.files.store.stored_files import read_parquet
from pipeline.load.prepare_scenes import SceneSource, prepare_scenes
from pipeline.load.reader import CogReader
from pipeline.load.unjudged import percent
from pipeline.run.config import RunConfig
from pipeline.run.plan_imagery import plan_found, read_area, search_imagery
from pipeline.run.scenes_again import PlacedScenes, scenes_again
from pipeline.run.zones.kept_zones import taken_zones, zone_grid
from pipeline.run.zones.zone_flow import divided, is_zoned
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import BlockSpec, TileLattice, TileSpec
from pipeline.write.plan_table import read_inside
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import finished_run
from pipeline.write.run_json import read_run_json
from pipeline.write.zoned.zoned_json import ZonedInfo, read_any_run


@dataclass(frozen=True, kw_only=True)
class PlannedTile:
    """A tile, and the scenes that can show a part of it."""

    tile: TileSpec
    lattice: TileLattice
    inside: bool
    """Whether the run looks at it."""
    mosaic: str
    """What --mosaic says."""
    near: PlacedScenes


@dataclass(frozen=True, kw_only=True)
class SceneShare:
    """What a scene gives to a tile, as shares of the pixels that the tile reads."""

    scene: Scene
    covers: float
    """Pixels that lie on the scene."""
    imagery: float
    """Pixels of which it has imagery that shows the ground."""
    hidden: float
    """Pixels of which its mask hides the ground."""
    fills: float
    """Pixels that the tile takes from it."""
    problem: str = ""
    """Why it cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What was told of a tile."""

    text: str
    readable: bool
    """Whether all of its scenes could be read."""


def explain_plan(config: RunConfig, place: tuple[int, int], *, zone: str | None = None) -> Explanation:
    """Plan a run, and tell what the tile in row and column `place` would be made of. `zone`: where the run
    has several.

    Raises InputError and SourceError.
    """
    found = search_imagery(config, read_area(config))
    kept = taken_zones(config.grid)
    zones = divided(config, found, kept=kept, say=lambda _: None)
    if is_zoned(config, zones, kept):
        chosen = zones[_place_of(zone, [each.name for each in zones])]
        found = found.of(chosen.scenes, chosen.area)
        config = replace(config, grid=zone_grid(config.grid, chosen, kept))
    else:
        _require_none(zone)
        found = found.of(zones[0].scenes, found.aoi) if zones else found
    plan = plan_found(config, found).plan
    placed = PlacedScenes(
        scenes=tuple(plan.scenes), offsets=plan.offsets, windows=plan.scene_windows, load=config.load
    )
    return _told(*_read(plan.lattice, place, plan.inside, str(config.mosaic), placed))


def explain_run(run_dir: RunDir, place: tuple[int, int], *, zone: str | None = None) -> Explanation:
    """Tell what a tile of a run is made of, and what became of it. `zone`: where the run has several.

    Raises InputError and SourceError.
    """
    whole = read_any_run(run_dir.run_json)
    if isinstance(whole, ZonedInfo):
        chosen = whole.zones[_place_of(zone, [each.name for each in whole.zones])]
        run_dir = finished_run(run_dir.path / chosen.path)
    else:
        _require_none(zone)
    info = read_run_json(run_dir.run_json)
    inside = read_inside(run_dir.plan, info.lattice)
    mosaic = str(info.settings.get("mosaic", "first"))
    read = _read(info.lattice, place, inside, mosaic, scenes_again(info))
    told = _told(*read)
    return replace(told, text="\n".join([told.text, *_outcome(run_dir, read[0].tile)]))


def _place_of(zone: str | None, names: Sequence[str]) -> int:
    """Find the zone that is named. Raises InputError."""
    if zone in names:
        return names.index(zone)
    raise InputError(
        "--explain-tile needs the zone whose row and column are meant: the scenes have several CRSs",
        came="none" if zone is None else f"--zone {zone}",
        remedy=f"add --zone with one of {', '.join(names)}; plan.parquet and coverage.parquet have it in the "
        "column zone",
    )


def _require_none(zone: str | None) -> None:
    if zone is not None:
        raise InputError(
            "--zone names one of several zones",
            came=f"--zone {zone}, but there is one grid",
            remedy="drop it",
        )


def _told(planned: PlannedTile, shares: Sequence[SceneShare], nothing: float) -> Explanation:
    readable = not any(share.problem for share in shares)
    return Explanation(text=tile_text(planned, shares, nothing), readable=readable)


def _read(
    lattice: TileLattice, place: tuple[int, int], inside: NDArray[np.bool_], mosaic: str, placed: PlacedScenes
) -> tuple[PlannedTile, tuple[SceneShare, ...], float]:
    """Find a tile and its scenes, and read it. Raises InputError for a place that is none."""
    try:
        tile = lattice.tile(*place)
    except IndexError as error:
        raise InputError(
            "--explain-tile must name a tile of the plan by its row and column, counted from 0",
            came=f"{place[0]} {place[1]}",
            remedy=f"the plan has {lattice.n_tile_rows} rows and {lattice.n_tile_cols} columns; plan.parquet "
            "and coverage.parquet list them as tile_row and tile_col",
        ) from error
    near = [number for number, window in enumerate(placed.windows) if window.intersect(tile.read) is not None]
    planned = PlannedTile(
        tile=tile,
        lattice=lattice,
        inside=bool(inside[place]),
        mosaic=mosaic,
        near=PlacedScenes(
            scenes=tuple(placed.scenes[number] for number in near),
            offsets=tuple(placed.offsets[number] for number in near),
            windows=tuple(placed.windows[number] for number in near),
            load=placed.load,
        ),
    )
    return planned, *shares_of(planned)


def shares_of(planned: PlannedTile) -> tuple[tuple[SceneShare, ...], float]:
    """Read a tile from its scenes; returns what each gives, and the share that none shows."""
    near = planned.near
    sources = prepare_scenes(near.scenes, near.load, offsets=near.offsets, windows=near.windows)
    block = _alone(planned)
    n_px = block.read.area_px
    whole = CogReader(sources, planned.lattice.grid, options=planned.near.load).read(block)
    filled = np.zeros(len(sources), dtype=np.int64)
    if whole.scenes.image is not None:
        for rank, number in enumerate(whole.scenes.numbers, start=1):
            filled[number] = np.count_nonzero(whole.scenes.image == rank)
    elif whole.scenes.numbers:
        filled[whole.scenes.numbers[0]] = np.count_nonzero(whole.valid)
    shares = tuple(
        _share(source, block, planned, fills=int(count) / n_px)
        for source, count in zip(sources, filled.tolist(), strict=True)
    )
    return shares, 1.0 - float(np.count_nonzero(whole.valid)) / n_px


def _share(source: SceneSource, block: BlockSpec, planned: PlannedTile, *, fills: float) -> SceneShare:
    alone = CogReader([source], planned.lattice.grid, options=planned.near.load).read(block)
    covered = block.read.intersect(source.window)
    return SceneShare(
        scene=source.scene,
        covers=0.0 if covered is None else covered.area_px / block.read.area_px,
        imagery=float(alone.valid.mean()),
        hidden=0.0 if alone.hidden is None else float(alone.hidden.mean()),
        fills=fills,
        problem=next(iter(alone.unreadable.values()), ""),
    )


def _alone(planned: PlannedTile) -> BlockSpec:
    """A block that holds this tile and no other."""
    tile = planned.tile
    k = planned.lattice.block_tiles
    row = tile.tile_row // k
    col = tile.tile_col // k
    core = planned.lattice.block_core(row, col)
    return BlockSpec(block_row=row, block_col=col, core=core, read=tile.read, tiles=(tile,))


def tile_text(planned: PlannedTile, shares: Sequence[SceneShare], nothing: float) -> str:
    """Tell it in a table, one scene a line, in order of priority. `nothing`: share that no scene shows."""
    read = planned.tile.read
    lines = [
        f"tile {planned.tile.tile_id} reads {read.width} x {read.height} px, rows {read.row0} to {read.row1} "
        f"and columns {read.col0} to {read.col1} of the run grid",
    ]
    if not planned.inside:
        lines.append("it lies outside the area or every scene, and is not looked at")
    rows: list[tuple[str, ...]] = [("scene", "date", "clouds", "covers", "imagery", "masked", "fills")]
    for share in shares:
        scene = share.scene
        taken = scene.datetime[:10] if scene.datetime else "unknown"
        clouds = "unknown" if scene.cloud_cover is None else percent(scene.cloud_cover / 100)
        parts = [percent(part) for part in (share.imagery, share.hidden, share.fills)]
        if share.problem:
            parts = ["unreadable"] * 3
        rows.append((scene.scene_id, taken, clouds, percent(share.covers), *parts))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines += [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    problems = [(share.scene.scene_id, share.problem) for share in shares if share.problem]
    shown = "not all of its scenes can be read now, so what is shown by none of them is not known"
    if not problems:
        shown = f"{percent(nothing)} of it is shown by no scene"
    lines.append(f"{shown}; order of the mosaic: {planned.mosaic}")
    lines += [f"note: {name}: {text.removeprefix(f'{name}: ')}" for name, text in problems]
    return "\n".join(lines)


def _outcome(run_dir: RunDir, tile: TileSpec) -> tuple[str, ...]:
    """What the ledger of a finished run says of a tile, one line per query. Empty: there is none yet."""
    if not run_dir.coverage.is_file():
        return ()
    columns = ["query", "status", "reason", "error"]
    try:
        table = read_parquet(run_dir.coverage, columns, filters=[("tile_id", "=", tile.tile_id)])
    except (OSError, pa.ArrowException, KeyError) as error:
        raise InputError(
            f"{run_dir.coverage} must be a readable ledger", came=str(error), remedy="merge the run again"
        ) from error
    return tuple(
        f'"{row["query"]}": {row["status"]}'
        + (f" ({row['reason']})" if row["reason"] else "")
        + (f": {row['error']}" if row["error"] else "")
        for row in table.to_pylist()
    )
