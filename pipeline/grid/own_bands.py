"""Masks of clouds that are computed from the bands of a raster that a user names (`--mask csmask`).

`with_computed_masks` finds the six bands of each scene by their names in the file, and needs values whose
reflectance is known. The mask itself is computed while the scene is read (`load.computed_mask`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from pipeline.errors import InputError
from pipeline.files.raster_access import open_raster, raster_environment
from pipeline.files.value_tags import tagged_reflectance
from pipeline.grid.band_names import band_colours
from pipeline.grid.bands import RGB_NAMES
from pipeline.grid.catalog.quality_table import CSMASK_BANDS, computed_quality
from pipeline.schema.imagery import Scene, SceneFile


def with_computed_masks(scenes: Sequence[Scene], level: str | None) -> tuple[Scene, ...]:
    """Give each scene a mask that is computed from its own file.

    `level`: l1c (top of atmosphere) or l2a (surface; None). Raises InputError for a scene that lacks one of
    the bands, or whose reflectance nobody knows; SourceError as `open_raster` does.
    """
    return tuple(_masked(scene, level or "l2a") for scene in scenes)


def six_bands(names: Sequence[str | None]) -> dict[str, int | None]:
    """Find the bands of the network among the names of a file's bands: band -> 1-based index or None.

    Colours are read as `band_colours` reads them, so that a red edge is not red. `nir08`, `SWIR 1` and
    `B11 - SWIR` name the others.
    """
    texts = [re.sub(r"(swir)[ _-]+", r"\1", (name or "").lower()) for name in names]
    words = [set(re.findall(r"[a-z]+\d*[a-z]?", text)) for text in texts]
    colours = band_colours(names)
    found: dict[str, int | None] = {}
    for band, known in CSMASK_BANDS.items():
        named = [number for word in known for number, has in enumerate(words, start=1) if word in has]
        coloured = [number for number, colour in enumerate(colours, start=1) if colour == band]
        if band in RGB_NAMES:
            found[band] = coloured[0] if len(coloured) == 1 else None
        else:
            found[band] = next(iter(named + coloured), None)
    return found


def _masked(scene: Scene, level: str) -> Scene:
    with raster_environment(scene), open_raster(scene) as dataset:
        names = tuple(dataset.descriptions)
        found = {} if scene.band_files else six_bands(names)
        indexes = [index for index in found.values() if index is not None]
        differing = scene.reflectance is not None and scene.reflectance.by_band
        reflectance = tagged_reflectance(dataset, indexes) if differing else scene.reflectance
    missing = [band for band in CSMASK_BANDS if found.get(band) is None]
    if missing:
        raise InputError(
            f"--mask csmask needs six bands of {scene.href}, by name",
            came=f"no {', '.join(missing)} among {', '.join(name or 'one without a name' for name in names)}",
            remedy="describe its bands as blue, green, red, nir, swir16 and swir22 "
            "(`gdal_edit.py` or rasterio's `set_band_description`), or give masks with --mask-file",
        )
    if reflectance is None:
        raise InputError(
            f"--mask csmask needs reflectance, and nobody says how values of {scene.href} become it",
            came="no scale and offset",
            remedy="say it with --radiometry, e.g. --radiometry 0.0001,0",
        )
    files = tuple(
        SceneFile(href=scene.href, access=scene.access, identity=scene.identity, band=index)
        for index in indexes
    )
    return replace(scene, quality=computed_quality(files, level, reflectance, "the file's bands"))
