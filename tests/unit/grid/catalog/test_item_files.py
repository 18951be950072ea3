"""Files of many items are what each item's files are alone, and no plain href hides what must be refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.errors import InputError
from pipeline.grid.catalog.item import Asset, Item
from pipeline.grid.catalog.item_document import item_of
from pipeline.grid.catalog.item_files import ItemFiles, files_of, refused_files
from pipeline.grid.catalog.item_groups import ItemList
from pipeline.grid.catalog.scene_choice import ItemOptions, SceneChooser
from pipeline.schema.imagery import HrefGuard

GUARD = HrefGuard(hosts=("files.example", "mine.s3", "*.blob.core.windows.net"))
OPTIONS = ItemOptions(guard=GUARD)
ALLOWED = "https://files.example/a/1.tif"
HREFS = (
    ALLOWED,
    "https://files.example/b/2.tif",
    "https://files.example/../b/2.tif",
    "https://files.example/b/%2e%2e/2.tif",
    "https://files.example/b/2.tif?token=x",
    "https://files.example/b c/2.tif",
    "https://files.example:22/2.tif",
    "https://files.example\\@evil.example/2.tif",
    "https://user@files.example/2.tif",
    "https://files.example.evil.example/2.tif",
    "https://evil.example/files.example/2.tif",
    "https://s3.us-west-2.amazonaws.com/mine/2.tif",
    "https://s3.us-west-2.amazonaws.com/other/2.tif",
    "https://naip.blob.core.windows.net/v/2.tif",
    "s3://mine/2.tif",
    "s3://other/2.tif",
    "ftp://files.example/2.tif",
    "https://files.example",
    "/etc/2.tif",
)


def item_with(href: str) -> Item:
    document = {
        "type": "Feature",
        "id": "one",
        "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]},
        "properties": {"datetime": "2024-01-01T00:00:00Z"},
        "assets": {"image": {"href": ALLOWED, "type": "image/tiff; application=geotiff"}},
    }
    item = item_of(document, "https://files.example/items.json")
    return replace(item, assets={"image": replace(item.assets["image"], href=href)})


def files_in(items: list[Item]) -> list[ItemFiles | str]:
    choice = SceneChooser(OPTIONS).choose(items[0])
    found = files_of(ItemList(items), choice, OPTIONS)
    return [str(one) if isinstance(one, InputError) else one for one in found]


@pytest.mark.parametrize(
    "first", [ALLOWED, "https://s3.us-west-2.amazonaws.com/mine/1.tif", "s3://mine/1.tif"]
)
def test_what_one_href_taught_changes_nothing_for_the_next(first: str) -> None:
    together = files_in([item_with(href) for href in (first, *HREFS)])
    assert together[1:] == [files_in([item_with(href)])[0] for href in HREFS]


@pytest.mark.parametrize("mask", [None, "off"])
def test_items_are_refused_whose_files_nobody_may_open(mask: str | None) -> None:
    """A place is judged by one of its hrefs; each other one there is refused in its own words."""
    hrefs = [*HREFS, "https://evil.example/3.tif", "https://files.example/b/4.tif", "s3://other/5.tif"]
    items = [item_with(href) for href in hrefs]
    options = replace(OPTIONS, mask=mask)
    choice = SceneChooser(options).choose(items[0])
    alone = list(files_of(ItemList(items), choice, options))
    wanted = {number: str(one) for number, one in enumerate(alone) if isinstance(one, InputError)}
    found = refused_files(ItemList(items), choice, options)
    assert {number: str(one) for number, one in found.items()} == wanted
    assert len(wanted) > 10


def test_which_files_may_be_opened() -> None:
    found = dict(zip(HREFS, files_in([item_with(href) for href in HREFS]), strict=True))
    opened = {href: one for href, one in found.items() if isinstance(one, ItemFiles)}
    assert set(opened) == {
        ALLOWED,
        "https://files.example/b/2.tif",
        "https://files.example/b/2.tif?token=x",
        "https://files.example/b c/2.tif",
        "https://s3.us-west-2.amazonaws.com/mine/2.tif",
        "https://naip.blob.core.windows.net/v/2.tif",
        "s3://mine/2.tif",
    }
    assert opened["https://files.example/b/2.tif?token=x"].files == (
        ("https://files.example/b/2.tif", "token=x"),
    )
    assert opened["https://files.example/b c/2.tif"].files == (("https://files.example/b%20c/2.tif", ""),)
    assert opened["https://naip.blob.core.windows.net/v/2.tif"].signer == "planetary-computer"
    assert opened[ALLOWED].signer == ""


def test_three_files_are_looked_at_each_by_itself() -> None:
    def item(*hrefs: str) -> Item:
        assets = {
            key: Asset(key=key, href=href, media_type="image/tiff; application=geotiff")
            for key, href in zip(("red", "green", "blue"), hrefs, strict=True)
        }
        return replace(item_with(ALLOWED), assets=assets)

    good = [f"https://files.example/{band}.tif" for band in "rgb"]
    options = replace(OPTIONS, assets=("red", "green", "blue"))
    items = [item(*good), item(good[0], "https://evil.example/g.tif", good[2])]
    choice = SceneChooser(options).choose(items[0])
    first, second = files_of(ItemList(items), choice, options)
    assert isinstance(first, ItemFiles)
    assert first.files == tuple((href, "") for href in good)
    assert "evil.example" in str(second)
