"""A scene as it stands in run.json, and back: without credentials, and without what is not known of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any

from pipeline.files.hrefs import public_href
from pipeline.schema.imagery import HrefGuard, QualityMask, Reflectance, Scene, SceneFile

_ALWAYS = ("identity", "datetime", "bands")
"""Fields that are written even where nothing is known."""


def scene_entry(scene: Scene) -> dict[str, object]:
    """Describe a scene as JSON. A nodata that is no number in JSON is its name: "nan", "inf" or "-inf"."""
    entry: dict[str, object] = {}
    for item in fields(scene):
        value = getattr(scene, item.name)
        known = item.default is MISSING or value != item.default or item.name in _ALWAYS
        if known and item.name != "access":
            entry[item.name] = value
    entry |= {"href": public_href(scene.href), "identity": dict(scene.identity)}
    if scene.nodata is not None and not math.isfinite(scene.nodata):
        entry["nodata"] = str(scene.nodata)
    if scene.band_files:
        entry["band_files"] = [_file_entry(file) for file in scene.band_files]
    if scene.quality is not None:
        entry["quality"] = _quality_entry(scene.quality)
    if scene.reflectance is not None:
        entry["reflectance"] = scene.reflectance.to_dict()
    if scene.guard is not None:
        entry["guard"] = asdict(scene.guard)
    return entry


def scene_of(entry: Mapping[str, Any]) -> Scene:
    """Read what `scene_entry` wrote. Raises KeyError, TypeError and ValueError for what it cannot be."""
    found: dict[str, Any] = {
        **entry,
        "transform": tuple(entry["transform"]),
        "rgb_bands": tuple(entry["rgb_bands"]),
        "nodata": None if entry["nodata"] is None else float(entry["nodata"]),
        "band_files": tuple(SceneFile(**file) for file in entry.get("band_files", ())),
    }
    if "quality" in entry:
        found["quality"] = _quality_of(entry["quality"])
    if "reflectance" in entry:
        found["reflectance"] = Reflectance.from_dict(entry["reflectance"])
    if "guard" in entry:
        guard = entry["guard"]
        found["guard"] = HrefGuard(
            hosts=tuple(guard["hosts"]), roots=tuple(guard["roots"]), private=guard["private"]
        )
    return Scene(**found)


def _quality_entry(quality: QualityMask) -> dict[str, object]:
    """Describe a mask; what only a computed one has is left out of any other."""
    entry: dict[str, object] = {
        "file": _file_entry(quality.file),
        "rule": quality.rule,
        "source": quality.source,
    }
    if quality.model:
        entry["model"] = quality.model
        entry["bands"] = [_file_entry(file) for file in quality.bands]
    if quality.reflectance is not None:
        entry["reflectance"] = quality.reflectance.to_dict()
    return entry


def _quality_of(entry: Mapping[str, Any]) -> QualityMask:
    found = {
        **entry,
        "file": SceneFile(**entry["file"]),
        "bands": tuple(SceneFile(**file) for file in entry.get("bands", ())),
    }
    if "reflectance" in entry:
        found["reflectance"] = Reflectance.from_dict(entry["reflectance"])
    return QualityMask(**found)


def _file_entry(file: SceneFile) -> dict[str, object]:
    return {"href": public_href(file.href), "identity": dict(file.identity), "band": file.band}
