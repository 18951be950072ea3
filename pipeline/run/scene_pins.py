"""What pins the pixels of a scene, and where it stands.

A raster that a user names must be readable when a run is planned, so its content is part of the fingerprint.
A scene of a catalogue may be unreadable today and readable tomorrow, and the run must go on all the same. So
the fingerprint names it (`named_scene`), and its content is pinned in run.json, from the first start that
could read it (`pins_of`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipeline.files.file_identity import pins
from pipeline.load.prepare_scenes import of_catalog
from pipeline.schema.imagery import QualityMask, Scene


def named_scene(scene: Scene) -> dict[str, Any]:
    """Collect what a fingerprint says of a scene: its content, or of a catalogue's scene its name."""
    if of_catalog(scene):
        return {"scene_id": scene.scene_id, "collection": scene.collection}
    return scene_parameters(scene)


def pins_of(scenes: Iterable[Scene]) -> dict[str, dict[str, Any]]:
    """Collect scene_id -> what pins its pixels, of the scenes of catalogues that can be read."""
    return {
        scene.scene_id: scene_parameters(scene) for scene in scenes if of_catalog(scene) and not scene.failure
    }


def scene_parameters(scene: Scene) -> dict[str, Any]:
    """Collect what pins the pixels of a scene, and what turns them into reflectance. Neither where its item
    lies nor who signs counts.
    """
    found: dict[str, Any] = {
        "scene_id": scene.scene_id,
        "bands": list(scene.rgb_bands),
        **pins(scene.identity),
    }
    if scene.band_files:
        found["band_files"] = [{"band": file.band, **pins(file.identity)} for file in scene.band_files]
    if scene.reflectance is not None:
        found["reflectance"] = scene.reflectance.numbers()
    if scene.quality is not None:
        found["quality"] = quality_parameters(scene.quality)
    return found


def quality_parameters(quality: QualityMask) -> dict[str, Any]:
    """Collect what pins a quality mask: its file and rule, or the bands and the model that computes it."""
    if not quality.model:
        return {"rule": quality.rule, "band": quality.file.band, **pins(quality.file.identity)}
    assert quality.reflectance is not None
    return {
        "model": quality.model,
        "bands": [{"band": file.band, **pins(file.identity)} for file in quality.bands],
        "reflectance": quality.reflectance.numbers(),
    }
