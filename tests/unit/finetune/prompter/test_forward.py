"""The batched forward pass against the one of transformers, and its parts by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pipeline.finetune.prompter.forward import (  # noqa: E402
    Memory,
    language_hidden,
    patches_of,
    rotary,
    vision_tokens,
)
from pipeline.finetune.prompter.packing import attention_mask, image_positions  # noqa: E402
from pipeline.finetune.prompter.prompter_model import (  # noqa: E402
    IMAGE_MEAN,
    IMAGE_STD,
    build_model,
    export_checkpoint,
)
from pipeline.finetune.prompter.samples import prompt_text  # noqa: E402
from pipeline.finetune.prompter.tokenizer import load_tokenizer, train_tokenizer  # noqa: E402
from tests.unit.finetune.prompter.test_prompter_train import TINY  # noqa: E402


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny prompter without a weight that is 0: a fresh one would hide what its blocks do."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("forward") / "prompter"
    tokenizer = train_tokenizer([])
    model = build_model(TINY, tokenizer, seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    export_checkpoint(model, tokenizer, folder, card="# card\n")
    return folder


def test_the_batched_forward_pass_is_the_one_of_transformers(exported: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from PIL import Image

    model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(
        exported, dtype=torch.float32
    ).eval()
    processor = transformers.AutoProcessor.from_pretrained(exported)
    image = np.random.default_rng(0).integers(0, 255, (252, 252, 3), dtype=np.uint8)
    text = f"<|im_start|>user\n<|vision_start|><|image_pad|>{prompt_text('storage tanks')}"
    inputs = processor(text=[text], images=[Image.fromarray(image)], return_tensors="pt")
    tokenizer = load_tokenizer(exported)
    prompt = tokenizer.encode(prompt_text("storage tanks")).ids
    with torch.inference_mode():
        theirs = model(**inputs).logits[0, -1]
        language = model.model.language_model
        tokens = vision_tokens(model.model.visual, patches_of(torch.from_numpy(image)[None]))
        before = tokenizer.encode("<|im_start|>user\n<|vision_start|>").ids
        embeds = torch.cat(
            [
                language.embed_tokens(torch.tensor([before])),
                tokens,
                language.embed_tokens(torch.tensor([prompt])),
            ],
            1,
        )
        start = torch.from_numpy(image_positions(len(before)))
        after = torch.arange(len(prompt)).expand(3, -1) + int(start.max()) + 1
        mask = attention_mask(torch.ones(1, len(prompt), dtype=torch.long), len(before) + 81)
        hidden = language_hidden(
            language, embeds, angles=rotary(language, torch.cat([start, after], 1)[:, None]), mask=mask
        )
        ours = model.lm_head(hidden)[0, -1]
    assert inputs["input_ids"].shape[1] == embeds.shape[1]
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_patches_lie_cell_by_cell_and_hold_the_pixels_of_their_place() -> None:
    """The cell in row 1 and column 2 is number 11; its lower left patch (the third of its four) begins at
    pixel row 28 + 14 and column 56.
    """
    rgb = torch.zeros(1, 252, 252, 3, dtype=torch.uint8)
    rgb[0, 42, 56] = torch.tensor([255, 0, 0])
    patches = patches_of(rgb).view(324, 3, 14, 14)
    black = [-mean / std for mean, std in zip(IMAGE_MEAN, IMAGE_STD, strict=True)]
    red = (1 - IMAGE_MEAN[0]) / IMAGE_STD[0]
    assert patches[11 * 4 + 2, :, 0, 0].tolist() == pytest.approx([red, black[1], black[2]], abs=1e-4)
    bright = (patches[:, 0] > 0).nonzero()
    assert bright.tolist() == [[46, 0, 0]]


def test_reading_in_two_parts_with_a_memory_gives_what_reading_at_once_gives(exported: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(exported, dtype=torch.float32)
    language = model.eval().model.language_model
    torch.manual_seed(2)
    embeds = torch.randn(1, 6, TINY.text_width)
    angles = rotary(language, torch.arange(6).expand(3, 1, -1))
    mask = torch.full((6, 6), -1e9).triu(1)[None, None]
    with torch.inference_mode():
        whole = language_hidden(language, embeds, angles=angles, mask=mask)
        memory = Memory(keys=[], values=[])
        parts = [
            language_hidden(
                language,
                embeds[:, part],
                angles=(angles[0][:, :, part], angles[1][:, :, part]),
                mask=mask[:, :, part, : part.stop],
                memory=memory,
            )
            for part in (slice(0, 4), slice(4, 6))
        ]
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-5)
    assert [key.shape[2] for key in memory.keys] == [6] * TINY.text_depth
