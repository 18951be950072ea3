"""LaSeRS (SegEarth-R2): long descriptions, one run-length mask per named object.

    <root>/train/annotations/train_ann.json
        [{id, image_name, description, answer, mask: [RLE, ...], size: [h, w], split}]
    <root>/train/images/<image_name>

As in GeoSeg's evaluation, the train split is scored, the query is the description, and the target is the
union of all masks. `_chosen` leaves out entries without truth and those of another split. The results say how
many, and how many targets are empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.benchmark import Benchmark, BenchmarkImage, MaskSource, Target, Wording
from pipeline.evaluate.benchmark.readers.annotation_files import (
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
KEYS = ("id", "image_name", "description")
SPLIT = "train"
OBJECT = "[SEG]"


def read_lasers(root: Path, split: str = SPLIT) -> Benchmark:
    """Read the train split in the order of its file, grouped by image file.

    Raises InputError for another layout, a missing image, or another split.
    """
    if split != SPLIT:
        raise InputError(
            f"{NAME} can be scored on {SPLIT!r} alone: its test masks are hidden",
            came=repr(split),
            remedy="leave --split out",
        )
    path = require_file(NAME, EXPECTED, root / SPLIT / "annotations" / "train_ann.json")
    folder = root / SPLIT / "images"
    require_folders(NAME, EXPECTED, [folder])
    entries, left_out = _chosen(path)
    files = FileIndex(folder)
    names = list(dict.fromkeys(str(entry["image_name"]) for entry in entries))
    require_complete(
        NAME, f"an image in {folder}", [name for name in names if files.find(name) is None], len(names)
    )
    by_image: dict[Path, list[Target]] = {}
    for entry in entries:
        if image := files.find(str(entry["image_name"])):
            by_image.setdefault(image, []).append(_target(entry, path, image))
    found = tuple(
        BenchmarkImage(image_id=image.name, pixels=ImageFile(path=str(image)), targets=tuple(targets))
        for image, targets in by_image.items()
    )
    identity = {"root": str(root), "annotations": content_hash([path.read_bytes()])}
    notes = [f"{count} entries {why} were left out" for why, count in sorted(left_out.items())]
    if n_empty := sum(1 for entry in entries if not entry.get("mask")):
        notes.append(f"{n_empty} entries without masks, whose answer names no object, count as empty targets")
    return Benchmark(
        name=NAME, split=split, images=found, queries="all", identity=identity, notes=tuple(notes)
    )


def _chosen(path: Path) -> tuple[list[Mapping[str, object]], Counter[str]]:
    """Choose the entries to score, and count those left out by reason. Raises InputError if none is left.

    An answer has one [SEG] per object, and there is one mask per [SEG]. So an entry without masks and without
    [SEG] asks for something that is not there. GeoSeg leaves it out; here it is an empty target. An entry
    without masks whose answer has a [SEG], or that has no answer, lacks its truth and is left out.
    """
    entries = read_json(path, NAME)
    if not isinstance(entries, list) or not entries:
        raise layout_error(NAME, EXPECTED, f"{path} holds no list of entries")
    kept: list[Mapping[str, object]] = []
    left_out = Counter[str]()
    for entry in entries:
        absent = [key for key in KEYS if key not in entry] if isinstance(entry, dict) else list(KEYS)
        if absent:
            raise layout_error(
                NAME,
                f"{EXPECTED} with the keys {', '.join(KEYS)}",
                f"an entry of {path} without {', '.join(absent)}",
            )
        if entry.get("split", SPLIT) != SPLIT:
            left_out["of another split"] += 1
        elif not entry.get("mask") and OBJECT in str(entry.get("answer") or OBJECT):
            left_out["without the masks of their answer"] += 1
        else:
            kept.append(entry)
    if not kept:
        came = ", ".join(f"{count} {why}" for why, count in sorted(left_out.items()))
        raise InputError(
            f"{NAME}: {path} must hold entries of {SPLIT!r} with masks",
            came=came,
            remedy="fetch the train split",
        )
    return kept, left_out


def _target(entry: Mapping[str, object], path: Path, image: Path) -> Target:
    where = f"{NAME}: entry {entry['id']!r} of {path}"
    masks = entry.get("mask") or []
    mask: MaskSource = rle_mask(masks, where) if masks else _empty(entry.get("size"), where, image)
    n_masks = len(masks) if isinstance(masks, Sequence) else 1
    strata = {"masks": str(n_masks) if n_masks < 5 else "5+"}
    return Target(
        target_id=str(entry["id"]),
        mask=mask,
        wordings=(Wording(text=str(entry["description"])),),
        strata=strata,
    )


def _empty(size: object, where: str, image: Path) -> EmptyMask:
    """Make an empty mask of the size that the entry states, or else of its image. Raises InputError."""
    if size is None:
        height, width = ImageFile(path=str(image)).size_hw()
        return EmptyMask(height=height, width=width)
    if isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size):
        return EmptyMask(height=size[0], width=size[1])
    raise layout_error(NAME, f'{EXPECTED} with "size": [height, width]', f"{where} with size {size!r}")
