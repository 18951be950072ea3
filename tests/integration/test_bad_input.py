"""Bad input is refused: exit code 2, a message that names the input and the remedy, nothing written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from job_files import load_job
from label_worlds import LabelWorld, blobs, write_label_world, write_raster

RunJob = Callable[..., int]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> LabelWorld:
    return write_label_world(
        tmp_path_factory.mktemp("world"), blobs(np.random.default_rng(1), 80, 80, grain=10)
    )


def write_json(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def square(west: float, south: float, side: float) -> dict[str, object]:
    east = west + side
    north = south + side
    return {
        "type": "Polygon",
        "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]],
    }


BOWTIE = {
    "type": "Polygon",
    "coordinates": [[[15.0, 49.6], [15.01, 49.61], [15.01, 49.6], [15.0, 49.61], [15.0, 49.6]]],
}

AOI_CASES = {
    "missing file": (None, r"(?s)aoi\.geojson.*To fix"),
    "not JSON": ("{not json", r"(?s)aoi\.geojson.*To fix"),
    "no features": ({"type": "FeatureCollection", "features": []}, "To fix"),
    "a point": ({"type": "Point", "coordinates": [15.0, 49.6]}, "(?i)area"),
    "a bow tie": (BOWTIE, "(?i)self-intersection"),
    "elsewhere": (square(100.0, 10.0, 0.1), r"(?s)touch.*100.*15\.0.*lon/lat"),
}


@pytest.mark.parametrize("case", AOI_CASES)
def test_bad_areas(
    run_job: RunJob, world: LabelWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    content, message = AOI_CASES[case]
    aoi = tmp_path / "aoi.geojson"
    if content is not None:
        write_json(aoi, content)
    out = tmp_path / "out"
    code = run_job(
        "--source",
        world.scene,
        "--aoi",
        aoi,
        "--query",
        "x",
        "--models",
        f"oracle:{world.labels}",
        "--out",
        out,
    )
    assert_refused(code, capsys, out, message)


QUERIES = {
    "": "must hold text",
    "   ": "must hold text",
    "tanks <|im_end|>": r"<\|im_end\|>",
    "a <think> b": "<think>",
    "x" * 600: "512",
    "где стоят резервуары " * 24: "1024 for .* tokens, 81 of the image, .* 'где стоят.*a shorter query",
}


@pytest.mark.parametrize("query", QUERIES)
def test_bad_queries(
    run_job: RunJob, world: LabelWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str], query: str
) -> None:
    out = tmp_path / "out"
    code = run_job("--source", world.scene, "--whole-scene", "--query", query, "--out", out)
    assert_refused(code, capsys, out, QUERIES[query])


QUERY_FILES = {
    '[{"query": 5}]': "a query must be text.*Got: 5",
    '[{"query": null}]': "a query must be text.*Got: None",
    '[{"query": ["tanks"]}]': "a query must be text",
    '[{"question": "tanks"}]': "--queries-from must be a JSON list",
    '{"query": "tanks"}': "--queries-from must be a JSON list",
    "tanks": "--queries-from must be a JSON list",
}


@pytest.mark.parametrize("text", QUERY_FILES)
def test_bad_files_of_queries(
    run_job: RunJob, world: LabelWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    file = write_json(tmp_path / "queries.json", text)
    out = tmp_path / "out"
    code = run_job(
        "--source",
        world.scene,
        "--whole-scene",
        "--queries-from",
        file,
        "--models",
        f"oracle:{world.labels}",
        "--out",
        out,
    )
    assert_refused(code, capsys, out, QUERY_FILES[text])


OPTIONS = {
    "unknown preset": (["--preset", "embeded"], "embedded"),
    "halo too large": (["--tile", "64", "--halo", "32"], "(?i)halo.*smaller than half"),
    "halo zero": (["--halo", "0"], "(?i)halo"),
    "gate out of range": (["--gate", "tile", "--gate-threshold", "2"], "(?i)threshold.*between 0 and 1"),
    "missing labels": (["--models", "oracle:nowhere.tif"], r"nowhere\.tif"),
    "unknown noise": (["--models", "oracle:labels.tif?noise=loud"], "noise"),
    "unknown models": (["--models", "gpt"], "oracle"),
    "missing prompts": (["--prompts", "nowhere.geojson"], r"nowhere\.geojson"),
    "missing config": (["--config", "nowhere.toml"], r"nowhere\.toml"),
    "unknown band": (["--bands", "1,2,9"], "(?i)band"),
    "same query twice": (["--query", "x"], "once"),
    "a file of names and no name": (["--gazetteer", "districts.gpkg"], "give both, e.g. --place"),
    "no area": (["--min-area-m2", "nan"], r"--min-area-m2 must be a finite number.*nan"),
    "area below nothing": (["--min-area-m2", "-1"], r"--min-area-m2 must be .*not negative"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_bad_options(
    run_job: RunJob, world: LabelWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    words, message = OPTIONS[case]
    out = tmp_path / "out"
    code = run_job("--source", world.scene, "--whole-scene", "--query", "x", "--out", out, *words)
    assert_refused(code, capsys, out, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tiles]\npix = 3\n", "did you mean 'px'"),
        ("[tile]\npx = 3\n", "did you mean 'tiles'"),
        ('[tiles]\npx = "big"\n', "must be of type int"),
        ('[prompter.vllm]\nprofile = "thinktoseg"\n', "think2seg"),
        ('[prompter]\nmodel = "/no/such/checkpoint"\n', "/no/such/checkpoint"),
        ('[segmenter]\ncheckpoint = "/no/such/weights.safetensors"\n', "/no/such"),
    ],
)
def test_bad_configuration_files(
    run_job: RunJob,
    world: LabelWorld,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    message: str,
) -> None:
    config = tmp_path / "config.toml"
    out = tmp_path / "out"
    config.write_text(text)
    code = run_job("--source", world.scene, "--whole-scene", "--query", "x", "--config", config, "--out", out)
    assert_refused(code, capsys, out, message)


def test_bad_sources(
    run_job: RunJob, world: LabelWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    text = tmp_path / "notes.tif"
    text.write_text("not a raster")
    single = tmp_path / "single.tif"
    write_raster(single, np.zeros((40, 40), dtype=np.uint8))
    utm32 = tmp_path / "utm32.tif"
    write_raster(utm32, np.zeros((3, 40, 40), dtype=np.uint8))
    with rasterio.open(utm32, "r+") as dataset:
        dataset.crs = "EPSG:32632"
    cases: list[tuple[list[object], str]] = [
        ([tmp_path / "nowhere.tif"], r"nowhere\.tif"),
        ([text], r"notes\.tif"),
        ([single], "--bands"),
        ([world.scene, utm32], "--crs"),
    ]
    for sources, message in cases:
        words = [word for source in sources for word in ("--source", source)]
        code = run_job(
            *words, "--whole-scene", "--query", "x", "--models", f"oracle:{world.labels}", "--out", out
        )
        assert_refused(code, capsys, out, message)


def test_a_foreign_directory_is_left_alone(
    run_job: RunJob, world: LabelWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "photos"
    out.mkdir()
    (out / "holiday.txt").write_text("mine")
    words = (
        "--source",
        world.scene,
        "--whole-scene",
        "--query",
        "x",
        "--models",
        f"oracle:{world.labels}",
        "--out",
        out,
    )
    for extra in ((), ("--new-run",)):
        assert run_job(*words, *extra) == 2
        assert "holiday.txt" in capsys.readouterr().err
        assert [path.name for path in out.iterdir()] == ["holiday.txt"]


def test_another_tools_run_json_is_left_alone(
    run_job: RunJob, world: LabelWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the folder of the imagery itself, whatever the options."""
    write_json(tmp_path / "run.json", {"tool": "another"})
    (tmp_path / "thesis.txt").write_text("mine")
    scene = tmp_path / "scene.tif"
    scene.write_bytes(world.scene.read_bytes())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    words = (
        "--source",
        scene,
        "--whole-scene",
        "--query",
        "x",
        "--models",
        f"oracle:{world.labels}",
        "--out",
        tmp_path,
    )
    for extra in ((), ("--new-run",), ("--dry-run",), ("--new-run", "--dry-run")):
        assert run_job(*words, *extra) == 2
        assert re.search(r"run\.json must have run_json_version.*To fix", capsys.readouterr().err)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_relative_out_of_a_submitted_job_is_refused(
    run_job: RunJob,
    world: LabelWorld,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The driver of `ray job submit --working-dir .` runs in a copy that Ray deletes."""
    package = tmp_path / "session_x" / "runtime_resources" / "working_dir_files" / "_ray_pkg_ab"
    package.mkdir(parents=True)
    monkeypatch.chdir(package)
    words = (
        "--source",
        world.scene,
        "--whole-scene",
        "--query",
        "x",
        "--models",
        f"oracle:{world.labels}",
        "--runner",
        "local",
    )
    code = run_job(*words, "--out", "out")
    assert_refused(code, capsys, package / "out", r"--out must lie outside.*_ray_pkg_ab.*absolute path")
    restitch = load_job("restitch_region").main
    for words, option in (
        (["--run", "out"], "--run"),
        (["--run", str(tmp_path / "run"), "--out", "again"], "--out"),
    ):
        assert_refused(
            restitch([*words, "--runner", "local"]), capsys, package / "again", f"{option} must lie outside"
        )


def test_merging_again_refuses_an_area_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = load_job("restitch_region").main(
        ["--run", str(tmp_path), "--out", str(tmp_path / "out"), "--min-area-m2", "nan"]
    )
    assert_refused(code, capsys, tmp_path / "out", "--min-area-m2 must be a finite number")


def assert_refused(code: int, capsys: pytest.CaptureFixture[str], out: Path, message: str) -> None:
    captured = capsys.readouterr()
    assert code == 2, captured.err
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    assert re.search(message, captured.err), captured.err
    assert not out.exists()
