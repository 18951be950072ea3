"""Masks beside the scenes of a user: found by a pattern, pinned, and refused with a remedy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from pipeline.errors import InputError
from pipeline.grid.mask_files import mask_href, pinned_mask, require_mask_used, with_mask_files
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.schema.imagery import HrefGuard, QualityMask, Scene, SceneFile

ELKTON = Path(__file__).parents[4] / "shared" / "data" / "landsat8_elkton"


def write(path: Path, count: int = 1) -> Path:
    profile = {"driver": "GTiff", "count": count, "height": 8, "width": 8, "dtype": "uint8"}
    transform = from_origin(500_000, 5_500_000, 10, 10)
    with rasterio.open(path, "w", crs="EPSG:32633", transform=transform, **profile) as dataset:
        dataset.write(np.ones((count, 8, 8), "uint8"))
    return path


def scenes_of(*paths: Path, **options: str) -> tuple[Scene, ...]:
    return open_scenes(SourceOptions(hrefs=tuple(map(str, paths)), **options))  # type: ignore[arg-type]


def remote(href: str, access: str = "") -> Scene:
    return Scene(
        scene_id="a",
        href=href,
        access=access,
        crs_wkt=None,
        transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        width=1,
        height=1,
        count=3,
        dtype="uint8",
        rgb_bands=(1, 2, 3),
        nodata=None,
    )


def test_each_scene_gets_the_mask_of_its_name(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.tif", 3) for name in ("a", "b.2024")]
    masks = [write(tmp_path / f"{name}_SCL.tif") for name in ("a", "b.2024")]
    scenes = scenes_of(*paths, mask_file="{stem}_SCL.tif")
    for scene, mask in zip(scenes, masks, strict=True):
        assert scene.quality is not None
        assert scene.quality.file.href == str(mask)
        assert scene.quality.file.identity["size_bytes"] == str(mask.stat().st_size)
        assert scene.quality.rule == "values:3,8,9,10;fill:0"
        assert mask.name in scene.quality.source


def test_a_users_own_mask_has_the_users_rule(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    path = write(tmp_path / "a.tif", 3)
    write(tmp_path / "masks" / "a.tif", 2)
    (scene,) = scenes_of(path, mask_file="masks/{stem}.tif", mask="clouds[2] > 0")
    assert scene.quality is not None
    assert (scene.quality.file.band, scene.quality.rule) == (2, "above:0")
    absolute = scenes_of(path, mask_file=str(tmp_path / "masks" / "a.tif"), mask="clouds[2] > 0")
    assert absolute[0].quality == scene.quality


def test_off_reads_none_and_nothing_is_read_unless_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", 3)
    write(tmp_path / "a_SCL.tif")
    assert scenes_of(path, mask_file="{stem}_SCL.tif", mask="off")[0].quality is None
    assert scenes_of(path)[0].quality is None


@pytest.mark.parametrize(
    ("pattern", "rule", "said"),
    [
        ("{stem}_none.tif", "m > 0", "scene a has none"),
        ("{stem}_clouds.tif", None, "needs --mask"),
        ("{name}.tif", "m > 0", r"\{stem\}"),
        ("{stem_SCL.tif", None, r"\{stem\}"),
        ("", None, r"\{stem\}"),
        ("{stem}_clouds.tif", "m < 0", "--mask"),
        ("text.txt", "m > 0", "scene a has none"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, pattern: str, rule: str | None, said: str) -> None:
    path = write(tmp_path / "a.tif", 3)
    write(tmp_path / "a_clouds.tif")
    (tmp_path / "text.txt").write_text("no raster")
    with pytest.raises(InputError, match=rf"{said}.*To fix: "):
        with_mask_files(scenes_of(path), pattern, rule)


def test_one_mask_is_not_the_mask_of_two_scenes(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.tif", 3) for name in "ab"]
    write(tmp_path / "SCL.tif")
    with pytest.raises(InputError, match="each of 2 scenes"):
        scenes_of(*paths, mask_file="SCL.tif")


@pytest.mark.parametrize(
    ("scene", "pattern", "want"),
    [
        (("https://h/d/a%20b.tif", "sig=1"), "{stem}_SCL.tif", ("https://h/d/a%20b_SCL.tif", "sig=1")),
        (("https://h/d/a.tif", ""), "m/{stem}.tif", ("https://h/d/m/a.tif", "")),
        (("s3://b/d/a.tif", ""), "{stem}_m.tif", ("s3://b/d/a_m.tif", "")),
        (("https://h/d/a b.tif", "x"), "https://i/{stem}.tif?t=2", ("https://i/a%20b.tif", "t=2")),
        (("/data/a.tif", ""), "{stem}.{stem}.tif", ("/data/a.a.tif", "")),
        (("/data/a.tif", ""), "/masks/{stem}.tif", ("/masks/a.tif", "")),
    ],
)
def test_where_a_mask_is_looked_for(scene: tuple[str, str], pattern: str, want: tuple[str, str]) -> None:
    assert mask_href(remote(*scene), pattern) == want


def test_the_landsat_sample_is_clear(tmp_path: Path) -> None:
    """2720 and 2724 say low confidence of cloud, shadow, snow and cirrus; 2724 is saturated in some band."""
    if not ELKTON.is_dir():
        pytest.skip("the sample data folder ../shared/data is absent")
    bands = {
        colour: ELKTON / f"L8-B{n}-Elkton-VA.tiff"
        for colour, n in zip(("red", "green", "blue"), "432", strict=True)
    }
    source = ",".join(f"{colour}={path}" for colour, path in bands.items())
    (scene,) = open_scenes(SourceOptions(hrefs=(source,), mask_file="L8-BQA-Elkton-VA.tiff"))
    assert scene.quality is not None
    assert scene.quality.rule == "bits:4,8,12;fill:0"
    assert "Collection 1" in scene.quality.source


def test_a_rule_without_a_mask_is_refused() -> None:
    with pytest.raises(InputError, match=r"--mask needs masks.*--mask-file"):
        require_mask_used("SCL in (3)", None)
    for rule, pattern in ((None, None), ("off", None), ("SCL in (3)", "{stem}_SCL.tif")):
        require_mask_used(rule, pattern)


def test_files_and_computing_exclude_each_other(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", 3)
    with pytest.raises(InputError, match="leave one of them out"):
        with_mask_files(scenes_of(path), "{stem}.tif", "csmask")


def test_every_file_of_a_mask_is_pinned(tmp_path: Path) -> None:
    (scene,) = scenes_of(write(tmp_path / "a.tif", 3))
    assert pinned_mask(scene) == scene
    files = tuple(SceneFile(href=str(write(tmp_path / f"b{number}.tif", number + 1))) for number in range(6))
    quality = QualityMask(file=files[0], rule="values:1,2", source="a test", model="csmask-l2a", bands=files)
    pinned = pinned_mask(replace(scene, quality=quality)).quality
    assert pinned is not None
    assert pinned.file == pinned.bands[0]
    sizes = [file.identity["size_bytes"] for file in pinned.bands]
    assert sizes == [str(Path(file.href).stat().st_size) for file in files]


def test_a_strangers_mask_is_guarded(tmp_path: Path) -> None:
    (scene,) = scenes_of(write(tmp_path / "a.tif", 3))
    file = SceneFile(href=str(write(tmp_path / "m.tif")))
    quality = QualityMask(file=file, rule="values:1", source="a test")
    guarded = replace(scene, quality=quality, guard=HrefGuard(roots=("/nowhere",)))
    with pytest.raises(InputError, match=r"m\.tif"):
        pinned_mask(guarded)
    assert pinned_mask(replace(guarded, guard=None)).quality is not None
