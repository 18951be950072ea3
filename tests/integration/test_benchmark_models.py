"""Every public layout through jobs/evaluate.py with the shipped models for real: one engine and one SAM2.

Nothing here pins what these weights answer: expected values come from the kept replies, the kept masks and
the masks that the layouts were written with.

A world is asked three times more: without a verifier, and with one that rejects nothing or all that it is not
certain of.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from benchmark_layouts import LAYOUTS, SIDE, Filled, write_layout, write_rrsisd
from job_files import load_job
from shared_engine import SharedEngine

from pipeline.evaluate.benchmark import sample_steps
from pipeline.evaluate.benchmark.sample_records import unpack_mask
from pipeline.prompt.build_prompter import PrompterOptions, build_verifier
from pipeline.prompt.looks.verifier import Verifier
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop
from pipeline.schema.tiling import RunGrid
from pipeline.segment.build_segmenter import build_segmenter
from pipeline.segment.segmenter import Segmenter

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TILE = 256
LIMIT = 2
THRESHOLDS = ("off", "0.0", "1.0")
TOO_LONG = "lasers with a query longer than the context"
CASES = (*LAYOUTS, TOO_LONG)


@dataclass(frozen=True)
class HandedOver:
    """The real verifier of that engine, asked from another event loop."""

    real: Verifier
    engine: SharedEngine

    async def verify(self, image: TileImage, query: str, masks: Sequence[MaskCrop]) -> list[float | None]:
        return await self.engine.hand_over(self.real.verify(image, query, masks))

    def close(self) -> None:
        self.real.close()


@dataclass
class Models:
    """Hands out the shared engine and one segmenter, and insists that every evaluation wants the same."""

    engine: SharedEngine
    segmenter: Segmenter | None = None
    wanted: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def build_prompter(self, options: PrompterOptions, _grid: RunGrid, parser: str) -> SharedEngine:
        assert (options, parser) == (self.engine.options, "robust")
        return self.engine

    def build_segmenter(self, *wanted: Any) -> Segmenter:
        self.segmenter = self.segmenter or build_segmenter(*wanted)
        assert self.wanted.setdefault("segmenter", wanted) == wanted
        return self.segmenter

    def build_verifier(
        self, options: Any, prompter: Any, grid: Any, built: SharedEngine
    ) -> HandedOver | None:
        real = build_verifier(options, prompter, grid, built.real)
        return None if real is None else HandedOver(real, built)

    def spent(self) -> tuple[int, int]:
        """Calls of the language model and embeddings of SAM2 so far."""
        return self.engine.real.n_calls, self.segmenter.n_embeddings if self.segmenter else 0


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
        """As it is scored: the layouts are written at half the side of a tile, and masks are stretched by
        nearest neighbour.
        """
        return np.repeat(
            np.repeat(self.filled.masks[row["sample_id"].rpartition("#")[0]], TILE // SIDE, 0),
            TILE // SIDE,
            1,
        )


@pytest.fixture(scope="module")
def models(shared_engine: SharedEngine) -> Iterator[Models]:
    """In the place of what builds models for an evaluation."""
    models = Models(shared_engine)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("build_prompter", "build_segmenter", "build_verifier"):
            patch.setattr(sample_steps, name, getattr(models, name))
        yield models


@pytest.fixture(scope="module")
def evaluated(models: Models, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Evaluated]:
    """Every case, two queries each, through the job's own `main`."""
    root = tmp_path_factory.mktemp("models")
    main = load_job("evaluate").main
    return {case: evaluate(main, models, root / f"{number}", case) for number, case in enumerate(CASES)}


@pytest.fixture(scope="module")
def looked_at(models: Models, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Four images of a world, without a verifier and with two thresholds."""
    root = tmp_path_factory.mktemp("verifier")
    main = load_job("evaluate").main
    for name in THRESHOLDS:
        table = "" if name == "off" else f"[verifier]\nmode = 'crop'\nthreshold = {name}\n"
        (root / f"{name}.toml").write_text(table)
        words = ["--benchmark", "world:7:512", "--questions", "first", "--limit", "4", "--runner", "local"]
        assert main([*words, "--config", str(root / f"{name}.toml"), "--out", str(root / name)]) in (0, 3)
    return {name: root / name for name in THRESHOLDS}


def evaluate(main: Callable[[list[str]], int], models: Models, root: Path, case: str) -> Evaluated:
    name = "lasers" if case == TOO_LONG else case
    filled = (
        write_rrsisd(root / "data", odd_image=True)
        if name == "rrsis-d"
        else write_layout(name, root / "data")
    )
    if case == TOO_LONG:
        lengthen(root / "data" / "train" / "annotations" / "train_ann.json", filled)
    words = [
        "--benchmark",
        f"{name}:{filled.root}",
        "--preset",
        "embedded",
        "--limit",
        str(LIMIT),
        "--runner",
        "local",
    ]
    before = models.spent()
    code = main([*words, "--size-mismatch", "squash", "--out", str(root / "out")])
    n_calls, n_embeddings = (after - earlier for after, earlier in zip(models.spent(), before, strict=True))
    return Evaluated(code=code, out=root / "out", filled=filled, n_calls=n_calls, n_embeddings=n_embeddings)


def lengthen(annotations: Path, filled: Filled) -> None:
    """The first description becomes longer than the context of the preset (1024 tokens), though not than a
    benchmark may ask.
    """
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
def test_every_query_is_asked_of_the_engine_and_answered_or_failed_for_the_record(
    evaluated: dict[str, Evaluated], case: str
) -> None:
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
            assert (row["n_calls"], bool(row["reply"])) == (
                2,
                True,
            )  # asked once more, and the last reply is kept
        elif row["status"] != "failed":
            found = re.search(r"<answer>(.*?)</answer>", row["reply"], re.DOTALL)
            assert found, row["reply"]
            assert bool(json.loads(found[1])) == bool(json.loads(row["prompts"]))
        else:
            assert case == TOO_LONG, row["error"]


@pytest.mark.parametrize("case", CASES)
def test_figures_follow_from_the_kept_masks(evaluated: dict[str, Evaluated], case: str) -> None:
    done = evaluated[case]
    scores = []
    common_px = 0
    union_px = 0
    for row in done.rows():
        assert (row["height"], row["width"]) == (TILE, TILE)
        true = done.true_mask(row)
        predicted = unpack_mask(row["mask_png"], (TILE, TILE))
        common = int((true & predicted).sum())
        union = int((true | predicted).sum())
        assert (row["true_px"], row["predicted_px"], row["common_px"]) == (
            true.sum(),
            predicted.sum(),
            common,
        )
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
    assert text.startswith(
        f"# {document['benchmark']['name']}, {document['benchmark']['split']}: embedded-prompter@sha256:"
    )
    assert "nan" not in text.lower().split()
    assert (done.out / "samples.html").stat().st_size > 0


def test_both_models_took_part(evaluated: dict[str, Evaluated]) -> None:
    """Of a dozen queries about drawn land at least one is answered with boxes, and SAM2 makes a mask of
    them.
    """
    rows = [row for done in evaluated.values() for row in done.rows()]
    assert any(row["status"] == "found" and row["predicted_px"] > 0 and row["mask_scores"] for row in rows)


def test_what_was_done_to_the_data_is_noted(evaluated: dict[str, Evaluated]) -> None:
    """RRSIS-D's first picture has a column more than its mask; the fourth entry of LaSeRS has no masks."""
    assert "900#0" in {row["sample_id"] for row in evaluated["rrsis-d"].rows()}
    for case, note in (
        ("rrsis-d", "1 masks were of another size than their image"),
        ("lasers", "1 entries without masks"),
    ):
        assert note in (evaluated[case].out / "results.md").read_text()


def test_a_paragraph_is_asked_and_one_beyond_the_context_fails_alone(evaluated: dict[str, Evaluated]) -> None:
    long, beyond = (
        {row["sample_id"]: row for row in evaluated[case].rows()} for case in ("lasers", TOO_LONG)
    )
    assert len(long["q2#0"]["query"]) > 512
    assert long["q2#0"]["reason"] in ("", "none", "prompter", "malformed")
    assert (beyond["q0#0"]["status"], beyond["q0#0"]["reason"]) == ("failed", "model_error")
    assert "1024" in beyond["q0#0"]["error"]
    assert beyond["q2#0"]["reply"] == long["q2#0"]["reply"]


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    return {row["sample_id"]: row for row in pq.read_table(out / "samples.parquet").to_pylist()}


def test_a_verifier_that_rejects_nothing_changes_nothing_but_says_what_it_thought(
    looked_at: dict[str, Path],
) -> None:
    without = rows_of(looked_at["off"])
    judged = rows_of(looked_at["0.0"])
    assert list(judged) == list(without)
    for name, row in judged.items():
        said = [p for p in row["verified"] if p is not None]
        assert {key: row[key] for key in without[name]} == without[name]
        assert row["n_rejected"] == 0
        assert len(row["verified"]) == (len(json.loads(row["prompts"])) if row["mask_scores"] else 0)
        assert len(said) == len(row["mask_scores"])
        assert all(0 <= p <= 1 for p in said)
    plain, document = (json.loads((looked_at[name] / "results.json").read_text()) for name in ("off", "0.0"))
    verifier = document.pop("verifier")
    assert document == plain
    assert (verifier["mode"], verifier["threshold"], verifier["taken_away"], verifier["not_judged"]) == (
        "crop",
        0.0,
        0,
        0,
    )
    assert verifier["masks"] == sum(len(row["mask_scores"]) for row in without.values()) > 0


def test_a_verifier_that_wants_certainty_empties_the_answers(looked_at: dict[str, Path]) -> None:
    before = rows_of(looked_at["0.0"])
    after = rows_of(looked_at["1.0"])
    for name, row in after.items():
        said = [p for p in row["verified"] if p is not None]
        assert said == pytest.approx([p for p in before[name]["verified"] if p is not None], abs=1e-3)
        assert row["n_rejected"] == sum(p < 1 for p in said)
        assert (row["reply"], row["prompts"]) == (before[name]["reply"], before[name]["prompts"])
        if said and row["n_rejected"] == len(said):
            assert (row["status"], row["reason"], row["predicted_px"], row["mask_png"]) == (
                "empty",
                "verifier",
                0,
                b"",
            )
            assert (row["score"], row["mask_scores"]) == (1.0 if row["true_px"] == 0 else 0.0, [])
    document = json.loads((looked_at["1.0"] / "results.json").read_text())
    emptied = sum(row["reason"] == "verifier" for row in after.values())
    taken = sum(row["n_rejected"] for row in after.values())
    assert (document["verifier"]["emptied"], document["verifier"]["taken_away"]) == (emptied, taken)
    assert emptied > 0
    said = f"The verifier `crop` with threshold 1 took {taken} of "
    for file in ("results.md", "samples.html"):
        assert said in (looked_at["1.0"] / file).read_text()
        assert "The verifier" not in (looked_at["off"] / file).read_text()
