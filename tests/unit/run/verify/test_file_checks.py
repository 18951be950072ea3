"""Damage to run.json, the plan, and files that the catalogue item pins."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from damaged_runs import edit_json, edit_table, findings_of, results_of

from pipeline.run.verify.file_checks import differing_columns

Rows = list[dict[str, Any]]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.update(status="running"), "status: the run has not ended"),
        (lambda d: d["parameters"].update(min_area_m2=5.0), "fingerprint: it is not that of the parameters"),
        (lambda d: d.update(run_id="0" * 16), "run_id: 0000000000000000 is not the beginning"),
        (lambda d: d["outputs"].update(masks=None), "masks: it is not there"),
        (
            lambda d: d["outputs"].update(coverage="other.parquet"),
            "coverage: other.parquet is named and missing",
        ),
    ],
)
def test_a_wrong_run_json(run: Path, change: Callable[[dict[str, Any]], None], told: str) -> None:
    edit_json(run / "run.json", change)
    assert any(text.startswith(told) for text in findings_of(run)["run.json"])


def test_an_unfinished_file_beside_a_finished_run(run: Path) -> None:
    (run / "coverage.parquet.abc.tmp").write_bytes(b"x")
    assert findings_of(run) == {
        "run.json": ["coverage.parquet.abc.tmp: 1 unfinished files in a run that has ended"]
    }


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows.pop(), "must hold one row per tile"),
        (lambda rows: rows[3].update(read_col1=rows[3]["read_col1"] + 1), "column read_col1: 1 rows differ"),
        (lambda rows: rows[3].update(scene_ids=["x"]), "column scene_ids: x is no scene of run.json"),
        (lambda rows: rows.reverse(), "column tile_id: 20 rows differ"),
    ],
)
def test_a_wrong_plan(run: Path, change: Callable[[Rows], None], told: str) -> None:
    edit_table(run / "plan.parquet", change)
    assert any(told in text for text in findings_of(run)["plan"])


def test_a_missing_plan(run: Path) -> None:
    (run / "plan.parquet").unlink()
    found = findings_of(run)
    assert "must be the readable plan of a run" in found["plan"][0]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda run: (run / "report.html").write_text("another page"), "report: report.html has 12 bytes"),
        (lambda run: flip(run / "report.html"), "report: report.html has another content"),
        (lambda run: (run / "item.json").write_text("{"), "item.json: it is no readable STAC item"),
        (lambda run: edit_json(run / "item.json", lambda d: d.update(type="Thing")), "type: Thing"),
    ],
)
def test_files_that_the_item_pins(run: Path, damage: Callable[[Path], object], told: str) -> None:
    """Those of the snapshot are pinned by its manifest, too."""
    damage(run)
    found = findings_of(run)
    assert sorted(found) == (["item", "manifest"] if told.startswith("report") else ["item"])
    assert found["item"][0].startswith(told)


def first_shard(results: Path) -> Path:
    return next(path for path in sorted((results / "masks.zarr" / "mask" / "c").rglob("*")) if path.is_file())


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda results: (results / "manifest.json").unlink(), "manifest.json: it is missing"),
        (
            lambda results: (results / "manifest.json").write_text("{"),
            "manifest.json: ",
        ),
        (
            lambda results: edit_json(results / "manifest.json", lambda d: d.update(manifest_version=99)),
            "manifest.json: ",
        ),
        (
            lambda results: edit_json(results / "manifest.json", lambda d: d.update(snapshot="0" * 16)),
            "snapshot: it is that of another snapshot or run",
        ),
        (
            lambda results: edit_json(results / "manifest.json", lambda d: d.update(fingerprint="0" * 64)),
            "snapshot: it is that of another snapshot or run",
        ),
        (
            lambda results: (results / "masks.zarr" / "zarr.json").write_bytes(
                (results / "masks.zarr" / "zarr.json").read_bytes() + b"\n"
            ),
            "masks.zarr/zarr.json: it has ",
        ),
        (
            lambda results: flip_text(results / "masks.zarr" / "mask" / "zarr.json"),
            "masks.zarr/mask/zarr.json: it has another content than the manifest pins (sha256)",
        ),
        (
            lambda results: (results / "masks.zarr" / "notes.txt").write_text("mine"),
            "masks.zarr/notes.txt: it is in the snapshot, and the manifest does not name it",
        ),
        (
            lambda results: shutil.copy(
                results / "instances" / "part-00000.parquet", results / "instances" / "copy.parquet"
            ),
            "instances/copy.parquet: it is in the snapshot, and the manifest does not name it",
        ),
        (
            lambda results: edit_json(
                results / "manifest.json", lambda d: d["files"].update(gone={"size": 1, "sha256": "0" * 64})
            ),
            "gone: it is missing or cannot be read",
        ),
    ],
)
def test_what_the_manifest_alone_notices(run: Path, damage: Callable[[Path], object], told: str) -> None:
    damage(results_of(run))
    found = findings_of(run)
    found.pop("run.json", None)  # a manifest that is missing is an output that is
    assert list(found) == ["manifest"], found
    assert [text.startswith(told) for text in found["manifest"]] == [True], found


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("masks.zarr", "rasters"),
        ("instances/part-00000.parquet", "objects"),
        ("coverage.parquet", "ledger"),
        ("report.html", "item"),
    ],
)
def test_every_file_of_the_snapshot_is_pinned(run: Path, name: str, check: str) -> None:
    """One that is gone is missed by what reads it, and by the manifest, by name."""
    results = results_of(run)
    gone = first_shard(results) if name == "masks.zarr" else results / name
    gone.unlink()
    found = findings_of(run)
    assert check in found
    key = gone.relative_to(results).as_posix()
    assert found["manifest"] == [f"{key}: it is missing or cannot be read"]


def test_a_run_of_a_version_without_snapshots_has_no_manifest(run: Path) -> None:
    """Its results lie in the run directory itself."""
    results = results_of(run)
    names = [path.name for path in results.iterdir() if path.name != "manifest.json"]
    for link in [path for path in run.iterdir() if path.is_symlink()]:
        link.unlink()
    for name in names:
        (results / name).rename(run / name)
    shutil.rmtree(run / "snapshots")
    flat = {"masks": "masks.zarr", "report": "report.html", "coverage": "coverage.parquet"}

    def as_before(document: dict[str, Any]) -> None:
        for name in ("snapshot", "earlier", "at_work"):
            del document[name]
        del document["outputs"]["manifest"]
        document["outputs"] |= flat | {"instances": "instances"}

    edit_json(run / "run.json", as_before)
    edit_json(run / "item.json", lambda d: [d["assets"].pop(name) for name in list(d["assets"])])
    assert findings_of(run) == {}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def flip_text(path: Path) -> None:
    """Other white space: the same JSON of the same length."""
    text = path.read_text()
    assert "\n  " in text
    path.write_text(text.replace("\n  ", "\n \t", 1))


def test_columns_that_differ_by_hand() -> None:
    wanted = pa.table({"a": [1, 2], "b": pa.array([None, float("nan")], pa.float64())})
    assert differing_columns(wanted, wanted.append_column("more", pa.array([1, 1]))) == []
    other = pa.table({"a": [1, 3], "b": pa.array([None, 0.5], pa.float64())})
    assert differing_columns(wanted, other) == [
        ("a", "1 rows differ; row 1 says 3 instead of 2"),
        ("b", "1 rows differ; row 1 says 0.5 instead of nan"),
    ]
    assert differing_columns(wanted, other.slice(0, 1)) == [("tile_id", "1 rows instead of 2")]
    assert differing_columns(wanted, other.drop(["b"]))[-1] == ("b", "it is missing")
    narrow = other.set_column(0, "a", pa.array([1, 2], pa.int32()))
    assert differing_columns(wanted, narrow)[0] == ("a", "int32 instead of int64")
