"""Parts of an evaluation before a judge whose replies are written out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from evaluate.sample_worlds import SHAPE, context, image, record, rectangle, sample
from numpy.typing import NDArray

from pipeline.evaluate.benchmark.sample_records import write_part
from pipeline.evaluate.benchmark.sample_steps import EvaluationContext
from pipeline.evaluate.judge import judge_run
from pipeline.evaluate.judge.judge_page import Judgement
from pipeline.evaluate.judge.judge_run import judge_evaluation, judge_part
from pipeline.evaluate.judge.vllm_judge import Judge, Said, judge_options

RIGHT = rectangle(2, 2, 10, 10)
WRONG = rectangle(12, 12, 20, 30)
NOTHING = np.zeros(SHAPE, bool)
MARKS = '{"faithfulness": 5, "localization": 4, "robustness": 3}'


@dataclass
class ScriptedJudge:
    """Says what is written for a query, and remembers what it was shown."""

    says: dict[str, Said]
    shown: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    n_closed: int = 0

    async def rate(self, key: str, picture: NDArray[np.uint8], query: str) -> Said:
        self.shown[query] = picture
        return self.says[query]

    def close(self) -> None:
        self.n_closed += 1


_: type[Judge] = ScriptedJudge

ANSWERS = {
    # name: true mask, predicted mask
    "good": (RIGHT, RIGHT),
    "odd": (RIGHT, WRONG),
    "missed": (RIGHT, NOTHING),
    "absent": (NOTHING, NOTHING),
    "alarm": (NOTHING, WRONG),
    "late": (RIGHT, RIGHT),
}


def evaluation(out: Path) -> EvaluationContext:
    """One image with a query per answer, committed."""
    samples = [sample(name, true) for name, (true, _) in ANSWERS.items()]
    made = context([image("picture", samples)], out)
    made.part_path(0).parent.mkdir(parents=True)
    records = [record(name, true, said, image_id="picture") for name, (true, said) in ANSWERS.items()]
    write_part(made.part_path(0), records, made.fingerprint)
    return made


def judge() -> ScriptedJudge:
    return ScriptedJudge(
        {
            "where is good?": Said(reply=MARKS),
            "where is odd?": Said(reply="Rather bad, I would say 2."),
            "where is missed?": Said(reply='{"faithfulness": 1, "localization": 1, "robustness": 1}'),
            "where is alarm?": Said(reply='{"faithfulness": 1, "localization": 1, "robustness": 6}'),
            "where is late?": Said(error="no reply in time"),
        }
    )


def test_every_answer_with_a_pixel_is_judged_and_nothing_is_guessed(tmp_path: Path) -> None:
    scripted = judge()
    judged = asyncio.run(judge_part(evaluation(tmp_path), 0, scripted))
    assert [(item.sample_id, item.judgement, item.faithfulness, item.robustness) for item in judged] == [
        ("good", Judgement.RATED, 5, 3),
        ("odd", Judgement.UNREADABLE, None, None),
        ("missed", Judgement.RATED, 1, 1),
        ("absent", Judgement.NOTHING_TO_SHOW, None, None),
        ("alarm", Judgement.UNREADABLE, None, None),
        ("late", Judgement.NO_REPLY, None, None),
    ]
    assert judged[1].reply == "Rather bad, I would say 2."
    assert judged[5].error == "no reply in time"
    # 80 of grey, half of it, and half of the colour: red where only the answer is, green where only the truth
    odd = scripted.shown["where is odd?"]
    assert odd[15, 20].tolist() == [168, 40, 40]
    assert odd[5, 5].tolist() == [40, 168, 40]
    assert odd[0, 0].tolist() == [80, 80, 80]
    assert scripted.shown["where is good?"][5, 5].tolist() == [168, 168, 40]


def test_a_damaged_image_is_a_missing_verdict(tmp_path: Path) -> None:
    made = context([image("picture", [sample("good", RIGHT)], damaged=True)], tmp_path)
    made.part_path(0).parent.mkdir(parents=True)
    write_part(made.part_path(0), [record("good", RIGHT, RIGHT)], made.fingerprint)
    (judged,) = asyncio.run(judge_part(made, 0, ScriptedJudge({})))
    assert (judged.judgement, judged.error) == (Judgement.NO_REPLY, "this picture is damaged")


def test_verdicts_are_kept_and_belong_to_judge_and_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = evaluation(tmp_path)
    planned: Any = SimpleNamespace(context=made)
    model = tmp_path / "some-judge"
    model.mkdir()
    (model / "config.json").write_text("{}")
    options = judge_options(str(model), None)
    used: list[ScriptedJudge] = []

    def build(_: object) -> ScriptedJudge:
        used.append(judge())
        return used[-1]

    monkeypatch.setattr(judge_run, "VllmJudge", build)
    said: list[str] = []
    folder = judge_evaluation(planned, options, say=said.append)
    assert folder.parent == tmp_path / "judges"
    assert folder.name.startswith("some-judge-")
    assert "| all | 3.00 [3.00, 3.00] | 2.50 [2.50, 2.50] | 2.00 [2.00, 2.00] | 2 | 2 | 1 | 1 |" in said[1]
    rows = pq.read_table(folder / "judged.parquet").to_pylist()
    assert [row["faithfulness"] for row in rows] == [5, None, 1, None, None, None]
    before = (folder / "judge.json").read_bytes()
    assert judge_evaluation(planned, options, say=said.append) == folder
    assert (folder / "judge.json").read_bytes() == before
    assert [item.n_closed for item in used] == [1], "nothing was left to judge the second time"

    (model / "config.json").write_text('{"other": true}')
    assert judge_evaluation(planned, options, say=said.append) != folder
    assert len(used) == 2
