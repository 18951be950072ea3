"""Make training data from the training split of EarthReason, on which Think2Seg-RS trains.

Each image gets one of its queries, as in the loader that the paper's authors released. That one draws without
a seed; here the draw depends on the seed and the image alone. Images and masks stay where they are: only a
table that points to them is written.
"""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.benchmark import choose_samples
from pipeline.evaluate.benchmark.readers.annotation_files import ImageFile, MaskFile
from pipeline.evaluate.benchmark.readers.earthreason import read_earthreason
from pipeline.files.atomic_file import write_bytes_atomic
from pipeline.finetune.grpo.grpo_data import TABLE

SPLIT = "train"


def write_table(root: Path, folder: Path, *, seed: int) -> Path:
    """Write the table of `root`/train into `folder` and return its path.

    Queries that no model may be asked are left out. Raises InputError: `root` is no EarthReason, or holds no
    query that may be asked.
    """
    if not root.is_dir():
        raise InputError(
            "earthreason must be a folder", came=f"{root}, which is none", remedy="write earthreason:ROOT"
        )
    lines = []
    for image in choose_samples(read_earthreason(root, SPLIT), "random", seed=seed):
        for sample in image.samples:
            if sample.refusal:
                continue
            assert isinstance(image.pixels, ImageFile)
            assert isinstance(sample.mask, MaskFile)
            places = {
                "image": str(Path(image.pixels.path).resolve()),
                "mask": str(Path(sample.mask.path).resolve()),
            }
            lines.append(json.dumps({**places, "question": sample.query}, ensure_ascii=False))
    write_bytes_atomic(folder / TABLE, "".join(line + "\n" for line in lines).encode())
    return folder
