"""Makes the helper modules of this folder (fakes_segment, tiny_sam2) importable by its tests, and builds tiny
SAM2s.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tiny_sam2 import TINY_CONFIG, make_tile, write_checkpoint

from pipeline.segment.sam2_segmenter import Sam2Segmenter
from pipeline.segment.segmenter import Sam2Options


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with config.yaml and model.safetensors of a randomly initialised SAM2 that draws non-trivial
    masks.
    """
    directory = tmp_path_factory.mktemp("tiny-sam2")
    (directory / "config.yaml").write_text(TINY_CONFIG)
    write_checkpoint(directory / "config.yaml", directory / "model.safetensors")
    return directory


@pytest.fixture(scope="session")
def tiny(tiny_dir: Path) -> Sam2Segmenter:
    return Sam2Segmenter(Sam2Options(checkpoint=str(tiny_dir), device="cpu", prompt_batch=5), tile_px=96)


@pytest.fixture
def tile() -> Callable[..., Any]:
    return make_tile


@pytest.fixture(scope="session")
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
