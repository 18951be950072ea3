"""Whole runs whose masks come from a model in an environment of its own, exact to the pixel."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import zarr
from label_worlds import canonical, write_raster
from numpy.typing import NDArray
from second_environment import make_environment

RunJob = Callable[..., int]
COLOURS = Path(__file__).parents[1] / "colour_adapter.py"

CONFIG = """
tiles = {{ px = 64, halo_px = 8, block_tiles = 2 }}

[mask_model]
kind = "process"
python = "{python}"
adapter = "{adapter}"
{more}

[mask_model.options]
least = {least}
"""


@dataclass(frozen=True)
class ColourWorld:
    """Rectangles of pure colours on grey, larger and smaller than tiles."""

    scene: Path
    rgb: NDArray[np.uint8]

    def truth(self, channel: int) -> NDArray[np.int64]:
        """(H, W) ids of the objects of a colour, as a run names them."""
        others = [self.rgb[other] < 100 for other in range(3) if other != channel]
        return canonical(((self.rgb[channel] >= 150) & others[0] & others[1]).astype(np.int64))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ColourWorld:
    rng = np.random.default_rng(11)
    rgb = np.full((3, 170, 150), 80, dtype=np.uint8)
    for _ in range(30):
        row, col = rng.integers(0, 150, 2)
        height, width = rng.integers(3, 60, 2)
        rgb[:, row : row + height, col : col + width] = 80
        rgb[rng.choice([0, 2]), row : row + height, col : col + width] = 200
    rgb[:, 60:, 120:] = 80  # a tile without any
    scene = tmp_path_factory.mktemp("colours") / "scene.tif"
    write_raster(scene, rgb)
    return ColourWorld(scene=scene, rgb=rgb)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_environment(tmp_path_factory.mktemp("environment") / "venv")


def run_colours(
    run_job: RunJob,
    world: ColourWorld,
    python: Path | str,
    out: Path,
    *extra: str,
    queries: tuple[str, ...] = ("red things", "blue things"),
    least: int = 150,
    more: str = "",
) -> int:
    config = out.with_suffix(".toml")
    config.write_text(CONFIG.format(python=python, adapter=COLOURS, least=least, more=more))
    asked = [word for query in queries for word in ("--query", query)]
    words = ["--config", config, "--source", world.scene, "--whole-scene", *asked, "--out", out]
    return run_job(*words, "--runner", "local", *extra)


def test_a_run_through_another_environment_is_exact_and_says_what_answered(
    run_job: RunJob, world: ColourWorld, python: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert run_colours(run_job, world, python, out) == 0
    group = zarr.open_group(str(out / "masks.zarr"), mode="r")
    frame = gpd.read_parquet(out / "instances")
    for index, (channel, query) in enumerate([(0, "red things"), (2, "blue things")]):
        truth = world.truth(channel)
        np.testing.assert_array_equal(np.asarray(group["instance_id"][index]), truth.astype(np.uint64))
        rows = frame[frame["query"] == query]
        values, counts = np.unique(truth[truth > 0], return_counts=True)
        assert dict(zip(rows["instance_id"], rows["area_px"], strict=True)) == dict(
            zip(values.tolist(), counts.tolist(), strict=True)
        )
        assert set(rows["rationale"]) == {f"I looked for {query}"}
        np.testing.assert_allclose(rows["score"], 0.75, atol=1e-4)
    ledger = pq.read_table(out / "coverage.parquet").to_pylist()
    assert {(row["status"], row["reason"]) for row in ledger} == {("found", ""), ("empty", "prompter")}
    document = json.loads((out / "run.json").read_text())
    told = document["settings"]["mask_model"]
    assert (told["name"], told["options"]["least"]) == ("colours", 150)
    own = json.loads(
        subprocess.check_output(
            [
                python,
                "-c",
                "import json, platform, numpy; print(json.dumps([platform.python_version(), "
                "numpy.__version__]))",
            ]
        )
    )
    assert [told["versions"]["python"], told["versions"]["numpy"]] == own
    assert document["parameters"]["segmenter"]["mask_model"]["adapter"].startswith("sha256:")
    assert document["model_ids"]["prompter"] == "whole"
    assert document["model_ids"]["segmenter"].startswith("colour_adapter@sha256:")
    assert not [one for one in psutil.Process().children(recursive=True) if "mask_child.py" in one.cmdline()]


def test_a_tile_that_hangs_or_dies_is_failed_and_is_done_again(
    run_job: RunJob, world: ColourWorld, python: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = tmp_path / "moody.py"
    mood = tmp_path / "mood"
    mood.write_text("bad")
    adapter.write_text(
        COLOURS.read_text().replace(
            "    words = query.split()\n",
            "    words = query.split()\n"
            f"    if open({str(mood)!r}).read() == 'bad':\n"
            f"        with open({str(tmp_path / 'asked')!r}, 'a') as asked:\n"
            "            asked.write('.')\n"
            "            words += {2: ['die'], 4: ['sleep']}.get(asked.tell(), [])\n",
        )
    )
    out = tmp_path / "run"
    config = tmp_path / "config.toml"
    table = CONFIG.format(python=python, adapter=adapter, least=150, more="limit_s = 1.0")
    config.write_text(table)
    words = ["--config", config, "--source", world.scene, "--whole-scene", "--query", "red things"]
    assert run_job(*words, "--out", out, "--runner", "local") == 3
    ledger = pq.read_table(out / "coverage.parquet").to_pylist()
    failed = [(row["reason"], row["error"]) for row in ledger if row["status"] == "failed"]
    assert sorted(reason for reason, _ in failed) == ["crashed", "timeout"]
    assert all("the mask model's process" in error for _, error in failed)
    assert "exit code 7" in " ".join(error for _, error in failed)
    mood.write_text("good")
    assert run_job(*words, "--out", out, "--runner", "local", "--retry-failed") == 0
    group = zarr.open_group(str(out / "masks.zarr"), mode="r")
    np.testing.assert_array_equal(np.asarray(group["instance_id"][0]), world.truth(0).astype(np.uint64))


def test_the_same_command_resumes_and_another_adapter_option_is_another_run(
    run_job: RunJob, world: ColourWorld, python: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    queries = ("blue things",)
    assert run_colours(run_job, world, python, out, queries=queries) == 0
    before = {path.name: path.stat().st_mtime_ns for path in (out / "blocks").iterdir()}
    assert run_colours(run_job, world, python, out, queries=queries, more="limit_s = 50.0") == 0
    assert {path.name: path.stat().st_mtime_ns for path in (out / "blocks").iterdir()} == before
    assert run_colours(run_job, world, python, out, queries=queries, least=160) == 2
    assert "mask_model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "more", "why"),
    [
        ((), 'repo = "/no/such"', "working tree"),
        ((), "load_s = 900.0", "tile_s under [limits]"),
        (("--everything", "--points-per-side", "8"), "", "asked by queries"),
        (("--gate", "tile"), "", "a gate asks the prompter"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    run_job: RunJob,
    world: ColourWorld,
    python: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    extra: tuple[str, ...],
    more: str,
    why: str,
) -> None:
    out = tmp_path / "run"
    queries = () if "--everything" in extra else ("red things",)
    assert run_colours(run_job, world, python, out, *extra, queries=queries, more=more) == 2
    assert why in capsys.readouterr().err
    assert not out.exists()
