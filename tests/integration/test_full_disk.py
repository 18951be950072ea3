"""A disk that is full at any moment of a run: one line, exit code 1, and the same command goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from job_files import load_job
from label_worlds import LabelWorld, blobs, write_label_world

from pipeline.write.run_json import read_run_json


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> LabelWorld:
    labels = blobs(np.random.default_rng(3), 320, 320, grain=4)
    return write_label_world(tmp_path_factory.mktemp("world"), labels)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, 16 kB large."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting a file system is for root alone: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def resize(place: Path, kib: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={kib}k", str(place)], check=True)


def segment(world: LabelWorld, out: Path) -> int:
    words = ["--source", str(world.scene), "--whole-scene", "--query", "anything", "--runner", "local"]
    words += ["--models", f"oracle:{world.labels}", "--tile", "96", "--halo", "16", "--block", "2"]
    code: int = load_job("segment_region").main([*words, "--out", str(out)])
    return code


@pytest.mark.long
def test_a_disk_that_is_full_at_any_moment_costs_one_line(
    world: LabelWorld, small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The disk grows by a fifth after every failure, so that each kind of file meets its end once."""
    out = small_disk / "run"
    kib = 16
    failed = 0
    while (code := segment(world, out)) != 0:
        said = capfd.readouterr()
        last = said.err.splitlines()[-1]
        assert code == 1, said.err
        assert last.startswith(f"error: No space left on device for {small_disk}"), said.err
        assert "Traceback" not in said.err + said.out
        assert sum(line.startswith("error:") for line in said.err.splitlines()) == 1
        failed += 1
        kib = kib * 5 // 4 + 4
        assert kib < 32_768, "the run must fit at last"
        resize(small_disk, kib)
    assert failed > 3
    info = read_run_json(out / "run.json")
    assert info.status == "complete"
    assert info.notes == ()
    assert all((out / path).exists() for path in info.outputs.values() if path is not None)
    assert not list(out.rglob("*.tmp"))
