"""Downloads that break, go on, and are refused: real client, real server."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hub_server import Hub, serving_hub, use_hub

from pipeline.errors import ModelError
from pipeline.files.hub.hub_download import fetch_file
from pipeline.files.hub.hub_repository import HubFile, HubRepository, look_up

WEIGHTS = np.random.default_rng(0).bytes(200_000)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving_hub() as hub:
        use_hub(monkeypatch, hub, tmp_path / "cache")
        hub.add("owner/name", {"config.json": b"{}\n", "empty.txt": b"", "w.safetensors": WEIGHTS})
        yield hub


def listed(name: str) -> tuple[HubRepository, HubFile]:
    repository = look_up("owner/name", None)
    return repository, next(file for file in repository.files if file.name == name)


def ranges(hub: Hub) -> list[str]:
    return [asked for method, path, asked in hub.asked if method == "GET" and "/resolve/" in path]


@pytest.mark.parametrize("name", ["config.json", "empty.txt", "w.safetensors"])
def test_a_file_comes_once(hub: Hub, tmp_path: Path, name: str) -> None:
    first = fetch_file(*listed(name), tmp_path / "to")
    content = (tmp_path / "to" / name).read_bytes()
    assert first.sha256 == hashlib.sha256(content).hexdigest()
    assert (first.size, first.fetched) == (len(content), len(content))
    n_asked = len(ranges(hub))
    again = fetch_file(*listed(name), tmp_path / "to")
    assert (again.fetched, again.sha256) == (0, first.sha256)
    assert len(ranges(hub)) == n_asked
    assert [path.name for path in (tmp_path / "to").iterdir()] == [name]


def test_what_an_earlier_try_left_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors.part").write_bytes(WEIGHTS[:120_000])
    came = fetch_file(*listed("w.safetensors"), tmp_path)
    assert came.fetched == 80_000
    assert ranges(hub) == ["bytes=120000-"]
    assert (tmp_path / "w.safetensors").read_bytes() == WEIGHTS


def test_a_connection_that_breaks_goes_on(hub: Hub, tmp_path: Path) -> None:
    hub.breaks["w.safetensors"] = 70_000
    came = fetch_file(*listed("w.safetensors"), tmp_path)
    assert len(ranges(hub)) == 2  # the client asks again; it keeps what it has of each 10 MB
    assert (tmp_path / "w.safetensors").read_bytes() == WEIGHTS
    assert came.fetched == len(WEIGHTS)


def test_a_download_that_ends_too_soon_is_kept_for_the_next_try(hub: Hub, tmp_path: Path) -> None:
    """The server says that there is less than it listed."""
    hub.wrong["w.safetensors"] = WEIGHTS[:50_000]
    with pytest.raises(ModelError, match=r"stopped at 50,000 of 200,000 bytes .*goes on from there"):
        fetch_file(*listed("w.safetensors"), tmp_path)
    assert (tmp_path / "w.safetensors.part").stat().st_size == 50_000
    hub.wrong.clear()
    assert fetch_file(*listed("w.safetensors"), tmp_path).fetched == 150_000


@pytest.mark.parametrize(
    ("name", "said"), [("w.safetensors", "lists SHA-256 "), ("config.json", "lists Git's ")]
)
def test_another_content_is_deleted_and_refused(hub: Hub, tmp_path: Path, name: str, said: str) -> None:
    right = WEIGHTS if name.startswith("w") else b"{}\n"
    hub.wrong[name] = b"x" + right[1:]
    with pytest.raises(ModelError, match=f"another content: the hub {said}"):
        fetch_file(*listed(name), tmp_path)
    assert list(tmp_path.glob(f"{name}*")) == []
    hub.wrong.clear()
    assert fetch_file(*listed(name), tmp_path).fetched == len(right)


def test_a_file_that_was_changed_here_is_fetched_again(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"y" + WEIGHTS[1:])
    assert fetch_file(*listed("w.safetensors"), tmp_path).fetched == len(WEIGHTS)
    (tmp_path / "w.safetensors").unlink()
    (tmp_path / "w.safetensors.part").write_bytes(WEIGHTS + b"more than there is")
    assert fetch_file(*listed("w.safetensors"), tmp_path).fetched == len(WEIGHTS)


def test_a_name_that_leads_elsewhere_is_refused(hub: Hub, tmp_path: Path) -> None:
    repository, file = listed("config.json")
    with pytest.raises(ModelError, match="outside its folder"):
        fetch_file(repository, replace(file, name="../x"), tmp_path / "to")
