"""A changed checkpoint is another checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.files import provenance
from pipeline.files.provenance import path_identity


def test_content_decides_not_the_path(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
    same = path_identity(str(tmp_path / "a"))
    assert same.startswith("sha256:")
    assert path_identity(str(tmp_path / "b")) == same
    (tmp_path / "b" / "model.safetensors").write_bytes(b"weightz")
    assert path_identity(str(tmp_path / "b")) != same


def test_hub_ids_stay_as_they_are() -> None:
    assert path_identity("facebook/sam2.1-hiera-small") == "facebook/sam2.1-hiera-small"


def test_ends_of_huge_files_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "WHOLE_FILE_BYTES", 10)
    monkeypatch.setattr(provenance, "_END_BYTES", 4)
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"head" + b"-" * 20 + b"tail")
    first = path_identity(str(path))
    path.write_bytes(b"head" + b"-" * 20 + b"tale")
    assert path_identity(str(path)) != first
