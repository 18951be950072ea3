"""Scenes with known instances, small enough for whole-job tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cc3d
import numpy as np
import rasterio
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelWorld:
    """A scene whose instances are known to the pixel."""

    scene: Path
    labels: Path
    ids: NDArray[np.int64]
    """(H, W) canonical ids: 1 + smallest pixel index of the 4-connected instance, 0 = background."""


def canonical(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Split labels into 4-connected instances, each named 1 + its smallest pixel index."""
    parts = cc3d.connected_components(labels.astype(np.uint32), connectivity=4).astype(np.int64)
    values, first = np.unique(parts.ravel(), return_index=True)
    table = np.zeros(int(values.max()) + 1, dtype=np.int64)
    table[values] = first + 1
    return np.where(labels > 0, table[parts], 0)


def blobs(rng: np.random.Generator, height: int, width: int, *, grain: int) -> NDArray[np.int64]:
    """Random label image: a coarse random field, enlarged, so that instances touch, wind and enclose each
    other.
    """
    coarse = rng.integers(0, 4, (-(-height // grain), -(-width // grain)))
    return np.kron(coarse, np.ones((grain, grain), dtype=np.int64))[:height, :width]


def write_raster(path: Path, data: NDArray[np.generic]) -> None:
    """A tiled GeoTIFF in EPSG:32633, 0.5 m; (H, W) or (bands, H, W)."""
    planes = data if data.ndim == 3 else data[None]
    profile = {
        "driver": "GTiff",
        "height": planes.shape[1],
        "width": planes.shape[2],
        "count": planes.shape[0],
        "dtype": planes.dtype.name,
        "crs": "EPSG:32633",
        "transform": rasterio.Affine(0.5, 0, 500000, 0, -0.5, 5500000),
        "tiled": True,
        "blockxsize": 64,
        "blockysize": 64,
        "compress": "zstd",
    }
    if planes.shape[0] == 3:
        profile["photometric"] = "rgb"
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(planes)


def write_label_world(folder: Path, labels: NDArray[np.int64]) -> LabelWorld:
    """Scene, label raster and canonical ids in `folder`, and the file that says that a world is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = canonical(labels)
    rgb = np.stack(
        [(40 + ids * k % 211).astype(np.uint8) for k in (3, 5, 7)]
    )  # never near black: that would be a collar
    write_raster(folder / "scene.tif", rgb)
    write_raster(folder / "labels.tif", ids.astype(np.uint32))
    (folder / "world.json").write_text("{}")
    return LabelWorld(scene=folder / "scene.tif", labels=folder / "labels.tif", ids=ids)
