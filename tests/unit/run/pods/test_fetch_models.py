"""Weights from a store: the same files, in parts, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import BUCKET, serving_s3

from pipeline.files.store.store_path import store_path
from pipeline.run.pods import fetch_models
from pipeline.run.pods.fetch_models import main

FILES = {
    "models--a--b/refs/main": b"c0ffee",
    "models--a--b/snapshots/c0ffee/model.safetensors": bytes(range(256)) * 5,
    "models--a--b/snapshots/c0ffee/empty.json": b"",
}


@pytest.fixture(params=["folder", "bucket"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "folder":
        yield from filled(str(tmp_path / "source"))
    else:
        with serving_s3():
            yield from filled(f"s3://{BUCKET}/models/hub")


def filled(place: str) -> Iterator[str]:
    for name, content in FILES.items():
        (store_path(place) / name).write_bytes(content)
    yield place


def here(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_weights_come_in_parts_and_only_once(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetch_models, "PART_BYTES", 500)
    hub = tmp_path / "hub"
    assert main(["--from", source, "--to", str(hub)]) == 0
    assert here(hub) == FILES
    assert main(["--from", source, "--to", str(hub)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "3 files, 1,286 bytes fetched",
        "3 files, 6 bytes fetched",
    ]


def test_large_files_can_be_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1,280 bytes are more than a thousandth of a megabyte."""
    (source,) = filled(str(tmp_path / "source"))
    assert main(["--from", source, "--to", str(tmp_path / "hub"), "--largest-mb", "0.001"]) == 0
    assert here(tmp_path / "hub") == {name: data for name, data in FILES.items() if len(data) < 1000}
    assert capsys.readouterr().out == "2 files, 6 bytes fetched\n"


def test_a_reference_is_fetched_anew(tmp_path: Path) -> None:
    """Another commit is as long as the last one."""
    source = store_path(tmp_path / "source")
    for commit in (b"c0ffee", b"decade"):
        (source / "models--a--b/refs/main").write_bytes(commit)
        assert main(["--from", str(source), "--to", str(tmp_path / "hub")]) == 0
        assert (tmp_path / "hub/models--a--b/refs/main").read_bytes() == commit


def test_a_place_without_weights_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--from", str(tmp_path / "none"), "--to", str(tmp_path / "hub")]) == 2
    assert "--from must hold the weights" in capsys.readouterr().err
    assert not (tmp_path / "hub").exists()


def test_an_object_that_shrinks_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/model").write_bytes(b"abc")
    monkeypatch.setattr("pipeline.files.store.local_store.LocalStore.get_range", lambda *_: b"a")
    assert main(["--from", str(tmp_path / "source"), "--to", str(tmp_path / "hub")]) == 2
    assert "must stay as it is while it is fetched" in capsys.readouterr().err
    assert here(tmp_path / "hub") == {}
