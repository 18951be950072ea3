from __future__ import annotations

import pytest

from pipeline.evaluate.judge.judge_page import JudgedSample, Judgement, judge_document, judge_markdown


def sample(image: str, judgement: Judgement, *marks: int, level: str = "1") -> JudgedSample:
    given = dict(zip(("faithfulness", "localization", "robustness"), marks, strict=False))
    return JudgedSample(
        sample_id=image, image_id=image, query="q", strata={"difficulty": level}, judgement=judgement, **given
    )


SAMPLES = [
    sample("a", Judgement.RATED, 4, 2, 5),
    sample("b", Judgement.RATED, 2, 2, 3),
    sample("c", Judgement.UNREADABLE),
    sample("d", Judgement.NO_REPLY, level="2"),
    sample("e", Judgement.NOTHING_TO_SHOW, level="2"),
]


def test_means_are_of_readable_verdicts_and_the_others_are_counted() -> None:
    document = judge_document(SAMPLES, judge="j")
    assert (
        document["all"]["faithfulness"]["mean"] == 3
    )  # (4 + 2) / 2; with 3 for each missing one it would be
    assert document["all"]["localization"] == {"mean": 2, "low": 2, "high": 2}  # the same
    assert document["all"]["robustness"]["mean"] == 4
    assert [document["all"][name] for name in ("rated", "unreadable", "no_reply", "nothing_to_show")] == [
        *(2, 1, 1, 1)
    ]
    second = document["strata"]["difficulty"]["2"]
    assert second["rated"] == 0
    assert second["faithfulness"] == {"mean": None, "low": None, "high": None}


def test_the_page() -> None:
    page = judge_markdown(judge_document(SAMPLES, judge="some-model-1a2b"))
    assert page.startswith("# Verdicts of some-model-1a2b\n")
    assert "| all | 3.00 [2.00, 4.00] | 2.00 [2.00, 2.00] | 4.00 [3.00, 5.00] | 2 | 1 | 1 | 1 |" in page
    assert "| difficulty: 2 | - | - | - | 0 | 0 | 1 | 1 |" in page
    assert len({line.count("|") for line in page.splitlines() if line.startswith("|")}) == 1


def test_no_samples() -> None:
    document = judge_document([], judge="j")
    assert document["all"]["rated"] == 0
    assert "| all | - | - | - | 0 | 0 | 0 | 0 |" in judge_markdown(document)


def test_identifiers_are_no_property() -> None:
    many = [
        JudgedSample(
            sample_id=str(n), image_id=str(n), query="q", strata={"id": str(n)}, judgement=Judgement.NO_REPLY
        )
        for n in range(61)
    ]
    assert judge_document(many, judge="j")["strata"] == {}
    assert "id" in judge_document(many[:60], judge="j")["strata"]


@pytest.mark.parametrize("judgement", list(Judgement))
def test_every_judgement_has_a_column(judgement: Judgement) -> None:
    page = judge_markdown(judge_document([sample("a", judgement, 1, 1, 1)], judge="j"))
    assert page.count("| 1 |") == 2
