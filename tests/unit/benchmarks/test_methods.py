"""Running a method as a process of its own, and what becomes of one that cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.seams import methods
from benchmarks.seams.adapters.exchange import TileMasks, save_masks
from benchmarks.seams.methods import METHODS, Job, Limits, Method, MethodError, environment, run_method

LIMITS = Limits(seconds=120, memory_bytes=4 * 10**9)
CORES_ALONE = next(method for method in METHODS if method.name == "cores alone")


@pytest.fixture
def job(tmp_path: Path, small_masks: TileMasks) -> Job:
    save_masks(tmp_path / "masks.npz", small_masks)
    return Job(masks=tmp_path / "masks.npz", out=tmp_path / "out.npz", repeats=2)


def test_names_are_unique_and_adapters_exist() -> None:
    assert len({method.name for method in METHODS}) == len(METHODS)
    for method in METHODS:
        assert (methods.ADAPTERS / f"{method.adapter}.py").is_file(), method.name
        assert method.settings == json.loads(json.dumps(method.settings)), "settings travel as JSON"


def test_a_method_runs_in_a_process_of_its_own(job: Job, small_masks: TileMasks, tmp_path: Path) -> None:
    (answer,) = run_method(CORES_ALONE, [job], tmp_path, LIMITS)
    expected = np.zeros((4, 6), dtype=np.uint32)
    expected[0, 0] = expected[1, 1] = 1  # the first tile's core of rows 0..2 and columns 0..2
    expected[:, 2:] = small_masks.labels[1][:, 1:] + 1  # ids go on after those of the first tile
    np.testing.assert_array_equal(answer.outputs.raster, expected)
    assert (len(answer.cpu_s), len(answer.wall_s)) == (2, 2)
    assert answer.versions == {"numpy": np.__version__}
    assert answer.peak_bytes >= 0


def test_a_crash_is_told_with_its_last_line(job: Job, tmp_path: Path) -> None:
    with pytest.raises(MethodError, match=r"ended with 1: AssertionError: painting cores has no settings"):
        run_method(replace(CORES_ALONE, settings={"speed": 3}), [job], tmp_path, LIMITS)


def test_a_time_out_is_told(job: Job, tmp_path: Path) -> None:
    with pytest.raises(MethodError, match="did not finish in 0 s"):
        run_method(CORES_ALONE, [job], tmp_path, replace(LIMITS, seconds=0.01))


def test_a_peer_that_cannot_be_installed_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    peer = Method(
        name="peer", rule="", adapter="cores_alone", requires=(str(tmp_path / "peer-1.0-py3-none-any.whl"),)
    )
    with pytest.raises(MethodError, match="could not be installed"):
        run_method(peer, [], tmp_path, LIMITS)
    assert list((tmp_path / "environments").iterdir()) == []


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = []

    def pretend(command: list[str], _limit_s: float, **_: object) -> object:
        commands.append(command)
        (tmp_path / "environments" / "peer--1.0").mkdir(parents=True, exist_ok=True)
        return methods.subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(methods, "_run", pretend)
    python = environment(("peer==1.0", "more"), tmp_path)
    assert python == tmp_path / "environments" / "peer--1.0" / "bin" / "python"
    assert [command[-2:] for command in commands][1] == ["peer==1.0", "more"]
    environment(("peer==1.0", "more"), tmp_path)
    assert len(commands) == 2
    environment(("peer==1.0",), tmp_path)
    assert len(commands) == 4, "other requirements, another environment"
