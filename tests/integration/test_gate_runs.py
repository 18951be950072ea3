"""Whole runs behind a gate, with oracle models: nothing is lost with an exact gate, what an inexact one loses
is counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from job_files import load_job
from label_worlds import LabelWorld, write_label_world

RunJob = Callable[..., int]
FILES = ("instances/part-00000.parquet", "coverage.parquet", "plan.parquet")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> LabelWorld:
    """300 x 280 px with 14 small objects and one large one; most tiles of 32 px hold nothing."""
    rng = np.random.default_rng(8)
    labels = np.zeros((300, 280), dtype=np.int64)
    for number, (row, col) in enumerate(rng.integers(0, 260, (14, 2)), start=1):
        labels[row : row + 7, col : col + 9] = number
    labels[200:270, 120:190] = 15
    return write_label_world(tmp_path_factory.mktemp("world"), labels)


def run(run_job: RunJob, world: LabelWorld, out: Path, *extra: object, noise: str = "none") -> int:
    words = ["--source", world.scene, "--whole-scene", "--query", "anything", "--query", "something"]
    words += [
        "--models",
        f"oracle:{world.labels}?noise={noise}",
        "--tile",
        40,
        "--halo",
        4,
        "--block",
        2,
        "--runner",
        "local",
    ]
    return run_job(*words, *extra, "--out", out)


def ids(out: Path) -> np.ndarray:
    return np.asarray(zarr.open_group(str(out / "masks.zarr"), mode="r")["instance_id"])


def info(out: Path) -> dict[str, object]:
    document: dict[str, object] = json.loads((out / "run.json").read_text())
    return document


@pytest.mark.parametrize("mode", ["tile", "parent"])
def test_an_exact_gate_changes_nothing_but_the_cost(
    run_job: RunJob, world: LabelWorld, tmp_path: Path, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(run_job, world, tmp_path / "gated", "--gate", mode, "--gate-threshold", 0.5) == 0
    printed = capsys.readouterr().out
    assert run(run_job, world, tmp_path / "plain") == 0
    np.testing.assert_array_equal(ids(tmp_path / "gated"), ids(tmp_path / "plain"))
    np.testing.assert_array_equal(ids(tmp_path / "gated")[0], world.ids.astype(np.uint64))
    figures = info(tmp_path / "gated")["gate"]
    assert isinstance(figures, dict)
    rows = [
        row
        for path in (tmp_path / "gated" / "blocks").glob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    asked = [row for row in rows if row["gate_p"] >= 0.5 or row["audited"]]
    assert figures["rejected"] == sum(row["gate_p"] < 0.5 for row in rows) > 0
    assert (figures["passed"] + figures["rejected"], figures["not_judged"]) == (len(rows), 0)
    assert (figures["audited"], figures["audited_found"]) == (sum(row["audited"] for row in rows), 0)
    assert {row["reason"] for row in rows if row not in asked} == {"gate"}
    assert f"rejected {figures['rejected']} of {len(rows)} (tile, query) pairs" in printed
    assert "recall of what is found without the gate: 1.000, 95 % [" in printed
    coverage = pq.read_table(tmp_path / "gated" / "coverage.parquet").to_pylist()
    assert all(row["gate_p"] < 0.5 for row in coverage if row["reason"] == "gate")
    assert "gate" not in info(tmp_path / "plain")
    assert "gate" not in info(tmp_path / "plain")["parameters"]  # type: ignore[operator]
    for path in (tmp_path / "plain" / "blocks").glob("*.parquet"):
        assert {"gate_p", "audited", "verified"}.isdisjoint(pq.read_schema(path).names)


def test_what_an_inexact_gate_loses_lies_in_the_audits_interval_and_a_resumed_run_is_the_same(
    run_job: RunJob, world: LabelWorld, tmp_path: Path
) -> None:
    """At threshold 0.9 the strong noise loses 76 % of what is there: Phi(1.5 - logit 0.9) = 0.24 passes."""
    config = tmp_path / "gate.toml"
    config.write_text("[gate]\nmode = 'tile'\nthreshold = 0.9\naudit_share = 0.4\nseed = 3\n")
    words = ("--config", config)
    assert run(run_job, world, tmp_path / "once", *words, noise="strong") == 0
    figures = info(tmp_path / "once")["gate"]
    assert isinstance(figures, dict)
    assert figures["audited_found"] > 0
    assert run(run_job, world, tmp_path / "open", noise="strong") == 0
    whole = [
        row
        for path in (tmp_path / "open" / "blocks").glob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    found = {(row["tile_id"], row["query_index"]) for row in whole if row["status"] == "found"}
    gated = [
        row
        for path in (tmp_path / "once" / "blocks").glob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    passed = {(row["tile_id"], row["query_index"]) for row in gated if row["gate_p"] >= 0.9}
    true_recall = len(found & passed) / len(found)
    assert figures["recall_low"] <= true_recall <= figures["recall_high"]
    assert 0.1 < true_recall < 0.4

    assert run(run_job, world, tmp_path / "again", *words, noise="strong") == 0
    for path in sorted((tmp_path / "again" / "blocks").glob("*.parquet"))[::2]:
        path.unlink()
    assert run(run_job, world, tmp_path / "again", *words, noise="strong") == 0
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "once" / name).read_bytes(), name
    assert info(tmp_path / "again")["gate"] == figures


def test_a_verifier_rejects_bad_masks_and_instances_say_what_it_thought(
    run_job: RunJob, world: LabelWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The oracle verifier gives masks their IoU with the truth; strong noise shifts them up to 3 px."""
    config = tmp_path / "verifier.toml"
    config.write_text("[verifier]\nmode = 'crop'\nthreshold = 0.6\n")
    assert run(run_job, world, tmp_path / "out", "--config", config, noise="strong") == 0
    assert run(run_job, world, tmp_path / "plain", noise="strong") == 0
    rows = [
        row
        for path in (tmp_path / "out" / "blocks").glob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    before = [
        row
        for path in (tmp_path / "plain" / "blocks").glob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    judged = [p for row in rows for p in row.get("verified") or () if p is not None]
    assert 0 < sum(p < 0.6 for p in judged) < len(judged)
    assert info(tmp_path / "out")["counters"]["masks_verified"] == len(judged)  # type: ignore[index]
    emptied = [row for row in rows if row["reason"] == "verifier"]
    assert emptied
    assert all(p < 0.6 for row in emptied for p in row["verified"] if p is not None)
    found = {(row["tile_id"], row["query_index"]) for row in rows if row["status"] == "found"}
    gone = {(row["tile_id"], row["query_index"]) for row in emptied}
    assert found | gone == {
        (row["tile_id"], row["query_index"]) for row in before if row["status"] == "found"
    }
    instances = pq.read_table(tmp_path / "out" / "instances")
    assert min(instances["verified"].to_pylist()) >= 0.6
    assert "verified" not in pq.read_schema(tmp_path / "plain" / "instances" / "part-00000.parquet").names
    assert "empty/verifier" in capsys.readouterr().out
    restitch = load_job("restitch_region").main
    assert (
        restitch(
            [
                "--run",
                str(tmp_path / "out"),
                "--out",
                str(tmp_path / "again"),
                "--tau",
                "0.4",
                "--runner",
                "local",
            ]
        )
        == 0
    )
    assert "verified" in pq.read_schema(tmp_path / "again" / "instances" / "part-00000.parquet").names


def test_another_threshold_is_another_run(
    run_job: RunJob, world: LabelWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(run_job, world, tmp_path / "out", "--gate", "tile") == 0
    assert run(run_job, world, tmp_path / "out", "--gate", "tile", "--gate-threshold", 0.2, "--dry-run") == 2
    assert "gate.threshold: 0.05 -> 0.2" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("shared_ray")
def test_ray_gives_the_same_files(run_job: RunJob, world: LabelWorld, tmp_path: Path) -> None:
    """Gate and verifier together: on Ray the verifier lives in the segmenter's actor, locally beside the
    prompter.
    """
    (tmp_path / "verifier.toml").write_text("[verifier]\nmode = 'crop'\nthreshold = 0.4\n")
    words = ("--gate", "parent", "--gate-threshold", 0.5, "--config", tmp_path / "verifier.toml")
    assert run(run_job, world, tmp_path / "ray", *words, "--runner", "ray", noise="strong") == 0
    assert run(run_job, world, tmp_path / "local", *words, noise="strong") == 0
    for name in FILES:
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes(), name
    assert info(tmp_path / "ray")["gate"] == info(tmp_path / "local")["gate"]
