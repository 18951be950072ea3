"""A mask model in a process of its own: it answers, hangs, dies, lies, and comes back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from segment.mask_model.mask_tiles import COLOURS, colours, red_squares, tile_of

from pipeline.errors import ModelError
from pipeline.schema.tile_answers import Reason, TileStatus
from pipeline.segment.mask_model import process_model
from pipeline.segment.mask_model.child import mask_child
from pipeline.segment.mask_model.child.mask_child import pack_masks
from pipeline.segment.mask_model.mask_model import MaskAnswer
from pipeline.segment.mask_model.mask_options import MaskModelOptions
from pipeline.segment.mask_model.mask_pipe import MaskPipe
from pipeline.segment.mask_model.process_model import (
    MAX_ENDS,
    ProcessMaskModel,
    WrongReplyError,
    read_answers,
    say_hello,
)

RGB, RED = red_squares()
TILE = tile_of(RGB)


def told(answers: list[MaskAnswer]) -> list[tuple[TileStatus, Reason]]:
    return [(answer.status, answer.reason) for answer in answers]


FOUND = (TileStatus.FOUND, Reason.NONE)
EMPTY = (TileStatus.EMPTY, Reason.PROMPTER)


def failed(reason: Reason) -> tuple[TileStatus, Reason]:
    return TileStatus.FAILED, reason


@pytest.fixture
def model() -> Iterator[ProcessMaskModel]:
    loaded = ProcessMaskModel(colours(limit_s=1.5))
    yield loaded
    loaded.close()


def test_all_queries_of_a_tile_are_answered_and_one_that_fails_fails_alone(model: ProcessMaskModel) -> None:
    answers = model.answer(TILE, ["red things", "blue things", "wrong shape", "nothing"])
    assert told(answers) == [FOUND, EMPTY, failed(Reason.MODEL_ERROR), EMPTY]
    np.testing.assert_array_equal(answers[0].masks, RED[None])
    assert (answers[0].scores, answers[0].text) == ((0.75,), "I looked for red things")
    assert answers[3].text == "there is none"
    assert "masks must be bool" in answers[2].error
    assert (model.n_embeddings, model.one_mask, model.model_id) == (1, True, "colours (adapter 1)")


def test_a_child_that_hangs_or_dies_costs_its_tile_and_a_fresh_one_goes_on(model: ProcessMaskModel) -> None:
    first = model._pipe.pid  # type: ignore[union-attr]
    late = model.answer(TILE, ["red things", "sleep"])
    assert told(late) == [failed(Reason.TIMEOUT)] * 2
    assert "1.5 s (limit_s under [mask_model])" in late[0].error
    assert not psutil.pid_exists(first)
    dead = model.answer(TILE, ["die"])
    assert told(dead) == [failed(Reason.CRASHED)]
    assert "exit code 7, after:" in dead[0].error
    assert "out of memory: that was all" in dead[0].error
    assert told(model.answer(TILE, ["red things"])) == [FOUND]
    assert model.n_embeddings == 1


def test_a_child_that_dies_again_and_again_is_not_started_any_more(model: ProcessMaskModel) -> None:
    for _ in range(MAX_ENDS - 1):
        assert told(model.answer(TILE, ["die"])) == [failed(Reason.CRASHED)]
    assert told(model.answer(TILE, ["red things"])) == [FOUND]  # an answer between them counts anew
    for _ in range(MAX_ENDS):
        assert told(model.answer(TILE, ["die"])) == [failed(Reason.CRASHED)]
    (given_up,) = model.answer(TILE, ["red things"])
    assert told([given_up]) == [failed(Reason.MODEL_ERROR)]
    assert f"ended {MAX_ENDS} times in a row" in given_up.error
    assert "that was all" in given_up.error
    model.close()


LIAR = """
import sys
sys.path.insert(0, {folder!r})
from mask_child import *
receive, send = private_pipe()
server = MaskServer({adapter!r}, "")
while True:
    header, payload = read_frame(exactly(receive))
    if header["op"] == "answer":
        send.write(pack_frame({{"id": header["id"], **{lie}}}, {payload}))
    else:
        told, masks = server.reply(header, payload)
        send.write(pack_frame({{**told, **{hello}}}, masks))
    send.flush()
"""


def lying_child(folder: Path, lie: Any, *, payload: bytes = b"", hello: Any = None) -> Path:
    path = folder / "liar.py"
    where = {"folder": str(Path(mask_child.__file__).parent), "adapter": str(COLOURS)}
    path.write_text(LIAR.format(**where, lie=lie, payload=payload, hello=hello or {}))
    return path


EACH = -(-RGB.shape[0] * RGB.shape[1] // 8)


@pytest.mark.parametrize(
    ("lie", "payload", "why"),
    [
        ({}, b"", "1 queries need as many answers"),
        ({"answers": [{"n": 1, "scores": [0.5]}]}, b"short", "are not 5 bytes"),
        ({"answers": [{"n": 0, "scores": []}]}, b"long", "0 masks"),
        ({"answers": [{"n": -1, "scores": []}]}, b"", "0 to 10000 masks"),
        ({"answers": [{"n": 1, "scores": []}]}, bytes(EACH), "as many scores"),
        ({"answers": [{"n": 1, "scores": [2]}]}, bytes(EACH), "a score lies"),
        ({"answers": ["red"]}, b"", "an answer is an object"),
    ],
)
def test_a_reply_that_is_wrong_is_malformed_and_its_child_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: Any, payload: bytes, why: str
) -> None:
    monkeypatch.setattr(process_model, "CHILD", lying_child(tmp_path, lie, payload=payload))
    model = ProcessMaskModel(colours())
    (answer,) = model.answer(TILE, ["red things"])
    assert told([answer]) == [failed(Reason.MALFORMED)]
    assert why in answer.error
    assert model._pipe is None


def test_another_protocol_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_model, "CHILD", lying_child(tmp_path, {}, hello={"protocol": 9}))
    with pytest.raises(ModelError, match="speaks protocol 9, and 1 is needed"):
        ProcessMaskModel(colours())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"options": {"fail_at": "load"}}, "colours does not load: RuntimeError: no such weights"),
        ({"options": {"leest": 1}}, "refuses: ValueError: colours has no option 'leest'"),
        ({"python": "/no-such-python"}, "does not start: /no-such-python"),
    ],
)
def test_a_model_that_does_not_load_says_why(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ModelError, match=why):
        ProcessMaskModel(colours(**changes))


def test_a_fresh_child_that_does_not_load_fails_the_tile(
    model: ProcessMaskModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(model.answer(TILE, ["die"])) == [failed(Reason.CRASHED)]
    monkeypatch.setattr(model, "_options", colours(options={"fail_at": "load"}))
    for _ in range(MAX_ENDS - 1):
        (answer,) = model.answer(TILE, ["red things"])
        assert (answer.reason, "no such weights" in answer.error) == (Reason.MODEL_ERROR, True)
    assert "not started again" in model.answer(TILE, ["red things"])[0].error


def test_hello_is_said_once_and_ends_its_child(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[MaskPipe] = []
    start = process_model._start

    def noted(options: MaskModelOptions, *, passes_on: bool) -> MaskPipe:
        assert not passes_on, "the screen is ours while nothing runs"
        started.append(start(options, passes_on=passes_on))
        return started[-1]

    monkeypatch.setattr(process_model, "_start", noted)
    options = colours(options={"least": 171})
    assert say_hello(options) == say_hello(colours(options={"least": 171}))
    assert say_hello(options).options["least"] == 171
    assert len(started) == 1
    assert not psutil.pid_exists(started[0].pid)
    assert say_hello(options).versions["python"] == ".".join(map(str, sys.version_info[:3]))


def test_masks_of_several_queries_are_told_apart() -> None:
    rng = np.random.default_rng(3)
    masks = rng.random((3, 5, 7)) < 0.5
    header = {
        "answers": [
            {"n": 1, "scores": [0.25], "text": "a"},
            {"error": "no"},
            {"n": 0, "scores": []},
            {"n": 2, "scores": [1, 0]},
        ]
    }
    answers = read_answers(header, pack_masks(masks), (5, 7), 4)
    assert told(answers) == [FOUND, failed(Reason.MODEL_ERROR), EMPTY, FOUND]
    np.testing.assert_array_equal(answers[0].masks, masks[:1])
    np.testing.assert_array_equal(answers[3].masks, masks[1:])
    assert answers[3].scores == (1.0, 0.0)
    with pytest.raises(WrongReplyError):
        read_answers(header, pack_masks(masks), (5, 7), 3)
