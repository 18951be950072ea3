"""Scenes in run.json: all that is known comes back, and no token."""

from __future__ import annotations

import json
from dataclasses import replace

from pipeline.schema.imagery import HrefGuard, QualityMask, Reflectance, Scene, SceneFile
from pipeline.write.scene_entry import scene_entry, scene_of

PLAIN = Scene(
    scene_id="a",
    href="https://host/a.tif",
    crs_wkt=None,
    transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
    width=3,
    height=2,
    count=3,
    dtype="uint8",
    rgb_bands=(1, 2, 3),
    nodata=None,
)


def test_what_is_not_known_is_left_out() -> None:
    always = (
        "bands count crs_wkt datetime dtype height href identity nodata rgb_bands scene_id transform width"
    )
    assert sorted(scene_entry(PLAIN)) == always.split()


def test_a_scene_of_a_catalogue_comes_back_without_its_tokens() -> None:
    def file(name: str) -> SceneFile:
        return SceneFile(
            href=f"https://host/{name}.tif", access="sig=secret", identity={"etag": name}, band=1
        )

    scene = replace(
        PLAIN,
        href="https://host/red.tif",
        access="sig=secret",
        dtype="uint16",
        nodata=float("nan"),
        band_files=(file("red"), file("green"), file("blue")),
        cloud_cover=12.5,
        collection="sentinel-2-l2a",
        item_href="https://host/items/b",
        reflectance=Reflectance(scale=1e-4, offset=-0.1, source="a table"),
        quality=QualityMask(file=file("scl"), rule="values:3,8", source="a table"),
        signer="planetary-computer",
        guard=HrefGuard(hosts=("host",), roots=("/data",)),
    )
    text = json.dumps(scene_entry(scene))
    assert "secret" not in text
    back = scene_of(json.loads(text))
    assert scene_entry(back) == scene_entry(scene)
    assert back.quality is not None
    assert back.quality.rule == "values:3,8"
    assert [item.href for item in back.band_files] == [
        f"https://host/{c}.tif" for c in ("red", "green", "blue")
    ]
    assert back.guard == scene.guard
    assert back.reflectance == scene.reflectance


def test_reflectance_names_its_bands_only_where_they_differ() -> None:
    alike = Reflectance(scale=1e-4, offset=-0.1, source="a table")
    entry = scene_entry(replace(PLAIN, reflectance=alike))
    assert entry["reflectance"] == {"scale": 1e-4, "offset": -0.1, "source": "a table"}
    each = replace(alike, by_band=((1e-4, -0.1), (2e-4, 0.0), (3e-4, 0.0)))
    text = json.dumps(scene_entry(replace(PLAIN, reflectance=each)))
    assert scene_of(json.loads(text)).reflectance == each


def test_a_computed_mask_comes_back_without_its_tokens() -> None:
    files = tuple(SceneFile(href=f"https://host/{n}.tif", access="sig=secret") for n in range(6))
    quality = QualityMask(
        file=files[0],
        rule="values:1,2",
        source="computed",
        model="csmask-l2a",
        bands=files,
        reflectance=Reflectance(scale=1e-4, offset=0.0, source="a table"),
    )
    scene = replace(PLAIN, quality=quality)
    text = json.dumps(scene_entry(scene))
    assert "secret" not in text
    back = scene_of(json.loads(text)).quality
    bare = tuple(SceneFile(href=file.href) for file in files)
    assert back == replace(quality, file=bare[0], bands=bare)
