"""What is chosen once for all items of a layout is what each would get alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stac_items import stac_item

from pipeline.errors import InputError
from pipeline.grid.catalog import scene_choice
from pipeline.grid.catalog.asset_choice import choose_assets
from pipeline.grid.catalog.item import Item
from pipeline.grid.catalog.item_document import item_of
from pipeline.grid.catalog.quality_table import quality_of
from pipeline.grid.catalog.reflectance_table import scene_reflectance
from pipeline.grid.catalog.scene_choice import ItemOptions, SceneChooser


def shifted(document: dict[str, object], number: int) -> Item:
    """The same item under another id, with other files."""
    text = json.dumps(document).replace(str(document["id"]), f"{document['id']}-{number}")
    return item_of(json.loads(text), "")


@pytest.mark.parametrize("name", ["naip-pc.json", "sentinel-2-l2a-pc.json"])
def test_a_choice_holds_for_every_item_of_its_layout(name: str, data_dir: Path) -> None:
    page = json.loads((data_dir / "stac" / name).read_text())
    documents = page["features"] if isinstance(page, dict) else page
    chooser = SceneChooser(ItemOptions())
    for item in [shifted(document, number) for document in documents for number in range(3)]:
        choice = chooser.choose(item)
        alone = choose_assets(item)
        assert choice.assets(item) == alone.assets
        assert choice.indexes == alone.indexes
        assert (None if choice.mask is None else choice.mask.of(item)) == quality_of(item, None)
        assert scene_reflectance(item, alone.assets, "auto", choice.kinds) == scene_reflectance(
            item, alone.assets, "auto"
        )


def test_a_layout_is_decided_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def count(item: Item, *args: object, **options: object) -> object:
        asked.append(item.item_id)
        return choose_assets(item)

    monkeypatch.setattr(scene_choice, "choose_assets", count)
    chooser = SceneChooser(ItemOptions())
    for number in range(5):
        chooser.choose(item_of(stac_item(f"i{number}", when=f"2024-01-0{number + 1}"), ""))
    chooser.choose(item_of(stac_item("other", collection="other"), ""))
    assert asked == ["i0", "other"]


def test_every_item_that_is_refused_is_named() -> None:
    chooser = SceneChooser(ItemOptions(assets=("visual",)))
    for name in ("a", "b"):
        with pytest.raises(InputError, match=f"item {name}"):
            chooser.choose(item_of(stac_item(name), ""))
