"""Options of a search want a catalogue to be searched."""

from __future__ import annotations

import pytest

from pipeline.errors import InputError
from pipeline.grid.catalog.catalog_options import CatalogOptions


def test_a_search_without_a_catalogue_is_refused() -> None:
    CatalogOptions().require_unused()
    with pytest.raises(InputError, match="--max-items"):
        CatalogOptions(limit=3).require_unused()
    with pytest.raises(InputError, match=r"--datetime, --max-cloud: a catalogue must.*--datetime-of"):
        CatalogOptions(datetime="2024/2025", max_cloud=0.0).require_unused()
    with pytest.raises(InputError, match="--assets: a catalogue must"):
        CatalogOptions(assets=("visual",)).require_unused()
    with pytest.raises(InputError, match="--allow-host, --allow-root: a catalogue must"):
        CatalogOptions(allow_hosts=("h",), allow_roots=("/data",)).require_unused()
