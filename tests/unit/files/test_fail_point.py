from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.files.fail_point import FAIL_POINTS, VARIABLE, reach

ROOT = Path(__file__).parents[3]


def test_nothing_happens_unless_the_environment_names_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    for point in FAIL_POINTS:
        reach(point)
    monkeypatch.setenv(VARIABLE, "before_item")
    reach("after_item")
    monkeypatch.setenv(VARIABLE, "before_item:2")
    reach("before_item")


def reaching(wanted: str, times: int) -> subprocess.Popen[str]:
    code = f"from pipeline.files.fail_point import reach\nfor n in range({times}):\n"
    code += "    print(n, flush=True)\n    reach('before_item')\n"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, VARIABLE: wanted},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("wanted", "printed"), [("before_item", 1), ("before_item:3", 3)])
def test_the_process_dies_at_that_moment(wanted: str, printed: int) -> None:
    process = reaching(wanted, 5)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert said.split() == [str(n) for n in range(printed)]


def test_or_is_suspended_until_it_is_woken() -> None:
    process = reaching("before_item:1:stop", 2)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGCONT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert said.split() == ["0", "1"]


def test_an_unknown_signal_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "before_item:1:hurt")
    with pytest.raises(ValueError, match="kill, stop, not 'hurt'"):
        reach("before_item")


def test_every_moment_stands_in_the_code() -> None:
    texts = [path.read_text() for path in (ROOT / "pipeline").rglob("*.py") if path.name != "fail_point.py"]
    reached = {name for text in texts for name in re.findall(r'\breach\("(\w+)"\)', text)}
    assert reached == set(FAIL_POINTS)
