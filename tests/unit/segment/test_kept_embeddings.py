"""Image encodings that are kept: the same masks to the bit, made once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.errors import InputError, ModelError
from pipeline.files.blob_cache import BlobCache
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Prompt
from pipeline.schema.tiling import TileSpec, Window
from pipeline.segment.kept_embeddings import (
    CacheOptions,
    KeepableSegmenter,
    KeptEmbeddings,
    as_bytes,
    check_cache,
    code_identity,
    tensors_in,
    with_cache,
)
from pipeline.segment.sam2_segmenter import Sam2Segmenter
from pipeline.segment.segmenter import Embedding, ProposingSegmenter, Sam2Options

BOX = Prompt(box_xyxy=(4.0, 6.0, 40.0, 30.0), points_xy=((20.0, 18.0),), point_labels=(1,))


def image(seed: int = 0, shape: tuple[int, int] = (48, 64)) -> TileImage:
    window = Window(row0=0, col0=0, row1=shape[0], col1=shape[1])
    return TileImage(
        tile=TileSpec(tile_row=0, tile_col=0, core=window, read=window),
        rgb=np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8),
        valid=np.ones(shape, dtype=np.bool_),
    )


class Encoder:
    """A segmenter whose encoding of a tile is the sum of its pixels. Only `embed` is looked at."""

    model_id = "encoder"

    def __init__(self, **identity: object) -> None:
        self.identity = identity
        self.n_embeddings = 0

    def encoder_identity(self) -> Mapping[str, object]:
        return self.identity

    def square_of(self, image: TileImage) -> int:
        return max(image.rgb.shape)

    def embed(self, image: TileImage) -> Embedding:
        self.n_embeddings += 1
        return self.embedding_of(image, {"sum": torch.tensor(float(image.rgb.sum()))})

    def tensors_of(self, embedding: Embedding) -> dict[str, torch.Tensor]:
        return {"sum": embedding.features}  # type: ignore[dict-item]

    def embedding_of(self, image: TileImage, stored: Mapping[str, torch.Tensor]) -> Embedding:
        return Embedding(
            tile=image.tile,
            shape_px=image.rgb.shape[:2],
            square_px=self.square_of(image),
            valid=image.valid,
            features=stored["sum"],
        )

    segment = propose = feature_map = usage = None


def kept(folder: Path, **identity: object) -> tuple[Any, KeptEmbeddings]:
    encoder: Any = Encoder(**identity)
    return encoder, KeptEmbeddings(encoder, BlobCache(folder, 10**9))


def test_the_same_pixels_are_encoded_once_and_count_each_time(tmp_path: Path) -> None:
    encoder, segmenter = kept(tmp_path, weights="w")
    first = segmenter.embed(image())
    again = segmenter.embed(image())
    segmenter.embed(image(1))
    assert (encoder.n_embeddings, segmenter.n_embeddings) == (2, 3)
    assert first.features == again.features == float(image().rgb.sum())
    encoder.usage = lambda: {"embeddings": encoder.n_embeddings}
    told = segmenter.usage()
    assert told == {
        "embeddings": 2,
        "cache_hits": 1,
        "cache_misses": 2,
        "cache_damaged": 0,
        "cache_stored": 2,
        "cache_not_stored": 0,
    }
    other, another = kept(tmp_path, weights="w")
    another.embed(image())
    assert other.n_embeddings == 0, "it outlives the process"


def test_of_several_tiles_those_are_encoded_that_were_not_kept(tmp_path: Path) -> None:
    encoder, segmenter = kept(tmp_path, weights="w")
    segmenter.embed(image(1))
    found = segmenter.embed_many([image(0), image(1), image(2)])
    assert [each.features for each in found] == [float(image(n).rgb.sum()) for n in range(3)]
    assert (encoder.n_embeddings, segmenter.n_embeddings) == (3, 4)
    segmenter.embed_many([image(2), image(0)])
    assert encoder.n_embeddings == 3, "all were kept by now"


def test_another_picture_square_or_encoder_is_another_encoding(tmp_path: Path) -> None:
    _, segmenter = kept(tmp_path, weights="w", threads=1)
    tall = image(shape=(64, 48))
    assert tall.rgb.tobytes() == image().rgb.tobytes()
    changed = image()
    changed.rgb[47, 63, 2] ^= 1
    pictures = [segmenter.key_of(each) for each in (image(), image(1), tall, changed)]
    encoders = [
        kept(tmp_path, **identity)[1].key_of(image())
        for identity in ({"weights": "v", "threads": 1}, {"weights": "w", "threads": 2})
    ]
    assert len({*pictures, *encoders}) == 6
    assert kept(tmp_path, threads=1, weights="w")[1].key_of(image()) == pictures[0]


def test_tensors_come_back_as_they_lay_in_memory() -> None:
    plain = torch.arange(24, dtype=torch.float32).reshape(1, 2, 3, 4)
    tensors = {
        "plain": plain,
        "last": plain.to(memory_format=torch.channels_last),
        "half": plain.to(torch.bfloat16),
        "turned": plain.permute(3, 0, 2, 1),
        "part": torch.arange(48, dtype=torch.float32).reshape(2, 2, 3, 4)[1:2],
    }
    found = tensors_in(as_bytes(tensors))
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name
        axes = [
            axis for axis in range(4) if tensor.shape[axis] > 1
        ]  # the stride of one element means nothing
        assert [found[name].stride(axis) for axis in axes] == [tensor.stride(axis) for axis in axes], name
    with pytest.raises(ModelError, match="remove the folder"):
        tensors_in(b"no tensors")


def test_masks_are_those_without_a_cache_to_the_bit(tmp_path: Path) -> None:
    plain = Sam2Segmenter(Sam2Options(device="cpu"), tile_px=64)
    assert isinstance(plain, KeepableSegmenter)
    cached = with_cache(plain, CacheOptions(folder=str(tmp_path)))
    assert isinstance(cached, ProposingSegmenter)
    fresh = plain.embed(image())
    made = cached.embed(image())
    n_made = plain.n_embeddings
    found = cached.embed(image())
    assert plain.n_embeddings == n_made
    want = [plain._logits(each, [BOX], several=False)[0] for each in (fresh, made)]
    (logits, scores) = plain._logits(found, [BOX], several=False)
    assert torch.equal(want[0], want[1])
    assert torch.equal(want[0], logits)
    assert torch.equal(scores, plain._logits(fresh, [BOX], several=False)[1])
    masks = [segmenter.segment(each, [BOX]) for segmenter, each in ((plain, fresh), (cached, found))]
    assert [(m.row0, m.col0, m.score, m.mask.tobytes()) for m in masks[0]] == [
        (m.row0, m.col0, m.score, m.mask.tobytes()) for m in masks[1]
    ]
    np.testing.assert_array_equal(plain.feature_map(fresh), cached.feature_map(found))
    assert with_cache(plain, CacheOptions()) is plain


def test_the_code_is_a_part_of_the_key() -> None:
    assert code_identity("tensors") != code_identity("sam2_model")
    assert code_identity("tensors") == code_identity("tensors")


@pytest.mark.parametrize(
    ("folder", "kind", "crops", "routes", "why"),
    [
        ("s3://bucket/cache", "sam2", False, False, "no local folder"),
        ("cache", "oracle", False, False, "encodes nothing"),
        ("cache", "mask-model", False, False, "picture and query at once"),
        ("cache", "sam2", True, False, "crops around prompts"),
        ("cache", "sam2", False, True, "two routes"),
        ("file/cache", "sam2", False, False, "can be written to"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    tmp_path: Path, folder: str, kind: str, crops: bool, routes: bool, why: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    place = folder if "://" in folder else str(tmp_path / folder)
    with pytest.raises(InputError, match=why):
        check_cache(CacheOptions(folder=place), kind=kind, crops=crops, routes=routes)
    check_cache(CacheOptions(), kind="oracle", crops=True, routes=True)
    check_cache(CacheOptions(folder=str(tmp_path / "new")), kind="sam-onnx", crops=False, routes=False)


@pytest.mark.parametrize("gb", [0.0, -1.0, float("inf"), float("nan")])
def test_a_limit_is_a_size(gb: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        CacheOptions(folder="x", gb=gb)
