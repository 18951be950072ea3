"""Train the classifier of a run with --examples, before its first block.

1. Each mark belongs to the tile that owns its middle. `_samples` reads these tiles, encodes each once, and
   draws what is marked: a point as it is, an outline as its box and two points inside.
2. Where the mask of an outline has little to do with it (`MIN_OUTLINE_IOU`), the outline itself is the mask.
3. Masks become features (`mask_features`), and `fit_ranker` learns yes from no.
4. `ranker_of` keeps the classifier in examples/ of the run directory. A start that finds one of the same
   marks and models takes it: an encoding by a GPU cannot be repeated to the bit, and blocks of one run are
   judged by one classifier.

The driver does this in its own process, with the run's segmenter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import rasterio.features
import shapely
from numpy.typing import NDArray

from pipeline.errors import InputError, ModelError
from pipeline.run.block_inputs import shared_fingerprint
from pipeline.run.examples.examples_page import curve_svg, curve_text, marks_geojson
from pipeline.run.examples.marks import Mark, PlacedMarks, read_marks
from pipeline.run.infer.read_step import ReadStep
from pipeline.run.infer.shared_models import SharedModels
from pipeline.run.infer.step_rules import ViewMasks
from pipeline.run.infer.steps import RunContext
from pipeline.run.screen import Say
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.schema.tiling import BlockSpec, TileSpec
from pipeline.segment.mask_ranker import MIN_MARKS, MaskRanker, fit_ranker
from pipeline.segment.tensors import trimmed
from pipeline.write.run_dir import RunDir

MIN_OUTLINE_IOU = 0.5
"""IoU of a mask and the marked outline that it was drawn for, below which the outline counts."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sample:
    """A marked mask in numbers."""

    mark: Mark
    features: NDArray[np.float64]


def with_ranker(context: RunContext, parameters: Mapping[str, Any], say: Say) -> RunContext:
    """Give a run its classifier, where it has examples: the one that is kept, or a new one.

    `parameters`: of the run's fingerprint. Raises InputError where too few marks lie on imagery, and
    ModelError when a model does not load.
    """
    if not context.config.preset.examples.on:
        return context
    return replace(context, ranker=ranker_of(context, shared_fingerprint(parameters), say))


def ranker_of(context: RunContext, key: str, say: Say) -> MaskRanker:
    """The classifier of a run. `key`: of what it follows from."""
    folder = RunDir(context.run_dir).examples
    kept = folder / "ranker.json"
    if kept.is_file():
        try:
            content = json.loads(kept.read_text())
            if content["key"] == key:
                return MaskRanker.from_dict(content)
        except (ValueError, KeyError, TypeError):
            say(f"note: {kept} is damaged, and is made again")
    marks = read_marks(context.config.preset.examples.marks, context.lattice.grid)
    n_tiles = len({mark.tile(context.lattice) for mark in marks.marks})
    say(f"Learning from {len(marks.marks)} marks in {n_tiles} {'tile' if n_tiles == 1 else 'tiles'}")
    samples, notes = _samples(context, marks)
    for note in notes:
        say(f"note: {note}")
    yes = np.array([sample.mark.yes for sample in samples], dtype=np.bool_)
    if min(int(yes.sum()), int((~yes).sum())) < MIN_MARKS:
        raise InputError(
            f"--examples needs at least {MIN_MARKS} marks of each kind on imagery",
            came=f"{int(yes.sum())} yes and {int((~yes).sum())} no that could be drawn",
            remedy="mark other places, or more",
        )
    ranker, left_out = fit_ranker(np.stack([sample.features for sample in samples]), yes)
    say(curve_text(left_out, yes, context.config.preset.examples.threshold))
    (folder / "marks.geojson").write_bytes(
        marks_geojson([sample.mark for sample in samples], left_out, context.lattice.grid).encode()
    )
    (folder / "precision_recall.svg").write_bytes(curve_svg(left_out, yes).encode())
    # last: its presence says that the others are there
    kept.write_bytes(json.dumps({"key": key, **ranker.to_dict()}).encode())
    return ranker


def _samples(context: RunContext, marks: PlacedMarks) -> tuple[list[_Sample], list[str]]:
    """Draw what is marked and describe it, in the order of the file; and what could not be drawn, and why."""
    by_tile: dict[tuple[int, int], list[Mark]] = {}
    for mark in marks.marks:
        by_tile.setdefault(mark.tile(context.lattice), []).append(mark)
    found: list[_Sample] = []
    missed: list[Mark] = []
    reader = ReadStep(context)
    with closing(SharedModels()) as models:
        segmenter = models.segmenter(context.config, context.lattice)
        for (row, col), here in sorted(by_tile.items()):
            tile = context.lattice.tile(row, col)
            image = reader.read(_alone(tile, context.lattice.block_tiles))
            view_masks = ViewMasks(segmenter, image.tile_image(tile))
            for mark in here:
                mask = None if image.unreadable else _mask(view_masks, marks, mark, tile)
                if mask is None:
                    missed.append(mark)
                    continue
                found.append(_Sample(mark=mark, features=view_masks.described([mask])[0]))
    context.journal.reset()
    found.sort(key=lambda sample: sample.mark.index)
    return found, _notes(missed)


def _notes(missed: Sequence[Mark]) -> list[str]:
    if not missed:
        return []
    names = ", ".join(mark.location.feature_id for mark in missed[:5])
    more = ", ..." if len(missed) > 5 else ""
    what = "1 mark is" if len(missed) == 1 else f"{len(missed)} marks are"
    return [f"{what} left out, where nothing could be drawn: feature {names}{more}"]


def _alone(tile: TileSpec, block_tiles: int) -> BlockSpec:
    return BlockSpec(
        block_row=tile.tile_row // block_tiles,
        block_col=tile.tile_col // block_tiles,
        core=tile.core,
        read=tile.read,
        tiles=(tile,),
    )


def _mask(view_masks: ViewMasks, marks: PlacedMarks, mark: Mark, tile: TileSpec) -> MaskCrop | None:
    """The mask of what is marked. None: there is no imagery, or too little to be seen. Raises ModelError."""
    prompt = marks.places.prompt_of(mark.index, tile.read)
    if prompt is None or not view_masks.sees(_middle(mark, tile)):
        return None
    drawn, error = view_masks.draw([prompt])
    if error:
        raise ModelError(f"the segmenter failed at a mark: {error}")
    outline = _outline(mark, prompt, tile, view_masks)
    best = drawn[0] if drawn else None
    if outline is None or (best is not None and _iou(best, outline, tile) >= MIN_OUTLINE_IOU):
        return best
    return outline


def _middle(mark: Mark, tile: TileSpec) -> tuple[int, int]:
    """Row and column of its middle in the tile's read window."""
    point = mark.location.geometry.representative_point()
    return int(point.y) - tile.read.row0, int(point.x) - tile.read.col0


def _outline(mark: Mark, prompt: Prompt, tile: TileSpec, view_masks: ViewMasks) -> MaskCrop | None:
    """A marked outline as a mask of the tile. None: it is a point, or has no valid pixel."""
    if prompt.box_xyxy is None:
        return None
    shape = shapely.transform(mark.location.geometry, lambda xy: xy - (tile.read.col0, tile.read.row0))
    drawn = rasterio.features.rasterize([shape], out_shape=tile.read.shape, dtype="uint8") > 0
    crop = trimmed(drawn & view_masks.valid, 0, 0)
    if crop is None:
        return None
    return MaskCrop(row0=crop.row0, col0=crop.col0, mask=crop.mask, score=1.0, prompt_index=0)


def _iou(a: MaskCrop, b: MaskCrop, tile: TileSpec) -> float:
    planes = np.zeros((2, *tile.read.shape), dtype=np.bool_)
    for plane, mask in zip(planes, (a, b), strict=True):
        height, width = mask.mask.shape
        plane[mask.row0 : mask.row0 + height, mask.col0 : mask.col0 + width] = mask.mask
    return float((planes[0] & planes[1]).sum() / (planes[0] | planes[1]).sum())
