"""jobs/evaluate.py --parser: the same replies read in two ways, with scores that were counted by hand.

Five images of 252 x 252 px, the frame of the embedded profile, so that a number of a reply is a pixel. The
engine answers from a table; everything after it is real but the segmenter, which fills the box (nothing, when
it is inside out) and a square of 10 x 10 px around every point. The target of the first four images is the
box of 100 x 100 px at (50, 50).
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from job_files import load_job
from PIL import Image

from pipeline.evaluate.benchmark import sample_steps
from pipeline.prompt import vllm_prompter
from pipeline.prompt.reply.released_parser import PARSERS
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.segment.segmenter import Embedding

SIDE = 252
GOOD = '{"bbox_2d": [50, 50, 150, 150], "positive_points": [[100, 100]]}'
NOTHING = "<think>None.</think><answer>[]</answer>"

REPLIES: dict[str, tuple[str, ...]] = {
    # image: the replies of every attempt
    "bad-beside-good": (f'<answer>[{GOOD}, "a tank"]</answer>',),
    "empty": (NOTHING,),
    "malformed-first": ("a tank in the middle", f"<answer>[{GOOD}]</answer>"),
    "point-outside": ('<answer>[{"bbox_2d": [50, 50, 150, 150], "positive_points": [[205, 205]]}]</answer>',),
    "swapped": ('<answer>[{"bbox_2d": [150, 150, 50, 50], "positive_points": [[100, 100]]}]</answer>',),
}

SCORES = {
    # what: IoU of every image in the order above, calls of the model
    "robust": ([1, 1, 1, 1, 1], [1, 1, 2, 1, 1]),
    # refused; right to be empty; refused; 10,000 of 10,000 + 100 px; 100 of 10,000 px
    "think2seg": ([0, 1, 0, 10000 / 10100, 100 / 10000], [1, 1, 1, 1, 1]),
}


class TableEngine:
    """In vLLM's place: answers about an image, known by its grey value, from the table."""

    errored = False

    def __init__(self) -> None:
        self.asked: dict[str, int] = {}
        self.renderer = SimpleNamespace(render_cmpl_async=self._render)

    async def _render(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return requests

    async def generate(self, request: dict[str, Any], sampling: Any, request_id: str) -> AsyncIterator[Any]:
        image = request["multi_modal_data"]["image"]
        assert image.size == (SIDE, SIDE)
        name = list(REPLIES)[image.getpixel((0, 0))[0] // 40]
        attempt = self.asked.get(name, 0)
        self.asked[name] = attempt + 1
        completion = SimpleNamespace(token_ids=[7, 8], text=REPLIES[name][attempt], finish_reason="stop")
        yield SimpleNamespace(outputs=[completion], num_cached_tokens=0, prompt_token_ids=[1, 2, 3])

    def shutdown(self) -> None:
        pass


class PlainProcessor:
    image_processor = SimpleNamespace(
        to_dict=lambda: {"patch_size": 14, "merge_size": 2, "min_pixels": SIDE**2, "max_pixels": SIDE**2}
    )

    def apply_chat_template(self, messages: list[dict[str, Any]], **_: Any) -> str:
        return str(messages)


class FillingSegmenter:
    """Boxes and squares around points, filled; what lies outside the image has no pixels."""

    model_id = "filling"
    n_embeddings = 0

    def embed(self, image: TileImage) -> Embedding:
        shape = (image.rgb.shape[0], image.rgb.shape[1])
        return Embedding(
            tile=image.tile, shape_px=shape, square_px=max(shape), valid=image.valid, features=None
        )

    def segment(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
        masks = []
        for index, prompt in enumerate(prompts):
            mask = np.zeros(embedding.shape_px, np.bool_)
            boxes = [prompt.box_xyxy] if prompt.box_xyxy else []
            boxes += [(x - 5, y - 5, x + 5, y + 5) for x, y in prompt.points_xy]
            for box in boxes:
                x0, y0, x1, y1 = (max(round(value), 0) for value in box)
                mask[y0:y1, x0:x1] = True
            masks.append(MaskCrop(row0=0, col0=0, mask=mask, score=1.0, prompt_index=index))
        return masks


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An EarthReason folder: image n is grey 40 * n."""
    folder = tmp_path / "data" / "test"
    for part in ("images", "labels", "QAs"):
        (folder / part).mkdir(parents=True)
    for number, name in enumerate(REPLIES):
        target = np.zeros((SIDE, SIDE), np.uint8)
        if name != "empty":
            target[50:150, 50:150] = 255
        Image.fromarray(np.full((SIDE, SIDE, 3), 40 * number, np.uint8)).save(
            folder / "images" / f"{name}.png"
        )
        Image.fromarray(target).save(folder / "labels" / f"{name}.png")
        answers = [] if name == "empty" else ["there"]
        (folder / "QAs" / f"{name}.json").write_text(
            json.dumps({"questions": ["where is it?"], "answer": answers})
        )
    return tmp_path / "data"


@pytest.fixture
def evaluate(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setattr(vllm_prompter, "load_processor", lambda path, revision: PlainProcessor())
    monkeypatch.setattr(vllm_prompter, "start_engine", lambda *_: TableEngine())
    monkeypatch.setattr(vllm_prompter, "answer_sampling", lambda **asked: SimpleNamespace(**asked))
    monkeypatch.setattr(sample_steps, "build_segmenter", lambda options: FillingSegmenter())
    words = ["--benchmark", f"earthreason:{root}", "--size", str(SIDE), "--runner", "local"]
    return lambda *more: load_job("evaluate").main([*words, *map(str, more)])


@pytest.mark.parametrize("name", list(SCORES))
def test_the_same_replies_score_as_counted_by_hand(
    evaluate: Callable[..., int], tmp_path: Path, name: str
) -> None:
    ious, n_calls = SCORES[name]
    out = tmp_path / name
    assert evaluate("--parser", name, "--out", out) == (
        0 if name == "robust" else 3
    )  # refused replies are no answers
    rows = sorted(pq.read_table(out / "samples.parquet").to_pylist(), key=lambda row: row["sample_id"])
    assert [row["score"] for row in rows] == pytest.approx(ious)
    assert [row["n_calls"] for row in rows] == n_calls
    results = json.loads((out / "results.json").read_text())
    assert results["figures"]["giou"]["value"] == pytest.approx(sum(ious) / 5, abs=1e-6)
    again, retry = (1, 1) if name == "robust" else (0, 0)
    assert results["replies"] == {
        "profile": "embedded",
        "parser": name,
        "retry": retry,
        "asked_again": again,
        "then_read": again,
    }
    parameters = json.loads((out / "evaluation.json").read_text())["parameters"]
    assert (parameters["parser"], parameters["prompter"]["vllm"]["retry"]) == (name, retry)
    for file in ("results.md", "samples.html"):
        assert f"read by the parser `{name}`" in (out / file).read_text()


def test_the_default_is_ours_and_another_parser_is_another_evaluation(
    evaluate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert evaluate("--out", out) == 0
    assert json.loads((out / "results.json").read_text())["replies"]["parser"] == "robust"
    assert evaluate("--out", out, "--parser", "think2seg") == 2
    assert 'parser: "robust" -> "think2seg"; prompter.vllm.retry: 1 -> 0' in capsys.readouterr().err


def test_the_truth_has_no_replies(
    evaluate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("--out", tmp_path / "out", "--models", "truth", "--parser", "think2seg") == 2
    assert "a parser reads a language model's replies" in capsys.readouterr().err
    assert evaluate("--out", tmp_path / "out", "--models", "truth") == 0
    assert json.loads((tmp_path / "out" / "results.json").read_text())["replies"] is None
    assert "parser" not in json.loads((tmp_path / "out" / "evaluation.json").read_text())["parameters"]


def test_the_names_of_the_help_are_those_of_the_parsers() -> None:
    job = load_job("evaluate")
    chosen = next(action.choices for action in job.parser()._actions if action.dest == "parser")
    assert tuple(chosen) == tuple(PARSERS)
    described = re.findall(
        r"^  (\S+)", job.EPILOG.partition("parsers (")[2].partition("\n\n")[0], re.MULTILINE
    )
    assert described == list(PARSERS)
