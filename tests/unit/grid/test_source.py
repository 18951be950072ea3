from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from fault_server import fault_server
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine

from pipeline.errors import InputError
from pipeline.files.hrefs import link_href, split_access
from pipeline.grid import source
from pipeline.grid.source import SourceOptions, expand_hrefs, open_scenes
from pipeline.schema.imagery import Scene

MakeTif = Callable[..., str]


def opened(*hrefs: str, **options: object) -> tuple[Scene, ...]:
    return open_scenes(SourceOptions(hrefs=hrefs, **options))  # type: ignore[arg-type]


def test_describes_the_header(make_tif: MakeTif) -> None:
    path = make_tif(nodata=7)
    (scene,) = opened(path)
    with rasterio.open(path) as oracle:
        assert (scene.width, scene.height, scene.count, scene.dtype) == (
            oracle.width,
            oracle.height,
            oracle.count,
            "uint8",
        )
        assert scene.transform == tuple(oracle.transform)[:6]
        assert rasterio.crs.CRS.from_wkt(scene.crs_wkt) == oracle.crs
    assert scene.nodata == 7
    assert scene.rgb_bands == (1, 2, 3)
    assert scene.scene_id == "scene"
    assert scene.identity["size_bytes"] == str(os.stat(path).st_size)
    assert scene.identity["sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert scene.datetime is None


def test_reads_the_acquisition_time(make_tif: MakeTif) -> None:
    path = make_tif()
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(ns="IMAGERY", ACQUISITIONDATETIME="2021-06-01 10:20:30")
    assert opened(path)[0].datetime == "2021-06-01T10:20:30Z"


def test_expands_folders_globs_and_lists(make_tif: MakeTif, tmp_path: Path) -> None:
    a = make_tif("b.tif")
    b = make_tif("a.tiff")
    (tmp_path / "notes.md").write_text("not imagery")
    (tmp_path / "list.txt").write_text(f"# scenes\n{a}\n\nhttps://example.org/c.tif\n")
    assert expand_hrefs([str(tmp_path)]) == (b, a)
    assert expand_hrefs([str(tmp_path / "*.tif*")]) == (b, a)
    assert expand_hrefs([a, str(tmp_path)]) == (a, b)
    assert expand_hrefs([str(tmp_path / "list.txt")]) == (a, "https://example.org/c.tif")
    assert expand_hrefs(["s3://bucket/key.tif"]) == ("s3://bucket/key.tif",)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_lists_as_windows_writes_them(make_tif: MakeTif, tmp_path: Path, encoding: str) -> None:
    a = make_tif("Straße 1.tif")
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    (tmp_path / "list.TXT").write_bytes(f'{mark}"{a}"\r\n\r\n# end\r\n'.encode(encoding))
    assert expand_hrefs([str(tmp_path / "list.TXT")]) == (a,)


def test_lists_in_another_encoding_and_lists_of_lists_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("Straße.tif".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8 or UTF-16"):
        expand_hrefs([str(tmp_path / "latin.txt")])
    (tmp_path / "loop.txt").write_text(str(tmp_path / "loop.txt"))
    with pytest.raises(InputError, match="another list"):
        expand_hrefs([str(tmp_path / "loop.txt")])


@pytest.mark.parametrize("name", ["a b.tif", "a#b.tif", "x?y.tif", "50%25.tif", "Größe [1].tif"])
def test_a_link_of_an_item_is_a_source(make_tif: MakeTif, name: str) -> None:
    path = make_tif(name)
    assert expand_hrefs([link_href(path)]) == (path,)
    assert opened(path)[0].href == path


def test_coordinates_that_the_crs_cannot_hold_are_refused(make_tif: MakeTif) -> None:
    path = make_tif("wrong.tif", crs="EPSG:4326")
    with pytest.raises(InputError, match=r"latitudes from -90 to 90.*x from 450000"):
        opened(path)


def test_a_file_whose_name_looks_like_a_glob_is_a_file(make_tif: MakeTif) -> None:
    path = make_tif("scene[1].tif")
    assert expand_hrefs([path]) == (path,)


def test_refuses_sources_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for href, message in [
        (str(tmp_path / "missing.tif"), "must exist"),
        (str(tmp_path / "*.tif"), "at least one file"),
        (str(tmp_path / "empty"), "must hold"),
        ("s3://bucket/*.tif", "local"),
        ("", "path or URL"),
    ]:
        with pytest.raises(InputError, match=message):
            opened(href)
    with pytest.raises(InputError, match="At least one source"):
        opened()


def test_refuses_what_is_not_a_raster(tmp_path: Path) -> None:
    path = tmp_path / "poem.tif"
    path.write_text("shall I compare thee")
    with pytest.raises(InputError, match=r"poem\.tif"):
        opened(str(path))


def test_ids_are_unique_and_do_not_depend_on_order(make_tif: MakeTif, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    a = make_tif("one/x.tif")
    b = make_tif("two/x.tif")
    c = make_tif("y.tif")
    forward = {scene.href: scene.scene_id for scene in opened(a, b, c)}
    backward = {scene.href: scene.scene_id for scene in opened(c, b, a)}
    assert forward == backward
    assert len(set(forward.values())) == 3
    assert forward[c] == "y"


def test_ids_outlive_a_renewed_token(make_tif: MakeTif, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two signed URLs with equal file names; their headers come from a local file."""
    local = opened(make_tif())[0]
    monkeypatch.setattr(
        source,
        "open_scene",
        lambda href, _options: replace(local, scene_id="B04", href=split_access(href)[0]),
    )

    def ids(*hrefs: str) -> list[str]:
        return [scene.scene_id for scene in opened(*hrefs)]

    first = "https://h/may/B04.tif"
    second = "https://h/june/B04.tif"
    plain = ids(first, second)
    assert len(set(plain)) == 2
    assert ids(f"{first}?sig=1", f"{second}?sig=2#x") == plain
    assert ids(f"{first}?sig=3", f"{second}?sig=4") == plain
    assert ids(f"{second}?sig=5", f"{first}?sig=6") == plain[::-1]


def test_scenes_that_a_query_string_or_a_key_tells_apart_keep_ids_of_their_own(
    make_tif: MakeTif, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = opened(make_tif())[0]
    monkeypatch.setattr(
        source,
        "open_scene",
        lambda href, _options: replace(local, scene_id="get", href=split_access(href)[0]),
    )
    one, two, three = (
        scene.scene_id for scene in opened(*(f"https://h/get?item={letter}" for letter in "abc"))
    )
    assert (two, three) == (f"{one}-2", f"{one}-3")
    keys = [
        scene.scene_id for scene in opened("s3://bucket/get#1.tif", "s3://bucket/get#2.tif")
    ]  # `#` is part of an object's key
    assert len({key.removeprefix("get-") for key in keys}) == 2
    assert all(len(key) == len("get-") + 8 for key in keys)


@pytest.mark.parametrize(
    "transform",
    [Affine(1, 0, 5, 0, 1, 7), Affine.translation(5, 7) @ Affine.rotation(30) @ Affine.scale(2, -2)],
)
def test_keeps_south_up_and_rotated_affines(make_tif: MakeTif, transform: Affine) -> None:
    assert opened(make_tif(transform=transform))[0].transform == pytest.approx(
        tuple(transform)[:6], abs=1e-12
    )


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_raster_without_crs_is_pixel_space_unless_told(make_tif: MakeTif) -> None:
    path = make_tif(crs=None, transform=None)
    assert opened(path)[0].crs_wkt is None
    with pytest.raises(InputError, match="--crs"):
        opened(path, crs="EPSG:nonsense")
    located = opened(make_tif("world.tif", crs=None), crs="EPSG:32636")[0]
    assert rasterio.crs.CRS.from_wkt(located.crs_wkt).to_epsg() == 32636
    kept = opened(make_tif("own.tif"), crs="EPSG:3857")[0]
    assert rasterio.crs.CRS.from_wkt(kept.crs_wkt).to_epsg() == 32636


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_control_points_are_refused_with_the_command_that_helps(tmp_path: Path) -> None:
    path = tmp_path / "gcps.tif"
    points = [GroundControlPoint(row=r, col=c, x=30 + c / 100, y=1 - r / 100) for r in (0, 9) for c in (0, 9)]
    with rasterio.open(
        path, "w", driver="GTiff", width=10, height=10, count=3, dtype="uint8", gcps=points, crs="EPSG:4326"
    ) as dataset:
        dataset.write(np.zeros((3, 10, 10), dtype="uint8"))
    with pytest.raises(InputError, match="gdalwarp -t_srs EPSG:4326"):
        opened(str(path))


@pytest.mark.parametrize(
    ("name", "document", "named"),
    [
        ("item.json", '{"type": "Feature", "stac_version": "1.0.0", "assets": {}}', "a STAC Item"),
        ("c.json", '\ufeff{"type": "Collection", "stac_version": "1.0.0"}', "a STAC Collection"),
        ("s.json", '{"type": "FeatureCollection", "features": [{"assets": {}}]}', "a STAC ItemCollection"),
        ("a.geojson", '{"type": "FeatureCollection", "features": []}', "is it meant as --aoi"),
        ("x.json", "[1, 2]", "a JSON document"),
        ("broken.json", "{", "a JSON document"),
    ],
)
def test_a_json_file_is_named_for_what_it_is(tmp_path: Path, name: str, document: str, named: str) -> None:
    (tmp_path / name).write_text(document, encoding="utf-8")
    with pytest.raises(InputError, match="--source must name rasters") as caught:
        expand_hrefs([str(tmp_path / name)])
    assert named in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://h/stac/collections/naip/items/a",
        "https://h/stac/collections/naip",
        "https://h/v1/search?bbox=0,0,1,1",
        "https://h/catalog.json",
        "s3://bucket/item.json",
    ],
)
def test_so_is_the_url_of_a_catalogue(url: str) -> None:
    with pytest.raises(InputError, match="a STAC document"):
        expand_hrefs([url])
    assert expand_hrefs(["https://h/collections/a/b.tif"]) == ("https://h/collections/a/b.tif",)


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("https://h/stac/collections/naip/items/a", "stac:https://h/stac#naip"),
        ("https://h/stac/collections/naip?sig=SECRET", "stac:https://h/stac#naip"),
        ("https://h/v1/search?bbox=0,0,1,1", "stac:https://h/v1#collection"),
    ],
)
def test_it_is_told_how_to_write_it(url: str, form: str) -> None:
    with pytest.raises(InputError) as caught:
        expand_hrefs([url])
    assert str(caught.value).endswith(f"{form}.")


def test_the_url_of_an_api_gets_the_form_that_names_one(tmp_path: Path) -> None:
    (tmp_path / "v1").write_text('{"type": "Catalog", "links": []}' + " " * 1000)
    with fault_server(tmp_path) as server:
        for name in ("v1", "v2"):
            with pytest.raises(InputError, match="must be a readable GeoTIFF") as caught:
                open_scenes(SourceOptions(hrefs=(f"{server.url}/{name}?token=SECRET",)))
            said = str(caught.value)
            assert f"write --source stac:{server.url}/{name}#collection; else " in said
            assert "SECRET" not in said
        with pytest.raises(InputError) as caught:
            open_scenes(SourceOptions(hrefs=(f"{server.url}/missing.tif",)))
        assert "stac:" not in str(caught.value)
