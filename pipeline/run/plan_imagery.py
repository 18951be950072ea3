"""From sources and an area to a plan whose scenes are what their headers say.

1. `find_scenes` gives scenes, of which some are known by their items alone, and `plan_tiles` chooses those
   that the area needs.
2. Catalogues are asked once more for what these tiles see around the area (`with_halo_items`).
3. `settle_scenes` opens the headers of these. The plan is made again from what they say, so it is the same
   whether items had told where their files lie or not.
4. A scene that is not what its item says keeps its place in the plan, and tiles that need it fail.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError, parted
from pipeline.grid.aoi import Aoi, aoi_from_bbox, read_aoi
from pipeline.grid.find_scenes import (
    FoundScenes,
    find_scenes,
    settle_scenes,
    several_crs,
    with_headers,
)
from pipeline.grid.gazetteer import find_place
from pipeline.grid.halo_items import with_halo_items
from pipeline.grid.kept_grid import KeptGrid
from pipeline.grid.lattice import in_crs
from pipeline.grid.paused_collector import paused_collector
from pipeline.grid.scene_bounds import lonlat_boxes, scene_bounds_lonlat
from pipeline.grid.scene_list import SceneList
from pipeline.grid.tiles import GridOptions, Plan, plan_tiles, relevant_scenes, seen_beside
from pipeline.run.config import RunConfig
from pipeline.run.earlier_start import EarlierStart
from pipeline.run.given_grid import given_grid
from pipeline.run.progress_line import ProgressLine
from pipeline.schema.imagery import Scene
from pipeline.write.scene_table import SceneRow

_WORTH_A_LINE = 16
"""Headers from which on the terminal shows how many are open."""

ONLY_IN_HALOS = "only in halos: it shows nothing of the area, and fills what tiles see around it"
"""Why a scene beside the area is looked at."""

_MOST_SHOWN = 5
"""Scenes that a note lists."""


@dataclass(frozen=True, kw_only=True)
class FoundImagery:
    """Where a run looks, and what there is to look at."""

    aoi: Aoi | None
    """None: whole scenes."""
    found: FoundScenes
    chosen: SceneList | None = None
    """Of the scenes found, those that may be looked at. None: all."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """scene_id -> why another scene is not looked at, where it is not for lying elsewhere."""

    @property
    def scenes(self) -> SceneList:
        """In order of priority."""
        return self.found.scenes if self.chosen is None else self.chosen

    def of(
        self, scenes: Sequence[Scene], aoi: Aoi | None, *, reasons: Mapping[str, str] | None = None
    ) -> FoundImagery:
        """The same search, of which these scenes are looked at in another area."""
        return replace(self, aoi=aoi, chosen=SceneList.of(scenes), reasons=reasons or {})

    def scenes_in(self, crs_wkt: str) -> SceneList:
        """Its scenes of one CRS, in the area and beside it."""
        return self.scenes.take(in_crs(self.scenes.columns, crs_wkt))

    def with_halos(self, plan: Plan) -> FoundImagery:
        """The same search, and what catalogues have for the halos of a plan. Raises as `with_halo_items`."""
        found = with_halo_items(self.found, plan.lattice, plan.inside, on_opened=_opened())
        if self.chosen is None or found is self.found:
            return replace(self, found=found)
        names = {*self.chosen.ids, *found.halo_ids}
        chosen = [number for number, name in enumerate(found.scenes.ids) if name in names]
        return replace(self, found=found, chosen=found.scenes.take(chosen))


@dataclass(frozen=True, kw_only=True)
class PlannedImagery:
    """A plan, and what was found for it."""

    plan: Plan
    rows: tuple[SceneRow, ...]
    """Every scene and item found, taken or left, for scenes.parquet."""
    searches: tuple[Mapping[str, Any], ...]
    """What was asked of catalogues."""
    notes: tuple[str, ...]


def read_area(config: RunConfig) -> Aoi | None:
    """The AOI of a run; None for whole scenes. Raises InputError."""
    area = config.area
    if area.aoi is not None:
        return read_aoi(area.aoi)
    if area.bbox is not None:
        return aoi_from_bbox(*area.bbox)
    if area.place is not None:
        assert area.gazetteer is not None, "checked by AreaOptions"
        return find_place(area.place, area.gazetteer)
    if not area.whole_scene:
        remedy = "give --aoi FILE, --bbox W S E N, --place NAME with --gazetteer FILE, or --whole-scene"
        raise InputError("a run needs a region", remedy=remedy)
    return None


def search_imagery(config: RunConfig, aoi: Aoi | None) -> FoundImagery:
    """Find scenes. Raises InputError, and SourceError (retryable) when a server does not answer.

    Where they have several CRSs the headers of all in the area are opened, because CRSs make zones, and an
    item may name a wrong one.
    """
    found = find_scenes(config.source, config.catalogs, aoi, order=config.mosaic, on_opened=_opened())
    if config.grid.crs is None and found.unread and several_crs(found):
        found = with_headers(found, relevant_scenes(found.scenes, aoi), on_opened=_opened())
    return FoundImagery(aoi=aoi, found=found)


def plan_found(
    config: RunConfig, imagery: FoundImagery, earlier: EarlierStart | None = None, *, update: bool = False
) -> PlannedImagery:
    """Plan the tiles over scenes that were found, and open the headers that the plan needs.

    `earlier`: an earlier start of the run, whose grid is kept where some scene cannot be read now or could
    not then, and with `update` always. Raises InputError and SourceError.
    """
    tiles = config.tiles
    options = GridOptions(
        tile_px=tiles.px,
        halo_px=tiles.halo_px,
        block_tiles=tiles.block_tiles,
        crs=config.grid.crs,
        resolution=config.grid.resolution,
        gsd_m=config.grid.gsd_m,
    )
    kept = given_grid(config, earlier if update else None)
    guess = replace(kept, guessed=frozenset(imagery.found.unread))
    plan = plan_tiles(imagery.aoi, imagery.scenes, options, kept=guess)
    imagery = imagery.with_halos(plan)
    found = imagery.found
    scenes = settle_scenes(found, _needed(imagery, plan, options), on_opened=_opened())
    goes_on = False
    if earlier is not None:
        scenes = SceneList.of(earlier.with_places(scenes))
        grid = kept.grid or earlier.grid_for(scenes, _asked_ground(config, imagery.aoi))
        goes_on = grid is not None
        if grid is not None:
            kept = KeptGrid(grid=grid, scene_ids=earlier.unread, binding=kept.binding)
    if found.unread or goes_on:
        plan = plan_tiles(imagery.aoi, scenes, options, halo_ids=found.halo_ids, kept=kept)
    elif found.halo_ids:
        plan = plan_tiles(imagery.aoi, imagery.scenes, options, halo_ids=found.halo_ids, kept=kept)
    return PlannedImagery(
        plan=plan,
        rows=scene_rows(
            imagery,
            plan.scenes,
            [scene.scene_id for scene, only in zip(plan.scenes, plan.only_in_halos, strict=True) if only],
        ),
        searches=found.searches,
        notes=(*found.notes, *failure_notes(plan.scenes)),
    )


def _needed(imagery: FoundImagery, plan: Plan, options: GridOptions) -> SceneList:
    """The scenes of a plan, and those of `halo_ids` that its tiles see, in order of priority."""
    scenes = imagery.scenes
    beside = np.array([name in imagery.found.halo_ids for name in scenes.ids], dtype=np.bool_)
    names = set(SceneList.of(plan.scenes).ids)
    if beside.any():
        names |= set(seen_beside(plan, scenes.take(beside), options).ids)
    return scenes.take([number for number, name in enumerate(scenes.ids) if name in names])


def area_text(aoi: Aoi | None) -> str:
    """Name the area in a fingerprint."""
    return "whole scene" if aoi is None else hashlib.sha256(aoi.geometry.wkb).hexdigest()[:32]


def _asked_ground(config: RunConfig, aoi: Aoi | None) -> dict[str, Any]:
    """The parameters of a fingerprint that the grid depends on, beside the scenes."""
    return {
        "area": area_text(aoi),
        "grid": config.grid.parameters(),
        "tiles": {key: value for key, value in asdict(config.tiles).items() if key != "max_cloud_share"},
    }


@paused_collector()
def scene_rows(
    imagery: FoundImagery, taken: Sequence[Scene], only_in_halos: Sequence[str] = ()
) -> tuple[SceneRow, ...]:
    """List the scenes that are looked at, in order of priority, then those that are not, with the reason.

    `only_in_halos`: scene_ids of those that show nothing of the area. Scenes that were searched for halos,
    and that no halo needs, stay items outside of the area.
    """
    found = imagery.found
    why = dict.fromkeys(only_in_halos, ONLY_IN_HALOS)
    names = {scene.scene_id for scene in taken} | found.halo_ids
    others = found.scenes.take([at for at, name in enumerate(found.scenes.ids) if name not in names])
    beside = {(scene.collection, scene.scene_id) for scene in taken if scene.scene_id in found.halo_ids}
    shapes = found.footprints.of([*(scene.scene_id for scene in taken), *others.ids])
    rows = [
        _row(scene, shapes[order], order=order, reason=why.get(scene.scene_id, ""))
        for order, scene in enumerate(taken)
    ]
    rows += [
        _row(scene, shape, reason=imagery.reasons.get(scene.scene_id, "shows nothing of the area's tiles"))
        for scene, shape in zip(others, shapes[len(taken) :], strict=True)
    ]
    rows += [
        SceneRow(
            scene_id=scene.item_id,
            collection=scene.collection,
            datetime=scene.datetime,
            cloud_cover=scene.cloud_cover,
            reason=scene.reason,
            footprint=scene.footprint,
        )
        for scene in found.left
        if (scene.collection, scene.item_id) not in beside
    ]
    return tuple(rows)


def failure_notes(scenes: Sequence[Scene]) -> tuple[str, ...]:
    """Say which scenes cannot be used, and what that means."""
    failed = [scene for scene in scenes if scene.failure]
    if not failed:
        return ()
    shown = [(scene.scene_id, *parted(scene.failure or "")) for scene in failed[:_MOST_SHOWN]]
    listed = "; ".join(f"{scene_id}: {reason.rstrip('.')}" for scene_id, reason, _ in shown)
    remedies = dict.fromkeys(remedy.rstrip(".") for _, _, remedy in shown if remedy)
    to_fix = f". To fix: {', or: '.join(remedies)}" if remedies else ""
    more = f"; and {len(failed) - _MOST_SHOWN} more" if len(failed) > _MOST_SHOWN else ""
    return (
        f"{len(failed)} of {len(scenes)} scenes cannot be read, and every tile that needs one fails: "
        f"{listed}{more}{to_fix}",
    )


def _row(
    scene: Scene, footprint: BaseGeometry | None, *, order: int | None = None, reason: str = ""
) -> SceneRow:
    """The row of a scene. `footprint`: its item's, where it is of one."""
    return SceneRow(
        scene_id=scene.scene_id,
        collection=scene.collection,
        datetime=scene.datetime,
        cloud_cover=scene.cloud_cover,
        href=scene.href,
        item_href=scene.item_href,
        order=order,
        reason=scene.failure or reason,
        footprint=footprint or _footprint(scene),
    )


def _footprint(scene: Scene) -> BaseGeometry | None:
    """The box around a scene in longitude and latitude. None: it is nowhere on Earth."""
    try:
        return lonlat_boxes(scene_bounds_lonlat(scene))
    except InputError:
        return None


def _opened() -> Any:
    """Shows how many headers are open, where they are many."""
    line = ProgressLine()

    def show(done: int, of: int) -> None:
        if of >= _WORTH_A_LINE:
            line("Opening headers", done / of)

    return show
