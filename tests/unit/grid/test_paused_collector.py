"""The collector rests, and works again afterwards: also after an error, and not where it was off before."""

from __future__ import annotations

import gc

import pytest

from pipeline.grid.paused_collector import paused_collector


def test_the_collector_is_as_it_was() -> None:
    assert gc.isenabled()
    with paused_collector():
        with paused_collector():
            assert not gc.isenabled()
        assert not gc.isenabled(), "the outer one has not ended"
    assert gc.isenabled()
    with pytest.raises(KeyError), paused_collector():
        {}["no such key"]
    assert gc.isenabled()
