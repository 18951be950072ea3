"""Which samples are shown, and that what they hold is only text."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from evaluate.benchmark.test_results import SCORING, SUBJECT, VERIFIED, records, verified_records
from evaluate.sample_worlds import image, record, rectangle, sample

from pipeline.evaluate.benchmark.results import build_results
from pipeline.evaluate.benchmark.results_page import PER_SECTION, choose_sections, samples_page
from pipeline.evaluate.benchmark.sample_records import SampleRecord


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]


def page(
    items: list[SampleRecord], *, truth: dict[str, np.ndarray] | None = None, damaged: bool = False
) -> str:
    masks = truth or {}
    images = [
        image(
            item.image_id + item.sample_id,
            [sample(item.sample_id, masks.get(item.sample_id, rectangle(0, 0, 4, 4)))],
            damaged=damaged,
        )
        for item in items
    ]
    return samples_page(build_results(items, SCORING, SUBJECT), items, images, None)


def test_every_sample_is_in_the_section_where_it_belongs() -> None:
    shown = {
        section.title: [(item.sample_id, round(score, 3)) for item, score in section.records]
        for section in choose_sections(records(), "paper")
    }
    assert shown == {
        "Best": [("a", 1.0)],
        "Worst": [("b", 0.333)],
        "Wrongly rejected": [("c", 0.0)],
        "Rightly rejected": [("d", 1.0)],
        "False alarms": [("e", 0.0)],
        "Failed": [("f", 0.0)],
    }


def test_the_best_come_first_and_the_worst_are_others() -> None:
    many = [record(f"s{k:02d}", rectangle(0, 0, 20, 30), rectangle(0, 0, 20, k + 1)) for k in range(30)]
    sections = {
        section.title: [item.sample_id for item, _ in section.records]
        for section in choose_sections(many, "paper")
    }
    assert sections["Best"] == [f"s{k:02d}" for k in range(29, 29 - PER_SECTION, -1)]
    assert sections["Worst"] == [f"s{k:02d}" for k in range(PER_SECTION)]


@pytest.mark.parametrize("n", [1, 2, 5, 11])
def test_of_a_few_answers_half_are_best_and_the_others_worst(n: int) -> None:
    """1 answer: Best alone. 11: 6 and 5, where twelve places under Best would leave none."""
    few = [record(f"s{k:02d}", rectangle(0, 0, 20, 20), rectangle(0, 0, 20, k + 1)) for k in range(n)]
    sections = {
        section.title: [item.sample_id for item, _ in section.records]
        for section in choose_sections(few, "paper")
    }
    assert sections["Best"] == [f"s{k:02d}" for k in range(n - 1, n // 2 - 1, -1)]
    assert sections["Worst"] == [f"s{k:02d}" for k in range(n // 2)]


def test_the_page_is_one_file_with_a_picture_per_sample() -> None:
    tags = Tags()
    tags.feed(page(records()))
    assert tags.names.count("article") == tags.names.count("img") == 6
    assert "script" not in tags.names
    assert all(source.startswith("data:image/webp;base64,") for source in tags.sources)


def test_the_header_says_how_was_counted_and_how_sure_it_is() -> None:
    text = page(records())
    assert "Convention paper (Think2Seg-RS, equations 4 to 6" in text
    assert "95 % intervals: percentile bootstrap over images" in text
    assert "33.3 %</b><span>rejection [6.1, 79.2]</span>" in text


def test_the_page_says_how_replies_were_read() -> None:
    for parser, held in (("think2seg", True), (None, False)):
        results = build_results(records(), SCORING, replace(SUBJECT, parser=parser))
        assert ("read by the parser `think2seg`" in samples_page(results, records(), [], None)) == held


def test_the_page_says_what_the_verifier_took_away_and_from_whom() -> None:
    text = samples_page(build_results(verified_records(), SCORING, VERIFIED), verified_records(), [], None)
    assert "took 2 of 5 masks away; 1 answers kept none" in text
    assert text.count("The verifier took ") == 2
    assert "The verifier took 1 of 1 masks away; probabilities: 0.200" in text
    assert "The verifier took 1 of 2 masks away; probabilities: 0.300, 0.900" in text
    assert "he verifier" not in page(records())
    shown = {
        section.title: [item.sample_id for item, _ in section.records]
        for section in choose_sections(verified_records(), "paper")
    }
    assert "b" in shown["Wrongly rejected"]


def test_hostile_text_stays_text() -> None:
    evil = '<script>alert(1)</script><img src=x onerror="y">'
    text = page(
        [
            record(
                "a",
                rectangle(0, 0, 4, 4),
                rectangle(0, 0, 4, 4),
                query=evil,
                reply=evil,
                rationale=evil,
                error=evil,
            )
        ]
    )
    tags = Tags()
    tags.feed(text)
    assert "script" not in tags.names
    assert tags.names.count("img") == 1
    assert "&lt;script&gt;" in text


def test_a_picture_that_cannot_be_made_leaves_the_sample_on_the_page() -> None:
    text = page([record("a", rectangle(0, 0, 4, 4), rectangle(0, 0, 4, 4))], damaged=True)
    assert "no picture: this picture is damaged" in text
    assert "where is a?" in text
