"""Scenes as a worker gets them from the driver, and all that a run reads of one."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
from tiff_bytes import RawDirectory, image_tags, tiff_bytes

from pipeline.files.raster_access import open_raster, raster_environment
from pipeline.schema.imagery import HrefGuard, Scene

GOOD = tiff_bytes(RawDirectory(tags=image_tags()))
"""An honest file for such a scene."""


def guarded_scene(href: str, guard: HrefGuard | None, **more: Any) -> Scene:
    """A scene of 64 x 64 pixels that came through a pickle, as a worker gets it."""
    made = Scene(
        scene_id="a",
        href=href.partition("?")[0] if "://" in href else href,
        access=href.partition("?")[2] if "://" in href else "",
        crs_wkt=None,
        transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
        width=64,
        height=64,
        count=3,
        dtype="uint8",
        rgb_bands=(1, 2, 3),
        nodata=None,
        guard=guard,
    )
    copy: Scene = pickle.loads(pickle.dumps(replace(made, **more)))
    return copy


def read_scene(source: Scene) -> np.ndarray:
    """Open a scene, and read all that a run reads of one."""
    with raster_environment(source), open_raster(source) as dataset:
        small = dataset.read(out_shape=(3, 16, 16))
        dataset.dataset_mask()
        pixels: np.ndarray = dataset.read()
        assert small.shape == (3, 16, 16)
    return pixels
