"""The many wordings: plain, short, about one subject each, never held out, and drawn as promised."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.finetune.prompter import wordings as module
from pipeline.finetune.prompter.training_queries import _MORE_NEVER, _MORE_NOUNS, QuerySampler
from pipeline.finetune.prompter.wordings import (
    BARE_SHARES,
    FORM_SHARES,
    NEVER,
    SubjectWordings,
    load_wordings,
    read_wordings,
)
from pipeline.world.classes import CLASSES
from pipeline.world.queries import HELD_OUT, TRAIN_QUERIES

LONGEST = 90
"""Characters of a wording without its frame."""

_SAID_ABOUT_THE_PICTURE = re.compile(
    r"\b(in this image|in the image|in this picture|on this photo|in this area|here|please)\b"
)


def bare(text: str) -> str:
    """The wording without case, marks, articles, and what may be said around any query."""
    text = _SAID_ABOUT_THE_PICTURE.sub(" ", text.lower())
    return " ".join(
        word for word in re.sub(r"[^a-z0-9 ]", " ", text).split() if word not in {"the", "a", "an"}
    )


@pytest.fixture(scope="module")
def wordings() -> dict[str, SubjectWordings]:
    return load_wordings()


@pytest.fixture(scope="module")
def held_out() -> frozenset[str]:
    return frozenset(bare(query.query) for query in HELD_OUT)


def every_phrase(subject: SubjectWordings) -> list[str]:
    return [phrase for form in FORM_SHARES for phrase in subject.phrases(form)]


def test_every_subject_has_the_promised_numbers(wordings: dict[str, SubjectWordings]) -> None:
    tables = read_wordings()
    assert tuple(wordings) == (*CLASSES, NEVER)
    for name in CLASSES:
        assert 40 <= len(tables[name]["nouns"]) <= 60
        assert len(tables[name]["sentences"]) >= 120
        assert wordings[name].count() > 10_000
    assert len(tables[NEVER]["nouns"]) >= 500
    assert len(tables[NEVER]["sentences"]) >= 200


def test_wordings_are_short_plain_text(wordings: dict[str, SubjectWordings]) -> None:
    for subject in wordings.values():
        for phrase in every_phrase(subject):
            assert phrase.isascii()
            assert len(phrase) <= LONGEST, phrase
            assert phrase == " ".join(phrase.split())
            assert "{" not in phrase


def test_frames_have_one_slot_and_name_every_way_of_asking(wordings: dict[str, SubjectWordings]) -> None:
    frames = wordings[NEVER].frames
    assert all(frame.count("{}") == 1 and frame.count("{") == 1 for some in frames.values() for frame in some)
    assert all(len(set(some)) == len(some) for some in frames.values())
    assert len(frames["noun"]) >= 30
    assert min(len(frames[form]) for form in ("sentence", "where", "that")) >= 20
    for form in ("noun", "where", "that", "sentence", "singular"):
        said = " ".join(frames[form]).lower()
        missing = [
            verb
            for verb in (
                "outline",
                "show",
                "point",
                "mark",
                "give",
                "count",
                "trace",
                "draw",
                "highlight",
                "identify",
            )
            if verb not in said
        ]
        assert not missing, (form, missing)


def test_a_wording_means_one_subject(wordings: dict[str, SubjectWordings]) -> None:
    """The queries and the sampler's own lists count, too; a wording stands once in its form."""
    meant: dict[str, set[str]] = {}
    for name, subject in wordings.items():
        for phrase in every_phrase(subject):
            meant.setdefault(bare(phrase), set()).add(name)
        assert [
            text for form in FORM_SHARES for text, n in Counter(subject.phrases(form)).items() if n > 1
        ] == []
    for name, nouns in _MORE_NOUNS.items():
        for text in nouns:
            meant.setdefault(bare(text), set()).add(name)
    for text in _MORE_NEVER:
        meant.setdefault(bare(text), set()).add(NEVER)
    for query in TRAIN_QUERIES:
        meant.setdefault(bare(query.query), set()).add(query.class_name or NEVER)
    assert {text: names for text, names in meant.items() if len(names) > 1} == {}


def test_no_wording_in_any_frame_is_held_out(
    wordings: dict[str, SubjectWordings], held_out: frozenset[str]
) -> None:
    ours = set()
    for subject in wordings.values():
        for form in FORM_SHARES:
            frames = ("{}", *subject.frames[form])
            ours |= {
                phrase
                for phrase in subject.phrases(form)
                for frame in frames
                if bare(frame.format(phrase)) in held_out
            }
    assert ours == set()


def test_no_sampled_query_and_no_line_of_the_corpus_is_held_out(held_out: frozenset[str]) -> None:
    sampler = QuerySampler()
    rng = np.random.default_rng(20)
    drawn = {sampler.about(int(class_id), rng).text for class_id in rng.integers(-1, len(CLASSES), 20_000)}
    assert {text for text in drawn if bare(text) in held_out} == set()
    assert {text for text in sampler.corpus() if bare(text) in held_out} == set()


def test_the_grammar_joins_each_head_with_each_tail(wordings: dict[str, SubjectWordings]) -> None:
    assert "crude oil is stored in bulk" in wordings["storage_tank"].composed["where"]
    tables = read_wordings()["pool"]["grammar"]
    pairs = sum(len(table["heads"]) * len(table["tails"]) for table in tables)
    assert sum(len(wordings["pool"].composed[form]) for form in FORM_SHARES) == pairs


def small() -> SubjectWordings:
    listed = {
        "noun": ("ponds",),
        "singular": ("a pond",),
        "sentence": ("where do fish live?",),
        "where": (),
        "that": (),
    }
    composed = {
        "noun": ("deep ponds",),
        "singular": (),
        "sentence": (),
        "where": ("fish live",),
        "that": ("hold fish",),
    }
    frames = {form: (f"{form} of {{}}", f"any {form}: {{}}") for form in FORM_SHARES}
    return SubjectWordings(listed=listed, composed=composed, frames=frames)  # type: ignore[arg-type]


def test_drawing_reaches_every_query_and_no_other() -> None:
    subject = small()
    rng = np.random.default_rng(0)
    drawn = {subject.draw(rng) for _ in range(4000)}
    assert len(drawn) == subject.count() == 2 * 6 + 4
    assert {
        "ponds",
        "deep ponds",
        "a pond",
        "where do fish live?",
        "where of fish live",
        "any that: hold fish",
    } < drawn
    assert "fish live" not in drawn


def test_forms_are_drawn_by_their_shares() -> None:
    assert sum(FORM_SHARES.values()) == pytest.approx(1.0)
    subject = small()
    rng = np.random.default_rng(1)
    drawn = Counter(subject.draw(rng) for _ in range(10_000))
    assert drawn["where do fish live?"] / 10_000 == pytest.approx(
        FORM_SHARES["sentence"] * BARE_SHARES["sentence"], abs=0.02
    )
    where = sum(n for text, n in drawn.items() if text.endswith(("of fish live", ": fish live")))
    assert where / 10_000 == pytest.approx(FORM_SHARES["where"], abs=0.02)


def test_a_sample_takes_frames_in_turn() -> None:
    first = small().sample(2)
    assert first[:4] == ["noun of ponds", "any noun: ponds", "noun of deep ponds", "any noun: deep ponds"]
    assert len(first) == 12
    assert small().sample(1, start=1)[0] == "any noun: ponds"


@pytest.mark.parametrize("lost", ["lake", "frames", NEVER])
def test_a_file_without_a_table_is_refused(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {name: table for name, table in read_wordings().items() if name != lost}
    monkeypatch.setattr(module, "read_wordings", lambda: tables)
    with pytest.raises(InputError, match=lost):
        load_wordings()


def test_a_subject_without_a_form_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = read_wordings()
    tables["lake"]["grammar"] = [table for table in tables["lake"]["grammar"] if table["form"] != "that"]
    monkeypatch.setattr(module, "read_wordings", lambda: tables)
    with pytest.raises(InputError, match="lake without that"):
        load_wordings()
