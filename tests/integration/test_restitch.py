"""jobs/restitch_region.py: phase two alone, on the block records of a real run with oracle models."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import zarr
from job_files import load_job
from label_worlds import blobs, write_label_world
from record_runs import published_raster, result_bytes

from pipeline.load.overview import read_overview
from pipeline.run.block_inputs import keys_of_run
from pipeline.run.restitch import RestitchRequest, imagery_of, plan_restitch
from pipeline.write.plan_table import read_inside
from pipeline.write.records.block_records import read_block_record, write_block_record
from pipeline.write.records.record_keys import key_of
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import read_run_json

ROOT = Path(__file__).parents[2]
RESULTS = ("instances/part-00000.parquet", "coverage.parquet")


@pytest.fixture(scope="module")
def restitch() -> Callable[..., int]:
    main = load_job("restitch_region").main
    return lambda *words: main([str(word) for word in words])


@pytest.fixture(scope="module")
def run(run_job: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A noisy run: tiles disagree, so that thresholds matter. 5 x 5 tiles in blocks of 2 x 2."""
    folder = tmp_path_factory.mktemp("world")
    world = write_label_world(folder, blobs(np.random.default_rng(21), 230, 210, grain=13))
    words = [
        "--source",
        world.scene,
        "--whole-scene",
        "--query",
        "anything",
        "--models",
        f"oracle:{world.labels}?noise=strong",
    ]
    cut = ["--tile", 64, "--halo", 8, "--block", 2]
    assert run_job(*words, *cut, "--runner", "local", "--out", folder / "out") == 0
    return folder / "out"


def ids(out: Path) -> np.ndarray:
    return np.asarray(zarr.open_group(str(out / "masks.zarr"), mode="r")["instance_id"][0])


def test_in_place_gives_the_same_files_for_any_super_tile(
    restitch: Callable[..., int], run: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "out")
    before = result_bytes(run)
    info = json.loads((run / "run.json").read_text())
    shutil.rmtree(tmp_path / "out" / "masks.zarr")
    for side in (1, 4):
        assert restitch("--run", tmp_path / "out", "--runner", "local", "--super-tile", side) == 0
        assert result_bytes(tmp_path / "out") == before
    again = json.loads((tmp_path / "out" / "run.json").read_text())
    changing = ("timings_s", "ended")
    assert {k: v for k, v in again.items() if k not in changing} == {
        k: v for k, v in info.items() if k not in changing
    }
    assert (tmp_path / "out" / "report.html").exists()
    assert sum(again["qa"]["anything"]["match_scores"]) > again["qa"]["anything"]["edges"] > 0


def test_other_thresholds_go_to_a_directory_of_their_own(
    restitch: Callable[..., int], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    out = tmp_path / "strict"
    assert restitch("--run", run, "--tau", 0.95, "--runner", "local") == 2
    assert "--out" in capsys.readouterr().err
    assert restitch("--run", run, "--out", out, "--tau", 0.95, "--min-area-px", 3, "--runner", "local") == 0
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before, (
        "the run itself is not touched"
    )
    mine, theirs = (json.loads((folder / "run.json").read_text()) for folder in (out, run))
    assert (mine["parameters"]["stitch"]["tau"], mine["parameters"]["stitch"]["min_area_px"]) == (0.95, 3)
    assert mine["fingerprint"] != theirs["fingerprint"] == mine["settings"]["merged_from"]["fingerprint"]
    assert mine["qa"]["anything"]["edges"] < theirs["qa"]["anything"]["edges"]
    assert mine["counters"]["tiles_with_prompts"] == theirs["counters"]["tiles_with_prompts"] > 0
    frame = geopandas.read_parquet(out / "instances")
    assert len(frame) == mine["counters"]["instances"] != theirs["counters"]["instances"]
    assert set(frame["run_id"]) == {mine["run_id"]}
    counts = dict(zip(*np.unique(ids(out)[ids(out) > 0], return_counts=True), strict=True))
    assert dict(zip(frame["instance_id"], frame["area_px"], strict=True)) == counts
    assert min(counts.values()) >= 3
    assert (out / "report.html").exists()
    assert not (out / "blocks").exists()
    assert restitch("--run", run, "--out", out, "--tau", 0.94, "--runner", "local") == 2, (
        "that directory holds another merge"
    )


def test_optional_rules_reach_the_merge_and_its_qa_table(
    run_job: Callable[..., int], restitch: Callable[..., int], tmp_path: Path
) -> None:
    """Tiles miss small objects that neighbours saw whole in their halo of 20 px."""
    world = write_label_world(tmp_path, blobs(np.random.default_rng(22), 120, 110, grain=5))
    run = tmp_path / "run"
    words = [
        "--source",
        world.scene,
        "--whole-scene",
        "--query",
        "anything",
        "--models",
        f"oracle:{world.labels}?noise=strong",
    ]
    assert run_job(*words, "--tile", 72, "--halo", 20, "--block", 2, "--runner", "local", "--out", run) == 0
    rules = ["--audit", "--rescue-share", 0.5, "--trusted-margin-px", 0]
    outs = [tmp_path / "one", tmp_path / "many"]
    for out, side in zip(outs, (1, 4), strict=True):
        assert restitch("--run", run, "--out", out, *rules, "--super-tile", side, "--runner", "local") == 0
    assert result_bytes(outs[0]) == result_bytes(outs[1])
    info = json.loads((outs[0] / "run.json").read_text())
    stitch = info["parameters"]["stitch"]
    qa = info["qa"]["anything"]
    assert (stitch["audit"], stitch["rescue_share"], stitch["trusted_margin_px"]) == (True, 0.5, 0)
    rescued = ids(outs[0])[ids(outs[0]) > 2**62]
    assert qa["rescued"] == np.unique(rescued).size > 0
    assert (ids(run)[ids(outs[0]) > 2**62] == 0).mean() > 0.5, "most of what is rescued was background"
    audit = qa["audit"]
    assert audit["contradictions"] >= audit["components"]
    assert (audit["components"] > 0) == (audit["cut_edges"] > 0)
    assert qa["pixels"]["kept_share"] >= stitch["keep_share"] == 0.97
    assert json.loads((run / "run.json").read_text())["qa"]["anything"]["audit"] is None, "nobody looked"
    assert (ids(run) < 2**62).all()


def test_semantic_areas_of_the_same_records(restitch: Callable[..., int], run: Path, tmp_path: Path) -> None:
    assert (
        restitch(
            "--run", run, "--out", tmp_path / "areas", "--semantic", "--runner", "local", "--super-tile", 2
        )
        == 0
    )
    from label_worlds import canonical

    areas = ids(tmp_path / "areas")
    np.testing.assert_array_equal(areas, canonical((areas > 0).astype(np.int64)).astype(np.uint64))
    assert ((ids(run) > 0) <= (areas > 0)).all()


@pytest.mark.parametrize(
    ("damage", "says"),
    [("missing", "is missing"), ("torn", "is damaged"), ("foreign", "another run")],
)
def test_bad_records_are_named_before_anything_is_written(
    restitch: Callable[..., int],
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: str,
    says: str,
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    record = copy / "blocks" / "b00001_00001.parquet"
    if damage == "missing":
        record.unlink()
    elif damage == "torn":
        record.write_bytes(record.read_bytes()[:-100])
    else:
        info = read_run_json(copy / "run.json")
        keys = keys_of_run(info, read_inside(copy / "plan.parquet", info.lattice))
        foreign = replace(
            read_block_record(record, key_of(keys, record.stem).fingerprint), fingerprint="0" * 64
        )
        write_block_record(RunDir(copy), foreign, lattice=info.lattice)
    assert restitch("--run", copy, "--out", tmp_path / "out", "--tau", 0.6, "--runner", "local") == 2
    error = capsys.readouterr().err
    assert "b00001_00001" in error
    assert says in error
    assert "segment_region.py again" in error
    assert not (tmp_path / "out").exists()


def test_damage_inside_a_record_is_found_and_named(
    restitch: Callable[..., int], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The footer is whole, a page is not: the hash tells before anything is written."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    record = copy / "blocks" / "b00000_00001.parquet"
    data = bytearray(record.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 40] = bytes(40)
    record.write_bytes(bytes(data))
    assert restitch("--run", copy, "--runner", "local") == 2
    assert "b00000_00001.parquet is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "name"),
    [("--tile", 128, "tile_px"), ("--halo", 4, "halo_px"), ("--block", 4, "block_tiles")],
)
def test_another_tiling_is_refused(
    restitch: Callable[..., int],
    run: Path,
    capsys: pytest.CaptureFixture[str],
    option: str,
    value: int,
    name: str,
) -> None:
    assert restitch("--run", run, option, value, "--runner", "local") == 2
    error = capsys.readouterr().err
    assert name in error
    assert "segment_region.py with the new tiling" in error


def test_records_cut_by_another_lattice_are_refused(
    restitch: Callable[..., int], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """run.json edited by hand: the records say what tiles the models saw."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    text = (copy / "run.json").read_text()
    (copy / "run.json").write_text(
        text.replace('"halo_px": 8,\n    "block_tiles"', '"halo_px": 7,\n    "block_tiles"')
    )
    assert '"halo_px": 7' in (copy / "run.json").read_text()
    assert restitch("--run", copy, "--runner", "local") == 2
    assert "belongs to another run, or to other tiles or scenes" in capsys.readouterr().err


def test_what_is_no_run_is_refused(
    restitch: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert restitch("--run", tmp_path, "--runner", "local") == 2
    assert "run directory" in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        restitch("--help")
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert "how to choose --tau" in text


def test_bad_thresholds_are_refused(
    restitch: Callable[..., int], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ("--tau", -1),
        ("--min-overlap-px", 0),
        ("--split-tiles", 0),
        ("--super-tile", 0),
        ("--min-area-m2", -3),
    ):
        assert restitch("--run", run, "--out", tmp_path / "out", *words, "--runner", "local") == 2, words
        assert "error:" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_directory_in_which_a_driver_works_is_refused_and_is_free_after_a_merge(
    restitch: Callable[..., int], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    out = tmp_path / "out"
    shutil.copytree(run, copy)
    before = result_bytes(copy)
    info = (copy / "run.json").read_bytes()
    assert restitch("--run", run, "--out", out, "--tau", 0.6, "--runner", "local") == 0
    for folder, words in ((copy, ["--run", copy]), (out, ["--run", run, "--out", out, "--tau", 0.6])):
        lock = folder / "run.lock"
        assert not lock.exists()
        lock.write_text(json.dumps({"host": "elsewhere", "pid": 7, "born": "1", "pid_table": "another boot"}))
        assert restitch(*words, "--runner", "local") == 5
        assert "process 7 on elsewhere at work" in capsys.readouterr().err
        assert lock.exists()
        lock.unlink()
    assert (result_bytes(copy), (copy / "run.json").read_bytes()) == (before, info)
    assert restitch("--run", copy, "--runner", "local") == 0
    assert not (copy / "run.lock").exists()


@pytest.fixture
def two_scenes(run_job: Callable[..., int], tmp_path: Path) -> Path:
    """A run over two files of 64 x 64 pixels side by side, red on the left and green on the right, with
    objects in both and across.
    """
    labels = np.zeros((64, 128), dtype=np.int64)
    labels[10:20, 8:20], labels[30:40, 58:72], labels[44:56, 100:110] = 1, 2, 3
    world = write_label_world(tmp_path / "world", labels)
    for name, colour, left in (("a", (200, 10, 10), 0), ("b", (10, 200, 10), 64)):
        with rasterio.open(world.scene) as source:
            profile = {
                **source.profile,
                "width": 64,
                "transform": source.transform @ rasterio.Affine.translation(left, 0),
            }
        with rasterio.open(tmp_path / "world" / f"{name}.tif", "w", **profile) as target:
            target.write(np.broadcast_to(np.array(colour, dtype=np.uint8)[:, None, None], (3, 64, 64)))
    words = [
        "--source",
        tmp_path / "world" / "a.tif",
        "--source",
        tmp_path / "world" / "b.tif",
        "--whole-scene",
        "--query",
        "anything",
    ]
    cut = ["--tile", 48, "--halo", 8, "--block", 2]
    assert (
        run_job(
            *words, "--models", f"oracle:{world.labels}", *cut, "--runner", "local", "--out", tmp_path / "run"
        )
        == 0
    )
    return tmp_path / "run"


def test_the_pictures_of_a_run_over_several_scenes_show_each_in_its_place(
    restitch: Callable[..., int], two_scenes: Path, tmp_path: Path
) -> None:
    report = (two_scenes / "report.html").read_text()
    again = tmp_path / "again"
    assert restitch("--run", two_scenes, "--runner", "local", "--out", again) == 0
    np.testing.assert_array_equal(published_raster(again), published_raster(two_scenes))
    pictures = re.findall(r"data:image/[a-z]+;base64,[^\"')]+", report)
    assert len(pictures) > 3, "the overview and a chip per object"
    assert re.findall(r"data:image/[a-z]+;base64,[^\"')]+", (again / "report.html").read_text()) == pictures
    plan = plan_restitch(RestitchRequest(run=str(two_scenes), thresholds={}, tiling={}))
    overview = read_overview(imagery_of(plan).sources, plan.job.lattice.grid, side_px=128).rgb
    assert (overview[:, :64] == (200, 10, 10)).all()
    assert (overview[:, 64:] == (10, 200, 10)).all()


@pytest.mark.slow
@pytest.mark.usefixtures("shared_ray")
def test_ray_tasks_give_the_same_files(
    restitch: Callable[..., int], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--run", run, "--tau", 0.7, "--super-tile", 2]
    assert restitch(*words, "--out", tmp_path / "ray", "--runner", "ray") == 0
    assert '"anything"' in capsys.readouterr().out
    assert restitch(*words, "--out", tmp_path / "local", "--runner", "local") == 0
    assert result_bytes(tmp_path / "ray") == result_bytes(tmp_path / "local")
