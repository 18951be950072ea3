"""What the hub says of a repository, and what the cache says when it is away: real client, real server."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Hub, blob_id, serving_hub, use_hub

from pipeline.errors import InputError
from pipeline.files.hub.hub_repository import cached_commit, cached_folder, look_up, note_commit

FILES = {"config.json": b"{}\n", "model.safetensors": bytes(5000)}
LATER = {"config.json": b"{ }\n", "model.safetensors": bytes(6000)}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving_hub() as hub:
        use_hub(monkeypatch, hub, tmp_path / "cache")
        yield hub


def test_a_revision_is_a_commit_with_files(hub: Hub) -> None:
    first = hub.add("owner/name", FILES)
    hub.refs["owner/name"]["v1"] = first
    second = hub.add("owner/name", LATER)
    main = look_up("owner/name", None)
    assert (main.commit, main.asked, main.away, main.is_pinned) == (second, None, "", False)
    assert look_up("owner/name", "v1").commit == first
    pinned = look_up("owner/name", first)
    assert pinned.commit == first
    assert pinned.is_pinned
    small, large = pinned.files
    assert (small.name, small.size, small.sha256) == ("config.json", 3, None)
    assert (
        small.blob_id == blob_id(b"{}\n") == "0967ef424bce6791893e9a57bb952f80fd536e93"
    )  # by `git hash-object`
    assert (large.name, large.size, large.blob_id) == ("model.safetensors", 5000, None)
    assert large.sha256 == hashlib.sha256(bytes(5000)).hexdigest()


@pytest.mark.parametrize(
    ("repo_id", "revision", "said"),
    [
        ("owner/none", None, "must be a directory or a repository of the hub"),
        ("owner/name", "v9", "revision of a model must exist on the hub"),
        ("owner/closed", None, "must be open to you"),
    ],
)
def test_what_cannot_be_had_is_refused(hub: Hub, repo_id: str, revision: str | None, said: str) -> None:
    hub.add("owner/name", FILES)
    hub.add("owner/closed", FILES)
    hub.gated.add("owner/closed")
    with pytest.raises(InputError, match=said):
        look_up(repo_id, revision)


def test_the_cache_counts_while_the_hub_is_away(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import hf_hub_download

    commit = hub.add("owner/name", FILES)
    found = look_up("owner/name", None)
    hf_hub_download("owner/name", "config.json", revision=commit)
    assert cached_commit("owner/name", None) is None  # the client does not say what a commit was asked as
    note_commit(found)
    assert found.here("config.json")
    assert not found.here("model.safetensors")

    use_hub(monkeypatch, None, tmp_path / "cache")
    away = look_up("owner/name", None)
    assert away.commit == commit
    assert "Connect" in away.away
    assert [(file.name, file.size) for file in away.files] == [("config.json", 3)]
    assert away.folder == cached_folder("owner/name", commit)
    other = look_up("owner/other", None)
    assert (other.commit, other.files, other.folder) == (None, (), None)


def test_a_cache_that_may_not_be_written_to_is_no_fault(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("owner/name", FILES)
    (tmp_path / "file").write_text("")
    use_hub(monkeypatch, hub, tmp_path / "file")
    note_commit(look_up("owner/name", None))


def test_a_hub_that_is_closed_on_purpose_is_not_asked(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.add("owner/name", FILES)
    assert look_up("owner/name", None).commit is None
    assert hub.asked == []
