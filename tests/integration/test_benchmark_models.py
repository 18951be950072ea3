"""Every public layout through jobs/evaluate.py with the shipped models for real: one vLLM engine and one SAM2 for the whole file.

An engine belongs to the event loop of its first call, and every evaluation brings a loop of its own. `OneEngine` keeps the engine on
a loop in a thread and hands questions over; nothing else is replaced. Nothing here pins what these weights answer: expected values
come from the kept replies, the kept masks and the masks that the layouts were written with.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from benchmark_layouts import LAYOUTS, SIDE, Filled, write_layout, write_rrsisd
from job_files import load_job

from pipeline.evaluate import sample_steps
from pipeline.evaluate.sample_records import unpack_mask
from pipeline.prompt.build import build_prompter
from pipeline.prompt.vllm_prompter import VllmPrompter
from pipeline.schema import TileImage, TilePrompts
from pipeline.segment.build import build_segmenter
from pipeline.segment.segmenter import Segmenter

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TILE = 256
LIMIT = 2
TOO_LONG = "lasers with a question longer than the context"
CASES = (*LAYOUTS, TOO_LONG)


class OneEngine:
    """The real prompter on an event loop of its own, for evaluations that each have another."""

    def __init__(self, prompter: VllmPrompter) -> None:
        self.real = prompter
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def model_id(self) -> str:
        return self.real.model_id

    async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.real.prompt(image, queries), self._loop))

    def close(self) -> None:
        """The next evaluation needs it still."""

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=60)
        self.real.close()


@dataclass
class Models:
    """Builds each model once, as the first evaluation wants it, and insists that the others want the same."""

    engine: OneEngine | None = None
    segmenter: Segmenter | None = None
    wanted: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def build_prompter(self, *wanted: Any) -> OneEngine:
        if self.engine is None:
            built = build_prompter(*wanted)
            assert isinstance(built, VllmPrompter)
            self.engine = OneEngine(built)
        assert self.wanted.setdefault("prompter", wanted) == wanted
        return self.engine

    def build_segmenter(self, *wanted: Any) -> Segmenter:
        self.segmenter = self.segmenter or build_segmenter(*wanted)
        assert self.wanted.setdefault("segmenter", wanted) == wanted
        return self.segmenter

    def spent(self) -> tuple[int, int]:
        """Calls of the language model and embeddings of SAM2 so far."""
        calls = self.engine.real.n_calls if self.engine else 0
        return calls, self.segmenter.n_embeddings if self.segmenter else 0


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    code: int
    out: Path
    filled: Filled
    n_calls: int
    n_embeddings: int

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.read_table(self.out / "samples.parquet").to_pylist()
        return rows

    def results(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.out / "results.json").read_text())
        return document

    def true_mask(self, row: dict[str, Any]) -> np.ndarray:
        """As it is scored: the layouts are written at half the side of a tile, and masks are stretched by nearest neighbour."""
        return np.repeat(np.repeat(self.filled.masks[row["sample_id"].rpartition("#")[0]], TILE // SIDE, 0), TILE // SIDE, 1)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Evaluated]]:
    """Every case, two questions each, through the job's own `main`."""
    pytest.importorskip("vllm", reason="vLLM is not installed")
    root, main, models = tmp_path_factory.mktemp("models"), load_job("evaluate").main, Models()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample_steps, "build_prompter", models.build_prompter)
        patch.setattr(sample_steps, "build_segmenter", models.build_segmenter)
        try:
            yield {case: evaluate(main, models, root / f"{number}", case) for number, case in enumerate(CASES)}
        finally:
            if models.engine is not None:
                models.engine.end()


def evaluate(main: Callable[[list[str]], int], models: Models, root: Path, case: str) -> Evaluated:
    name = "lasers" if case == TOO_LONG else case
    filled = write_rrsisd(root / "data", odd_image=True) if name == "rrsis-d" else write_layout(name, root / "data")
    if case == TOO_LONG:
        lengthen(root / "data" / "train" / "annotations" / "train_ann.json", filled)
    words = ["--benchmark", f"{name}:{filled.root}", "--preset", "embedded", "--limit", str(LIMIT), "--runner", "local"]
    before = models.spent()
    code = main([*words, "--size-mismatch", "squash", "--out", str(root / "out")])
    n_calls, n_embeddings = (after - earlier for after, earlier in zip(models.spent(), before, strict=True))
    return Evaluated(code=code, out=root / "out", filled=filled, n_calls=n_calls, n_embeddings=n_embeddings)


def lengthen(annotations: Path, filled: Filled) -> None:
    """The first description becomes longer than the context of the preset (1024 tokens), though not than a benchmark may ask."""
    entries = json.loads(annotations.read_text())
    entries[0]["description"] += " And then there are the others." * 250
    filled.wordings[entries[0]["id"]] = [entries[0]["description"]]
    annotations.write_text(json.dumps(entries))


def numbers(value: Any) -> Iterator[float]:
    """Every number in a JSON document."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, int | float):
        yield value


@pytest.mark.parametrize("case", CASES)
def test_every_question_is_asked_of_the_engine_and_answered_or_failed_for_the_record(evaluated: dict[str, Evaluated], case: str) -> None:
    done = evaluated[case]
    rows = done.rows()
    assert len({row["sample_id"] for row in rows}) == len(rows) == LIMIT
    assert done.code == (3 if any(row["status"] == "failed" for row in rows) else 0)
    assert done.n_calls == sum(row["n_calls"] for row in rows) >= LIMIT
    assert done.n_embeddings == len({row["image_id"] for row in rows if json.loads(row["prompts"])})
    for row in rows:
        target, _, place = row["sample_id"].rpartition("#")
        assert row["query"] == " ".join(done.filled.wordings[target][int(place)].split())
        if row["status"] == "failed" and row["reason"] == "malformed":
            assert (row["n_calls"], bool(row["reply"])) == (2, True)  # asked once more, and the last reply is kept
        elif row["status"] != "failed":
            found = re.search(r"<answer>(.*?)</answer>", row["reply"], re.DOTALL)
            assert found, row["reply"]
            assert bool(json.loads(found[1])) == bool(json.loads(row["prompts"]))
        else:
            assert case == TOO_LONG, row["error"]


@pytest.mark.parametrize("case", CASES)
def test_figures_follow_from_the_kept_masks(evaluated: dict[str, Evaluated], case: str) -> None:
    done = evaluated[case]
    scores, common_px, union_px = [], 0, 0
    for row in done.rows():
        assert (row["height"], row["width"]) == (TILE, TILE)
        true, predicted = done.true_mask(row), unpack_mask(row["mask_png"], (TILE, TILE))
        common, union = int((true & predicted).sum()), int((true | predicted).sum())
        assert (row["true_px"], row["predicted_px"], row["common_px"]) == (true.sum(), predicted.sum(), common)
        scores.append(0.0 if row["status"] == "failed" else common / union if union else 1.0)
        common_px, union_px = common_px + common, union_px + union
    document = done.results()
    assert document["n_samples"] == LIMIT
    assert document["figures"]["giou"]["value"] == pytest.approx(sum(scores) / LIMIT, abs=1e-6)
    assert document["figures"]["ciou"]["value"] == pytest.approx(common_px / union_px, abs=1e-6)
    assert all(math.isfinite(number) for number in numbers(document))
    assert document["models"]["prompter"].startswith("embedded-prompter@sha256:")
    assert document["models"]["segmenter"] != "truth"
    text = (done.out / "results.md").read_text()
    assert text.startswith(f"# {document['benchmark']['name']}, {document['benchmark']['split']}: embedded-prompter@sha256:")
    assert "nan" not in text.lower().split()
    assert (done.out / "samples.html").stat().st_size > 0


def test_both_models_took_part(evaluated: dict[str, Evaluated]) -> None:
    """Of a dozen questions about drawn land at least one is answered with boxes, and SAM2 makes a mask of them."""
    rows = [row for done in evaluated.values() for row in done.rows()]
    assert any(row["status"] == "found" and row["predicted_px"] > 0 and row["mask_scores"] for row in rows)


def test_what_was_done_to_the_data_is_noted(evaluated: dict[str, Evaluated]) -> None:
    """RRSIS-D's first picture has a column more than its mask; the fourth entry of LaSeRS has no masks."""
    assert "900#0" in {row["sample_id"] for row in evaluated["rrsis-d"].rows()}
    for case, note in (("rrsis-d", "1 masks were of another size than their image"), ("lasers", "1 entries without masks")):
        assert note in (evaluated[case].out / "results.md").read_text()


def test_a_paragraph_is_asked_and_one_beyond_the_context_fails_alone(evaluated: dict[str, Evaluated]) -> None:
    long, beyond = ({row["sample_id"]: row for row in evaluated[case].rows()} for case in ("lasers", TOO_LONG))
    assert len(long["q2#0"]["query"]) > 512
    assert long["q2#0"]["reason"] in ("", "none", "prompter", "malformed")
    assert (beyond["q0#0"]["status"], beyond["q0#0"]["reason"]) == ("failed", "model_error")
    assert "1024" in beyond["q0#0"]["error"]
    assert beyond["q2#0"]["reply"] == long["q2#0"]["reply"]
