"""Which files of an item make a scene, and what they hold: decided once for all items of a layout.

`SceneChooser.choose` asks asset_choice.py, quality_table.py and reflectance_table.py about the first item of
a layout, and remembers the answer. An item that cannot become a scene is refused by itself, because the
message names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.errors import InputError
from pipeline.grid.catalog.asset_choice import ChosenAssets, band_entries, choose_assets
from pipeline.grid.catalog.item import Asset, Item
from pipeline.grid.catalog.item_layout import layout_of
from pipeline.grid.catalog.quality_table import MaskAsset, mask_asset, quality_of
from pipeline.grid.catalog.reflectance_table import ValueKind, kind_of
from pipeline.grid.radiometry import Radiometry
from pipeline.schema.imagery import HrefGuard, QualityMask

_DATA_TYPES = frozenset(
    (
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "float16",
        "float32",
        "float64",
    )
)
"""`data_type` of the STAC raster extension that numpy knows; others, such as `cint16`, say nothing here."""

_MOST_LAYOUTS = 10_000
"""Layouts that are remembered; a catalogue has a handful."""


@dataclass(frozen=True, kw_only=True)
class ItemOptions:
    """How items become scenes."""

    assets: tuple[str, ...] | None = None
    """What --assets names. None: what the items say."""
    bands: tuple[str | int, ...] | None = None
    """What --bands says, of the bands of one file."""
    crs: str | None = None
    """CRS of files that have none."""
    mask: str | None = None
    """What --mask says. None: the mask that items are known to have."""
    radiometry: Radiometry = "auto"
    """What --radiometry says."""
    guard: HrefGuard | None = None
    """What the hrefs of items may reach."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneChoice:
    """What all items of a layout have in common as scenes."""

    keys: tuple[str, ...]
    """Of the one asset, or of red, green and blue."""
    indexes: tuple[int, int, int] | None
    """1-based bands of red, green and blue in the one file. None: three files, or the header has to say."""
    bands: str
    """Which bands they are and who says so, for people."""
    n_bands: int
    """Bands of the first file, as far as the item names them."""
    dtype: str | None
    kinds: tuple[ValueKind, ...]
    """What the values of each asset are."""
    mask: MaskAsset | None
    """The asset that is the mask. None: there is none, unless one is computed."""

    def assets(self, item: Item) -> tuple[Asset, ...]:
        """The assets of one item of the layout."""
        return tuple(item.assets[key] for key in self.keys)

    def quality(self, item: Item, rule: str | None) -> QualityMask | None:
        """The mask of one item of the layout. `rule`: what follows --mask. Raises InputError."""
        if self.mask is not None:
            return self.mask.of(item)
        return None if rule is None else quality_of(item, rule)


class SceneChooser:
    """Chooses the files of items, once per layout."""

    def __init__(self, options: ItemOptions) -> None:
        self._options = options
        self._known: dict[bytes, SceneChoice] = {}

    def choose(self, item: Item) -> SceneChoice:
        """Choose the files of one item. Raises InputError."""
        layout = item.layout if item.layout is not None else layout_of(item)
        known = None if layout is None else self._known.get(layout)
        if known is not None:
            return known
        found = self._chosen(item)
        if layout is not None and len(self._known) < _MOST_LAYOUTS:
            self._known[layout] = found
        return found

    def _chosen(self, item: Item) -> SceneChoice:
        bands = self._options.bands
        chosen = choose_assets(item, self._options.assets, one_file=bands is not None)
        if bands is not None and len(chosen.assets) == 3:
            raise InputError(
                "--bands chooses among the bands of one file",
                came="three files in --assets",
                remedy="leave out --bands: the three files are red, green and blue",
            )
        numbered = [band for band in bands or () if isinstance(band, int)]
        read = (chosen.indexes or numbered) if len(chosen.assets) == 1 else ()
        return SceneChoice(
            keys=tuple(asset.key for asset in chosen.assets),
            indexes=chosen.indexes,
            bands=_bands_text(chosen),
            n_bands=len(band_entries(chosen.assets[0])),
            dtype=_data_type(chosen.assets[0]),
            kinds=tuple(kind_of(item, asset, read) for asset in chosen.assets),
            mask=mask_asset(item, self._options.mask),
        )


def _data_type(asset: Asset) -> str | None:
    """The data type that all bands of a file have, by `raster:bands`, `bands` or the asset itself (STAC 1.1).
    None: the item does not say one."""
    entries = asset.fields.get("raster:bands") or band_entries(asset)
    listed = entries if isinstance(entries, list | tuple) else ()
    types: set[Any] = {entry.get("data_type") for entry in listed if isinstance(entry, dict)}
    types = types - {None} or {asset.fields.get("data_type")}
    only = next(iter(types)) if len(types) == 1 else None
    return only if isinstance(only, str) and only in _DATA_TYPES else None


def _bands_text(chosen: ChosenAssets) -> str:
    if len(chosen.assets) == 1:
        return f"asset {chosen.assets[0].key}, by {chosen.how}"
    red, green, blue = (asset.key for asset in chosen.assets)
    return f"red = {red}, green = {green}, blue = {blue}, by {chosen.how}"
