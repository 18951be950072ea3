"""Evaluate a segmenter on held-out worlds with imprecise prompts, and on real imagery with known boxes.

    python -m pipeline.finetune.segmenter.segmenter_eval [--checkpoint FILE [--config FILE]] [--windows N]
        [--wide N] [--raster R.tif --polygons P.geojson --tile PX]

1. `world_scores` renders windows of worlds that training never sees. It prompts each object with a jittered
   box and one point, then with its exact box.
2. `wide_scores` does the same for pictures like those of training, from other worlds.
3. `known_box_scores` does the same for polygons over a raster.
4. Beside each figure stands the score of the filled box, which a useful segmenter must beat.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.finetune.segmenter.imprecise_prompts import interior_points, jittered_box, true_box
from pipeline.finetune.segmenter.training_windows import (
    FIRST_MEASURED_SEED,
    MIN_OBJECT_PX,
    PoolOptions,
    draw_window,
    draw_world,
)
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.schema.tiling import TileSpec, Window
from pipeline.segment.sam2_segmenter import Sam2Segmenter
from pipeline.segment.segmenter import Sam2Options, Segmenter
from pipeline.world.landscape import World
from pipeline.world.render import render

NOMINAL_M = 0.5
"""Ground size of a pixel at scale 1, in metres."""

PIXEL_EDGES_M = (0.15, 0.3, 0.6, 1.0, 2.01)
"""Limits of the groups of wide pictures: ground size of a pixel, in metres."""

SIZE_EDGES_PX = (16, 32, 64, 128)
"""Limits of the size classes: square root of the visible area, in pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Scores of one object."""

    group: str
    """Class name."""
    size_px: float
    """Square root of the visible area, in pixels."""
    iou: float
    box_iou: float
    """IoU of the filled prompt box."""
    exact_iou: float
    """IoU of the mask from the exact box without points."""
    exact_box_iou: float
    """IoU of the filled exact box."""


def world_scores(segmenter: Segmenter, *, n_windows: int, tile_px: int = 256, seed: int = 0) -> list[Score]:
    """Score every object of at least MIN_OBJECT_PX in `n_windows` windows.

    Each window shows another held-out world (seeds 0-999).
    """
    scores: list[Score] = []
    for index in range(n_windows):
        rng = np.random.default_rng((seed, index))
        row, col = (int(v) for v in rng.integers(-500_000, 500_000, 2))
        window = Window(row0=row, col0=col, row1=row + tile_px, col1=col + tile_px)
        rendering = render(World.from_seed(index % 1000, scale=float(rng.uniform(0.8, 1.4))), window)
        masks = []
        names = []
        for number, item in enumerate(rendering.objects, start=1):
            mask = rendering.labels == number
            if mask.sum() >= MIN_OBJECT_PX:
                masks.append(mask)
                names.append(item.class_name)
        scores += tile_scores(segmenter, rendering.rgb, masks, names, rng)
    return scores


def wide_scores(segmenter: Segmenter, *, n_windows: int, options: PoolOptions | None = None) -> list[Score]:
    """Score every object of at least MIN_OBJECT_PX in the first `n_windows` windows of a pool.

    Pictures have 0.17 to 2 m per pixel, each with its own sensor (haze, blur, noise, seasons, 16 bit, JPEG).
    They are grouped by the ground size of a pixel. `options`: None is as in training, but with worlds on
    which nothing trains (seeds from 500,000).
    """
    drawn_from = options or PoolOptions(first_seed=FIRST_MEASURED_SEED)
    scores: list[Score] = []
    for index in range(n_windows):
        _, scale, _ = draw_world(drawn_from, index)
        rgb, labels = draw_window(drawn_from, index)
        masks = [labels == number for number in range(1, int(labels.max()) + 1)]
        masks = [mask for mask in masks if mask.sum() >= MIN_OBJECT_PX]
        names = [_pixel_group(NOMINAL_M / scale)] * len(masks)
        scores += tile_scores(
            segmenter, rgb, masks, names, np.random.default_rng((drawn_from.seed, index, 1))
        )
    return scores


def _pixel_group(pixel_m: float) -> str:
    low, high = next(pair for pair in itertools.pairwise(PIXEL_EDGES_M) if pixel_m < pair[1])
    return f"{low:g} to {min(high, 2.0):g} m per px"


def tile_scores(
    segmenter: Segmenter,
    rgb: NDArray[np.uint8],
    masks: Sequence[NDArray[np.bool_]],
    names: Sequence[str],
    rng: np.random.Generator,
) -> list[Score]:
    """Score the given true masks (H, W) of one tile (H, W, 3)."""
    if not masks:
        return []
    height, width = rgb.shape[:2]
    window = Window(row0=0, col0=0, row1=height, col1=width)
    tile = TileSpec(tile_row=0, tile_col=0, core=window, read=window)
    embedding = segmenter.embed(TileImage(tile=tile, rgb=rgb, valid=np.ones((height, width), np.bool_)))
    boxes = [true_box(mask) for mask in masks]
    jittered = []
    exact = []
    for mask, box in zip(masks, boxes, strict=True):
        moved, error_px = jittered_box(box, min(height, width), rng)
        x, y = interior_points(mask, 1, error_px, rng)[0]
        jittered.append(Prompt(box_xyxy=_four(moved), points_xy=((float(x), float(y)),), point_labels=(1,)))
        exact.append(Prompt(box_xyxy=_four(box)))
    answers = {mask.prompt_index: mask for mask in segmenter.segment(embedding, [*jittered, *exact])}
    return [
        Score(
            group=name,
            size_px=float(np.sqrt(mask.sum())),
            iou=_iou(answers.get(i), mask),
            box_iou=_box_iou(jittered[i].box_xyxy or (0, 0, 0, 0), mask),
            exact_iou=_iou(answers.get(len(masks) + i), mask),
            exact_box_iou=_box_iou(_four(boxes[i]), mask),
        )
        for i, (mask, name) in enumerate(zip(masks, names, strict=True))
    ]


def known_box_scores(
    segmenter: Segmenter, raster: Path, polygons: Path, *, tile_px: int, limit: int
) -> list[Score]:
    """Score at most `limit` polygons that lie completely inside tiles of a raster.

    Raises InputError when none does.
    """
    scores: list[Score] = []
    for rgb, masks in _known_tiles(raster, polygons, tile_px):
        scores += tile_scores(
            segmenter, rgb, masks, ["polygon"] * len(masks), np.random.default_rng(len(scores))
        )
        if len(scores) >= limit:
            break
    if not scores:
        raise InputError(
            "polygons must lie inside the raster", came=f"{polygons} and {raster}", remedy="check both files"
        )
    return scores[:limit]


def _known_tiles(
    raster: Path, polygons: Path, tile_px: int
) -> Iterator[tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]]:
    import geopandas as gpd
    import rasterio
    from rasterio.features import rasterize
    from rasterio.windows import Window as RasterWindow
    from rasterio.windows import bounds
    from shapely.geometry import box

    with rasterio.open(raster) as dataset:
        shapes = gpd.read_file(polygons).to_crs(dataset.crs).geometry
        for row in range(0, dataset.height - tile_px + 1, tile_px):
            for col in range(0, dataset.width - tile_px + 1, tile_px):
                window = RasterWindow(col, row, tile_px, tile_px)
                inside = shapes[shapes.within(box(*bounds(window, dataset.transform)))]
                if len(inside) == 0:
                    continue
                transform = dataset.window_transform(window)
                masks = [
                    rasterize([shape], (tile_px, tile_px), transform=transform).astype(np.bool_)
                    for shape in inside
                ]
                rgb = np.moveaxis(dataset.read((1, 2, 3), window=window), 0, 2)
                yield np.ascontiguousarray(rgb), [mask for mask in masks if mask.sum() >= MIN_OBJECT_PX]


def _four(box: NDArray[np.float64]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(v) for v in box)
    return x0, y0, x1, y1


def _iou(answer: MaskCrop | None, truth: NDArray[np.bool_]) -> float:
    if answer is None:
        return 0.0
    rows = slice(answer.row0, answer.row0 + answer.mask.shape[0])
    cols = slice(answer.col0, answer.col0 + answer.mask.shape[1])
    common = int((truth[rows, cols] & answer.mask).sum())
    return common / (int(truth.sum()) + int(answer.mask.sum()) - common)


def _box_iou(box: tuple[float, float, float, float], truth: NDArray[np.bool_]) -> float:
    x0, y0, x1, y1 = (max(0, round(v)) for v in box)
    filled = np.zeros_like(truth)
    filled[y0:y1, x0:x1] = True
    return float((filled & truth).sum() / (filled | truth).sum())


def table(scores: Sequence[Score]) -> str:
    """Write a Markdown table of scores: all, by class, by size."""
    lines = [
        "| objects | n | IoU, jittered box + point | that box, filled | IoU >= 0.5 "
        "| IoU, exact box | that box, filled |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines.append(_line("all", scores))
    for name in sorted({score.group for score in scores}):
        lines.append(_line(name, [score for score in scores if score.group == name]))
    edges = (0, *SIZE_EDGES_PX, 10**6)
    for low, high in itertools.pairwise(edges):
        members = [score for score in scores if low <= score.size_px < high]
        lines.append(_line(f"{low} to {high} px" if high < 10**6 else f"from {low} px", members))
    return "\n".join(lines)


def _line(name: str, scores: Sequence[Score]) -> str:
    if not scores:
        return f"| {name} | 0 | | | | | |"
    found = [float(score.iou >= 0.5) for score in scores]
    exact = [score.exact_iou for score in scores], [score.exact_box_iou for score in scores]
    columns = ([score.iou for score in scores], [score.box_iou for score in scores], found, *exact)
    return f"| {name} | {len(scores)} | " + " | ".join(f"{np.mean(column):.3f}" for column in columns) + " |"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line of the module's docstring, and print the tables."""
    parser = argparse.ArgumentParser(
        description="Score a SAM2 checkpoint on held-out procedural worlds, and on known polygons."
    )
    parser.add_argument(
        "--checkpoint", default="", help="a .safetensors or .pt file; default: the embedded segmenter"
    )
    text = (
        "YAML of the checkpoint's architecture; default: config.yaml beside it, "
        "or the package's own for a hub id"
    )
    parser.add_argument("--config", default="", help=text)
    parser.add_argument(
        "--windows", type=int, default=200, help="windows of held-out worlds (default 200; 0 = none)"
    )
    parser.add_argument(
        "--wide",
        type=int,
        default=0,
        metavar="N",
        help="pictures of other scales and sensors, N windows (default none)",
    )
    parser.add_argument("--raster", type=Path, help="real imagery, with --polygons")
    parser.add_argument(
        "--tile", type=int, default=512, help="side of the tiles cut from --raster, px (default 512)"
    )
    parser.add_argument("--polygons", type=Path, help="vector file of objects in --raster")
    args = parser.parse_args(argv)
    segmenter = Sam2Segmenter(Sam2Options(checkpoint=args.checkpoint, config=args.config))
    if args.windows:
        sys.stdout.write(table(world_scores(segmenter, n_windows=args.windows)) + "\n")
    if args.wide:
        sys.stdout.write(table(wide_scores(segmenter, n_windows=args.wide)) + "\n")
    if args.raster and args.polygons:
        sys.stdout.write(
            table(known_box_scores(segmenter, args.raster, args.polygons, tile_px=args.tile, limit=400))
            + "\n"
        )


if __name__ == "__main__":
    main()
