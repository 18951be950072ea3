"""A scene of a catalogue cannot be read, and later it can: the same command goes on.

Oracle: a run that could read all scenes from its beginning.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from item_files import item_document, projection_fields, write_items, write_pixels
from label_worlds import blobs, canonical
from numpy.typing import NDArray

RunJob = Callable[..., int]
SIDE = 150
MARGIN = 4
PARTS = {"north": (0, 0, 80, SIDE), "south": (70, 0, 80, SIDE)}
"""Name -> first row, first column, height, width; the order is that of the mosaic."""


@dataclass(frozen=True)
class World:
    folder: Path
    items: Path
    words: list[object]

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.tif"

    def run(self, run_job: RunJob, out: Path, *more: object) -> int:
        return run_job(*self.words, "--out", out, *more)


def draw(folder: Path, *, placed: bool = True) -> World:
    """Two scenes and their items. Not `placed`: only their headers know where they lie."""
    rng = np.random.default_rng(8)
    ids = canonical(blobs(np.random.default_rng(1), SIDE, SIDE, grain=9))
    documents: list[dict[str, Any]] = []
    for number, (name, (row0, col0, height, width)) in enumerate(PARTS.items()):
        pixels = rng.integers(30, 220, (3, height, width)).astype(np.uint8)
        path = write_pixels(folder / f"{name}.tif", pixels, row0=row0, col0=col0)
        fields = projection_fields(path) if placed else {}
        when = f"2024-06-0{9 - number}T00:00:00Z"
        documents.append(item_document(name, {"image": path}, on_item=fields, when=when))
    wide = np.pad(ids, MARGIN).astype(np.int32)  # a guessed place may be a pixel larger
    labels = write_pixels(folder / "labels.tif", wide[None], row0=-MARGIN, col0=-MARGIN, nodata=None)
    items = write_items(folder / "items.json", documents)
    words: list[object] = ["--source", items, "--whole-scene", "--query", "tanks"]
    words += ["--models", f"oracle:{labels}", "--runner", "local"]
    words += ["--tile", 80, "--halo", 8, "--block", 1]
    return World(folder=folder, items=items, words=words)


def masks(out: Path) -> NDArray[np.int64]:
    return np.asarray(zarr.open_group(str(out / "masks.zarr"), mode="r")["instance_id"][0]).astype(np.int64)


def records(out: Path) -> dict[str, str]:
    return {
        path.stem: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((out / "blocks").glob("b*.parquet"))
    }


def statuses(out: Path) -> dict[str, tuple[str, str]]:
    rows = pq.read_table(out / "coverage.parquet").to_pylist()
    return {row["tile_id"]: (row["status"], row["error"] or "") for row in rows}


def blocks_of(out: Path, scene: str) -> set[str]:
    """Blocks of tiles that a scene can show something of."""
    rows = pq.read_table(out / "plan.parquet").to_pylist()
    return {row["block_id"] for row in rows if scene in row["scene_ids"]}


def assert_same_result(one: Path, other: Path) -> None:
    np.testing.assert_array_equal(masks(one), masks(other))
    frames = [gpd.read_parquet(out / "instances").sort_values("instance_id") for out in (one, other)]
    assert frames[0].drop(columns="geometry").equals(frames[1].drop(columns="geometry"))
    assert frames[0].geometry.geom_equals(frames[1].geometry).all()
    assert statuses(one) == statuses(other)


def missing(path: Path) -> None:
    path.unlink()


def broken(path: Path) -> None:
    path.write_bytes(b"<html>403 Forbidden</html>")


def moved(path: Path) -> None:
    row0, col0, height, width = PARTS[path.stem]
    write_pixels(path, np.full((3, height, width), 9, np.uint8), row0=row0 + 1, col0=col0)


@pytest.mark.slow
@pytest.mark.parametrize("breaks", [missing, broken, moved])
@pytest.mark.parametrize("name", ["north", "south"])
def test_a_scene_that_can_be_read_by_now_heals_its_tiles_and_no_others(
    run_job: RunJob, tmp_path: Path, breaks: Callable[[Path], None], name: str
) -> None:
    world = draw(tmp_path / "world")
    whole = tmp_path / "whole"
    assert world.run(run_job, whole) == 0
    content = world.file(name).read_bytes()
    breaks(world.file(name))
    out = tmp_path / "out"
    assert world.run(run_job, out) == 3
    first = records(out)
    failed = {tile for tile, (status, _) in statuses(out).items() if status == "failed"}
    assert failed
    assert world.run(run_job, out) == 3, "still unreadable: nothing changes"
    assert records(out) == first
    world.file(name).write_bytes(content)
    assert world.run(run_job, out) == 0
    changed = {block for block, content in records(out).items() if content != first[block]}
    assert 0 < len(changed) < len(first)
    assert changed <= blocks_of(out, name)
    assert_same_result(out, whole)
    fingerprints = [json.loads((at / "run.json").read_text())["fingerprint"] for at in (out, whole)]
    assert fingerprints[0] == fingerprints[1]
    again = records(out)
    assert world.run(run_job, out) == 0
    assert records(out) == again, "a healed run is done"


@pytest.mark.slow
def test_a_place_that_was_a_guess_does_not_change_the_grid(run_job: RunJob, tmp_path: Path) -> None:
    """Items without projection: the box around a footprint stands for a file that cannot be opened."""
    world = draw(tmp_path / "world", placed=False)
    content = world.file("south").read_bytes()
    broken(world.file("south"))
    out = tmp_path / "out"
    assert world.run(run_job, out) == 3
    grid = json.loads((out / "run.json").read_text())["lattice"]
    world.file("south").write_bytes(content)
    assert world.run(run_job, out) == 0
    assert json.loads((out / "run.json").read_text())["lattice"] == grid
    labels = masks(out)
    assert {status for status, _ in statuses(out).values()} <= {"found", "empty"}
    whole = tmp_path / "whole"
    assert world.run(run_job, whole) == 0
    rows, cols = np.minimum(labels.shape, masks(whole).shape)
    np.testing.assert_array_equal(canonical(labels[:rows, :cols]), canonical(masks(whole)[:rows, :cols]))


@pytest.mark.slow
@pytest.mark.parametrize("placed", [True, False])
def test_a_server_that_is_down_today_costs_nothing_that_is_done(
    run_job: RunJob, tmp_path: Path, capsys: pytest.CaptureFixture[str], placed: bool
) -> None:
    world = draw(tmp_path / "world", placed=placed)
    whole = tmp_path / "whole"
    out = tmp_path / "out"
    for at in (whole, out):
        assert world.run(run_job, at) == 0
    done = records(out)
    content = world.file("south").read_bytes()
    missing(world.file("south"))
    assert world.run(run_job, out) == 0, "all is done"
    assert records(out) == done
    lost = sorted(blocks_of(out, "south"))[-1]
    (out / "blocks" / f"{lost}.parquet").unlink()
    assert world.run(run_job, out) == 3
    assert {block for block, record in records(out).items() if record != done[block]} == {lost}
    capsys.readouterr()
    changed = bytearray(content)
    changed[-1] ^= 1
    world.file("south").write_bytes(changed)
    assert world.run(run_job, out) == 2, "another version is never mixed in"
    assert "scenes.south.sha256" in capsys.readouterr().err
    world.file("south").write_bytes(content)
    assert world.run(run_job, out) == 0
    assert_same_result(out, whole)
