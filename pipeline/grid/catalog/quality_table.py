"""Which asset of an item says where clouds are, and which of its values hide the ground.

`quality_of` takes the collection's own mask by a table of asset names, or the mask and the rule that a user
names with --mask (`mask_choice`). What the table hides, and why:

- Sentinel-2 `SCL` (ESA's Sen2Cor; custom-scripts.sentinel-hub.com/sentinel-2/scene-classification):
  3 cloud shadow, 8 and 9 cloud of medium and high probability, 10 thin cirrus. 0 is no data. Not hidden are 1
  (saturated or defective), because those are mostly bright roofs, 2 (dark areas and cast shadows), 7
  (unclassified) and 11 (snow), which are ground.
- Landsat Collection 2 `QA_PIXEL` (USGS, bit index of the pixel quality band): bits 1 dilated cloud, 2 cirrus,
  3 cloud, 4 cloud shadow; bit 0 is fill.
- Landsat Collection 1 `BQA` (USGS, Level-1 quality assessment band): bit 4 cloud; bits 8 and 12 are the upper
  ones of the two for cloud shadow and cirrus, set for medium and high confidence; bit 0 is fill.
- HLS v2.0 `Fmask` (bits of its user guide): 1 cloud, 2 adjacent to cloud or shadow, 3 cloud shadow. Its fill
  of 255 has them all. In other collections an Fmask has classes in place of bits.
- Sentinel-2 cloud probabilities of 0 to 100 (`MSK_CLDPRB`, `cloud`, s2cloudless): above 40, the default of
  s2cloudless (`S2PixelCloudDetector`, 0.4). They know no shadows, so they are the last choice.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.files.hrefs import encoded_url, split_access
from pipeline.files.raster_access import href_kind
from pipeline.grid.catalog.asset_choice import band_entries, is_geotiff
from pipeline.grid.catalog.item import Asset, Item
from pipeline.grid.catalog.reflectance_table import kind_of, scene_reflectance
from pipeline.schema.imagery import QualityMask, Reflectance, SceneFile
from pipeline.schema.quality_rule import QualityRule, RuleKind

OFF = "off"
"""`--mask off`: no mask is read."""

CSMASK = "csmask"
"""`--mask csmask`: items without a mask get one that is computed from their bands (`load.computed_mask`)."""

LEVELS: Mapping[str, str | None] = {CSMASK: None, "csmask:l1c": "l1c", "csmask:l2a": "l2a"}
"""What may follow --mask, and the level: top of atmosphere or surface. None: the collection's."""

CSMASK_BANDS: Mapping[str, tuple[str, ...]] = {
    "blue": ("blue", "b02"),
    "green": ("green", "b03"),
    "red": ("red", "b04"),
    "near infrared": ("nir", "nir08", "b08", "b8a"),
    "short-wave infrared 1": ("swir16", "swir1", "b11"),
    "short-wave infrared 2": ("swir22", "swir2", "b12"),
}
"""Bands of the network in its order, and the common names or keys that they have in catalogues. B-numbers are
Sentinel-2's; Landsat's assets have common names."""

EXAMPLES = '"SCL in (3,8,9,10)", "QA_PIXEL bits (1,2,3,4)" or "cloud > 50"'

_LIST = r"[-+.\de]+(?:\s*,\s*[-+.\de]+)*"
_RULE = re.compile(
    r"\s*(?P<name>[^\s\[\]]+?)\s*(?:\[(?P<band>\d+)\])?"
    r"(?:\s+(?P<words>in|bits?)\s*|\s*(?P<sign>>=?|==?|<=?|!=)\s*)"
    rf"(?:\(\s*(?P<within>{_LIST})\s*\)|(?P<bare>{_LIST}))\s*",
    re.IGNORECASE,
)
_KINDS: Mapping[str, RuleKind] = {"in": "values", "=": "values", "==": "values", ">": "above"}


@dataclass(frozen=True, kw_only=True)
class MaskChoice:
    """A user's rule: which mask, and what of it hides the ground."""

    name: str
    """Name of the asset, as the user wrote it; of mask files a word for people."""
    band: int
    """1-based."""
    rule: QualityRule


@dataclass(frozen=True, kw_only=True)
class KnownMask:
    """An asset of the table."""

    names: tuple[str, ...]
    """Keys that it has in catalogues, in lower case, the best first."""
    rule: str
    source: str
    """Who says so, for people."""
    only_in: str = ""
    """Pattern of collections, in lower case; in others the same key may mean something else."""


TABLE = (
    KnownMask(names=("scl",), rule="values:3,8,9,10;fill:0", source="scene classification of Sentinel-2 L2A"),
    KnownMask(names=("qa_pixel",), rule="bits:1,2,3,4;fill:0", source="QA_PIXEL of Landsat Collection 2"),
    KnownMask(names=("fmask",), rule="bits:1,2,3", source="Fmask of HLS", only_in=r"^hls"),
    KnownMask(names=("bqa",), rule="bits:4,8,12;fill:0", source="BQA of Landsat Collection 1"),
    KnownMask(
        names=("msk_cldprb", "cldprb", "cloud_probability", "s2cloudless", "cloud"),
        rule="above:40",
        source="cloud probabilities of Sentinel-2",
        only_in=r"sentinel-?s?2|^s2",
    ),
)
"""Masks that are known, in order of preference."""


def mask_choice(text: str) -> MaskChoice:
    """Read what follows --mask: `NAME in (values)`, `NAME bits (numbers)`, `NAME > limit` or `NAME = value`.

    `NAME[2]` is the second band of that file. Raises InputError, with examples.
    """
    found = _RULE.fullmatch(text)
    if found is None:
        raise InputError(
            "--mask must say which mask and what of it hides the ground",
            came=repr(text),
            remedy=f"write {EXAMPLES}; off reads no mask",
        )
    word = (found["words"] or found["sign"]).lower()
    kind = "bits" if word.startswith("bit") else _KINDS.get(word)
    if kind is None:
        raise InputError(
            "--mask compares with `in`, `bits`, `>` or `=`",
            came=repr(text),
            remedy="name what hides the ground; values that show it need not be named",
        )
    band = int(found["band"] or 1)
    try:
        numbers = tuple(float(number) for number in (found["within"] or found["bare"]).split(","))
        fill = _fill_of(found["name"], kind, numbers)
        rule = QualityRule(kind=kind, numbers=numbers, fill=fill)
        if band < 1:
            raise ValueError("bands are counted from 1")
    except ValueError as error:
        raise InputError(f"--mask: {error}", came=repr(text), remedy=f"write {EXAMPLES}") from error
    return MaskChoice(name=found["name"], band=band, rule=rule)


def check_mask(text: str | None) -> None:
    """Check what follows --mask, before any request. None: it was not given. Raises InputError."""
    word = "" if text is None else text.strip().lower()
    if word in LEVELS:
        missing = [name for name in ("ukis_csmask", "onnxruntime") if importlib.util.find_spec(name) is None]
        if missing:
            raise InputError(
                "--mask csmask needs the extra `clouds`",
                came=f"no package {' and '.join(missing)}",
                remedy="install it: `pip install 'terraquery[clouds]'`, or choose another mask",
            )
    elif text is not None and word != OFF:
        mask_choice(text)


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskAsset:
    """The asset of an item that is its mask; the same for all items of a kind."""

    key: str
    band: int
    rule: str
    source: str

    def of(self, item: Item) -> QualityMask:
        """The mask of one item. Raises InputError for an href that nobody may open."""
        return QualityMask(file=_file(item.assets[self.key], self.band), rule=self.rule, source=self.source)


def quality_of(item: Item, rule: str | None) -> QualityMask | None:
    """Find the mask of an item.

    `rule`: what follows --mask; None: the collection's own. Returns None where there is no mask, or none is
    wanted. Raises InputError for a rule that cannot be read, and for one that names an asset that this item
    does not have.
    """
    found = mask_asset(item, rule)
    if found is not None:
        return found.of(item)
    word = (rule or "").strip().lower()
    return _computed(item, LEVELS[word]) if word in LEVELS else None


def mask_asset(item: Item, rule: str | None) -> MaskAsset | None:
    """Find the asset that is the mask of an item. None: none is, and one may have to be computed.

    It looks at the collection and at keys and types of assets alone. Raises as `quality_of`.
    """
    word = (rule or "").strip().lower()
    if rule is None or word in LEVELS:
        return _own(item)
    if word == OFF:
        return None
    choice = mask_choice(rule)
    asset = next((asset for key, asset in item.assets.items() if key.lower() == choice.name.lower()), None)
    if asset is None:
        raise InputError(
            f"--mask must name an asset of item {item.item_id}",
            came=repr(choice.name),
            remedy=f"it has {', '.join(sorted(item.assets))}",
        )
    return MaskAsset(
        key=asset.key, band=choice.band, rule=str(choice.rule), source=f"--mask, asset {asset.key}"
    )


def known_mask(name: str) -> KnownMask | None:
    """Find the mask whose name stands as a word in the name of a file: `T32UNC_20240601_SCL_20m.tif`.

    Probabilities are not known by name, because their scale is not.
    """
    for known in TABLE:
        words = "|".join(re.escape(word) for word in known.names)
        if known.rule.startswith("above") or not re.search(known.only_in, name.lower()):
            continue
        if re.search(rf"(?<![a-z\d])(?:{words})(?![a-z\d])", name.lower()):
            return known
    return None


def _own(item: Item) -> MaskAsset | None:
    """The first mask of the table that the item has as a GeoTIFF."""
    assets = {key.lower(): asset for key, asset in item.assets.items() if is_geotiff(asset)}
    for known in TABLE:
        if known.only_in and not re.search(known.only_in, item.collection.lower()):
            continue
        for name in known.names:
            if name in assets:
                key = assets[name].key
                return MaskAsset(key=key, band=1, rule=known.rule, source=f"{known.source}, asset {key}")
    return None


def _computed(item: Item, level: str | None) -> QualityMask:
    """The mask that ukis-csmask computes from the item's own bands. Raises InputError."""
    found = {name: _band(item, words) for name, words in CSMASK_BANDS.items()}
    missing = [name for name, band in found.items() if band is None]
    bands = [band for band in found.values() if band is not None]
    if missing:
        raise InputError(
            f"--mask csmask needs six bands of item {item.item_id}",
            came=f"no {', '.join(missing)} among {', '.join(sorted(item.assets))}",
            remedy="choose another mask, or --mask off",
        )
    kinds = [kind_of(item, asset, (index,)) for asset, index in bands]
    reflectance, why = scene_reflectance(item, [asset for asset, _ in bands], "auto", kinds)
    if reflectance is None:
        raise InputError(
            f"--mask csmask needs bands of reflectance; item {item.item_id} has none that are known",
            came=why or "no scale and offset",
            remedy="choose another mask, or --mask off",
        )
    level = level or ("l1c" if re.search(r"l1[ct]|level-?1", item.collection.lower()) else "l2a")
    files = tuple(_file(asset, band) for asset, band in bands)
    return computed_quality(files, level, reflectance, "the item's bands")


def computed_quality(
    bands: tuple[SceneFile, ...], level: str, reflectance: Reflectance, whose: str
) -> QualityMask:
    """Describe the mask that ukis-csmask computes. `bands`: as in CSMASK_BANDS. `whose`: for people."""
    return QualityMask(
        file=bands[0],
        rule="values:1,2",
        source=f"clouds and their shadows computed by ukis-csmask ({level}) from {whose}",
        model=f"{CSMASK}-{level}",
        bands=bands,
        reflectance=reflectance,
    )


def _band(item: Item, words: tuple[str, ...]) -> tuple[Asset, int] | None:
    """The asset of a band, by key or by the band's common name, and its number there. None: there is none."""
    rasters = [asset for asset in item.assets.values() if is_geotiff(asset)]
    for word in words:
        for asset in rasters:
            if asset.key.lower() == word and len(band_entries(asset)) <= 1:
                return asset, 1
        for asset in rasters:
            for number, entry in enumerate(band_entries(asset), start=1):
                if word in (entry.get("eo:common_name"), entry.get("common_name")):
                    return asset, number
    return None


def _file(asset: Asset, band: int) -> SceneFile:
    href = encoded_url(asset.href)
    href_kind(href)
    shown, access = split_access(href)
    return SceneFile(href=shown, access=access, band=band)


def _fill_of(name: str, kind: RuleKind, numbers: tuple[float, ...]) -> tuple[float, ...]:
    """What means "no imagery" in a mask that is known, unless the user's rule hides it."""
    known = next((known for known in TABLE if name.lower() in known.names), None)
    if known is None:
        return ()
    rule = QualityRule.of(known.rule)
    return tuple(number for number in rule.fill if number not in numbers) if rule.kind == kind else ()
