"""What pins queries and truth, and what becomes of a truth that does not decode."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluate.sample_worlds import ArraySource, image, rectangle, sample

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.benchmark import SampleImage
from pipeline.evaluate.benchmark.benchmark_content import SAID_EVERY_S, masks_hash, queries_hash

LEFT = rectangle(0, 0, 9, 9)
RIGHT = rectangle(0, 9, 9, 18)


class Counted(ArraySource):
    """How often was it decoded?"""

    reads: list[int]

    def read(self) -> np.ndarray:
        self.reads.append(1)
        return super().read()


def images(*samples: object) -> list[SampleImage]:
    return [image("a", list(samples))]  # type: ignore[arg-type]


def hashed(chosen: list[SampleImage]) -> str:
    return masks_hash(chosen, "hand", say=lambda _: None)


def test_every_change_of_a_query_changes_the_hash() -> None:
    first = sample("s", LEFT, kind="x", area="y")
    second = sample("t", RIGHT)
    changed = [
        images(first),
        images(first, second),
        images(second, first),
        [image("a", [first]), image("b", [second])],
        images(replace(first, query="another wording"), second),
        images(replace(first, sample_id="s#1"), second),
        images(replace(first, strata={"kind": "z", "area": "y"}), second),
        images(replace(first, refusal="too long"), second),
    ]
    assert len({queries_hash(chosen) for chosen in changed}) == len(changed)
    swapped = replace(first, strata={"area": "y", "kind": "x"}, mask=ArraySource(RIGHT))
    assert queries_hash(images(swapped, second)) == queries_hash(
        images(first, second)
    )  # order of keys, pixels: not the query


def test_every_change_of_a_mask_changes_the_hash() -> None:
    one_off = LEFT.copy()
    one_off[3, 20] = True
    masks = [(LEFT, RIGHT), (RIGHT, LEFT), (LEFT, LEFT), (one_off, RIGHT), (~LEFT, RIGHT)]
    chosen = [images(sample("s", first), sample("t", second)) for first, second in masks]
    assert len({hashed(one) for one in chosen}) == len(masks)
    assert hashed(chosen[0]) == hashed(images(sample("s", LEFT.copy()), sample("t", RIGHT.copy())))


def test_the_wordings_of_a_target_share_one_decoding() -> None:
    mask = Counted(LEFT)
    object.__setattr__(mask, "reads", [])
    wordings = [replace(sample(f"s#{k}", LEFT), mask=mask) for k in range(4)]
    hashed(images(*wordings, sample("t", RIGHT)))
    assert len(mask.reads) == 1


def test_all_damaged_masks_are_counted_and_the_first_few_named() -> None:
    bad = [replace(sample(f"s{k}", LEFT), mask=ArraySource(None)) for k in range(5)]
    with pytest.raises(
        InputError,
        match=r"hand: every true mask must decode\. Got: 5 of 6 do not, e\.g\. s0: this .* damaged; "
        r"s1: .*; s2",
    ):
        hashed(images(sample("good", LEFT), *bad))
    with pytest.raises(
        InputError, match=r"1 of 1 do not, e\.g\. s0: this picture is damaged\. To fix: fetch these files"
    ):
        hashed(images(bad[0]))


def test_what_takes_long_says_how_far_it_is() -> None:
    lines: list[str] = []
    ticks = iter(np.arange(0, 1000, SAID_EVERY_S / 2 + 0.01).tolist())
    masks_hash(
        images(*(sample(f"s{k}", LEFT) for k in range(6))),
        "hand",
        say=lines.append,
        clock=lambda: next(ticks),
    )
    assert lines
    assert lines[0].startswith("true masks read: ")
    assert lines[0].endswith(" of 6")
    quick: list[str] = []
    masks_hash(images(sample("s", LEFT)), "hand", say=quick.append, clock=lambda: 0.0)
    assert quick == []
