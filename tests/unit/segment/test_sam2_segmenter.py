"""Our batched decoding against the sam2 package's own predictor on identical weights, and what must not
change results.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_sam2 import mixed_prompts

from pipeline.errors import ModelError
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.segment.proposals import EverythingOptions
from pipeline.segment.sam2_model import package_config_dir
from pipeline.segment.sam2_segmenter import Sam2Segmenter, find_device
from pipeline.segment.segmenter import Sam2Options

MakeTile = Callable[..., TileImage]


def full(mask: MaskCrop, shape: tuple[int, int]) -> NDArray[np.bool_]:
    out = np.zeros(shape, dtype=np.bool_)
    height, width = mask.mask.shape
    out[mask.row0 : mask.row0 + height, mask.col0 : mask.col0 + width] = mask.mask
    return out


def reference(
    segmenter: Sam2Segmenter, image: TileImage, prompts: list[Prompt]
) -> list[tuple[NDArray[np.bool_], float]]:
    """Mask and score of every prompt by the package's predictor, one call per prompt."""
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    model = segmenter.network
    predictor = SAM2ImagePredictor(model)
    predictor._bb_feat_sizes = [(model.image_size // s,) * 2 for s in (4, 8, 16)]  # it assumes 1024 px
    predictor.set_image(image.rgb)
    answers = []
    for prompt in prompts:
        masks, scores, _ = predictor.predict(
            point_coords=np.array(prompt.points_xy) if prompt.points_xy else None,
            point_labels=np.array(prompt.point_labels) if prompt.points_xy else None,
            box=np.array(prompt.box_xyxy) if prompt.box_xyxy is not None else None,
            multimask_output=False,
        )
        answers.append((masks[0].astype(np.bool_), float(scores[0])))
    return answers


def assert_same_as_predictor(segmenter: Sam2Segmenter, image: TileImage, prompts: list[Prompt]) -> int:
    got = {mask.prompt_index: mask for mask in segmenter.segment(segmenter.embed(image), prompts)}
    for index, (mask, score) in enumerate(reference(segmenter, image, prompts)):
        if index not in got:
            assert mask.mean() < 0.001
            continue
        assert (full(got[index], mask.shape) == mask).mean() >= 0.999
        assert got[index].score == pytest.approx(np.clip(score, 0, 1), abs=1e-4)
    return len(got)


def test_equals_the_package_predictor(tiny: Sam2Segmenter, tile: MakeTile) -> None:
    assert assert_same_as_predictor(tiny, tile(96, 96), mixed_prompts(23, 96)) >= 20


def test_equals_the_package_predictor_when_shrinking(tiny_dir: Path, tile: MakeTile) -> None:
    segmenter = Sam2Segmenter(Sam2Options(checkpoint=str(tiny_dir), device="cpu"))
    assert assert_same_as_predictor(segmenter, tile(200, 200), mixed_prompts(6, 200)) >= 5


@pytest.mark.slow
def test_published_config_equals_the_package_build(tmp_path: Path, tile: MakeTile) -> None:
    """sam2.1 tiny with random weights, saved as the published .pt files are, at a small image size."""
    import torch
    from sam2.build_sam import build_sam2

    name = "configs/sam2.1/sam2.1_hiera_t.yaml"
    torch.manual_seed(0)
    theirs = build_sam2(name, None, device="cpu", hydra_overrides_extra=["++model.image_size=256"])
    torch.save({"model": theirs.state_dict()}, tmp_path / "weights.pt")
    options = Sam2Options(config=name, checkpoint=str(tmp_path / "weights.pt"), device="cpu", image_px=256)
    segmenter = Sam2Segmenter(options)
    ours = segmenter.network.sam_mask_decoder
    assert ours.dynamic_multimask_via_stability is True
    assert (
        ours.dynamic_multimask_stability_thresh == theirs.sam_mask_decoder.dynamic_multimask_stability_thresh
    )
    assert_same_as_predictor(segmenter, tile(128, 128), mixed_prompts(5, 128))


def test_one_encoding_per_tile_whatever_is_asked(tiny_dir: Path, tile: MakeTile) -> None:
    segmenter = Sam2Segmenter(Sam2Options(checkpoint=str(tiny_dir), device="cpu", prompt_batch=4))
    calls: list[int] = []
    segmenter.network.image_encoder.register_forward_hook(
        lambda _module, args, _out: calls.append(args[0].shape[0])
    )
    embedding = segmenter.embed(tile(96, 96))
    for query in range(3):
        segmenter.segment(embedding, mixed_prompts(9, 96, seed=query))
    assert calls == [1]
    assert segmenter.n_embeddings == 1
    assert segmenter.usage() == {"embeddings": 1, "decodings": 3, "decoded_prompts": 27}


def test_embed_many_counts_tiles_and_equals_embed(tiny_dir: Path, tile: MakeTile) -> None:
    segmenter = Sam2Segmenter(Sam2Options(checkpoint=str(tiny_dir), device="cpu"))
    images = [tile(96, 96, seed=1), tile(80, 64, seed=2), tile(96, 96, seed=3)]
    together = segmenter.embed_many(images)
    assert segmenter.n_embeddings == 3
    prompts = mixed_prompts(4, 60)
    for image, embedding in zip(images, together, strict=True):
        for one, other in zip(
            segmenter.segment(segmenter.embed(image), prompts),
            segmenter.segment(embedding, prompts),
            strict=True,
        ):
            assert one.score == pytest.approx(other.score, abs=1e-5)
            assert (full(one, embedding.shape_px) == full(other, embedding.shape_px)).mean() > 0.999


def test_weights_and_the_first_encoding_are_timed(tiny_dir: Path, tile: MakeTile) -> None:
    segmenter = Sam2Segmenter(Sam2Options(checkpoint=str(tiny_dir), device="cpu"))
    assert list(segmenter.load_times()) == ["weights"]
    segmenter.embed(tile(96, 96))
    told = segmenter.load_times()
    segmenter.embed(tile(96, 96))
    assert list(told) == ["weights", "first_run"]
    assert segmenter.load_times() == told, "the first run was the first"
    assert min(told.values()) > 0


def test_batches_do_not_change_masks(tiny: Sam2Segmenter, tile: MakeTile) -> None:
    image = tile(96, 96, seed=4)
    prompts = mixed_prompts(17, 96)
    embedding = tiny.embed(image)
    together = {mask.prompt_index: mask for mask in tiny.segment(embedding, prompts)}
    for index, prompt in enumerate(prompts):
        alone = tiny.segment(embedding, [prompt])
        assert len(alone) == int(index in together)
        if alone:
            assert alone[0].score == pytest.approx(together[index].score, abs=1e-5)
            assert (full(alone[0], (96, 96)) == full(together[index], (96, 96))).mean() > 0.999


def test_border_tiles_keep_their_scale(tiny: Sam2Segmenter, tile: MakeTile) -> None:
    """A small tile is the top left of a full tile whose missing part repeats the last row and column."""
    small = tile(60, 72, seed=5)
    rgb = np.pad(small.rgb, ((0, 36), (0, 24), (0, 0)), mode="edge")
    whole = tile(96, 96)
    whole = TileImage(tile=whole.tile, rgb=rgb, valid=whole.valid)
    prompts = mixed_prompts(8, 55)
    cut = {m.prompt_index: full(m, (96, 96))[:60, :72] for m in tiny.segment(tiny.embed(whole), prompts)}
    for mask in tiny.segment(tiny.embed(small), prompts):
        assert (full(mask, (60, 72)) == cut[mask.prompt_index]).mean() > 0.999


def test_invalid_pixels_are_never_object(tiny: Sam2Segmenter, tile: MakeTile) -> None:
    image = tile(96, 96, invalid_cols=30)
    masks = tiny.segment(tiny.embed(image), mixed_prompts(12, 96))
    assert masks
    for mask in masks:
        assert not (full(mask, (96, 96)) & ~image.valid).any()
        assert mask.mask.any(axis=0)[[0, -1]].all(), "cropped to the bounding box"
        assert mask.mask.any(axis=1)[[0, -1]].all(), "cropped to the bounding box"


def test_masks_without_pixels_are_left_out(tiny_dir: Path, tile: MakeTile) -> None:
    segmenter = Sam2Segmenter(Sam2Options(checkpoint=str(tiny_dir), device="cpu", mask_threshold=1e9))
    assert segmenter.segment(segmenter.embed(tile(96, 96)), mixed_prompts(3, 96)) == []
    assert segmenter.segment(segmenter.embed(tile(96, 96)), []) == []


def test_model_id_names_weights_without_paths(tiny: Sam2Segmenter, tiny_dir: Path) -> None:
    name, _, digest = tiny.model_id.partition("#")
    assert name == f"{tiny_dir.name}/model.safetensors"
    assert len(digest) == 12


def test_bfloat16_is_close(tiny_dir: Path, tiny: Sam2Segmenter, tile: MakeTile) -> None:
    half = Sam2Segmenter(Sam2Options(checkpoint=str(tiny_dir), device="cpu", dtype="bfloat16"), tile_px=96)
    image = tile(96, 96)
    prompts = mixed_prompts(8, 96)
    exact = {m.prompt_index: m for m in tiny.segment(tiny.embed(image), prompts)}
    close = {m.prompt_index: m for m in half.segment(half.embed(image), prompts)}
    shared = exact.keys() & close.keys()
    assert len(shared) >= 7
    agree = [(full(exact[i], (96, 96)) == full(close[i], (96, 96))).mean() for i in shared]
    assert np.mean(agree) > 0.9


def test_package_configs_are_found() -> None:
    assert (package_config_dir() / "configs/sam2.1/sam2.1_hiera_s.yaml").is_file()


def test_embedded_weights_load(tile: MakeTile) -> None:
    segmenter = Sam2Segmenter(Sam2Options(device="cpu"))
    assert segmenter.model_id.startswith("embedded-segmenter/model.safetensors#")
    masks = segmenter.segment(segmenter.embed(tile(256, 256)), mixed_prompts(4, 256))
    assert all(0 <= mask.score <= 1 for mask in masks)


def refusing(tiny_dir: Path, error: RuntimeError, *, above: int) -> tuple[Sam2Segmenter, list[int]]:
    """A segmenter whose decoder raises `error` for more prompts than `above`, and the list of what its
    decoder was given.
    """
    segmenter = Sam2Segmenter(Sam2Options(checkpoint=str(tiny_dir), device="cpu", prompt_batch=8), tile_px=96)
    asked = []

    def before(_module: object, _args: object, given: dict[str, Any]) -> None:
        asked.append(given["sparse_prompt_embeddings"].shape[0])
        if asked[-1] > above:
            raise error

    segmenter.network.sam_mask_decoder.register_forward_pre_hook(before, with_kwargs=True)
    return segmenter, asked


def boxes(n: int) -> list[Prompt]:
    return [Prompt(box_xyxy=(4.0 + 5 * i, 6.0, 40.0 + 5 * i, 50.0)) for i in range(n)]


def out_of_memory() -> RuntimeError:
    import torch

    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_a_batch_that_does_not_fit_is_decoded_in_two_halves(
    tiny_dir: Path, tiny: Sam2Segmenter, tile: MakeTile
) -> None:
    segmenter, asked = refusing(tiny_dir, out_of_memory(), above=4)
    got = segmenter.segment(segmenter.embed(tile(96, 96)), boxes(10))
    assert asked == [8, 4, 4, 2]
    want = tiny.segment(tiny.embed(tile(96, 96)), boxes(10))
    assert [mask.prompt_index for mask in got] == [mask.prompt_index for mask in want]
    assert len(got) >= 8
    for one, other in zip(got, want, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5)
        assert (full(one, (96, 96)) == full(other, (96, 96))).mean() > 0.999


def test_memory_that_does_not_suffice_for_half_a_batch_fails_the_call_alone(
    tiny_dir: Path, tile: MakeTile
) -> None:
    segmenter, asked = refusing(tiny_dir, out_of_memory(), above=1)
    embedding = segmenter.embed(tile(96, 96))
    with pytest.raises(ModelError, match=r"out of memory.*lower prompt_batch") as caught:
        segmenter.segment(embedding, boxes(8))
    assert asked == [8, 4], "halved once"
    assert not caught.value.retryable, "the process is as good as before"
    assert len(segmenter.segment(embedding, boxes(1))) == 1


@pytest.mark.parametrize(
    ("text", "retryable"),
    [
        ("CUDA error: an illegal memory access was encountered", True),
        ("CUDA error: device-side assert triggered", True),
        ("CUDA error: out of memory", False),
        ("The size of tensor a (3) must match the size of tensor b (4)", False),
    ],
)
def test_only_an_error_that_sticks_to_the_process_asks_for_a_fresh_one(
    tiny_dir: Path, tile: MakeTile, text: str, *, retryable: bool
) -> None:
    segmenter, _ = refusing(tiny_dir, RuntimeError(text), above=0)
    embedding = segmenter.embed(tile(96, 96))
    with pytest.raises(ModelError, match="mask decoder failed") as caught:
        segmenter.segment(embedding, boxes(1))
    assert caught.value.retryable is retryable

    def before(*_: object) -> None:
        raise RuntimeError(text)

    segmenter.network.image_encoder.register_forward_pre_hook(before)
    with pytest.raises(ModelError, match="image encoder failed") as caught:
        segmenter.embed(tile(96, 96))
    assert caught.value.retryable is retryable


@pytest.mark.parametrize(
    ("n_gpus", "refused"), [(0, ["cuda", "cuda:0", "cuda:1"]), (1, ["cuda:1", "cuda:x"])]
)
def test_a_gpu_that_is_not_there_is_named_before_the_model_is_built(
    tiny_dir: Path, monkeypatch: pytest.MonkeyPatch, n_gpus: int, refused: list[str]
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    monkeypatch.setattr(
        "pipeline.segment.sam2_segmenter.build_architecture", lambda *_: pytest.fail("the model was built")
    )
    for device in refused:
        with pytest.raises(
            ModelError, match=f"device = '{device}' needs that GPU.*Got: {n_gpus} GPU.*To fix:"
        ):
            Sam2Segmenter(Sam2Options(checkpoint=str(tiny_dir), device=device))
    for device in ("cpu", "cuda", "cuda:0") if n_gpus else ("cpu",):
        assert find_device(device) == device


def test_a_device_that_torch_was_not_built_for_is_named(tiny_dir: Path) -> None:
    with pytest.raises(ModelError, match=r"moved to segmenter\.device = 'mps'"):
        Sam2Segmenter(Sam2Options(checkpoint=str(tiny_dir), device="mps"))


@pytest.mark.parametrize("several", [False, True])
def test_proposals_are_the_decoder_s_own_masks(
    tiny: Sam2Segmenter, tile: MakeTile, monkeypatch: pytest.MonkeyPatch, several: bool
) -> None:
    """Three masks a point where the model was trained for them. With rules that pass all, each is in the tile
    what the package's predictor draws.
    """
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    monkeypatch.setattr(tiny.network, "multimask_output_in_sam", several)
    image = tile(96, 96, seed=5)
    prompts = [
        Prompt(box_xyxy=None, points_xy=((x, y),), point_labels=(1,))
        for x in (20.0, 70.0)
        for y in (30.0, 60.0)
    ]
    rules = EverythingOptions(min_predicted_iou=0.0, min_stability=0.0, min_mask_px=1, max_mask_share=1.0)
    found = tiny.propose(tiny.embed(image), prompts, rules)
    predictor = SAM2ImagePredictor(tiny.network)
    predictor._bb_feat_sizes = [(tiny.network.image_size // s,) * 2 for s in (4, 8, 16)]  # as above
    predictor.set_image(image.rgb)
    seen = 0
    for index, prompt in enumerate(prompts):
        drawn, scores, _ = predictor.predict(
            point_coords=np.array(prompt.points_xy), point_labels=np.array([1]), multimask_output=several
        )
        own = [mask for mask in found.masks if mask.prompt_index == index]
        wanted = [(mask > 0, score) for mask, score in zip(drawn, scores, strict=True) if mask.any()]
        assert len(own) == len(wanted)
        for mask, (truth, score) in zip(own, wanted, strict=True):
            full = np.zeros((96, 96), dtype=np.bool_)
            height, width = mask.mask.shape
            full[mask.row0 : mask.row0 + height, mask.col0 : mask.col0 + width] = mask.mask
            assert (full == truth).mean() > 0.999
            assert mask.score == pytest.approx(float(score), abs=1e-4)
            assert mask.stability is not None
            assert 0 <= mask.stability <= 1
            seen += 1
    assert seen >= 2 * (1 + several)
