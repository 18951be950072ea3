"""Exports of every family against the network that they were made of, asked through its own modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported_sams import SIDE, network_of, write_export
from numpy.typing import NDArray
from tiny_sam2 import mixed_prompts

from pipeline.errors import ModelError
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.segment.onnx_segmenter import OnnxSegmenter, best_masks
from pipeline.segment.proposals import EverythingOptions
from pipeline.segment.sam_export import Family
from pipeline.segment.segmenter import Sam2Options
from pipeline.segment.tensors import square_pixels

MakeTile = Callable[..., TileImage]
KINDS: list[tuple[Family, int]] = [("sam", 1), ("sam", 4), ("edge-sam", 4), ("sam2", 1), ("sam2", 3)]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An export, and the network that it was made of."""

    family: Family
    masks: int
    network: torch.nn.Module
    folder: Path

    def segmenter(self, **options: Any) -> OnnxSegmenter:
        options = {"checkpoint": str(self.folder), "device": "cpu"} | options
        return OnnxSegmenter(Sam2Options(**options), tile_px=96)


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[0]}-{kind[1]}")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    family, masks = request.param
    folder = tmp_path_factory.mktemp("export")
    network = network_of(family, folder)
    written = write_export(network, family, masks, folder / "tiny-sam")
    return Pair(family=family, masks=masks, network=network, folder=written)


def by_the_network(pair: Pair, image: TileImage, prompt: Prompt) -> tuple[NDArray[np.bool_], float]:
    """Mask of the tile and score, by the modules of the network, in the way that its authors call them."""
    network, scale = pair.network, SIDE / 96
    clicks = torch.tensor([prompt.points_xy], dtype=torch.float32).view(1, -1, 2) * scale
    kinds = torch.tensor([prompt.point_labels], dtype=torch.int32).view(1, -1)
    box = None if prompt.box_xyxy is None else torch.tensor([prompt.box_xyxy]) * scale
    if pair.family == "sam2" and box is not None:  # as its predictor does
        clicks = torch.cat([box.view(1, 2, 2), clicks], dim=1)
        kinds = torch.cat([torch.tensor([[2, 3]], dtype=torch.int32), kinds], dim=1)
        box = None
    points = (clicks, kinds) if clicks.shape[1] else None
    with torch.no_grad():
        pixels = square_pixels([image.rgb], square_px=96, image_px=SIDE, device="cpu")
        levels = network.forward_image(pixels)["backbone_fpn"][-network.num_feature_levels :]
        sparse, dense = network.sam_prompt_encoder(points=points, boxes=box, masks=None)
        logits, scores, _, _ = network.sam_mask_decoder.predict_masks(
            image_embeddings=levels[-1] + network.no_mem_embed.view(1, -1, 1, 1),
            image_pe=network.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            repeat_image=True,
            high_res_features=list(levels[:-1]) or None,
        )
        several = int(scores[0, 1:].argmax()) + 1
        chosen = {1: 0, 3: several, 4: 0 if sparse.shape[1] > 2 else several}[pair.masks]
        enlarged = torch.nn.functional.interpolate(logits[:, chosen : chosen + 1], (96, 96), mode="bilinear")
    return (enlarged[0, 0] > 0).numpy() & image.valid, float(scores[0, chosen])


def full(mask: MaskCrop) -> NDArray[np.bool_]:
    out = np.zeros((96, 96), dtype=np.bool_)
    height, width = mask.mask.shape
    out[mask.row0 : mask.row0 + height, mask.col0 : mask.col0 + width] = mask.mask
    return out


def test_masks_and_scores_are_the_network_s(pair: Pair, tile: MakeTile) -> None:
    image = tile(96, 96, invalid_cols=7)
    prompts = [*mixed_prompts(14, 96), Prompt(box_xyxy=None, points_xy=((40.0, 30.0),), point_labels=(1,))]
    segmenter = pair.segmenter()
    got = {mask.prompt_index: mask for mask in segmenter.segment(segmenter.embed(image), prompts)}
    assert len(got) >= 10
    for index, prompt in enumerate(prompts):
        mask, score = by_the_network(pair, image, prompt)
        if index not in got:
            assert mask.mean() < 0.001
            continue
        assert (full(got[index]) == mask).mean() >= 0.999, (index, prompt)
        assert got[index].score == pytest.approx(np.clip(score, 0, 1), abs=1e-4)


def test_one_encoding_serves_all_queries(pair: Pair, tile: MakeTile) -> None:
    segmenter = pair.segmenter()
    embedding = segmenter.embed(tile(96, 96))
    first = segmenter.segment(embedding, mixed_prompts(3, 96))
    again = segmenter.segment(embedding, mixed_prompts(3, 96))
    assert segmenter.n_embeddings == 1
    assert segmenter.usage() == {"embeddings": 1, "decodings": 2, "decoded_prompts": 6}
    assert [mask.score for mask in first] == [mask.score for mask in again]
    assert segmenter.segment(embedding, []) == []


def test_batches_do_not_change_masks(pair: Pair, tile: MakeTile) -> None:
    image, prompts = tile(96, 96, seed=4), mixed_prompts(9, 96)
    one, many = pair.segmenter(prompt_batch=1), pair.segmenter(prompt_batch=64)
    alone = one.segment(one.embed(image), prompts)
    together = many.segment(many.embed(image), prompts)
    assert [mask.prompt_index for mask in alone] == [mask.prompt_index for mask in together]
    for a, b in zip(alone, together, strict=True):
        assert a.score == pytest.approx(b.score, abs=1e-5)
        assert (full(a) == full(b)).mean() > 0.999


def test_proposals_are_all_masks_of_a_point(pair: Pair, tile: MakeTile) -> None:
    """Rules that pass all: as many masks as the graph gives, of four those but the first. One of them is that
    of `segment`, where the scores choose.
    """
    image = tile(96, 96, seed=2)
    point = Prompt(box_xyxy=None, points_xy=((40.0, 30.0),), point_labels=(1,))
    segmenter = pair.segmenter()
    embedding = segmenter.embed(image)
    rules = EverythingOptions(min_predicted_iou=0.0, min_stability=0.0, min_mask_px=1, max_mask_share=1.0)
    found = segmenter.propose(embedding, [point, point], rules)
    several = {1: 1, 3: 3, 4: 3}[pair.masks]
    assert len(found.masks) + found.missized + found.unsure == 2 * several
    assert all(mask.stability is not None for mask in found.masks)
    chosen = segmenter.segment(embedding, [point])
    if chosen:
        scores = [mask.score for mask in found.masks if mask.prompt_index == 0]
        assert chosen[0].score == pytest.approx(max(scores), abs=1e-5)
        assert any(np.array_equal(full(chosen[0]), full(mask)) for mask in found.masks)


def test_the_model_s_name_holds_both_files(pair: Pair) -> None:
    import hashlib

    digests = [
        hashlib.sha256((pair.folder / f"{part}.onnx").read_bytes()).digest()
        for part in ("encoder", "decoder")
    ]
    assert pair.segmenter().model_id == f"tiny-sam#{hashlib.sha256(b''.join(digests)).hexdigest()[:12]}"


def test_a_failed_call_is_a_model_error(pair: Pair, tile: MakeTile) -> None:
    segmenter = pair.segmenter()
    embedding = segmenter.embed(tile(96, 96))
    broken = {name: value[:, :3] for name, value in embedding.features.items()}  # type: ignore[attr-defined]
    object.__setattr__(embedding, "features", broken)
    with pytest.raises(ModelError, match="the mask decoder failed"):
        segmenter.segment(embedding, mixed_prompts(1, 96))


def test_a_device_that_is_not_there_is_refused(pair: Pair) -> None:
    with pytest.raises(ModelError, match="needs a GPU and onnxruntime-gpu"):
        pair.segmenter(device="cuda")


def test_which_mask_is_taken() -> None:
    """By hand: 4 masks obey the number of points, others the score."""
    four = np.array([[0.9, 0.1, 0.3, 0.2]], dtype=np.float32)
    assert best_masks(four, 3).tolist() == [0]
    assert best_masks(four, 2).tolist() == [2]
    assert best_masks(np.array([[0.1, 0.3, 0.2], [0.5, 0.3, 0.2]], dtype=np.float32), 5).tolist() == [1, 0]
    assert best_masks(np.array([[0.4]], dtype=np.float32), 1).tolist() == [0]
