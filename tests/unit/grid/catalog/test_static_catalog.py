"""Static catalogues in a folder and on a server. Trees are small enough to count by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from odd_stac_server import odd_server
from stac_items import stac_item

from pipeline.errors import InputError, SourceError
from pipeline.grid.aoi import aoi_from_bbox
from pipeline.grid.catalog.catalog_search import CatalogSearch, FoundItems, find_items
from pipeline.grid.catalog.static_catalog import MOST_ITEM_BYTES, MOST_LEVELS, is_static


def node(name: str, *links: tuple[str, str], kind: str = "Catalog", **members: Any) -> dict[str, Any]:
    listed = [{"rel": rel, "href": href} for rel, href in links]
    return {"type": kind, "id": name, "stac_version": "1.0.0", "links": listed, **members}


def extent(box: list[float], start: str | None, end: str | None) -> dict[str, Any]:
    return {"spatial": {"bbox": [box]}, "temporal": {"interval": [[start, end]]}}


def tree() -> dict[str, Any]:
    europe = extent([0, 40, 20, 60], "2024-01-01T00:00:00Z", "2024-12-31T00:00:00Z")
    asia = extent([100, 10, 120, 30], None, None)
    back = ("parent", "../catalog.json")
    return {
        "/catalog.json": node(
            "top", ("child", "./europe/collection.json"), ("child", "./asia/collection.json")
        ),
        "/europe/collection.json": node(
            "europe",
            back,
            ("item", "./a.json"),
            ("item", "./b.json"),
            ("item", "./b.json"),
            kind="Collection",
            extent=europe,
        ),
        "/europe/a.json": stac_item("a", collection="europe"),
        "/europe/b.json": stac_item("b", collection="europe", box=(12, 50, 13, 51)),
        "/asia/collection.json": node("asia", back, ("item", "./c.json"), kind="Collection", extent=asia),
        "/asia/c.json": stac_item("c", collection="asia", box=(110, 20, 111, 21)),
    }


def written(folder: Path, files: dict[str, Any]) -> Path:
    for name, document in files.items():
        path = folder / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
    return folder


def found(source: object, bbox: tuple[float, ...] | None = None, **search: Any) -> FoundItems:
    aoi = aoi_from_bbox(*bbox) if bbox else None
    return find_items(CatalogSearch(source=str(source), **search), aoi)


def ids(result: FoundItems) -> list[str]:
    return [item.item_id for item in result.items]


def test_a_tree_on_disk_and_on_a_server(tmp_path: Path) -> None:
    local = found(written(tmp_path, tree()) / "catalog.json")
    with odd_server(files=tree()) as server:
        remote = found(f"{server.url}/catalog.json")
        assert len(server.requests) == len(tree()), "every document once"
    assert ids(local) == ids(remote) == ["c", "a", "b"]
    assert local.items[1].href == str(tmp_path / "europe/a.json")
    assert remote.items[1].href == f"{server.url}/europe/a.json"
    assert (local.hosts, remote.hosts) == ((), ("127.0.0.1",))


def test_a_signature_is_carried_along_and_not_kept() -> None:
    with odd_server(files=tree()) as server:
        result = found(f"{server.url}/catalog.json?sig=secret%2B1")
        assert all(path.endswith("?sig=secret%2B1") for _, path, _ in server.requests)
    assert "secret" not in repr(result)


def test_a_tree_in_a_bucket(put_object: Callable[[str, bytes], str]) -> None:
    for name, document in tree().items():
        put_object(f"deep{name}", json.dumps(document).encode())
    result = found("s3://catalogue/deep/catalog.json")
    assert ids(result) == ["c", "a", "b"]
    assert result.items[1].href == "s3://catalogue/deep/europe/a.json"
    assert result.hosts == ("catalogue.s3",)
    with pytest.raises(InputError, match="404"):
        found("s3://catalogue/none.json")


def test_a_collection_outside_of_the_search_is_not_opened() -> None:
    with odd_server(files=tree()) as server:
        result = found(f"{server.url}/catalog.json", (10, 50, 11, 51))
        asked = [path for _, path, _ in server.requests]
        with pytest.raises(InputError, match=r"collections not opened, .*: 1"):
            found(f"{server.url}/catalog.json", datetime="2025/..")
    assert ids(result) == ["a"]
    assert "/asia/c.json" not in asked
    assert "collections not opened, because their extent lies outside of the search: 1" in result.notes


def test_collections_are_chosen_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, tree()) / "catalog.json"
    assert ids(found(f"stac:{path}#asia")) == ["c"]
    assert ids(found(f"stac:{path}#asia,europe")) == ["c", "a", "b"]
    assert ids(found(tmp_path / "asia" / "collection.json")) == ["c"]
    with pytest.raises(InputError, match="must find an item"):
        found(f"stac:{path}#africa")


def test_an_item_without_a_collection_belongs_to_the_one_that_links_to_it(tmp_path: Path) -> None:
    files = tree()
    del files["/asia/c.json"]["collection"]
    (item,) = found(f"stac:{written(tmp_path, files) / 'catalog.json'}#asia").items
    assert item.collection == "asia"


def test_an_item_that_cannot_be_read_is_left(tmp_path: Path) -> None:
    written(tmp_path, tree())
    (tmp_path / "europe/a.json").unlink()
    (tmp_path / "asia/c.json").write_text(json.dumps(stac_item("c") | {"title": "x" * MOST_ITEM_BYTES}))
    result = found(tmp_path / "catalog.json")
    assert ids(result) == ["b"]
    assert sorted(Path(left.item_id).name for left in result.left) == ["a.json", "c.json"]
    assert all("cannot be read" in left.reason for left in result.left)


def test_a_catalogue_that_cannot_be_read_ends_the_search(tmp_path: Path) -> None:
    written(tmp_path, tree())
    (tmp_path / "asia/collection.json").unlink()
    with pytest.raises(InputError, match="readable file"):
        found(tmp_path / "catalog.json")
    (tmp_path / "asia/collection.json").write_text("[]")
    with pytest.raises(InputError, match="catalogue or a collection"):
        found(tmp_path / "catalog.json")


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    files = tree()
    files["/asia/collection.json"]["links"].append({"rel": "child", "href": "../catalog.json"})
    assert ids(found(written(tmp_path, files) / "catalog.json")) == ["c", "a", "b"]


def test_catalogues_without_an_end_are_refused() -> None:
    files = {
        f"/{level}.json": node(str(level), ("child", f"{level + 1}.json")) for level in range(MOST_LEVELS + 5)
    }
    with odd_server(files=files) as server, pytest.raises(InputError, match=f"{MOST_LEVELS} levels"):
        found(f"{server.url}/0.json")


@pytest.mark.parametrize(
    "href", ["../secret.json", "/etc/hostname", "file:///etc/hostname", "http://127.0.0.1:1/a.json"]
)
def test_links_out_of_the_folder_are_not_followed(href: str, tmp_path: Path) -> None:
    inside = written(tmp_path / "inside", {"/catalog.json": node("top", ("item", href), ("item", "a.json"))})
    written(inside, {"/a.json": stac_item("a")})
    written(tmp_path, {"/secret.json": stac_item("secret")})
    result = found(inside / "catalog.json")
    assert ids(result) == ["a"]
    assert len(result.left) == 1
    written(inside, {"/catalog.json": node("top", ("child", href))})
    with pytest.raises(SourceError, match="link of the catalogue"):
        found(inside / "catalog.json")


@pytest.mark.parametrize(
    "odd",
    [
        None,
        5,
        {},
        {"spatial": 5},
        {"spatial": {"bbox": []}},
        {"spatial": {"bbox": [["a", 0, 1, 1]]}},
        {"temporal": {"interval": [[5, "x"]]}},
    ],
)
def test_an_odd_extent_excludes_nothing(odd: object, tmp_path: Path) -> None:
    files = tree()
    files["/europe/collection.json"]["extent"] = odd
    assert ids(found(written(tmp_path, files) / "catalog.json", (10, 50, 11, 51), datetime="2024")) == ["a"]


def test_what_is_a_static_catalogue() -> None:
    assert is_static(node("a"))
    assert is_static({"id": "old", "stac_version": "1.0.0-beta.1", "links": []}), (
        "catalogues had no type then"
    )
    for document in (None, [], {"type": "Catalog"}, stac_item()):
        assert not is_static(document)
