"""Data of the GRPO experiment: procedural worlds in the layout of `pipeline.finetune.grpo.grpo_data`.

1. `training_data` draws tiles of worlds from seed 300,000 on. It keeps queries without a target, and those
   whose target has at most `most_pieces` pieces, so that replies stay short enough for a CPU.
   `first_queries` takes the first of them, where a selection cannot ask all.
2. `heldout_data` writes the samples of `jobs/evaluate.py --benchmark world:SEED:SIZE` for seeds below 1,000:
   unseen worlds, in wordings that no training saw.
3. `seen_data` draws tiles of worlds from seed 400,000 on: unseen worlds, in the wordings of training.

Every folder is named after what is in it and written once. A folder that has its table is complete.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cc3d
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.evaluate.benchmark.benchmark import choose_samples, read_image, read_mask
from pipeline.evaluate.benchmark.open_benchmark import ReadOptions, open_benchmark
from pipeline.files.atomic_file import write_bytes_atomic
from pipeline.finetune.grpo.grpo_data import TABLE
from pipeline.finetune.grpo.world_data import FIRST_GRPO_SEED, FIRST_MEASURE_SEED, render_worlds


def training_data(root: Path, *, n_tiles: int, most_pieces: int) -> Path:
    """Write the queries whose target has at most `most_pieces` 8-connected pieces; returns their folder. All
    drawn tiles lie in a folder beside it.
    """
    drawn = root / f"training-{n_tiles}"
    folder = root / f"training-{n_tiles}-{most_pieces}"
    kept = []
    render_worlds(drawn, n_tiles=n_tiles, first_seed=FIRST_GRPO_SEED)
    if (folder / TABLE).is_file():
        return folder
    for line in (drawn / TABLE).read_text().splitlines():
        row = json.loads(line)
        if (
            row["mask"] is not None
            and pieces_of(np.asarray(Image.open(drawn / row["mask"])) > 0) > most_pieces
        ):
            continue
        paths = {key: row[key] and f"../{drawn.name}/{row[key]}" for key in ("image", "mask")}
        kept.append(json.dumps({**row, **paths}))
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(folder / TABLE, ("\n".join(kept) + "\n").encode())
    return folder


def first_queries(folder: Path, count: int) -> Path:
    """Write the first `count` queries of `folder` into a folder beside it; returns that folder."""
    first = folder.with_name(f"{folder.name}-first-{count}")
    # The paths in the table lead out of the folder, so they hold in the new one too.
    lines = (folder / TABLE).read_text().splitlines(keepends=True)[:count]
    write_bytes_atomic(first / TABLE, "".join(lines).encode())
    return first


def pieces_of(mask: NDArray[np.bool_]) -> int:
    """Number of 8-connected pieces of a mask (H, W)."""
    return int(cc3d.connected_components(np.ascontiguousarray(mask.astype(np.uint8)), connectivity=8).max())


def heldout_data(root: Path, *, seeds: Sequence[int], size_px: int = 1024) -> Path:
    """Write the samples of the world benchmarks of `seeds`, with the first wording of each target."""
    folder = root / f"heldout-{'-'.join(map(str, seeds))}"
    if (folder / TABLE).is_file():
        return folder
    rows = []
    for seed in seeds:
        for image in choose_samples(open_benchmark(f"world:{seed}:{size_px}", ReadOptions()), "first"):
            rgb = read_image(image.pixels, None)
            place = f"images/{seed}-{image.image_id}.png"
            _write(folder / place, rgb)
            for sample in image.samples:
                mask = read_mask(sample.mask, rgb.shape[:2])
                mask_place = f"masks/{seed}-{sample.sample_id.replace('#', '-')}.png" if mask.any() else None
                if mask_place:
                    _write(folder / mask_place, mask.astype(np.uint8) * 255)
                rows.append(json.dumps({"image": place, "mask": mask_place, "question": sample.query}))
    write_bytes_atomic(folder / TABLE, ("\n".join(rows) + "\n").encode())
    return folder


def seen_data(root: Path, *, n_tiles: int) -> Path:
    """Write one query for each tile of worlds that nothing is trained on."""
    folder = root / f"seen-{n_tiles}"
    render_worlds(folder, n_tiles=n_tiles, first_seed=FIRST_MEASURE_SEED)
    return folder


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
