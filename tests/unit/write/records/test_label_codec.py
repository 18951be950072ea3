from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pipeline.write.records.label_codec import decode_bits, decode_labels, encode_bits, encode_labels

SHAPES = st.tuples(st.integers(0, 12), st.integers(0, 12))


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.uint16, SHAPES, elements=st.integers(0, 65535)))
def test_any_uint16_image_survives(labels: NDArray[np.uint16]) -> None:
    back = decode_labels(encode_labels(labels))
    assert back.dtype == np.uint16
    np.testing.assert_array_equal(back, labels)


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.bool_, SHAPES))
def test_any_mask_survives(mask: NDArray[np.bool_]) -> None:
    back = decode_bits(encode_bits(mask))
    assert back.dtype == np.bool_
    np.testing.assert_array_equal(back, mask)


def test_views_and_full_tiles_survive() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 65536, (1024, 1024)).astype(np.uint16)
    np.testing.assert_array_equal(decode_labels(encode_labels(labels[::-2, 3::5])), labels[::-2, 3::5])
    np.testing.assert_array_equal(decode_labels(encode_labels(labels)), labels)


def test_a_sparse_tile_is_small() -> None:
    labels = np.zeros((1024, 1024), dtype=np.uint16)
    labels[100:200, 300:400] = 7
    assert len(encode_labels(labels)) < 500
    assert len(encode_bits(np.ones((1024, 1024), dtype=np.bool_))) < 100


@settings(deadline=None)
@given(st.data())
def test_a_damaged_blob_raises_value_error_or_gives_an_image_of_its_header(data: st.DataObject) -> None:
    labels = np.arange(64, dtype=np.uint16).reshape(8, 8) // 5
    blob = bytearray(encode_labels(labels))
    if data.draw(st.booleans()):
        blob = blob[: data.draw(st.integers(0, len(blob) - 1))]
    else:
        blob[data.draw(st.integers(0, 15))] ^= data.draw(
            st.integers(1, 255)
        )  # the header; pages have checksums for the rest
    try:
        image = decode_labels(bytes(blob))
    except ValueError:
        return
    assert (
        image.size == 64
    )  # a header that swaps height and width of equal area cannot be told from a good one


@pytest.mark.parametrize("n_runs", [65, 2**32 - 1])
def test_more_runs_than_pixels_are_refused_before_memory_is_asked_for(n_runs: int) -> None:
    blob = bytearray(encode_labels(np.zeros((8, 8), dtype=np.uint16)))
    blob[12:16] = n_runs.to_bytes(4, "little")
    with pytest.raises(ValueError, match="at most a run per pixel"):
        decode_labels(bytes(blob))


@pytest.mark.parametrize("bad", [np.zeros((2, 2), dtype=np.int32), np.zeros(4, dtype=np.uint16)])
def test_only_uint16_images_are_taken(bad: NDArray[np.generic]) -> None:
    with pytest.raises(ValueError, match="2-D uint16"):
        encode_labels(bad)  # type: ignore[arg-type]
