"""Run-length masks against COCO's own library, and damaged ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.readers.coco_rle import decode_rle, decode_union, rle_size


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_text_and_list_decode_to_the_mask_that_coco_encoded(mask: np.ndarray) -> None:
    encoded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    np.testing.assert_array_equal(decode_rle(encoded), mask)
    np.testing.assert_array_equal(
        decode_rle({"size": list(mask.shape), "counts": encoded["counts"].decode()}), mask
    )
    flat = mask.T.ravel()
    runs = np.diff(np.flatnonzero(np.r_[True, flat[1:] != flat[:-1], True])).tolist()
    np.testing.assert_array_equal(
        decode_rle({"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}), mask
    )


def test_long_runs_and_negative_differences() -> None:
    mask = np.zeros((900, 1100), bool)
    mask[:, 300:700] = True
    mask[10:20, 900] = True
    np.testing.assert_array_equal(decode_rle(coco.encode(np.asfortranarray(mask.astype(np.uint8)))), mask)


def test_by_hand_down_the_columns() -> None:
    np.testing.assert_array_equal(
        decode_rle({"size": [2, 3], "counts": [1, 2, 3]}), [[False, True, False], [True, False, False]]
    )


def test_the_union_of_several() -> None:
    parts = [{"size": [2, 2], "counts": [0, 1, 3]}, {"size": [2, 2], "counts": [3, 1]}]
    np.testing.assert_array_equal(decode_union(parts), [[True, False], [False, True]])
    with pytest.raises(InputError, match="of one size"):
        decode_union([parts[0], {"size": [1, 4], "counts": [4]}])
    with pytest.raises(InputError, match="none"):
        decode_union([])


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"size": [2, 2], "counts": [1, 2]}, "add up to 4"),
        ({"size": [2, 2], "counts": [-1, 5]}, "add up"),
        ({"size": [2, 2], "counts": "~"}, "characters"),
        ({"size": [2, 2], "counts": "P"}, "whole number"),
        ({"size": [2, 2], "counts": None}, "counts"),
        ({"size": [2], "counts": [4]}, "size"),
        ({"counts": [4]}, "size"),
    ],
)
def test_damaged_masks_are_refused(rle: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decode_rle(rle)


def test_the_size_needs_no_decoding() -> None:
    assert rle_size({"size": [3, 5], "counts": "not looked at"}) == (3, 5)
