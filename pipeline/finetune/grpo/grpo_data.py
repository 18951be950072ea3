"""Read the training data of a prompter: a folder of images, masks and queries.

    questions.jsonl       one JSON object per line: "image", "mask", "question"; optional "thought"
    images/*.png|jpg|tif  8 bits per channel; grey is repeated over three channels, alpha is dropped
    masks/*.png           same size, above 0 = target, alpha ignored; "mask": null = the target is not there

1. `read_samples` reads the table and every file's header.
2. `check_pixels` decodes every file once, before a model is loaded.
3. `TrainingSample` decodes its files when they are used.
4. `as_dataset` makes the rows for TRL.

Paths are relative to the folder, or absolute. `world_data` and `earthreason_data` write such tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError, SourceError
from pipeline.evaluate.benchmark.readers.annotation_files import ImageFile, decode_picture, picture_size
from pipeline.prompt.profile import Profile, Resampling
from pipeline.prompt.query import check_query
from pipeline.prompt.template import chat_messages, squash

if TYPE_CHECKING:
    from datasets import Dataset

TABLE = "questions.jsonl"

DECODING_THREADS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSample:
    """One query about one image, and the mask that answers it."""

    image: Path
    mask: Path | None
    """Path of the mask. None: the target is not there."""
    query: str
    """Normalised by `check_query`."""
    thought: str = ""
    """Text between the think tags of a taught reply. Empty: a sentence is made from the query. Only the warm
    start reads it.
    """

    def rgb(
        self, size_wh: tuple[int, int] | None = None, resampling: Resampling = "lanczos"
    ) -> NDArray[np.uint8]:
        """Read the image (H, W, 3), squashed to (width, height) if given.

        Think2Seg-RS squashes image and mask to 840 x 840. Raises SourceError when the file does not decode.
        """
        from PIL import Image

        whole = ImageFile(path=str(self.image)).read()
        if size_wh is None or whole.shape[1::-1] == size_wh:
            return whole
        return np.array(
            Image.fromarray(whole).resize(size_wh, Image.Resampling[resampling.upper()]), np.uint8
        )

    def truth(self, shape_hw: tuple[int, int]) -> NDArray[np.bool_]:
        """Read the mask, True = target, resized to `shape_hw` (H, W) by nearest neighbour if needed.

        Raises SourceError when the file does not decode, or when its colours disagree about the target.
        """
        from PIL import Image

        if self.mask is None:
            return np.zeros(shape_hw, np.bool_)
        target = read_target(self.mask)
        if target.shape != shape_hw:
            small = Image.fromarray(target.astype(np.uint8)).resize(shape_hw[::-1], Image.Resampling.NEAREST)
            target = np.asarray(small) > 0
        return np.asarray(target, np.bool_)


def read_target(path: Path) -> NDArray[np.bool_]:
    """Read a mask file (H, W), True = target. Raises SourceError as `TrainingSample.truth` does.

    The evaluation reads a mask's first channel, as the data sets define it. If the colours disagree, training
    and evaluation could see different targets, so such a mask is refused.
    """
    values = decode_picture(str(path))
    if values.ndim == 2:
        return np.asarray(values > 0, np.bool_)
    colours = values[..., : 1 if values.shape[-1] == 2 else 3] > 0
    target = np.ascontiguousarray(colours[..., 0])
    if (colours != target[..., None]).any():
        raise SourceError(
            "a mask must be 0 beside its target in every colour and above 0 inside, the colours of "
            f"{path} disagree"
        )
    return target


def read_samples(folder: Path) -> tuple[TrainingSample, ...]:
    """Read all samples of a folder, in the table's order.

    Raises InputError, which names the line, for a malformed line, a file without a readable header, or a mask
    that differs in size from its image.
    """
    table = folder / TABLE
    if not table.is_file():
        remedy = "name a folder of images, masks and queries, or world:SEED (see --help)"
        raise InputError(
            f"training data must be a folder with {TABLE}", came=f"{folder} without it", remedy=remedy
        )
    lines = [
        (number, line)
        for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), 1)
        if line.strip()
    ]
    if not lines:
        raise InputError(
            "training data must hold a query", came=f"an empty {table}", remedy="add lines to it"
        )
    sizes: dict[Path, tuple[int, int]] = {}
    return tuple(_sample(folder, line, f"{table}, line {number}", sizes) for number, line in lines)


def _sample(folder: Path, line: str, where: str, sizes: dict[Path, tuple[int, int]]) -> TrainingSample:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(
            f"{where} must be one JSON object", came=str(error), remedy="correct the line"
        ) from error
    known = {"image", "mask", "question", "thought"}
    if not isinstance(row, Mapping) or not {"image", "mask", "question"} <= row.keys() <= known:
        came = f"keys {sorted(row)}" if isinstance(row, Mapping) else type(row).__name__
        raise InputError(
            f"{where} must have the keys image, mask, question and may have thought",
            came=came,
            remedy="correct the line",
        )
    wrong = [
        key
        for key, value in row.items()
        if not isinstance(value, str) and not (key == "mask" and value is None)
    ]
    if wrong:
        raise InputError(
            f"{where}: {wrong[0]} must be text", came=repr(row[wrong[0]]), remedy="correct the line"
        )
    image = folder / row["image"]
    mask = None if row["mask"] is None else folder / row["mask"]
    if mask is not None and _size(mask, where, sizes) != _size(image, where, sizes):
        came = f"{sizes[image][0]} x {sizes[image][1]} px and {sizes[mask][0]} x {sizes[mask][1]} px"
        raise InputError(
            f"{where}: image and mask must be of one size",
            came=came,
            remedy="cut both alike, or drop the line",
        )
    _size(image, where, sizes)
    return TrainingSample(
        image=image, mask=mask, query=_query(row["question"], where), thought=row.get("thought", "")
    )


def _query(text: str, where: str) -> str:
    try:
        return check_query(text)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _size(path: Path, where: str, sizes: dict[Path, tuple[int, int]]) -> tuple[int, int]:
    """Read (width, height) from the header, and remember it in `sizes`."""
    if path not in sizes:
        try:
            height, width = picture_size(str(path))
        except SourceError as error:
            raise InputError(
                f"{where} must name readable images", came=str(error), remedy="correct the path or the file"
            ) from error
        sizes[path] = width, height
    return sizes[path]


def check_pixels(samples: Sequence[TrainingSample]) -> None:
    """Decode every image and every mask once.

    Raises InputError, which names the first file that a training could not read: cut off, deeper than 8 bits,
    or a mask whose colours disagree.
    """
    readers: dict[Path, Callable[[], object]] = {}
    for sample in samples:
        readers[sample.image] = ImageFile(path=str(sample.image)).read
        if sample.mask is not None:
            readers[sample.mask] = partial(read_target, sample.mask)

    def fault(read: Callable[[], object]) -> str:
        try:
            read()
        except SourceError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(DECODING_THREADS) as pool:
        faults = [said for said in pool.map(fault, readers.values()) if said]
    if faults:
        came = f"{len(faults)} of {len(readers)} files that cannot; the first: {faults[0]}"
        raise InputError(
            "every image and mask must be readable",
            came=came,
            remedy="replace the files, or drop their lines",
        )


def as_dataset(samples: Sequence[TrainingSample], profile: Profile) -> Dataset:
    """Make a `datasets.Dataset` for TRL with the columns prompt, image and sample.

    Prompt and image are made when a row is read, as in inference (`pipeline.prompt.template`). Column sample
    holds the sample's number, for the reward.
    """
    from datasets import Dataset

    def rows(batch: Mapping[str, list[int]]) -> dict[str, list[object]]:
        chosen = [samples[number] for number in batch["sample"]]
        return {
            "prompt": [chat_messages(profile, sample.query) for sample in chosen],
            "image": [squash(sample.rgb(), profile) for sample in chosen],
            "sample": list(batch["sample"]),
        }

    return Dataset.from_dict({"sample": list(range(len(samples)))}).with_transform(rows)
