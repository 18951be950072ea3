"""Fingerprint the chosen queries and their true masks.

1. `queries_hash` covers the queries, their images and the strata by which they are reported.
2. `masks_hash` decodes every chosen mask once, before any model is loaded, and covers their pixels: a label
   corrected in place is another truth. A mask that does not decode could not be scored, so it is an
   InputError.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from pipeline.errors import InputError, SourceError
from pipeline.evaluate.benchmark.benchmark import MaskSource, SampleImage
from pipeline.evaluate.benchmark.readers.annotation_files import content_hash

DECODERS = 8
"""Threads that decode masks: reading files over a network is mostly waiting."""

SAID_EVERY_S = 5.0
"""Seconds between two lines of progress."""

_SHOWN = 3


def queries_hash(images: Sequence[SampleImage]) -> str:
    """Hash ids, wordings and strata of the chosen samples, in order, to 32 hex digits."""
    return content_hash(
        [
            json.dumps(
                [image.image_id, sample.sample_id, sample.query, dict(sample.strata), bool(sample.refusal)],
                sort_keys=True,
            )
            for image in images
            for sample in image.samples
        ]
    )


def masks_hash(
    images: Sequence[SampleImage],
    name: str,
    *,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Hash the true masks of the chosen samples, in order, to 32 hex digits.

    Raises InputError, which names the masks that do not decode.

    Args:
        images: the chosen queries; wordings of one target share its mask, which is decoded once.
        name: of the benchmark, for the message.
        say: gets a line of progress every few seconds.
        clock: time in seconds.
    """
    masks = {id(sample.mask): (sample.sample_id, sample.mask) for image in images for sample in image.samples}
    digests: dict[int, str] = {}
    damaged: list[str] = []
    last = clock()
    with ThreadPoolExecutor(max_workers=DECODERS) as pool:
        for (key, (sample_id, _)), (digest, error) in zip(
            masks.items(), pool.map(_digest, masks.values()), strict=True
        ):
            digests[key] = digest
            if error:
                damaged.append(f"{sample_id}: {error}")
            if clock() - last >= SAID_EVERY_S:
                last = clock()
                say(f"true masks read: {len(digests)} of {len(masks)}")
    if damaged:
        came = f"{len(damaged)} of {len(masks)} do not, e.g. {'; '.join(damaged[:_SHOWN])}"
        remedy = "fetch these files or annotations again; a query without a readable truth cannot be scored"
        raise InputError(f"{name}: every true mask must decode", came=came, remedy=remedy)
    return content_hash(
        [
            part
            for image in images
            for sample in image.samples
            for part in (sample.sample_id, digests[id(sample.mask)])
        ]
    )


def _digest(named: tuple[str, MaskSource]) -> tuple[str, str]:
    """Digest a mask: returns (digest, "") or ("", error)."""
    try:
        return named[1].digest(), ""
    except (SourceError, InputError) as error:
        return "", str(error).partition(" To fix: ")[0].rstrip(".")
