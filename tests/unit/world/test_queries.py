from __future__ import annotations

import pytest

from pipeline.world.classes import CLASSES
from pipeline.world.queries import HELD_OUT, NEVER, QUERIES, TRAIN_QUERIES, QueryKind, queries_of


def test_wordings_are_plain_and_unique() -> None:
    texts = [q.query for q in QUERIES]
    assert len({t.lower() for t in texts}) == len(texts)
    for text in texts:
        assert text.isascii()
        assert text.isprintable()
        assert text == text.strip()
        assert "<|" not in text
        assert not text.startswith("*")


@pytest.mark.parametrize("name", CLASSES)
def test_each_class_has_enough_wordings(name: str) -> None:
    own = queries_of(name)
    explicit = [q for q in own if q.kind is QueryKind.EXPLICIT]
    implicit = [q for q in own if q.kind is QueryKind.IMPLICIT]
    assert len(explicit) >= 6
    assert len(implicit) >= 8
    assert all(q.class_name == name for q in own)
    for kind in (explicit, implicit):
        assert 0.15 <= sum(q.held_out for q in kind) / len(kind) <= 0.25


@pytest.mark.parametrize("name", CLASSES)
def test_implicit_wordings_do_not_name_their_class(name: str) -> None:
    named = {
        "storage_tank": ["tank"],
        "pool": ["pool"],
        "building": ["building", "houses", "roofs"],
        "lake": ["lake", "pond"],
    }
    named |= {"runway": ["runway"], "greenhouse": ["greenhouse", "glasshouse"], "solar_array": ["solar"]}
    named |= {"ripe_field": ["ripe field"], "green_field": ["green field"]}
    for q in queries_of(name):
        if q.kind is QueryKind.IMPLICIT:
            assert not any(word in q.query.lower() for word in named[name]), q.query


def test_things_that_never_exist() -> None:
    assert len(NEVER) >= 60
    assert all(q.class_name == "" and q.kind is QueryKind.ABSENT for q in NEVER)


def test_split_is_a_partition() -> None:
    assert set(TRAIN_QUERIES) | set(HELD_OUT) == set(QUERIES)
    assert not set(TRAIN_QUERIES) & set(HELD_OUT)
