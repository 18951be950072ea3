"""What one tile, one host or one fault can cost a run, with the real runners and a real server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bad_tiles
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import zarr
from bad_tiles import BadTiles, bad_actors
from fault_server import fault_server
from label_worlds import LabelWorld, blobs, write_label_world

from pipeline.run import flow

CUT = ("--tile", "64", "--halo", "8", "--block", "2")

pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path: Path) -> LabelWorld:
    """30 tiles of 48 px cores, in nine blocks."""
    return write_label_world(tmp_path / "world", blobs(np.random.default_rng(11), 260, 240, grain=23))


def words(world: LabelWorld, out: Path, *sources: str) -> list[str]:
    given = [word for source in sources or (str(world.scene),) for word in ("--source", source)]
    models = ["--models", f"oracle:{world.labels}", "--query", "anything"]
    return [*given, "--whole-scene", *models, *CUT, "--out", str(out)]


def ledger(out: Path) -> dict[str, tuple[str, str, str]]:
    """tile_id -> status, reason, error."""
    rows = pq.read_table(out / "coverage.parquet").to_pylist()
    return {row["tile_id"]: (row["status"], row["reason"], row["error"]) for row in rows}


def limits(folder: Path, **values: float) -> list[str]:
    path = folder / "limits.toml"
    path.write_text("[limits]\n" + "".join(f"{key} = {value}\n" for key, value in values.items()))
    return ["--config", str(path)]


def ids(out: Path) -> np.ndarray:
    return np.asarray(zarr.open_group(str(out / "masks.zarr"), mode="r")["instance_id"][0])


def run_with_bad_tiles(
    run_job: Callable[..., int], monkeypatch: pytest.MonkeyPatch, bad: BadTiles, *command: str
) -> int:
    """A run on Ray whose workers meet bad tiles; they are sent the module, which is on no path of theirs."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(bad_tiles)
    for name, actor in bad_actors(bad).items():
        monkeypatch.setattr(flow, name, actor)
    return run_job(*command, "--runner", "ray")


@pytest.mark.heavy
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("shared_ray")
def test_tiles_that_kill_their_process_are_set_aside_and_all_others_are_done(
    run_job: Callable[..., int], world: LabelWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two blocks are in the prompter at once, so an innocent one dies with the killer each time."""
    bad = BadTiles(
        tiles={
            ("read", "kills"): "r00000c00000",
            ("prompt", "kills"): "r00002c00002",
            ("segment", "kills"): "r00004c00004",
        }
    )
    assert run_with_bad_tiles(run_job, monkeypatch, bad, *words(world, tmp_path / "out")) == 3
    told = ledger(tmp_path / "out")
    failed = {tile: reason for tile, (status, reason, _) in told.items() if status == "failed"}
    assert failed == dict.fromkeys(bad.tiles.values(), "crashed")
    assert "this tile alone (prompt), and 2 times before" in told["r00002c00002"][2]
    assert len(told) == 30
    assert run_job(*words(world, tmp_path / "clean"), "--runner", "local") == 0
    clean = ledger(tmp_path / "clean")
    assert {t: told[t] for t in told if t not in failed} == {t: clean[t] for t in clean if t not in failed}


@pytest.mark.heavy
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("shared_ray")
def test_tiles_that_hang_fail_alone_and_heal_with_another_try(
    run_job: Callable[..., int], world: LabelWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One waits for ever, one holds up the prompter's loop, one each hangs in reader and segmenter."""
    bad = BadTiles(
        tiles={
            ("read", "hangs"): "r00000c00000",
            ("prompt", "waits"): "r00002c00002",
            ("prompt", "hangs"): "r00000c00003",
            ("segment", "hangs"): "r00004c00004",
        }
    )
    out = tmp_path / "out"
    given = [*words(world, out), *limits(tmp_path, tile_s=5, block_s=8)]
    assert run_with_bad_tiles(run_job, monkeypatch, bad, *given) == 3
    told = ledger(out)
    failed = {tile: reason for tile, (status, reason, _) in told.items() if status == "failed"}
    assert failed == dict.fromkeys(bad.tiles.values(), "timeout")
    assert told["r00000c00000"][2] == "reading did not come back within 5 s (tile_s under [limits])"
    monkeypatch.undo()
    assert run_job(*given, "--runner", "local", "--retry-failed") == 0
    np.testing.assert_array_equal(ids(out), world.ids.astype(np.uint64))


def halves(world: LabelWorld, folder: Path) -> None:
    """The scene, cut in two: west.tif and east.tif."""
    with rasterio.open(world.scene) as dataset:
        pixels = dataset.read()
        for name, cols in (("west", slice(0, 120)), ("east", slice(120, pixels.shape[2]))):
            width = len(range(pixels.shape[2])[cols])
            moved = dataset.transform @ rasterio.Affine.translation(cols.start, 0)
            profile = dataset.profile | {"width": width, "transform": moved}
            with rasterio.open(folder / f"{name}.tif", "w", **profile) as part:
                part.write(pixels[:, :, cols])


@pytest.mark.parametrize("status", ["403", "503"])
def test_a_host_that_answers_no_more_costs_its_own_tiles_and_few_requests(
    run_job: Callable[..., int],
    world: LabelWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: str,
) -> None:
    """It answers while the run is planned, and not when the tiles are read."""
    monkeypatch.setattr("pipeline.files.http_range.time.sleep", lambda _: None)
    monkeypatch.setattr("pipeline.load.reader.RETRY_PAUSE_S", 0.0)
    halves(world, tmp_path)
    with fault_server(tmp_path) as server:
        claim = flow.claim

        def then_it_fails(*given: Any, **named: Any) -> object:
            claimed = claim(*given, **named)
            server.clear()
            server.always = status
            return claimed

        monkeypatch.setattr(flow, "claim", then_it_fails)
        sources = (f"{server.url}/west.tif", str(tmp_path / "east.tif"))
        out = tmp_path / "out"
        given = [*words(world, out, *sources), "--runner", "local"]
        assert run_job(*given) == 3
        asked = [request for request in server.requests if request[1] == "/west.tif"]
        told = ledger(out)
        failed = {tile for tile, (state, *_) in told.items() if state == "failed"}
        assert {told[tile][1] for tile in failed} == {"unreadable"}
        assert sum("given up after 5 failures in a row" in told[tile][2] for tile in failed) >= 10
        assert all(tile[-5:] in ("00000", "00001", "00002") for tile in failed), "the eastern half is judged"
        assert len(failed) < 30
        assert len(asked) < 60, "a few patient reads, and nothing once it is given up"
        monkeypatch.undo()
        server.clear()
        assert run_job(*given, "--retry-failed") == 0
    np.testing.assert_array_equal(ids(out), world.ids.astype(np.uint64))


def test_a_run_in_which_every_tile_fails_stops_and_goes_on_when_asked(
    run_job: Callable[..., int],
    world: LabelWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object) -> object:
        raise RuntimeError("no kernel image is available")

    out = tmp_path / "out"
    given = [*words(world, out), "--runner", "local", *limits(tmp_path, first_failures=8)]
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.segment.oracle_segmenter.OracleSegmenter.embed", broken)
        assert run_job(*given) == 4
    told = capsys.readouterr().err
    assert "the first 8 tiles failed for one reason, model_error: RuntimeError: no kernel image" in told
    assert "--retry-failed" in told
    assert len(list((out / "blocks").glob("*.parquet"))) == 2
    assert not (out / "coverage.parquet").exists()
    assert not (out / "run.lock").exists()
    assert run_job(*given, "--retry-failed") == 0
    np.testing.assert_array_equal(ids(out), world.ids.astype(np.uint64))


def test_how_many_tiles_may_fail_decides_the_exit_code(
    run_job: Callable[..., int],
    world: LabelWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from pipeline.segment.oracle_segmenter import OracleSegmenter

    embed = OracleSegmenter.embed

    def moody(self: OracleSegmenter, image: object) -> object:
        if image.tile.tile_id in ("r00000c00000", "r00003c00003"):  # type: ignore[attr-defined]
            raise RuntimeError("not this one")
        return embed(self, image)  # type: ignore[arg-type]

    monkeypatch.setattr(OracleSegmenter, "embed", moody)
    given = [*words(world, tmp_path / "out"), "--runner", "local"]
    assert run_job(*given) == 3
    assert run_job(*given, "--max-failed-share", "0.05") == 3, "2 of 30"
    assert run_job(*given, "--max-failed-share", "0.07") == 0
    capsys.readouterr()
    assert run_job(*given, "--max-failed-share", "7") == 2
    assert "--max-failed-share must be a share, from 0 to 1. Got: 7." in capsys.readouterr().err
