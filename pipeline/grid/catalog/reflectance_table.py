"""How the values of an item's asset become reflectance: by provider, collection and processing baseline.

What items say of it cannot be taken as it stands. Since processing baseline 04.00 of Sentinel-2, 1000 is
added to all values. Planetary Computer keeps it and does not say so. Earth Search subtracts it from its COGs,
and still writes the offset of -0.1 into `raster:bands`: who applies both gets reflectance below 0. The date
does not help, because old scenes are processed again. So:

1. `facts_of` gathers what the item and the asset say.
2. `decide` takes the first row of `ROWS` that fits. Each row names its source.
3. Where no row does, the item's own scale and offset count, if they look like reflectance.

A row without reflectance says why nobody knows it. Then grey levels are fitted to the scene, as without a
catalogue, and --radiometry decides otherwise.
"""

from __future__ import annotations

import math
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.files.value_tags import is_reflectance
from pipeline.grid.catalog.item import Asset, Item
from pipeline.grid.radiometry import Radiometry, decided
from pipeline.schema.imagery import Reflectance

_ESA = "sentiwiki.copernicus.eu/web/s2-products"
_EARTH_SEARCH = "github.com/Element84/earth-search/issues"

_SENTINEL_2 = r"sentinel-2-(c1-|pre-c1-)?l[12][ac]|sentinel-s2-l2a(-cogs)?|sentinel-s2-l1c"
_LANDSAT = r"landsat-c2-?l2.*|landsat-c2ard-sr"

BASELINE = 4.0
"""Sentinel-2's processing baseline from which 1000 is added to all values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueKind:
    """What the values of an asset are, as far as its description says: the same for all items of a kind."""

    optical: bool
    """Whether the asset holds bands of reflected light, and no mask, temperature or picture."""
    picture: bool
    """Whether it holds 8-bit grey levels made for people."""
    own: tuple[float, float, str] | None
    """Scale, offset and unit that item or asset give for all bands. None: none, or they differ."""
    each: tuple[tuple[float, float, str], ...] = ()
    """Those of each band that is read, where they differ. Empty: they do not, or not all are given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What an item and one of its assets say of themselves."""

    collection: str
    """Lower case."""
    place: str
    """`host/path` of the asset's href, lower case; of s3://bucket/key `bucket.s3/key`."""
    optical: bool
    """Whether the asset holds bands of reflected light, and no mask, temperature or picture."""
    picture: bool
    """Whether it holds 8-bit grey levels made for people."""
    baseline: float | None
    """Processing baseline of Sentinel-2. None: nobody says."""
    subtracted: bool | None
    """What `*:boa_offset_applied` says. None: it is not there."""
    taken: str
    """RFC 3339. Empty: unknown."""
    own: tuple[float, float, str] | None
    """Scale, offset and unit that item or asset give for all bands. None: none, or they differ."""
    each: tuple[tuple[float, float, str], ...] = ()
    """Those of each band that is read, where they differ (`ValueKind.each`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One rule. It fits where all that it says holds."""

    source: str
    """Who says so, for people, with the place where it is written; without `scale`, why nobody knows."""
    collection: str
    """Regular expression for the whole id of the collection."""
    place: str = ""
    """Regular expression that is found in `Facts.place`."""
    baseline: tuple[float, float] | None = None
    """From and below which processing baseline. None: any."""
    subtracted: bool | None = None
    """None: whatever the item says."""
    taken: tuple[str, str] | None = None
    """From and before which time, as beginnings of RFC 3339."""
    silent: bool = False
    """Whether the item must give no scale and offset of its own."""
    scale: float | None = None
    offset: float = 0.0

    def fits(self, facts: Facts) -> bool:
        baseline = self.baseline
        return bool(
            re.fullmatch(self.collection, facts.collection)
            and re.search(self.place, facts.place)
            and self.subtracted in (None, facts.subtracted)
            and (baseline is None or _within(facts.baseline, *baseline))
            and (self.taken is None or self.taken[0] <= facts.taken < self.taken[1])
            and not (self.silent and (facts.own is not None or facts.each))
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueMeaning:
    """What is known of an asset's values."""

    reflectance: Reflectance | None
    why: str
    """Who says so, or why it is not known; for people."""


_NEW = (BASELINE, math.inf)
_OLD = (0.0, BASELINE)

ROWS = (
    Row(
        collection=_SENTINEL_2, subtracted=True, place=r"(?<!\.jp2)$", scale=1e-4,
        source=f"the provider has subtracted Sentinel-2's offset (boa_offset_applied; {_EARTH_SEARCH}/9)",
    ),
    Row(
        collection=_SENTINEL_2, baseline=_OLD, scale=1e-4,
        source=f"Sentinel-2 before processing baseline 04.00 ({_ESA})",
    ),
    Row(
        collection=_SENTINEL_2, place=r"^sentinel-cogs\.s3.*(?<!\.jp2)$", taken=("2022-01-25", "2022-03"),
        source="Earth Search's COGs of early 2022 were made with and without Sentinel-2's offset, and the "
        f"item does not tell which ({_EARTH_SEARCH}/66)",
    ),
    Row(
        collection=_SENTINEL_2, place=r"^sentinel-cogs\.s3.*(?<!\.jp2)$", scale=1e-4,
        source="Sentinel-2's offset is subtracted from Earth Search's COGs, also where boa_offset_applied is "
        f"false ({_EARTH_SEARCH}/71, github.com/allenai/rslearn/pull/501)",
    ),
    Row(
        collection=_SENTINEL_2, baseline=_NEW, scale=1e-4, offset=-0.1,
        place=r"^(sentinel2l2a01\.blob\.core\.windows\.net|e84-earth-search-sentinel-data\.s3|eodata\.)",
        source=f"Sentinel-2 since processing baseline 04.00 ({_ESA}), kept as ESA wrote it by this provider "
        f"(github.com/microsoft/PlanetaryComputer/issues/134, {_EARTH_SEARCH}/41)",
    ),
    Row(
        collection=_SENTINEL_2, baseline=_NEW, silent=True, scale=1e-4, offset=-0.1,
        source=f"Sentinel-2 since processing baseline 04.00 ({_ESA})",
    ),
    Row(
        collection=_SENTINEL_2, silent=True,
        source="the item does not say which processing baseline of Sentinel-2 it is of",
    ),
    Row(
        collection=_LANDSAT, scale=2.75e-5, offset=-0.2,
        source="Landsat Collection 2 Level 2 "
        "(usgs.gov/faqs/how-do-i-use-a-scale-factor-landsat-level-2-science-products)",
    ),
    Row(
        collection=r"ps(scene|orthotile).*|planetscope.*", place=r"_sr(_|\b)", scale=1e-4,
        source="PlanetScope surface reflectance "
        "(support.planet.com, How is the Surface Reflectance Product Provided)",
    ),
    Row(
        collection=r"ps(scene|orthotile).*|planetscope.*", silent=True,
        source="values are radiance, and the item gives no reflectance coefficient of all bands",
    ),
)  # fmt: skip
"""The first row that fits holds. They are asked about bands of reflected light only."""


def scene_reflectance(
    item: Item, assets: Sequence[Asset], radiometry: Radiometry, kinds: Sequence[ValueKind] | None = None
) -> tuple[Reflectance | None, str]:
    """Find how values of a scene that is made of `assets` become reflectance, or why it is not known.

    `radiometry`: what the user says of all scenes; then there is nothing to be known. `kinds`: the `kind_of`
    each asset, where it is known.
    """
    if radiometry != "auto":
        return decided(radiometry, None), ""
    kinds = kinds if kinds is not None else [kind_of(item, asset) for asset in assets]
    found = [decide(item, asset, kind) for asset, kind in zip(assets, kinds, strict=True)]
    known = [one.reflectance for one in found if one.reflectance is not None]
    if not known:
        return None, found[0].why
    if len(known) < len(found):
        return None, "it is not known of all bands how their values become reflectance"
    return Reflectance.joined(known), ""


def differs_by_item(kinds: Sequence[ValueKind], radiometry: Radiometry) -> bool:
    """Tell whether `scene_reflectance` may decide differently of items whose files are described alike."""
    return radiometry == "auto" and not all(kind.picture for kind in kinds)


def decide(item: Item, asset: Asset, kind: ValueKind | None = None) -> ValueMeaning:
    """Decide about one asset by the table, else by what the item says of it."""
    kind = kind if kind is not None else kind_of(item, asset)
    if kind.picture:
        return _PICTURE
    facts = facts_of(item, asset, kind)
    if facts.optical:
        row = next((row for row in ROWS if row.fits(facts)), None)
        if row is not None:
            return _meaning(row.scale, row.offset, row.source)
    if facts.own is not None and is_reflectance(*facts.own):
        return _meaning(*facts.own[:2], "the item's own scale and offset")
    if facts.each and all(is_reflectance(*one) for one in facts.each):
        known = [_meaning(*one[:2], "the item's own scale and offset of each band") for one in facts.each]
        joint = Reflectance.joined([one.reflectance for one in known if one.reflectance is not None])
        return ValueMeaning(reflectance=joint, why=joint.source)
    why = "the item does not say how values become reflectance"
    if facts.own is not None:
        why = f"the item's scale and offset ({facts.own[0]:g}, {facts.own[1]:g}) are not those of reflectance"
    return ValueMeaning(reflectance=None, why=why)


_PICTURE = ValueMeaning(reflectance=None, why="it holds 8-bit grey levels, which stay as they are")


def _meaning(scale: float | None, offset: float, source: str) -> ValueMeaning:
    if scale is None:
        return ValueMeaning(reflectance=None, why=source)
    return ValueMeaning(reflectance=Reflectance(scale=scale, offset=offset, source=source), why=source)


def _within(value: float | None, low: float, high: float) -> bool:
    return value is not None and low <= value < high


# ---------------------------------------------------------------------------------------- what items say

_OPTICAL = frozenset((
    "blue", "green", "red", "nir", "nir08", "nir09", "rededge", "rededge071", "rededge075", "rededge078",
    "rededge1", "rededge2", "rededge3", "swir16", "swir22", "coastal", "yellow", "pan", "cirrus", "green05",
    "rgb", "rgbn", "rgbir", "analytic",
))  # fmt: skip
"""Common names of bands of reflected light (STAC eo extension 2.0), and keys of assets that hold several."""

_BAND_NAME = re.compile(r"(sr_)?b(0?[1-9]|8a|1[0-2])([_\-].*)?", re.IGNORECASE)
_ANALYTIC = re.compile(r"(ortho_|basic_)?analytic(_|$)", re.IGNORECASE)
_PICTURE_KEY = re.compile(
    r"visual|tci|true[-_]?colou?r|rendered_preview|thumbnail|overview|preview", re.IGNORECASE
)
_PICTURE_COLLECTIONS = frozenset(("naip",))
"""Collections whose imagery has 8 bits, though items do not say so."""

_PRODUCT = re.compile(r"_N(\d{2})(\d{2})_R\d{3}_|_N(\d{2})\.(\d{2})$")
"""The processing baseline in the name of a product: S2A_MSIL2A_20200714T115221_N0214_R123_..."""


def kind_of(item: Item, asset: Asset, indexes: Sequence[int] = ()) -> ValueKind:
    """Find what the values of an asset are. It looks up what `item_layout` names, and nothing else.

    `indexes`: the 1-based bands that are read. Empty: all, or the header has to say.
    """
    bands = _bands(item, asset)
    kinds = {str(band.get("data_type", "")) for band in bands if band.get("data_type")}
    named = _PICTURE_KEY.fullmatch(asset.key) or {"visual", "thumbnail", "overview"} & set(asset.roles)
    names = {str(band.get(key, "")).lower() for band in bands for key in ("eo:common_name", "common_name")}
    key = asset.key.lower()
    known = item.collection.lower() in _PICTURE_COLLECTIONS
    own, each = _own_of(item, asset, indexes)
    return ValueKind(
        optical=bool({key, *names} & _OPTICAL or _BAND_NAME.fullmatch(key) or _ANALYTIC.match(key)),
        picture=bool(named or kinds == {"uint8"} or (not kinds and known)),
        own=own if own is not None else _own(item, asset, bands),
        each=each,
    )


def facts_of(item: Item, asset: Asset, kind: ValueKind | None = None) -> Facts:
    """Gather what an item says of one of its assets. Values of wrong types count as not there."""
    kind = kind if kind is not None else kind_of(item, asset)
    return Facts(
        collection=item.collection.lower(),
        place=_place(asset.href),
        optical=kind.optical,
        picture=kind.picture,
        baseline=_baseline(item, asset),
        subtracted=_flag(item.properties),
        taken=item.datetime or "",
        own=kind.own,
        each=kind.each,
    )


def _place(href: str) -> str:
    parts = urllib.parse.urlsplit(href)
    host = f"{parts.netloc}.s3" if parts.scheme.lower() == "s3" else (parts.hostname or "")
    return urllib.parse.unquote(f"{host}{parts.path}").lower()


def _bands(item: Item, asset: Asset) -> list[dict[str, Any]]:
    """What is said per band: `bands` of STAC 1.1, `eo:bands` and `raster:bands`, one after the other."""
    found: list[dict[str, Any]] = []
    for key in ("bands", "eo:bands", "raster:bands"):
        value = item.field_of(asset, key)
        if isinstance(value, list):
            found += [band for band in value if isinstance(band, dict)]
    return [*found, {"data_type": item.field_of(asset, "data_type")}]


def _baseline(item: Item, asset: Asset) -> float | None:
    properties = item.properties
    for key in ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version"):
        match = re.fullmatch(r"N?(\d{1,2}(?:\.\d{1,2})?)", str(properties.get(key, "")).strip())
        if match:
            return float(match[1])
    texts = [str(properties.get(key, "")) for key in (
        "s2:product_uri", "s2:datatake_id", "sentinel:product_id", "s2:product_id", "s2:granule_id",
    )]  # fmt: skip
    for text in (*texts, item.item_id, asset.href):
        if match := _PRODUCT.search(text):
            whole, part = (match[1], match[2]) if match[1] else (match[3], match[4])
            return float(f"{whole}.{part}")
    return None


def _flag(properties: Mapping[str, Any]) -> bool | None:
    said = [value for key, value in properties.items() if key.endswith(":boa_offset_applied")]
    return said[0] if len(said) == 1 and isinstance(said[0], bool) else None


type _Said = tuple[float, float, str]
"""Scale, offset and unit."""


def _own(item: Item, asset: Asset, bands: Sequence[Mapping[str, Any]]) -> _Said | None:
    """What all bands say that give a scale; else what the asset says. None: they differ."""
    whole = _whole(item, asset)
    found = {said for band in (*bands, whole) if (said := _said(band, whole)) is not None}
    return found.pop() if len(found) == 1 else None


def _own_of(item: Item, asset: Asset, indexes: Sequence[int]) -> tuple[_Said | None, tuple[_Said, ...]]:
    """What the bands `indexes` say: all of them, or each. Neither, where one of them says nothing."""
    lists = [item.field_of(asset, key) for key in ("bands", "raster:bands", "eo:bands")]
    whole = _whole(item, asset)
    found = []
    for index in indexes:
        bands = [bands[index - 1] for bands in lists if isinstance(bands, list) and len(bands) >= index]
        said = [_said(band, whole) for band in bands if isinstance(band, dict)]
        found.append(next((one for one in said if one is not None), None))
    known = tuple(one for one in found if one is not None)
    if not known or len(known) < len(found):
        return None, ()
    return (known[0], ()) if len(set(known)) == 1 else (None, known)


def _whole(item: Item, asset: Asset) -> dict[str, Any]:
    return {key: item.field_of(asset, key) for key in ("raster:scale", "raster:offset", "unit")}


def _said(band: Mapping[str, Any], whole: Mapping[str, Any]) -> _Said | None:
    """Read what one band says. None: it gives no scale."""
    scale = band.get("raster:scale", band.get("scale"))
    offset = band.get("raster:offset", band.get("offset"))
    if not _is_number(scale):
        return None
    unit = band.get("unit") or whole["unit"]
    return float(scale), float(offset) if _is_number(offset) else 0.0, str(unit or "")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
