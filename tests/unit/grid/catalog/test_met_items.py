"""Items that were met, against a dictionary, and names whose digests must differ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.grid.catalog import met_items
from pipeline.grid.catalog.met_items import DIGEST_BYTES, NOT_TAKEN, MetItems, digest_of


def test_names_that_look_alike_have_different_digests() -> None:
    names = [("a", "bc"), ("ab", "c"), ("", "abc"), ("abc", ""), ("1 a", ""), ("", "1 a"), ("", "\ud800")]
    digests = [digest_of(*name) for name in names]
    assert len(set(digests)) == len(names)
    assert {len(digest) for digest in digests} == {DIGEST_BYTES}


def test_digests_are_compared_whole() -> None:
    """Numbers that end with zeros are different ones."""
    met = MetItems()
    one, other = bytes([1] * 15 + [0]), bytes([1] * 14 + [0, 0])
    met.add(one)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(met_items, "LEAST_SORTED", 0)
        assert met.known([one, other]) == [0, -1]
    assert (met.place(one), met.place(other)) == (0, -1)


@given(batches=st.lists(st.lists(st.integers(0, 40), max_size=12), max_size=8))
def test_it_agrees_with_a_dictionary(batches: list[list[int]]) -> None:
    met = MetItems()
    places: dict[int, int] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(met_items, "LEAST_SORTED", 3)
        for batch in batches:
            digests = [digest_of("", str(number)) for number in batch]
            for number, digest, known in zip(batch, digests, met.known(digests), strict=True):
                place = met.place(digest, known)
                assert place == met.place(digest) == places.get(number, -1)
                if place < 0:
                    places[number] = met.add(digest)
    assert sorted(places.values()) == list(range(len(met)))


def test_what_was_taken_is_remembered() -> None:
    met = MetItems()
    places = [met.add(digest_of("", name)) for name in "ab"]
    met.take(places[1], 0)
    assert [met.taken_as(place) for place in places] == [NOT_TAKEN, 0]


def test_repeats_are_counted_within_one_pass() -> None:
    met = MetItems()
    place = met.add(digest_of("", "a"))
    assert met.passed == 1
    assert not met.meet_again(place)
    met.begin_pass()
    assert met.passed == 0
    assert [met.meet_again(place), met.meet_again(place)] == [True, False]
    assert met.passed == 1
