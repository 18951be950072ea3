"""LaSeRS (SegEarth-R2): long descriptions, one run-length mask per named object.

    <root>/train/annotations/train_ann.json   [{id, image_name, description, answer, mask: [RLE, ...], size: [h, w], split}]
    <root>/train/images/<image_name>

As in GeoSeg's evaluation the train split is used, the question is the description and the target is the union of all masks.
The masks of the test split are hidden behind a competition server, so it cannot be scored here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.evaluate.benchmark import Benchmark, BenchmarkImage, MaskSource, Target, Wording
from pipeline.evaluate.benchmark_files import (
    EmptyMask,
    FileIndex,
    ImageFile,
    content_hash,
    layout_error,
    read_json,
    require_complete,
    require_file,
    require_folders,
    rle_mask,
)

NAME = "lasers"
EXPECTED = "<root>/train/annotations/train_ann.json and <root>/train/images"
KEYS = ("id", "image_name", "description", "mask", "size")
SPLIT = "train"


def read_lasers(root: Path, split: str = SPLIT) -> Benchmark:
    """The train split in the order of its file. Raises InputError for another layout, a missing image, or another split."""
    if split != SPLIT:
        raise InputError(
            f"{NAME} can be scored on {SPLIT!r} alone: its test masks are hidden", came=repr(split), remedy="leave --split out"
        )
    path = require_file(NAME, EXPECTED, root / SPLIT / "annotations" / "train_ann.json")
    folder = root / SPLIT / "images"
    require_folders(NAME, EXPECTED, [folder])
    entries = read_json(path, NAME)
    if not isinstance(entries, list) or not entries:
        raise layout_error(NAME, EXPECTED, f"{path} holds no list of entries")
    files = FileIndex(folder)
    by_image: dict[str, list[Target]] = {}
    for entry in entries:
        target = _target(entry, path)
        by_image.setdefault(str(entry["image_name"]), []).append(target)
    require_complete(NAME, f"an image in {folder}", [name for name in by_image if files.find(name) is None], len(by_image))
    found = tuple(
        BenchmarkImage(image_id=Path(name).stem, pixels=ImageFile(path=str(files.find(name))), targets=tuple(targets))
        for name, targets in by_image.items()
    )
    identity = {"root": str(root), "annotations": content_hash([path.read_bytes()])}
    return Benchmark(name=NAME, split=split, images=found, questions="all", identity=identity)


def _target(entry: Any, path: Path) -> Target:
    absent = [key for key in KEYS if key not in entry] if isinstance(entry, dict) else list(KEYS)
    if absent:
        raise layout_error(NAME, f"{EXPECTED} with the keys {', '.join(KEYS)}", f"an entry of {path} without {', '.join(absent)}")
    where = f"{NAME}: entry {entry['id']!r} of {path}"
    size = entry["size"]
    mask: MaskSource
    if entry["mask"]:
        mask = rle_mask(entry["mask"], where)
    elif isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size):
        mask = EmptyMask(height=size[0], width=size[1])
    else:
        raise layout_error(NAME, f'{EXPECTED} with "size": [height, width]', f"{where} with size {size!r}")
    n_masks = len(entry["mask"]) if isinstance(entry["mask"], list) else 1
    strata = {"masks": str(n_masks) if n_masks < 5 else "5+"}
    return Target(target_id=str(entry["id"]), mask=mask, wordings=(Wording(text=str(entry["description"])),), strata=strata)
