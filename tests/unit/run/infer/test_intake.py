from __future__ import annotations

import pickle
import threading
import time

from pipeline.run.infer.intake import ALWAYS, Intake, closing


def test_an_intake_is_open_until_its_moment_in_every_process() -> None:
    assert ALWAYS.is_open
    assert pickle.loads(pickle.dumps(Intake(until=time.monotonic() + 3600))).is_open
    assert not Intake(until=time.monotonic()).is_open


def test_the_act_is_done_when_it_closes_and_not_after_the_body() -> None:
    closed = threading.Event()
    with closing(Intake(until=time.monotonic() - 1.0), closed.set):
        assert closed.wait(60)
    late = threading.Event()
    with closing(Intake(until=time.monotonic() + 1e12), late.set), closing(ALWAYS, late.set):
        pass
    assert not late.is_set()
