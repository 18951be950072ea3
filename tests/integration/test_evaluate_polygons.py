"""Scoring a run by polygons, through the command line: an oracle predicts known rectangles, so that every
figure is known by hand.

The scene has 96 x 96 px of 0.5 m in 3 x 3 cores of 32 px that see 4 px of their neighbours.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from job_files import ROOT, load_job
from label_worlds import LabelWorld, write_label_world
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.evaluate.finished_run.score_polygons import score_polygons
from pipeline.write.run_json import read_run_json

RunJob = Callable[..., int]
Box = tuple[int, int, int, int]

BOXES: tuple[Box, ...] = ((10, 10, 20, 20), (40, 24, 60, 39), (70, 70, 80, 80), (22, 70, 30, 80))
"""Rows and columns [row0, col0, row1, col1) of what the oracle predicts; the second lies in two tiles."""


def raster(boxes: Sequence[Box]) -> NDArray[np.int64]:
    """(96, 96) labels 1..n."""
    labels = np.zeros((96, 96), dtype=np.int64)
    for number, (row0, col0, row1, col1) in enumerate(boxes, start=1):
        labels[row0:row1, col0:col1] = number
    return labels


def shifted(cols: int) -> list[Box]:
    return [(row0, col0 + cols, row1, col1 + cols) for row0, col0, row1, col1 in BOXES]


def polygon(box: Box) -> Any:
    row0, col0, row1, col1 = box
    return shapely.box(500000 + 0.5 * col0, 5500000 - 0.5 * row1, 500000 + 0.5 * col1, 5500000 - 0.5 * row0)


def write(path: Path, boxes: Sequence[Box], crs: int = 32633) -> Path:
    frame = gpd.GeoDataFrame(
        {"name": ["a thing"] * len(boxes)}, geometry=[polygon(box) for box in boxes], crs=32633
    ).to_crs(crs)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    return path


def predict(run_job: RunJob, world: LabelWorld, out: Path, *words: object) -> Path:
    area = () if "--aoi" in words else ("--whole-scene",)
    models = ("--models", f"oracle:{world.labels}", "--tile", 40, "--halo", 4, "--runner", "local")
    assert run_job("--source", world.scene, *area, *words, *models, "--out", out) == 0
    return out


def score(out: Path, truth: Path, *words: str) -> dict[str, Any]:
    """The JSON of jobs/evaluate.py."""
    path = out.parent / "scores.json"
    assert (
        load_job("evaluate").main(["--run", str(out), "--truth", str(truth), "--json", str(path), *words])
        == 0
    )
    (figures,) = json.loads(path.read_text())
    return dict(figures)


@pytest.fixture(scope="module")
def made(run_job: RunJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one query that predicts BOXES exactly."""
    folder = tmp_path_factory.mktemp("polygons")
    return predict(
        run_job, write_label_world(folder / "world", raster(BOXES)), folder / "out", "--query", "pools"
    )


def test_exact_polygons_give_full_marks(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three tiles see nothing: those of row 0, column 1 and of row 2, columns 0 and 1."""
    figures = score(made, write(tmp_path / "truth.geojson", BOXES))
    assert [
        figures[name] for name in ("precision", "recall", "giou", "giou_present", "ciou", "rejection")
    ] == [1.0] * 6
    assert [figures[name] for name in ("n_true", "n_predicted", "false_alarms", "false_rejection")] == [
        4,
        4,
        0,
        0.0,
    ]
    assert figures["truly_empty_tiles"] == 3
    assert figures["truth"] == {
        "file": str(tmp_path / "truth.geojson"),
        "crs": "EPSG:32633",
        "run_crs": "EPSG:32633",
        "polygons": 4,
        "polygons_in_region": 4,
        "objects": 4,
        "repaired": 0,
        "unplaced": 0,
        "overlapping_px": 0,
        "tiles_counted": 9,
        "tiles_left_out": 0,
    }
    shown = capsys.readouterr().out
    assert "truth.geojson: 4 polygons in EPSG:32633, 4 in the region" in shown
    assert "9 counted, 0 left out" in shown


def tile_giou(true: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Mean IoU over the nine cores, from the two masks."""
    values = []
    for r in range(0, 96, 32):
        for c in range(0, 96, 32):
            a = true[r : r + 32, c : c + 32] > 0
            b = predicted[r : r + 32, c : c + 32] > 0
            values.append(float((a & b).sum() / (a | b).sum()) if (a | b).any() else 1.0)
    return float(np.mean(values))


@pytest.mark.parametrize(
    ("name", "crs"),
    [("t.parquet", 32633), ("t.gpkg", 32633), ("t.geojson", 4326), ("t.parquet", 4326), ("t.gpkg", 3857)],
)
def test_shifted_polygons_give_the_ious_of_the_shift_in_any_crs(
    made: Path, tmp_path: Path, name: str, crs: int
) -> None:
    """By 2 columns: 80 of 120 px (10 x 10), 260 of 340 (20 x 15), 80 of 120, 64 of 96 (8 x 10): all match,
    484 of 676 px are common.
    """
    figures = score(made, write(tmp_path / name, shifted(2), crs))
    assert (figures["precision"], figures["recall"], figures["n_matched"]) == (1.0, 1.0, 4)
    assert figures["ciou"] == pytest.approx(484 / 676, abs=1e-4)
    assert figures["giou"] == pytest.approx(tile_giou(raster(shifted(2)), raster(BOXES)), abs=1e-4)
    assert figures["truth"]["crs"] == f"EPSG:{crs}"


def test_a_larger_shift_loses_the_small_objects(made: Path, tmp_path: Path) -> None:
    """By 5 columns: 50 of 150, 200 of 400 (just 0.5: a match), 50 of 150, 40 of 120."""
    figures = score(made, write(tmp_path / "t.parquet", shifted(5)))
    assert (figures["n_true"], figures["n_predicted"], figures["n_matched"]) == (4, 4, 1)
    assert (figures["precision"], figures["recall"]) == (0.25, 0.25)
    assert figures["ciou"] == pytest.approx(340 / 820, abs=1e-4)


def test_overlapping_polygons_the_later_wins(made: Path, tmp_path: Path) -> None:
    """Ten columns shifted by two before the right ones: two columns (20 px) are left of it, an object that
    nobody predicted.
    """
    figures = score(made, write(tmp_path / "t.parquet", [shifted(2)[0], *BOXES]))
    assert (figures["n_true"], figures["n_matched"], figures["recall"]) == (5, 4, 0.8)
    assert (figures["truth"]["overlapping_px"], figures["truth"]["objects"]) == (80, 5)


def test_failed_tiles_count_neither_for_nor_against(run_job: RunJob, made: Path, tmp_path: Path) -> None:
    """The first tile fails: what it predicted is not counted, and neither are its object and a small polygon
    as missed ones.
    """
    out = predict(
        run_job, write_label_world(tmp_path / "world", raster(BOXES)), tmp_path / "out", "--query", "pools"
    )
    path = out / "coverage.parquet"
    rows = pq.read_table(path).to_pylist()
    first = next(row for row in rows if row["tile_id"] == "r00000c00000")
    first |= {"status": "failed", "reason": "timeout"}
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    figures = score(out, write(tmp_path / "t.parquet", [*BOXES, (1, 1, 4, 4)]))
    assert (figures["n_true"], figures["n_predicted"], figures["precision"], figures["recall"]) == (
        3,
        3,
        1.0,
        1.0,
    )
    assert (figures["truth"]["polygons_in_region"], figures["truth"]["objects"]) == (5, 3)
    assert (figures["truth"]["tiles_counted"], figures["truth"]["tiles_left_out"]) == (8, 1)


def test_pixels_without_imagery_do_not_count(run_job: RunJob, tmp_path: Path) -> None:
    """Rows from 50 on hold no imagery: the second object is compared by its upper ten rows, the third is not
    there.
    """
    world = write_label_world(tmp_path / "world", raster(BOXES))
    with rasterio.open(world.scene) as source:
        data = source.read()
        profile = source.profile
    data[:, 50:] = 0
    with rasterio.open(world.scene, "w", **{**profile, "nodata": 0}) as changed:
        changed.write(data)
    out = predict(run_job, world, tmp_path / "out", "--query", "pools")
    figures = score(out, write(tmp_path / "t.parquet", BOXES))
    assert (
        figures["n_true"],
        figures["n_predicted"],
        figures["precision"],
        figures["recall"],
        figures["ciou"],
    ) == (3, 3, 1.0, 1.0, 1.0)
    assert (figures["truth"]["tiles_counted"], figures["truth"]["tiles_left_out"]) == (6, 3)


def test_an_aoi_cuts_truth_and_predictions_alike(run_job: RunJob, tmp_path: Path) -> None:
    """An L: columns to 30 and rows to 20. The second object is cut, the third is in no tile, the fourth
    beside the L in a planned tile.
    """
    world = write_label_world(tmp_path / "world", raster(BOXES))
    area = shapely.union(polygon((0, 0, 96, 30)), polygon((0, 0, 20, 96)))
    gpd.GeoDataFrame(geometry=[area], crs=32633).to_crs(4326).to_file(tmp_path / "aoi.geojson")
    out = predict(run_job, world, tmp_path / "out", "--aoi", tmp_path / "aoi.geojson", "--query", "pools")
    truth = write(tmp_path / "t.parquet", BOXES)
    figures = score(out, truth)
    assert (
        figures["n_true"],
        figures["n_predicted"],
        figures["precision"],
        figures["recall"],
        figures["ciou"],
    ) == (2, 2, 1.0, 1.0, 1.0)
    assert figures["truth"]["polygons_in_region"] == 2
    assert (
        load_job("evaluate").main(
            ["--run", str(out), "--truth", str(write(tmp_path / "beside.parquet", BOXES[3:]))]
        )
        == 2
    )


def test_one_of_several_queries(run_job: RunJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two queries; a tile has failed for the second alone."""
    world = write_label_world(tmp_path / "world", raster(BOXES))
    out = predict(run_job, world, tmp_path / "out", "--query", "pools", "--query", "tanks")
    path = out / "coverage.parquet"
    rows = pq.read_table(path).to_pylist()
    next(r for r in rows if (r["tile_id"], r["query_index"]) == ("r00000c00000", 1))["status"] = "failed"
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    truth = write(tmp_path / "t.parquet", BOXES)
    assert load_job("evaluate").main(["--run", str(out), "--truth", str(truth)]) == 2
    assert "0 = 'pools', 1 = 'tanks'" in capsys.readouterr().err
    first = score(out, truth, "--truth-query", "0")
    by_text = score(out, truth, "--truth-query", "tanks")
    second = score(out, truth, "--truth-query=1")
    assert (first["query"], first["n_true"], first["recall"]) == ("pools", 4, 1.0)
    assert (second["query"], second["n_true"], second["recall"]) == ("tanks", 3, 1.0)
    assert by_text == second


def test_bad_input_ends_with_exit_code_2(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = load_job("evaluate").main
    good = write(tmp_path / "t.parquet", BOXES)
    for words, text in (
        (["--run", made, "--truth", tmp_path / "nothing.geojson"], "a world's folder or a file of polygons"),
        (["--run", made, "--truth", tmp_path, "--truth-query", "0"], "drop --truth-query"),
        (["--run", made, "--truth", good, "--truth-query", "1"], "the run has 0 = 'pools'"),
        (
            ["--run", made, "--truth", write(tmp_path / "far.parquet", [(500, 500, 510, 510)])],
            "in the run's region",
        ),
        (["--run", tmp_path, "--truth", good], "run.json"),
        (["--benchmark", "world:7", "--out", tmp_path / "e", "--truth-query", "0"], "--truth-query"),
    ):
        assert main([str(word) for word in words]) == 2
        assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--convention", "think2seg"), "--convention"),
        (("--convention", "paper"), "--convention"),  # its default, but said
        (("--parser", "robust"), "--parser"),
        (("--limit", "3", "--size", "840", "--out", "x"), "--limit, --out, --size"),
        (
            ("--preset", "embedded", "--runner", "local", "--retry-failed"),
            "--preset, --retry-failed, --runner",
        ),
        (("--boundary-tolerance", "0.01"), "--boundary-tolerance"),
    ],
)
def test_flags_of_a_benchmark_are_refused(
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    named: str,
) -> None:
    monkeypatch.setattr("pipeline.evaluate.finished_run.score_polygons.score_polygons", not_to_be_scored)
    truth = write(tmp_path / "t.parquet", BOXES)
    assert load_job("evaluate").main(["--run", str(made), "--truth", str(truth), *words]) == 2
    error = capsys.readouterr().err
    assert f"takes no flag that says how a benchmark is asked. Got: {named}. To fix: drop " in error


def not_to_be_scored(*_: object) -> None:
    raise AssertionError("the run was scored")


def test_the_mode_for_runs_takes_its_own_flags_alone() -> None:
    job = load_job("evaluate")
    words = ["--run", "r", "--truth", "t", "--truth-query=1", "--json", "j"]
    words += ["--objects", "o", "--by", "d", "--by-name", "n"]
    assert job.given_flags(words) == set(job.RUN_FLAGS)
    assert job.given_flags([]) == set()
    assert job.given_flags(["--seed", "0", "--retry-failed"]) == {"seed", "retry_failed"}


def test_where_the_json_cannot_be_written_nothing_is_scored(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = load_job("evaluate").main
    truth = write(tmp_path / "t.parquet", BOXES)
    words = ["--run", str(made), "--truth", str(truth), "--json"]
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.evaluate.finished_run.score_polygons.score_polygons", not_to_be_scored)
        for path, came in (
            ("missing/s.json", f"and there is no folder {tmp_path}/missing"),
            ("", "which is a folder"),
        ):
            assert main([*words, str(tmp_path / path)]) == 2
            assert f"Got: {tmp_path / path}, {came}. To fix: make the folder" in capsys.readouterr().err
    assert not (tmp_path / "missing").exists()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.json").write_text("of an earlier call")

    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.files.atomic_file._fsync", refused)
        assert main([*words, "s.json"]) == 2
    assert "--json must be writable: s.json. Got: [Errno 13] Permission denied" in capsys.readouterr().err
    assert (tmp_path / "s.json").read_text() == "of an earlier call"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.json", "t.parquet"]
    assert main([*words, "s.json"]) == 0, "a file beside this process"
    (figures,) = json.loads((tmp_path / "s.json").read_text())
    assert figures["recall"] == 1.0


def test_a_run_without_rasters_is_refused(made: Path, tmp_path: Path) -> None:
    info = read_run_json(made / "run.json")
    with pytest.raises(InputError, match=r"needs masks\.zarr"):
        score_polygons(tmp_path, write(tmp_path / "t.parquet", BOXES), info, None)


def test_the_help_teaches_it_with_commands_that_parse() -> None:
    job = load_job("evaluate")
    command, beside = [
        line.split()
        for line in job.EPILOG.splitlines()
        if line.strip().startswith("python jobs/evaluate.py --run")
    ]
    args = job.parser().parse_args(command[2:])
    assert (str(args.truth), args.truth_query) == ("buildings.geojson", "0")
    args = job.parser().parse_args(beside[2:])
    assert (str(args.objects), str(args.by)) == ("out/beside", "districts.geojson")


KAMPALA = ROOT.parent / "shared" / "data" / "kampala"


@pytest.mark.slow
@pytest.mark.skipif(not KAMPALA.is_dir(), reason="the sample imagery is not at hand (../shared/data/kampala)")
def test_real_buildings_in_degrees_against_known_locations(run_job: RunJob, tmp_path: Path) -> None:
    """A real raster, real polygons, the shipped segmenter: boxes of the true buildings find most of them."""
    buildings = KAMPALA / "kampala_west_buildings.geojson"
    words = (
        "--source",
        KAMPALA / "kampala_west.tif",
        "--whole-scene",
        "--query",
        "buildings",
        "--prompts",
        buildings,
    )
    assert (
        run_job(
            *words,
            "--crs",
            "EPSG:3857",
            "--resolution",
            "0.3",
            "--runner",
            "local",
            "--out",
            tmp_path / "out",
        )
        == 0
    )
    figures = score(tmp_path / "out", buildings)
    assert (figures["n_true"], figures["truth"]["repaired"], figures["rejection"]) == (
        53,
        1,
        1.0 if figures["truly_empty_tiles"] else None,
    )
    assert figures["ciou"] > 0.3


def test_the_job_says_object_by_object_how_run_and_layer_differ(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three of four objects are in the layer, one of them 9 columns off; one of the layer was not found."""
    layer = [BOXES[0], BOXES[1], (70, 79, 80, 89), (2, 60, 12, 70)]
    truth = write(tmp_path / "layer.gpkg", layer, 4326)
    districts = gpd.GeoDataFrame(
        {"name": ["north", "south"]}, geometry=[polygon((0, 0, 48, 96)), polygon((48, 0, 96, 96))], crs=32633
    )
    districts.to_file(tmp_path / "districts.geojson")
    words = ["--run", str(made), "--truth", str(truth), "--objects", str(tmp_path / "beside")]
    evaluate = load_job("evaluate").main
    assert evaluate([*words, "--by", str(tmp_path / "districts.geojson")]) == 0
    said = capsys.readouterr().out
    assert "0 of 4 objects of the layer were not judged." in said
    assert "2 of 4 judged objects of the layer were found" in said
    assert "missed 1: found with another outline" in said
    summary = json.loads((tmp_path / "beside/layer.json").read_text())
    assert sum(summary["all"]["missed_by"].values()) == 2
    assert summary["all"]["extra_by"] == {"another outline than the layer's": 1, "not in the layer": 1}
    assert {name: part["matched"] for name, part in summary["districts"].items()} == {"north": 1, "south": 1}
    assert evaluate([*words[:4], "--by", "x"]) == 2
    assert "--by belongs to --objects" in capsys.readouterr().err
