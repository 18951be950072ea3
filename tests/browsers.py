"""A real browser for the tests of pages, and the comparison of what it draws with a picture."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def chromium() -> Iterator[Any]:
    """Open Chromium; skips where it is absent."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian, Ubuntu: apt-get install chromium)")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def share_that_differs(shown: bytes, golden: Path, *, levels: int) -> float:
    """Share of the pixels of which a channel differs by more than `levels`; 1 for another size."""
    pixels = [
        np.asarray(Image.open(source).convert("RGB"), dtype=np.int64)
        for source in (io.BytesIO(shown), golden)
    ]
    if pixels[0].shape != pixels[1].shape:
        return 1.0
    return float((np.abs(pixels[0] - pixels[1]).max(axis=2) > levels).mean())
