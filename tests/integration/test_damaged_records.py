"""Damage to a block record, whenever it is found, costs one start of the run and never more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from job_files import load_job
from label_worlds import blobs, write_label_world
from record_runs import result_bytes

from pipeline.run.merge import publish

RunJob = Callable[..., int]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """A run of two blocks with the truth as its models."""
    folder = tmp_path_factory.mktemp("world")
    world = write_label_world(folder, blobs(np.random.default_rng(5), 60, 110, grain=9))
    command = ["--source", world.scene, "--whole-scene", "--query", "anything"]
    command += ["--models", f"oracle:{world.labels}", "--tile", 40, "--halo", 4, "--block", 2]
    return [*command, "--runner", "local"]


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


def cut(path: Path, position: int) -> None:
    path.write_bytes(path.read_bytes()[:position])


@pytest.mark.parametrize("damage", [flip, cut])
def test_the_same_command_heals_a_damaged_record(
    run_job: RunJob,
    words: list[object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path, int], None],
) -> None:
    out = tmp_path / "out"
    assert run_job(*words, "--out", out) == 0
    want = result_bytes(out)
    record = out / "blocks" / "b00000_00001.parquet"
    others = {path: path.stat().st_mtime_ns for path in out.glob("blocks/*.parquet") if path != record}
    assert others
    for share, back in ((0, -5), (1 / 3, 0), (1, 1500), (1, 3)):  # values, values, footer, the last bytes
        size = record.stat().st_size  # a record done again says other seconds, so it may be shorter
        damage(record, int(size * share) - back)
        retry = ["--retry-failed"] if share == 0 else []
        assert run_job(*words, "--out", out, *retry) == 0
        assert "note: block record b00000_00001 is done again: " in capsys.readouterr().out
        assert result_bytes(out) == want
    assert {path: path.stat().st_mtime_ns for path in others} == others, "whole records are not done again"


def test_damage_during_the_merge_is_one_line_and_the_next_start_heals(
    run_job: RunJob,
    words: list[object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The record is whole while seams are matched, and damaged when its block is painted."""
    out = tmp_path / "out"
    record = out / "blocks" / "b00000_00000.parquet"
    lay_out = publish.create_masks

    def damage_first(*args: object) -> object:
        flip(record, 300)
        return lay_out(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(publish, "create_masks", damage_first)
        assert run_job(*words, "--out", out) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: block record {record} is damaged (")
    assert line.endswith("start segment_region.py again with the run's own command; it does this block again")
    restitch = load_job("restitch_region").main
    assert restitch(["--run", str(out), "--runner", "local"]) == 2
    assert "b00000_00000" in capsys.readouterr().err
    assert run_job(*words, "--out", out) == 0
    assert run_job(*words, "--out", tmp_path / "clean") == 0
    assert result_bytes(out) == result_bytes(tmp_path / "clean")
