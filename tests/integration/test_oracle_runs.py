"""With oracle models the whole job gives back exactly the truth, however the region is cut."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio.features
import zarr
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from label_worlds import LabelWorld, blobs, write_label_world
from numpy.typing import NDArray

RunJob = Callable[..., int]


def run_oracle(run_job: RunJob, world: LabelWorld, out: Path, *extra: object) -> int:
    words = [
        "--source",
        world.scene,
        "--whole-scene",
        "--query",
        "anything",
        "--models",
        f"oracle:{world.labels}",
        "--out",
        out,
    ]
    return run_job(*words, "--runner", "local", *extra)


def published_ids(out: Path) -> NDArray[np.uint64]:
    group = zarr.open_group(str(out / "masks.zarr"), mode="r")
    return np.asarray(group["instance_id"][0])


def assert_exact(world: LabelWorld, out: Path) -> None:
    """Raster, vector and ledger agree with the truth and with each other, to the pixel."""
    np.testing.assert_array_equal(published_ids(out), world.ids.astype(np.uint64))
    frame = gpd.read_parquet(out / "instances")
    values, counts = np.unique(world.ids[world.ids > 0], return_counts=True)
    assert dict(zip(frame["instance_id"], frame["area_px"], strict=True)) == dict(
        zip(values.tolist(), counts.tolist(), strict=True)
    )
    assert frame.geometry.is_valid.all()
    if len(frame):
        transform = rasterio.Affine(0.5, 0, 500000, 0, -0.5, 5500000)
        burnt = rasterio.features.rasterize(
            zip(frame.geometry, frame["instance_id"], strict=True),
            out_shape=world.ids.shape,
            transform=transform,
            dtype="int64",
        )
        np.testing.assert_array_equal(burnt, world.ids)
        np.testing.assert_allclose(frame.geometry.area, frame["area_px"] * 0.25)
    coverage = pq.read_table(out / "coverage.parquet").to_pylist()
    assert len({row["tile_id"] for row in coverage}) == len(coverage)
    assert {row["status"] for row in coverage} <= {"found", "empty"}


@settings(
    max_examples=8, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate]
)  # whole runs: no shrinking
@given(
    seed=st.integers(0, 10_000),
    grain=st.sampled_from([2, 5, 17, 40]),
    halo=st.integers(1, 12),
    core=st.sampled_from([16, 31, 64]),
    k=st.integers(1, 4),
)
def test_any_cut_gives_the_truth(
    run_job: RunJob,
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    grain: int,
    halo: int,
    core: int,
    k: int,
) -> None:
    folder = tmp_path_factory.mktemp("world")
    world = write_label_world(folder, blobs(np.random.default_rng(seed), 96, 83, grain=grain))
    assert (
        run_oracle(run_job, world, folder / "out", "--tile", core + 2 * halo, "--halo", halo, "--block", k)
        == 0
    )
    assert_exact(world, folder / "out")


@settings(max_examples=5, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])
@given(
    seed=st.integers(0, 10_000),
    grain=st.sampled_from([8, 17, 40]),
    halo=st.integers(8, 14),
    core=st.sampled_from([20, 31, 64]),
    k=st.integers(1, 4),
)
def test_everything_is_the_truth_however_it_is_cut(
    run_job: RunJob,
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    grain: int,
    halo: int,
    core: int,
    k: int,
) -> None:
    """No object is thinner than the distance of the points, which is not above the halo: so each tile has a
    point in its piece of every object of its core.
    """
    folder = tmp_path_factory.mktemp("world")
    across = 96 // grain
    world = write_label_world(
        folder, blobs(np.random.default_rng(seed), across * grain, (across - 1 or 1) * grain, grain=grain)
    )
    tile = core + 2 * halo
    (folder / "all.toml").write_text("[everything]\nmin_mask_px = 1\nmax_mask_share = 1.0\n")
    words = ["--everything", "--points-per-side", -(-tile // 8), "--config", folder / "all.toml"]
    cut = ["--tile", tile, "--halo", halo, "--block", k]
    assert run_oracle(run_job, world, folder / "out", *words, *cut) == 0
    assert_exact(world, folder / "out")


def test_empty_world_gives_empty_but_complete_results(run_job: RunJob, tmp_path: Path) -> None:
    world = write_label_world(tmp_path, np.zeros((100, 90), dtype=np.int64))
    assert run_oracle(run_job, world, tmp_path / "out", "--tile", 48, "--halo", 8, "--block", 2) == 0
    assert_exact(world, tmp_path / "out")
    mask = zarr.open_group(str(tmp_path / "out" / "masks.zarr"), mode="r")["mask"][0]
    assert np.unique(mask).tolist() == [0]


def test_semantic_mode_joins_what_touches(run_job: RunJob, tmp_path: Path) -> None:
    world = write_label_world(tmp_path, blobs(np.random.default_rng(3), 120, 140, grain=9))
    assert (
        run_oracle(run_job, world, tmp_path / "out", "--tile", 48, "--halo", 6, "--block", 2, "--semantic")
        == 0
    )
    expected = write_label_world(tmp_path / "union", (world.ids > 0).astype(np.int64)).ids
    np.testing.assert_array_equal(published_ids(tmp_path / "out"), expected.astype(np.uint64))


def test_a_second_start_does_nothing_again_and_a_torn_record_only_its_block(
    run_job: RunJob, tmp_path: Path
) -> None:
    world = write_label_world(tmp_path, blobs(np.random.default_rng(4), 150, 150, grain=12))
    cut = ("--tile", 40, "--halo", 4, "--block", 2)
    assert run_oracle(run_job, world, tmp_path / "out", *cut) == 0
    records = sorted((tmp_path / "out" / "blocks").glob("*.parquet"))
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in records}
    torn = records[1]
    gone = records[3]
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    gone.unlink()
    assert run_oracle(run_job, world, tmp_path / "out", *cut) == 0
    assert_exact(world, tmp_path / "out")
    for path in records:
        redone = path in (torn, gone)
        assert (path.stat().st_mtime_ns != before[path.name][0]) == redone


def test_another_runs_directory_is_refused_naming_what_changed(
    run_job: RunJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = write_label_world(tmp_path, blobs(np.random.default_rng(5), 60, 60, grain=12))
    assert run_oracle(run_job, world, tmp_path / "out", "--tile", 40, "--halo", 4) == 0
    ids = published_ids(tmp_path / "out").copy()
    assert run_oracle(run_job, world, tmp_path / "out", "--tile", 44, "--halo", 4) == 2
    error = capsys.readouterr().err
    assert "tiles.px" in error
    assert "40" in error
    assert "44" in error
    np.testing.assert_array_equal(published_ids(tmp_path / "out"), ids)
    assert run_oracle(run_job, world, tmp_path / "out", "--tile", 44, "--halo", 4, "--new-run") == 0


def test_dry_run_writes_the_plan_and_no_record(
    run_job: RunJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = write_label_world(tmp_path, blobs(np.random.default_rng(6), 100, 100, grain=12))
    assert run_oracle(run_job, world, tmp_path / "out", "--tile", 40, "--halo", 4, "--dry-run") == 0
    assert "16 of 40 px" in capsys.readouterr().out  # ceil(100 / 32) = 4 tiles a side
    assert pq.read_table(tmp_path / "out" / "plan.parquet").num_rows == 16
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"plan.parquet", "scenes.parquet"}
    assert run_oracle(run_job, world, tmp_path / "out", "--tile", 24, "--halo", 4, "--dry-run") == 0
    # ceil(100 / 16) = 7 tiles a side: another plan on the same --out
    assert "49 of 24 px" in capsys.readouterr().out
    assert run_oracle(run_job, world, tmp_path / "out", "--tile", 40, "--halo", 4) == 0
    assert_exact(world, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert (
        run_oracle(run_job, world, tmp_path / "out", "--tile", 24, "--halo", 4, "--dry-run", "--new-run") == 0
    )
    assert "would be deleted (--new-run)" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_swapped_sources_are_another_run(
    run_job: RunJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first source with a valid pixel is what a tile shows, so a resumed run must not mix both orders."""
    world = write_label_world(tmp_path, blobs(np.random.default_rng(7), 60, 60, grain=12))
    newer = tmp_path / "newer.tif"
    shutil.copy(world.scene, newer)
    words = [
        "--whole-scene",
        "--query",
        "anything",
        "--models",
        f"oracle:{world.labels}",
        "--out",
        tmp_path / "out",
        "--runner",
        "local",
    ]
    words += ["--tile", 40, "--halo", 4]
    assert run_job("--source", world.scene, "--source", newer, *words) == 0
    assert run_job("--source", newer, "--source", world.scene, *words) == 2
    assert 'scenes[0].scene_id: "scene" -> "newer"' in capsys.readouterr().err
    assert run_job("--source", world.scene, "--source", newer, *words) == 0
