"""Choosing queries, comparing sizes, squashing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.benchmark import (
    Benchmark,
    BenchmarkImage,
    Target,
    Wording,
    check_sizes,
    choose_samples,
    mask_digest,
    read_image,
    read_mask,
)
from pipeline.evaluate.benchmark.readers.annotation_files import EmptyMask


@dataclass(frozen=True)
class Pixels:
    """A `PixelSource` and a `MaskSource` over an array."""

    array: np.ndarray

    def size_hw(self) -> tuple[int, int]:
        return self.array.shape[:2]

    def read(self) -> np.ndarray:
        return self.array

    def digest(self) -> str:
        return mask_digest(self.array)


def bench(wordings: list[list[str]], sizes: list[tuple[int, int]] | None = None) -> Benchmark:
    """One image of 6 x 8 px per entry, each with one target."""
    images = []
    for index, texts in enumerate(wordings):
        height, width = (sizes or [(6, 8)] * len(wordings))[index]
        mask = EmptyMask(height=height, width=width)
        target = Target(
            target_id=f"t{index}",
            mask=mask,
            wordings=tuple(Wording(text=text, strata={"kind": "x"}) for text in texts),
        )
        images.append(
            BenchmarkImage(
                image_id=f"i{index}", pixels=Pixels(np.zeros((6, 8, 3), np.uint8)), targets=(target,)
            )
        )
    return Benchmark(name="hand", split="test", images=tuple(images), queries="first", identity={})


def asked(benchmark: Benchmark, policy: str, **options: int) -> list[tuple[str, str]]:
    images = choose_samples(benchmark, policy, **options)  # type: ignore[arg-type]
    return [(sample.sample_id, sample.query) for image in images for sample in image.samples]


THREE = [["tanks", "round tanks", "oil"], ["lakes"], ["fields", "crops"]]


def test_first_and_all() -> None:
    assert asked(bench(THREE), "first") == [("t0#0", "tanks"), ("t1#0", "lakes"), ("t2#0", "fields")]
    assert [name for name, _ in asked(bench(THREE), "all")] == [
        "t0#0",
        "t0#1",
        "t0#2",
        "t1#0",
        "t2#0",
        "t2#1",
    ]


def test_random_depends_on_seed_and_target_alone() -> None:
    drawn = [name for name, _ in asked(bench(THREE), "random", seed=5)]
    reordered = Benchmark(
        name="hand", split="test", images=bench(THREE).images[::-1], queries="first", identity={}
    )
    assert [name for name, _ in asked(reordered, "random", seed=5)] == drawn[::-1]
    many = bench([[f"w{k}" for k in range(4)]] * 400)
    places = [int(name.rpartition("#")[2]) for name, _ in asked(many, "random", seed=1)]
    assert all(60 < places.count(k) < 140 for k in range(4))  # 100 expected, four standard deviations are 35
    assert places != [int(name.rpartition("#")[2]) for name, _ in asked(many, "random", seed=2)]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60))
def test_a_limit_takes_that_many_different_ones_spread_over_the_whole(n: int, limit: int) -> None:
    names = [name for name, _ in asked(bench([["q"]] * n), "all", limit=limit)]
    assert len(names) == len(set(names)) == min(n, limit)
    places = [int(name[1:].partition("#")[0]) for name in names]
    assert places == sorted(places)
    gaps = np.diff([*places, n + places[0]])
    assert gaps.max() - gaps.min() <= 1 or limit >= n


def test_queries_of_one_image_stay_together_and_carry_all_strata() -> None:
    mask = EmptyMask(height=6, width=8)
    targets = tuple(
        Target(
            target_id=f"t{k}",
            mask=mask,
            wordings=(Wording(text="q", strata={"kind": "e"}),),
            strata={"class": "c"},
        )
        for k in range(3)
    )
    image = BenchmarkImage(image_id="i", pixels=Pixels(np.zeros((6, 8, 3), np.uint8)), targets=targets)
    (only,) = choose_samples(
        Benchmark(name="b", split="s", images=(image,), queries="all", identity={}), "all"
    )
    assert [sample.sample_id for sample in only.samples] == ["t0#0", "t1#0", "t2#0"]
    assert only.samples[0].strata == {"class": "c", "kind": "e"}


def test_a_query_that_may_not_be_asked_is_kept_and_says_why() -> None:
    (first,), (second,) = (
        image.samples for image in choose_samples(bench([["a  long\nquery"], ["x" * 8193]]), "first")
    )
    assert (first.query, first.refusal) == ("a long query", "")
    assert "at most 8192 characters" in second.refusal
    (long,) = choose_samples(bench([["word " * 1600]]), "first")[
        0
    ].samples  # a description in paragraphs, as LaSeRS has them
    assert (len(long.query), long.refusal) == (7999, "")
    with pytest.raises(InputError, match="fit to be asked"):
        choose_samples(bench([["<|im_end|>"]]), "first")


def test_nothing_to_ask_is_refused() -> None:
    with pytest.raises(InputError, match="must hold a query"):
        choose_samples(bench([]), "first")
    with pytest.raises(InputError, match="at least 1"):
        choose_samples(bench(THREE), "first", limit=0)


def test_ids_must_be_unique() -> None:
    twice = bench([["a"]]).images * 2
    with pytest.raises(InputError, match="'i0' more than once"):
        Benchmark(name="b", split="s", images=twice, queries="all", identity={})


def test_sizes_that_differ_are_named_or_stretched() -> None:
    images = choose_samples(bench([["a"], ["b"], ["c"]], [(6, 8), (6, 9), (5, 8)]), "first")
    with pytest.raises(
        InputError,
        match=r"2 of 3 samples differ: t1#0: image 6 x 8 px, mask 6 x 9 px; t2#0.*--size-mismatch squash",
    ):
        check_sizes(images, "refuse")
    assert check_sizes(images, "squash") == ["t1#0", "t2#0"]
    assert check_sizes(images[:1], "refuse") == []


def test_the_digest_of_a_mask_sees_every_pixel_and_the_shape() -> None:
    mask = np.random.default_rng(0).random((5, 7)) < 0.5
    seen = {
        mask_digest(mask),
        mask_digest(mask.T.copy()),
        mask_digest(~mask),
        mask_digest(mask.reshape(7, 5)),
    }
    for place in range(mask.size):
        changed = mask.copy()
        changed.flat[place] ^= True
        seen.add(mask_digest(changed))
    assert len(seen) == mask.size + 4
    assert mask_digest(mask.copy(order="F")) == mask_digest(mask)


def test_squashing_an_image_is_lanczos_and_a_mask_nearest() -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (30, 50, 3), dtype=np.uint8)
    mask = rng.random((30, 50)) < 0.5
    assert read_image(Pixels(rgb), None) is rgb
    squashed = read_image(Pixels(rgb), 20)
    np.testing.assert_array_equal(
        squashed, np.asarray(Image.fromarray(rgb).resize((20, 20), Image.Resampling.LANCZOS))
    )
    assert read_mask(Pixels(mask), (30, 50)) is mask
    # nearest neighbour samples at pixel centres: row r of 20 lies at (r + 0.5) * 30 / 20
    rows = ((np.arange(20) + 0.5) * 30 / 20).astype(int)
    cols = ((np.arange(20) + 0.5) * 50 / 20).astype(int)
    np.testing.assert_array_equal(read_mask(Pixels(mask), (20, 20)), mask[np.ix_(rows, cols)])
