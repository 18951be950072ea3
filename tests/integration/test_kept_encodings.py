"""Runs with --cache: the same bytes as without it, and a second query that encodes nothing again.

The prompter is an oracle, and the segmenter the embedded SAM2.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from growing_worlds import GrowingWorld, make_growing_world
from killed_jobs import contents

from pipeline.schema.imagery import TileImage
from pipeline.segment.sam2_segmenter import Sam2Features, Sam2Segmenter

RunJob = Callable[..., int]
N_TILES = 2


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images were encoded, call by call."""
    told: list[int] = []
    encode = Sam2Segmenter._encode

    def counted(self: Sam2Segmenter, images: Sequence[TileImage], square_px: int) -> list[Sam2Features]:
        told.append(len(images))
        return encode(self, images, square_px)

    monkeypatch.setattr(Sam2Segmenter, "_encode", counted)
    return told


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    world: GrowingWorld = make_growing_world(tmp_path_factory.mktemp("world"))
    options = world.folder / "options.toml"
    options.write_text(f'[prompter]\nkind = "oracle"\nmodel = "oracle:{world.folder}/labels.tif"\n')
    tiles = ["--tile", 72, "--halo", 4, "--block", 2, "--config", options]
    return [*world.scene("june"), *world.aoi("north"), "--query", "tanks", "--runner", "local", *tiles]


def test_results_are_those_without_it_and_a_second_query_encodes_nothing(
    run_job: RunJob,
    words: list[object],
    tmp_path: Path,
    encoded: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    plain = tmp_path / "plain"
    assert run_job(*words, "--out", plain) == 0
    assert sum(encoded) == N_TILES
    cache = tmp_path / "cache"
    out = tmp_path / "out"
    assert run_job(*words, "--out", out, "--cache", cache, "--cache-gb", 1) == 0
    assert sum(encoded) == 2 * N_TILES
    assert contents(str(out)) == contents(str(plain))
    blobs = sorted(cache.glob("??/*.blob"))
    assert len(blobs) == N_TILES
    blobs[0].write_bytes(blobs[0].read_bytes()[:-1])

    encoded.clear()
    add = ["--add-query", "pools"]
    assert run_job("--out", out, *add, "--cache", cache) == 0
    assert sum(encoded) == 1, "the damaged one"
    assert run_job("--out", plain, *add) == 0
    assert contents(str(out)) == contents(str(plain))
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    capsys.readouterr()
    encoded.clear()
    assert run_job("--out", out, "--add-query", "ships", "--cache", cache) == 0
    assert encoded == []
    used = json.loads((out / "cost.json").read_text())["used"]
    assert (used["cache_hits"], used["cache_misses"], used["embeddings"]) == (N_TILES, 0, 0)
    assert f"{N_TILES} cache hits" in capsys.readouterr().out


def test_a_cache_without_encodings_is_refused(
    run_job: RunJob, words: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_job(*words, "--out", tmp_path / "out", "--cache-gb", 5) == 2
    assert "--cache-gb 5 alone" in capsys.readouterr().err
    assert run_job(*words, "--out", tmp_path / "out", "--cache", "s3://bucket/x") == 2
    assert "no local folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
