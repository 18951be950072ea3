"""Catalogue tests wait for nobody."""

from __future__ import annotations

import pytest

from pipeline.grid.catalog import catalog_web


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    patience = catalog_web.Patience(tries=3, pause_s=0.01, longest_pause_s=2.0, stall_s=0.5, document_s=0.6)
    monkeypatch.setattr(catalog_web, "PATIENCE", patience)
