"""The parent's side of the pipe: children that hang, die and write nonsense."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from pipeline.segment.mask_model.child import mask_child
from pipeline.segment.mask_model.mask_pipe import EndedError, LateError, MaskPipe

CHILD_FOLDER = Path(mask_child.__file__).parent

BEFORE = f"""
import os, sys, time
sys.path.insert(0, {str(CHILD_FOLDER)!r})
from mask_child import exactly, pack_frame, private_pipe, read_frame
receive, send = private_pipe()
def take():
    return read_frame(exactly(receive))
def write(data):
    send.write(data)
    send.flush()
def reply(header, payload=b""):
    write(pack_frame(header, payload))
"""


@contextmanager
def child(code: str, **environ: str) -> Iterator[MaskPipe]:
    command = [sys.executable, "-I", "-c", BEFORE + code]
    pipe = MaskPipe(command, cwd="/", environ={**os.environ, **environ})
    try:
        yield pipe
    finally:
        pipe.close()


ECHO = """
while True:
    header, payload = read_frame(exactly(receive))
    print("on standard output")
    os.write(1, b"and below it\\n")
    reply({"id": header["id"], "op": header["op"], "n": len(payload)}, payload[::-1])
"""


def test_what_it_prints_is_no_reply_and_large_payloads_pass_both_ways(
    capsys: pytest.CaptureFixture[str],
) -> None:
    payload = bytes(range(256)) * 20_000
    with child(ECHO) as pipe:
        for number in (1, 2):
            header, back = pipe.ask("go", {}, payload, limit_s=30)
            assert (header["id"], header["op"], header["n"]) == (number, "go", len(payload))
            assert back == payload[::-1]
    assert pipe.last_words.startswith("on standard output | and below it")
    assert "and below it" in capsys.readouterr().err


def test_variables_of_this_environment_stay_here() -> None:
    code = """
header, _ = read_frame(exactly(receive))
reply({"id": header["id"], "names": sorted(os.environ)})
"""
    with child(code, PYTHONPATH="/nowhere", VIRTUAL_ENV="/nowhere", WEIGHTS_DIR="/there") as pipe:
        names = pipe.ask("go", {}, limit_s=30)[0]["names"]
    assert "WEIGHTS_DIR" in names
    assert not {"PYTHONPATH", "VIRTUAL_ENV"} & set(names)


@pytest.mark.parametrize(
    "code",
    ["time.sleep(60)", "take(); write(b'TQM1'); time.sleep(60)"],
    ids=["before it reads", "amid its reply"],
)
def test_a_child_that_hangs_is_late(code: str) -> None:
    with child(code) as pipe, pytest.raises(LateError):
        pipe.ask("go", {}, bytes(1 << 21), limit_s=0.2)
    assert not psutil.pid_exists(pipe.pid)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("print('no memory', file=sys.stderr); sys.exit(3)", "exit code 3, after: no memory"),
        ("take(); os.kill(os.getpid(), 9)", "signal 9"),
        (
            "take(); write(b'TQM1' + bytes(4)); os._exit(0)",
            "exit code 0",
        ),
        (
            "take(); write(b'nonsense' * 4); time.sleep(60)",
            "no reply",
        ),
        ("take(); reply({'id': 9})", "answered request 9, and 1 was asked"),
    ],
)
def test_a_child_that_ends_or_writes_nonsense_has_ended(code: str, why: str) -> None:
    with child(code) as pipe, pytest.raises(EndedError, match=why):
        pipe.ask("go", {}, bytes(1 << 21), limit_s=30)


def test_closing_ends_what_the_child_started_and_may_come_twice() -> None:
    code = """
import subprocess
helper = subprocess.Popen(["sleep", "60"])
header, _ = read_frame(exactly(receive))
reply({"id": header["id"], "helper": helper.pid})
time.sleep(60)
"""
    with child(code) as pipe:
        helper = psutil.Process(pipe.ask("go", {}, limit_s=30)[0]["helper"])
        pipe.close()
    psutil.wait_procs([helper], timeout=10)
    assert not helper.is_running() or helper.status() == psutil.STATUS_ZOMBIE
    assert not psutil.pid_exists(pipe.pid)


def test_a_child_ends_with_its_parent_even_when_both_are_at_work() -> None:
    code = """
import sys, time
from pipeline.segment.mask_model.mask_pipe import MaskPipe
pipe = MaskPipe([sys.executable, "-I", "-c", "import time; time.sleep(60)"], cwd="/")
print(pipe.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    grandchild = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    psutil.wait_procs([grandchild], timeout=20)
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE


def test_a_program_that_is_not_there_is_an_os_error() -> None:
    with pytest.raises(OSError, match="no-such-python"):
        MaskPipe(["/no-such-python"], cwd="/")
