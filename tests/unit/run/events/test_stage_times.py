from __future__ import annotations

import time

import pytest

from pipeline.files.traffic import traffic
from pipeline.run.events.stage_times import Meter, Stopwatch, load_times, read_times, worker_name


def test_readings_travel_with_those_of_earlier_steps_and_are_taken_once() -> None:
    reader = Stopwatch("reader")
    before = time.time()
    with reader.at("read"):
        time.sleep(0.02)
    prompter = Stopwatch("prompter")
    with prompter.at("load"):
        pass
    with prompter.at("prompt") as counts:
        counts["calls"] = 3
    text = prompter.take(reader.take())
    read, load, prompt = read_times(text)
    assert [one.stage for one in (read, load, prompt)] == ["read", "load", "prompt"]
    assert (read.role, read.worker, prompt.counts) == ("reader", worker_name(), {"calls": 3})
    assert read.seconds >= 0.02
    assert before - 0.01 <= read.began <= time.time()
    assert prompter.take() == "[]"


def test_what_was_asked_of_servers_is_told_once_by_whoever_is_at_work() -> None:
    traffic.take()
    traffic.add("http_requests", 3)
    watch = Stopwatch("reader")
    with watch.at("read"):
        traffic.add("http_requests")
    with watch.at("read"):
        pass
    first, second = read_times(watch.take())
    assert (first.traffic, second.traffic) == ({"http_requests": 4}, {})


def test_an_error_leaves_no_reading() -> None:
    watch = Stopwatch("reader")
    with pytest.raises(KeyError), watch.at("read"):
        raise KeyError
    assert watch.take() == "[]"


def test_a_meter_tells_what_was_used_since_it_was_asked() -> None:
    class Model:
        calls = 5

        def usage(self) -> dict[str, int]:
            return {"calls": self.calls}

    model = Model()
    meter = Meter(model)
    assert meter.since() == {"calls": 5}
    model.calls = 7
    assert meter.since() == {"calls": 2}
    assert meter.since() == {"calls": 0}
    assert Meter(object()).since() == {}


def test_parts_of_a_loading_are_told_once_when_they_are_known() -> None:
    watch = Stopwatch("all")
    with watch.at("load", "segmenter"):
        pass
    watch.loaded("segmenter", {"weights": 2.0})
    first = read_times(watch.take())
    assert [(one.stage, one.model) for one in first] == [("load", "segmenter"), ("weights", "segmenter")]
    assert first[1].seconds == 2.0
    assert time.time() - 2.0 - first[1].began < 60
    watch.loaded("segmenter", {"weights": 2.0, "first_run": 0.5})
    watch.loaded("prompter", {"weights": 7.0, "something_else": 1.0})
    told = read_times(watch.take())
    assert [(one.stage, one.model, one.seconds) for one in told] == [
        ("first_run", "segmenter", 0.5),
        ("weights", "prompter", 7.0),
    ]


def test_a_model_that_tells_nothing_of_its_loading_has_no_parts() -> None:
    assert load_times(object()) == {}
