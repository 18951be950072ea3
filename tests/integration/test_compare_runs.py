"""Two dates of a world whose changes are known, through real runs and the job, against the drawn objects."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import zarr
from job_files import load_job

from pipeline.schema.tiling import Window
from pipeline.world.edits import Edits
from pipeline.world.landscape import World
from pipeline.world.render import render

SIZE = 1280
ORIGIN = 4000


@dataclass(frozen=True)
class TwoDates:
    """Runs of both dates, and a comparison of them."""

    runs: tuple[Path, Path]
    out: Path


@pytest.fixture(scope="module")
def dates(tmp_path_factory: pytest.TempPathFactory) -> TwoDates:
    folder = tmp_path_factory.mktemp("dates")
    runs = []
    for date in ("1", "2"):
        world = folder / f"world{date}"
        place = ["--origin-row", str(ORIGIN), "--origin-col", str(ORIGIN), "--quiet"]
        words = ["--seed", "0", "--size", str(SIZE), "--date", date, "--changed", "0.5", "--out", str(world)]
        assert load_job("make_world").main([*words, *place]) == 0
        assert json.loads((world / "world.json").read_text())["edits"] == {"date": int(date), "share": 0.5}
        run = folder / f"run{date}"
        words = ["--source", str(world / "scene.tif"), "--whole-scene", "--query", "anything"]
        words += ["--models", f"oracle:{world / 'labels.tif'}", "--tile", "320", "--halo", "32"]
        words += ["--block", "2", "--runner", "local", "--out", str(run)]
        assert load_job("segment_region").main(words) == 0
        runs.append(run)
    out = folder / "changes"
    assert load_job("compare_runs").main([*map(str, runs), "--out", str(out), "--quiet"]) == 0
    return TwoDates(runs=(runs[0], runs[1]), out=out)


def pixels(date: Literal[1, 2]) -> dict[int, np.ndarray]:  # type: ignore[type-arg]
    """key -> (SIZE, SIZE) pixels of every object, drawn without the job."""
    window = Window(row0=ORIGIN, col0=ORIGIN, row1=ORIGIN + SIZE, col1=ORIGIN + SIZE)
    drawn = render(World.from_seed(0, edits=Edits(date=date, share=0.5)), window)
    return {thing.key: drawn.labels == at for at, thing in enumerate(drawn.objects, start=1)}


def owners(objects: dict[int, np.ndarray]) -> np.ndarray:  # type: ignore[type-arg]
    """(SIZE, SIZE): key of the object at each pixel, 0 = none."""
    keys = np.zeros((SIZE, SIZE), dtype=np.int64)
    for key, mask in objects.items():
        keys[mask] = key
    return keys


def expected(before: np.ndarray | None, after: np.ndarray | None) -> str:  # type: ignore[type-arg]
    """What became of one object, by the words of the job's help."""
    if before is None or after is None:
        return "appeared" if before is None else "vanished"
    size = before.sum()
    later = after.sum()
    if (before & after).sum() < 0.5 * min(size, later):
        return "vanished"  # looked for with --moved-m only
    if later > 1.25 * size or size > 1.25 * later:
        return "grown" if later > size else "shrunk"
    return "unchanged" if (before & after).sum() >= 0.5 * (before | after).sum() else "moved"


def test_every_known_change_is_found(dates: TwoDates) -> None:
    """Of objects in one piece that share no pixel with another object of the other date."""
    objects = (pixels(1), pixels(2))
    labels = [owners(date) for date in objects]
    found = [zarr.open_group(str(run / "masks.zarr"), mode="r")["instance_id"][0] for run in dates.runs]
    rows = gpd.read_parquet(dates.out / "changes.parquet")
    seen: Counter[str] = Counter()
    for key in set(objects[0]) | set(objects[1]):
        mine = [date.get(key) for date in objects]
        ids = [
            np.unique(raster[mask]) if mask is not None else [0]
            for raster, mask in zip(found, mine, strict=True)
        ]
        beside = [
            set(np.unique(other[mask]).tolist()) - {0, key}
            for other, mask in zip(reversed(labels), mine, strict=True)
            if mask is not None
        ]
        if any(len(own) != 1 for own in ids) or any(beside):
            continue
        wanted = expected(mine[0], mine[1])
        side, number = ("before_id", ids[0][0]) if mine[0] is not None else ("after_id", ids[1][0])
        (row,) = rows[rows[side] == int(number)].itertuples()
        assert row.change == wanted, key
        if wanted not in ("appeared", "vanished"):
            assert (row.before_id, row.after_id) == (int(ids[0][0]), int(ids[1][0]))
            assert row.iou == pytest.approx((mine[0] & mine[1]).sum() / (mine[0] | mine[1]).sum())
        seen[wanted] += 1
    assert min(seen[name] for name in ("appeared", "vanished", "grown", "moved", "unchanged")) >= 3, seen


def test_ground_is_counted_pixel_by_pixel(dates: TwoDates) -> None:
    before, after = (owners(pixels(date)) > 0 for date in (1, 2))
    with rasterio.open(dates.out / "changes.tif") as file:
        states = file.read(1)
        assert file.crs.to_epsg() == 32633
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    np.testing.assert_array_equal(states, np.select([before & after, before, after], [1, 2, 3]))
    ground = json.loads((dates.out / "summary.json").read_text())["ground"]
    assert (ground["kept_px"], ground["lost_px"], ground["gained_px"]) == (
        (before & after).sum(),
        (before & ~after).sum(),
        (after & ~before).sum(),
    )
    assert ground["gained_m2"] == pytest.approx(ground["gained_px"] * 0.25, rel=2e-3)
    assert ground["compared_km2"] == ground["common_km2"]


def test_the_page_and_the_tables_say_the_same(dates: TwoDates) -> None:
    summary = json.loads((dates.out / "summary.json").read_text())
    page = (dates.out / "changes.html").read_text()
    rows = gpd.read_parquet(dates.out / "changes.parquet")
    for change, entry in summary["changes"].items():
        assert entry["objects"] == (rows["change"] == change).sum()
        assert f'<td>{change}</td><td class="num">{entry["objects"]}</td>' in page
    squares = gpd.read_parquet(dates.out / "registration.parquet")
    assert squares["state"].tolist() == ["registered"]
    assert (squares["rows"].tolist(), squares["cols"].tolist()) == ([0], [0])
    assert "http" not in page.replace("http://www.w3.org", "")


def test_what_was_not_looked_at_is_not_compared(dates: TwoDates, tmp_path: Path) -> None:
    """The second date saw the north half alone."""
    world = dates.runs[1].parent / "world2"
    with rasterio.open(world / "scene.tif") as file:
        west, south, east, north = file.bounds
        half = gpd.GeoSeries([shapely.box(west, (south + north) / 2, east, north)], crs=file.crs)
    half.to_crs(4326).to_file(tmp_path / "half.geojson")
    words = [
        "--source",
        str(world / "scene.tif"),
        "--aoi",
        str(tmp_path / "half.geojson"),
        "--query",
        "anything",
    ]
    words += ["--models", f"oracle:{world / 'labels.tif'}", "--tile", "320", "--halo", "32", "--block", "2"]
    words += ["--grid-of", str(dates.runs[0]), "--runner", "local", "--out", str(tmp_path / "run")]
    assert load_job("segment_region").main(words) == 0
    job = load_job("compare_runs")
    assert job.main([str(dates.runs[0]), str(tmp_path / "run"), "--out", str(tmp_path / "c"), "--quiet"]) == 0
    rows = gpd.read_parquet(tmp_path / "c/changes.parquet")
    everywhere = gpd.read_parquet(dates.out / "changes.parquet")
    line = (south + north) / 2
    far = everywhere[everywhere.bounds["maxy"] < line - 320 * 0.5]
    south_ids = far["before_id"].dropna()
    told = rows.set_index("before_id").loc[south_ids]
    assert len(told) > 10
    assert set(told["change"]) == {"not comparable"}
    assert set(told["reason"]) == {"not judged at both dates"}
    high = everywhere[everywhere.bounds["miny"] > line + 1].set_index("before_id")["change"]
    high = high[high.index.notna()]
    assert rows.set_index("before_id")["change"].loc[high.index].tolist() == high.tolist()


def test_ground_outside_one_area_is_not_compared(dates: TwoDates, tmp_path: Path) -> None:
    """Inside a small area around it every object is what it was; all others are not comparable, not gone."""
    world = dates.runs[0].parent / "world1"
    objects = gpd.read_parquet(dates.runs[0] / "instances")
    one = objects.iloc[len(objects) // 2]
    area = gpd.GeoSeries([one.geometry.buffer(12).envelope], crs=objects.crs)
    area.to_crs(4326).to_file(tmp_path / "area.geojson")
    words = [
        "--source",
        str(world / "scene.tif"),
        "--aoi",
        str(tmp_path / "area.geojson"),
        "--query",
        "anything",
    ]
    words += ["--models", f"oracle:{world / 'labels.tif'}", "--tile", "320", "--halo", "32", "--block", "2"]
    words += ["--grid-of", str(dates.runs[0]), "--runner", "local", "--out", str(tmp_path / "run")]
    assert load_job("segment_region").main(words) == 0
    words = [str(tmp_path / "run"), str(dates.runs[0]), "--out", str(tmp_path / "c"), "--quiet"]
    assert load_job("compare_runs").main(words) == 0
    rows = gpd.read_parquet(tmp_path / "c/changes.parquet")
    assert set(rows["change"]) == {"unchanged", "not comparable"}
    seen = set(gpd.read_parquet(tmp_path / "run/instances")["instance_id"])
    assert set(rows[rows["change"] == "unchanged"]["after_id"]) == seen
    assert "different areas of interest" in (tmp_path / "c/changes.html").read_text()
    assert load_job("compare_runs").main([*words[:2], "--out", str(tmp_path / "run"), "--quiet"]) == 2


def test_a_shifted_date_is_not_compared(dates: TwoDates, tmp_path: Path) -> None:
    """The labels of the first date, five pixels to the east."""
    world = dates.runs[0].parent / "world1"
    with rasterio.open(world / "labels.tif") as file:
        moved = np.roll(file.read(1), 5, axis=1)
        moved[:, :5] = 0
        profile = file.profile
    with rasterio.open(tmp_path / "labels.tif", "w", **profile) as file:
        file.write(moved, 1)
    words = ["--source", str(world / "scene.tif"), "--whole-scene", "--query", "anything"]
    words += [
        "--models",
        f"oracle:{tmp_path / 'labels.tif'}",
        "--tile",
        "320",
        "--halo",
        "32",
        "--block",
        "2",
    ]
    assert load_job("segment_region").main([*words, "--runner", "local", "--out", str(tmp_path / "run")]) == 0
    words = [str(dates.runs[0]), str(tmp_path / "run"), "--out", str(tmp_path / "c"), "--quiet"]
    assert load_job("compare_runs").main(words) == 0
    summary = json.loads((tmp_path / "c/summary.json").read_text())
    assert (summary["registration"]["off"], summary["registration"]["median_cols"]) == (1, 5.0)
    assert set(summary["reasons"]) == {"registration"}
    assert load_job("compare_runs").main([*words, "--overwrite", "--most-shift-px", "6"]) == 0
    assert json.loads((tmp_path / "c/summary.json").read_text())["reasons"] == {}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["{before}", "{after}"], "are not replaced unasked"),
        (["{before}", "{after}", "--overwrite", "--query", "tanks"], "word for word"),
        (["{before}", "{after}", "--overwrite", "--growth", "-1"], "--growth must be 0 or more"),
        (["{before}", "{after}", "--overwrite", "--search-px", "-1"], "--search-px must lie between"),
        (["{before}", "nowhere", "--overwrite"], "directories of two runs"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(
    dates: TwoDates, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    before = {path.name: path.read_bytes() for path in dates.out.iterdir()}
    places = {"before": dates.runs[0], "after": dates.runs[1]}
    line = [word.format(**places) for word in words]
    assert load_job("compare_runs").main([*line, "--out", str(dates.out)]) == 2
    assert says in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in dates.out.iterdir()} == before
