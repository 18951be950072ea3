"""Tiny rasters on disk, and the sample data when it is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from pipeline.schema.imagery import Scene

DATA = Path(__file__).parents[3] / ".." / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    if not DATA.is_dir():
        pytest.skip("the sample data folder ../shared/data is absent")
    return DATA


@pytest.fixture
def make_tif(tmp_path: Path) -> Callable[..., str]:
    """Write a small GeoTIFF; returns its path. Keyword arguments override the profile."""

    def make(name: str = "scene.tif", *, shape: tuple[int, int] = (64, 96), **profile: object) -> str:
        settings: dict[str, object] = {
            "driver": "GTiff",
            "height": shape[0],
            "width": shape[1],
            "count": 3,
            "dtype": "uint8",
            "crs": "EPSG:32636",
            "transform": Affine(0.5, 0, 450000, 0, -0.5, 40000),
            "photometric": "RGB",
        } | profile
        if settings["photometric"] is None or settings["count"] != 3:
            settings.pop("photometric")
        path = tmp_path / name
        with rasterio.open(path, "w", **settings) as dataset:
            dataset.write(np.ones((int(str(settings["count"])), *shape), dtype=str(settings["dtype"])))
        return str(path)

    return make


@pytest.fixture
def make_scene() -> Callable[..., Scene]:
    """A `Scene` without a file behind it: planning needs only headers."""

    def make(
        scene_id: str = "scene",
        *,
        crs: str | None = "EPSG:32636",
        transform: tuple[float, ...] = (0.5, 0.0, 450000.0, 0.0, -0.5, 40000.0),
        width: int = 400,
        height: int = 300,
    ) -> Scene:
        return Scene(
            scene_id=scene_id,
            href=f"/nowhere/{scene_id}.tif",
            crs_wkt=None
            if crs is None
            else rasterio.crs.CRS.from_user_input(crs).to_wkt(version="WKT2_2019"),
            transform=tuple(float(value) for value in transform),  # type: ignore[arg-type]
            width=width,
            height=height,
            count=3,
            dtype="uint8",
            rgb_bands=(1, 2, 3),
            nodata=None,
            identity={"size_bytes": "1000"},
        )

    return make
