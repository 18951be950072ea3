"""jobs/calibrate_boxes.py and --refine-boxes: boxes that are wrong in a known way, counted by hand.

64 images of 252 x 252 px, the frame of the embedded profile. Every target is the box of 100 x 50 px at (60,
80). The engine always says one thing; masks are filled boxes. Only engine and segmenter are not real.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from job_files import load_job
from PIL import Image

from pipeline.evaluate.benchmark import sample_steps
from pipeline.prompt import vllm_prompter
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.segment.segmenter import Embedding

SIDE = 252
TARGET = (60, 80, 160, 130)
SHRUNK = "[80, 85, 160, 125]"
"""80 x 40 px: 20 of 80 short at the left, 5 of 40 at the top and at the bottom."""
IN_THOUSANDTHS = "[238, 317, 635, 516]"
"""The target in thousandths: 60 * 1000 / 252 = 238.1 and so on."""


class SayingEngine:
    """In vLLM's place: says one box, whatever it is asked."""

    errored = False

    def __init__(self, box: str) -> None:
        self._text = f'<think>One.</think><answer>[{{"bbox_2d": {box}}}]</answer>'
        self.renderer = SimpleNamespace(render_cmpl_async=self._render)

    async def _render(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return requests

    async def generate(self, request: dict[str, Any], sampling: Any, request_id: str) -> AsyncIterator[Any]:
        completion = SimpleNamespace(token_ids=[7], text=self._text, finish_reason="stop")
        yield SimpleNamespace(outputs=[completion], num_cached_tokens=0, prompt_token_ids=[1])

    def shutdown(self) -> None:
        pass


class PlainProcessor:
    image_processor = SimpleNamespace(
        to_dict=lambda: {"patch_size": 14, "merge_size": 2, "min_pixels": SIDE**2, "max_pixels": SIDE**2}
    )

    def apply_chat_template(self, messages: list[dict[str, Any]], **_: Any) -> str:
        return str(messages)


class FillingSegmenter:
    """Boxes, filled."""

    model_id = "filling"
    n_embeddings = 0

    def embed(self, image: TileImage) -> Embedding:
        return Embedding(
            tile=image.tile, shape_px=(SIDE, SIDE), square_px=SIDE, valid=image.valid, features=None
        )

    def segment(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
        masks = []
        for index, prompt in enumerate(prompts):
            assert prompt.box_xyxy is not None
            x0, y0, x1, y1 = (round(value) for value in prompt.box_xyxy)
            mask = np.ones((y1 - y0, x1 - x0), np.bool_)
            masks.append(MaskCrop(row0=y0, col0=x0, mask=mask, score=1.0, prompt_index=index))
        return masks


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    folder = tmp_path / "data" / "test"
    for part in ("images", "labels", "QAs"):
        (folder / part).mkdir(parents=True)
    target = np.zeros((SIDE, SIDE), np.uint8)
    target[TARGET[1] : TARGET[3], TARGET[0] : TARGET[2]] = 255
    for number in range(64):
        picture = Image.fromarray(np.full((SIDE, SIDE, 3), number, np.uint8))
        picture.save(folder / "images" / f"i{number:02d}.png")
        Image.fromarray(target).save(folder / "labels" / f"i{number:02d}.png")
        asked = {"questions": ["where is it?"], "answer": ["there"]}
        (folder / "QAs" / f"i{number:02d}.json").write_text(json.dumps(asked))
    (tmp_path / "tiles.toml").write_text(f"[tiles]\npx = {SIDE}\n")
    place = ["--benchmark", f"earthreason:{tmp_path / 'data'}"]
    return [*place, "--config", str(tmp_path / "tiles.toml"), "--runner", "local"]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    monkeypatch.setattr(vllm_prompter, "load_processor", lambda path, revision: PlainProcessor())
    monkeypatch.setattr(vllm_prompter, "answer_sampling", lambda **asked: SimpleNamespace(**asked))
    monkeypatch.setattr(sample_steps, "build_segmenter", lambda options: FillingSegmenter())
    return lambda box: monkeypatch.setattr(vllm_prompter, "start_engine", lambda *_: SayingEngine(box))


def test_margins_are_measured_and_mend_the_masks(
    words: list[str], say: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say(SHRUNK)
    out = tmp_path / "boxes"
    assert load_job("calibrate_boxes").main([*words, "--out", str(out)]) == 0
    document = json.loads((out / "boxes.json").read_text())
    assert document["box_margins"] == {"left": 0.25, "top": 0.125, "right": 0.0, "bottom": 0.125}
    assert (document["profile"], document["frame"], document["best_frame"]) == (
        "embedded",
        "image_px",
        "image_px",
    )
    gains = {gain["name"]: gain["iou"]["value"] for gain in document["gains"]}
    assert gains["none"] == pytest.approx(80 * 40 / 5000)
    assert gains["measured"] == 1
    assert "Proposed margins: left 0.25, top 0.125, right 0, bottom 0.125" in capsys.readouterr().out

    evaluate = load_job("evaluate")
    for name, more, iou in (
        ("before", [], 80 * 40 / 5000),
        ("after", ["--refine-boxes", str(out / "boxes.json")], 1.0),
        # 80 + 0.3 * 80 wide from 64 to 168, 40 + 0.3 * 40 high from 77 to 129: 96 x 49 of the target
        ("geoseg", ["--refine-boxes", "geoseg"], 96 * 49 / (104 * 52 + 5000 - 96 * 49)),
    ):
        scored = tmp_path / name
        assert evaluate.main([*words, *more, "--out", str(scored)]) == 0
        results = json.loads((scored / "results.json").read_text())
        assert results["figures"]["giou"]["value"] == pytest.approx(iou, abs=1e-6)


def test_a_wrong_frame_is_named_and_no_margins_are_proposed(
    words: list[str], say: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say(IN_THOUSANDTHS)
    out = tmp_path / "boxes"
    # as pixels the boxes lie outside the image, so that no answer is left
    assert load_job("calibrate_boxes").main([*words, "--out", str(out)]) == 3
    document = json.loads((out / "boxes.json").read_text())
    assert "box_margins" not in document
    assert document["best_frame"] == "thousand"
    assert "fit the frame `thousand` better than the profile's `image_px`" in (out / "boxes.md").read_text()
    capsys.readouterr()
    refused = ["--refine-boxes", str(out / "boxes.json"), "--out", str(tmp_path / "after")]
    assert load_job("evaluate").main([*words, *refused]) == 2
    assert "a file that jobs/calibrate_boxes.py wrote" in capsys.readouterr().err


def test_bad_input_is_refused_before_a_model_is_loaded(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = load_job("calibrate_boxes")
    for wrong, said in (
        (["--preset", "mobile-sam"], "a prompter that looks at images"),
        (["--limit", "0"], "--limit must be at least 1"),
        (["--benchmark", "earthreason:/nowhere"], "/nowhere"),
    ):
        assert job.main([*words, "--out", str(tmp_path / "boxes"), *wrong]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "boxes").exists()
