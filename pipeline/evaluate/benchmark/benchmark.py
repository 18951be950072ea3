"""A benchmark: images, the targets in them, and the wordings that ask for these.

1. A module of readers/ turns a data set's layout into a `Benchmark`. Nothing is decoded yet.
2. `choose_samples` picks wordings. A limit takes them from the whole split, so that every domain is included.
3. `check_sizes` compares the sizes of images and masks, from their headers alone.
4. `read_image` and `read_mask` decode in the worker.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.prompt.query import check_query

QueryPolicy = Literal["first", "all", "random"]
SizePolicy = Literal["refuse", "squash"]

MAX_WORDING_CHARS = 8192
"""Longest query of a benchmark, in characters; a longer one is a broken annotation. (LaSeRS asks in
paragraphs.) A query that exceeds the model's context fails alone, and the others are asked.
"""


class PixelSource(Protocol):
    """Source of an image. Small and picklable."""

    def size_hw(self) -> tuple[int, int]:
        """Read (height, width) from the header alone. Raises InputError when there is no readable header."""
        ...

    def read(self) -> NDArray[np.uint8]:
        """Decode to (H, W, 3): red, green, blue. Raises SourceError when that fails."""
        ...


class MaskSource(Protocol):
    """Source of a true mask. Small and picklable."""

    def size_hw(self) -> tuple[int, int]:
        """Read (height, width) from the header alone. Raises InputError when there is no readable header."""
        ...

    def read(self) -> NDArray[np.bool_]:
        """Decode to (H, W), True = target; all False when the target is absent.

        Raises InputError or SourceError for damaged content.
        """
        ...

    def digest(self) -> str:
        """Make a text that changes whenever the pixels of `read` change. Raises what `read` raises."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """One way to ask for a target."""

    text: str
    strata: Mapping[str, str] = field(default_factory=dict)
    """Properties by which figures are reported, for example kind = implicit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Something to be found in an image. If it is known to be absent, its mask is empty."""

    target_id: str
    """Unique in the benchmark."""
    mask: MaskSource
    wordings: tuple[Wording, ...]
    """At least one."""
    strata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkImage:
    """One image with all its targets."""

    image_id: str
    pixels: PixelSource
    targets: tuple[Target, ...]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A split of a data set, as its reader found it."""

    name: str
    split: str
    images: tuple[BenchmarkImage, ...]
    queries: QueryPolicy
    """The query policy of its papers."""
    identity: Mapping[str, str]
    """Identifies the content: root and hash of the annotations, or seed and size."""
    pixel_m: float | None = None
    """Ground size of a pixel in metres, if it is known and the same everywhere."""
    notes: tuple[str, ...] = ()
    """What the reader decided about doubtful entries; the results repeat it."""

    def __post_init__(self) -> None:
        for what, ids in (
            ("image", [image.image_id for image in self.images]),
            ("target", [target.target_id for image in self.images for target in image.targets]),
        ):
            if len(set(ids)) != len(ids):
                repeated = next(name for name, count in Counter(ids).items() if count > 1)
                remedy = "remove the repetition from the annotations"
                raise InputError(
                    f"{self.name}: every {what} needs its own id",
                    came=f"{repeated!r} more than once",
                    remedy=remedy,
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One query to be answered and scored."""

    sample_id: str
    """`target_id#n`, n = position of the wording; unique in the benchmark."""
    query: str
    """Normalised by `check_query`; the data set's own text where `refusal` is set."""
    mask: MaskSource
    strata: Mapping[str, str]
    refusal: str = ""
    """Why no model may be asked this query. The sample then counts as failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleImage:
    """An image and the chosen queries about it."""

    image_id: str
    pixels: PixelSource
    samples: tuple[Sample, ...]


def choose_samples(
    benchmark: Benchmark, policy: QueryPolicy, *, seed: int = 0, limit: int | None = None
) -> tuple[SampleImage, ...]:
    """Choose the queries of an evaluation, grouped by image, in the benchmark's order.

    Policy `random` draws one wording per target. The draw depends on `seed` and the target's id alone, not on
    the order of files or a limit. Raises InputError when nothing is left, or no query may be asked.
    """
    if limit is not None and limit < 1:
        raise InputError(
            "--limit must be at least 1", came=str(limit), remedy="leave it out to take the whole split"
        )
    pairs = [
        (image, sample)
        for image in benchmark.images
        for target in image.targets
        for sample in _samples(target, policy, seed)
    ]
    if not pairs:
        came = f"{len(benchmark.images)} images without a query"
        raise InputError(
            f"the split {benchmark.split!r} of {benchmark.name} must hold a query",
            came=came,
            remedy="choose another split",
        )
    if limit is not None and limit < len(pairs):
        pairs = [pairs[index * len(pairs) // limit] for index in range(limit)]
    if all(sample.refusal for _, sample in pairs):
        raise InputError(
            "at least one query must be fit to be asked",
            came=pairs[0][1].refusal,
            remedy="correct the annotations",
        )
    chosen: dict[str, tuple[BenchmarkImage, list[Sample]]] = {}
    for image, sample in pairs:
        chosen.setdefault(image.image_id, (image, []))[1].append(sample)
    return tuple(
        SampleImage(image_id=image.image_id, pixels=image.pixels, samples=tuple(samples))
        for image, samples in chosen.values()
    )


def check_sizes(images: Sequence[SampleImage], policy: SizePolicy) -> list[str]:
    """List the ids of samples whose mask differs in size from the image; InputError under `refuse`.

    RRSIS-D holds images of 800 x 801 px with masks of 800 x 800 (RMSIN issue 12).
    """
    odd: list[tuple[str, tuple[int, int], tuple[int, int]]] = []
    for image in images:
        size = image.pixels.size_hw()
        for sample in image.samples:
            mask_size = sample.mask.size_hw()
            if mask_size != size:
                odd.append((sample.sample_id, size, mask_size))
    if odd and policy == "refuse":
        some = "; ".join(
            f"{name}: image {h} x {w} px, mask {mh} x {mw} px" for name, (h, w), (mh, mw) in odd[:3]
        )
        raise InputError(
            "every mask must have the size of its image (height x width)",
            came=f"{len(odd)} of {sum(len(image.samples) for image in images)} samples differ: {some}",
            remedy="correct the data, or add --size-mismatch squash to stretch these masks over their "
            "images, as the released scripts do",
        )
    return [name for name, _, _ in odd]


def read_image(source: PixelSource, side_px: int | None) -> NDArray[np.uint8]:
    """Read an image (H, W, 3), squashed to `side_px` x `side_px` with Lanczos; None: in its own size.

    As in Think2Seg-RS (840 x 840) the aspect ratio is not kept. Raises SourceError.
    """
    from PIL import Image

    rgb = source.read()
    if side_px is None or rgb.shape[:2] == (side_px, side_px):
        return rgb
    return np.array(Image.fromarray(rgb).resize((side_px, side_px), Image.Resampling.LANCZOS), dtype=np.uint8)


def read_mask(source: MaskSource, shape_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Read a mask, resized to `shape_hw` (H, W) by nearest neighbour. Raises what `MaskSource.read` does."""
    from PIL import Image

    mask = source.read()
    if mask.shape == shape_hw:
        return mask
    stretched = Image.fromarray(mask.astype(np.uint8)).resize(
        (shape_hw[1], shape_hw[0]), Image.Resampling.NEAREST
    )
    return np.asarray(stretched).astype(np.bool_)


def mask_digest(mask: NDArray[np.bool_]) -> str:
    """Hash a mask (H, W) to 32 hex digits."""
    digest = hashlib.blake2b(f"{mask.shape[0]} x {mask.shape[1]}:".encode(), digest_size=16)
    digest.update(np.packbits(mask).tobytes())
    return digest.hexdigest()


def _samples(target: Target, policy: QueryPolicy, seed: int) -> list[Sample]:
    if policy == "all":
        places = list(range(len(target.wordings)))
    elif policy == "first":
        places = [0]
    else:
        digest = hashlib.blake2b(f"{seed}/{target.target_id}".encode(), digest_size=8).digest()
        places = [int.from_bytes(digest) % len(target.wordings)]
    return [_sample(target, place) for place in places]


def _sample(target: Target, place: int) -> Sample:
    wording = target.wordings[place]
    query = " ".join(wording.text.split())
    refusal = ""
    try:
        query = check_query(query, max_chars=MAX_WORDING_CHARS)
    except InputError as error:
        refusal = str(error)
    return Sample(
        sample_id=f"{target.target_id}#{place}",
        query=query,
        mask=target.mask,
        strata={**target.strata, **wording.strata},
        refusal=refusal,
    )
