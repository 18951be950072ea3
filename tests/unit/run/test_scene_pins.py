"""What pins a scene, in the fingerprint and in run.json."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipeline.run.scene_pins import named_scene, pins_of, quality_parameters, scene_parameters
from pipeline.schema.imagery import QualityMask, Reflectance, Scene, SceneFile


def scene(**changes: Any) -> Scene:
    return Scene(
        scene_id="a",
        href="/data/red.tif",
        crs_wkt=None,
        transform=(1, 0, 0, 0, -1, 0),
        width=9,
        height=9,
        count=3,
        dtype="uint16",
        rgb_bands=(1, 2, 3),
        nodata=None,
        identity={"sha256": "r", "mtime_ns": "1"},
        **changes,
    )


def test_every_band_file_of_a_scene_pins_the_run() -> None:
    files = tuple(SceneFile(href=f"/data/{name}", identity={"sha256": name}, band=2) for name in "rgb")
    found = scene_parameters(scene(band_files=files))
    assert found["band_files"] == [{"band": 2, "sha256": name} for name in "rgb"]
    changed = (*files[:2], replace(files[2], identity={"sha256": "other"}))
    assert scene_parameters(scene(band_files=changed)) != found
    assert "band_files" not in scene_parameters(scene())


def test_what_makes_reflectance_pins_the_run_and_who_said_so_does_not() -> None:
    known = Reflectance(scale=1e-4, offset=-0.1, source="a table")
    found = scene_parameters(scene(reflectance=known))
    assert found["reflectance"] == [1e-4, -0.1]
    assert scene_parameters(scene(reflectance=replace(known, source="a person"))) == found
    assert scene_parameters(scene(reflectance=replace(known, offset=0.0))) != found
    each = replace(known, by_band=((1e-4, -0.1), (2e-4, -0.1), (1e-4, 0.0)))
    assert scene_parameters(scene(reflectance=each))["reflectance"] == [
        [1e-4, -0.1],
        [2e-4, -0.1],
        [1e-4, 0.0],
    ]
    assert "reflectance" not in scene_parameters(scene())


def test_a_file_that_a_user_names_is_in_the_fingerprint_with_its_content() -> None:
    own = scene()
    assert named_scene(own) == scene_parameters(own) == {"scene_id": "a", "bands": [1, 2, 3], "sha256": "r"}
    assert pins_of([own]) == {}


def test_a_scene_of_a_catalogue_is_named_there_and_pinned_beside_it() -> None:
    """So one that cannot be read today is the same one tomorrow."""
    item = scene(collection="c", item_href="/items/a.json")
    failed = replace(item, failure="403", identity={}, rgb_bands=(0, 0, 0))
    assert named_scene(item) == named_scene(failed) == {"scene_id": "a", "collection": "c"}
    assert pins_of([item, replace(failed, scene_id="b")]) == {"a": scene_parameters(item)}
    masked = replace(item, quality=QualityMask(file=SceneFile(href="m"), rule="values:3", source="s"))
    assert pins_of([masked])["a"]["quality"] == {"rule": "values:3", "band": 1}


def test_a_mask_is_pinned_by_its_file_and_rule_and_a_computed_one_by_its_bands_and_model() -> None:
    file = SceneFile(href="m.tif", access="token", identity={"sha256": "a", "mtime_ns": "1"}, band=2)
    mask = QualityMask(file=file, rule="values:3", source="somebody")
    assert quality_parameters(mask) == {"rule": "values:3", "band": 2, "sha256": "a"}
    computed = replace(
        mask,
        model="csmask-l2a",
        bands=(file, replace(file, band=1)),
        reflectance=Reflectance(scale=0.5, offset=-1.0, source="somebody"),
    )
    assert quality_parameters(computed) == {
        "model": "csmask-l2a",
        "bands": [{"band": 2, "sha256": "a"}, {"band": 1, "sha256": "a"}],
        "reflectance": [0.5, -1.0],
    }
