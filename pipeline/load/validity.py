"""Which pixels are imagery. True = valid, everywhere.

A file may say it in three ways: a mask, an alpha band or a nodata value. Not all of them can be believed.

1. `settle_rule` decides once per scene what holds. A band that is tagged alpha counts only if nothing else
   says that it is another band and its values look like a mask. `--nodata` replaces the file's own value.
2. `opened_by` opens the scene as the rule wants it. Where the rule differs from the header, GDAL gets a VRT
   with the header that should have been there, so that masks, warps and overviews all follow it.
3. `dataset_validity` reads the validity of a window.

A black border that no file declares is found by `collar`.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.dtypes import dtype_rev, in_dtype_range, typename_fwd
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window as RasterWindow

from pipeline.errors import InputError

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

ValidityKind = Literal["mask", "alpha", "nodata", "none"]
"""What of a file says which pixels are imagery."""

MASK_SHARE = 0.9
"""Share of an alpha band that must be 0 or its largest value. The rest are soft edges; a band of light, such
as near infrared, has almost all of its pixels between.
"""

MASK_VALUES = 4
"""A band with so few different values looks like a mask as well."""

_ALPHA_NAMES = re.compile(r"alpha|mask|opacity|transparen|valid|^(?:band|layer)?[ _]?\d*$", re.IGNORECASE)
"""Descriptions that an alpha band may have; `Band 4` says nothing."""


@dataclass(frozen=True, kw_only=True)
class ValidityRule:
    """What holds for one scene; settled once, before any worker reads."""

    kind: ValidityKind
    nodata: float | None = None
    """Stored value of pixels without imagery. None: no value means that."""
    alpha: int | None = None
    """1-based index of the alpha band."""
    rewritten: bool = False
    """Whether the rule differs from the file's header."""

    def to_dict(self) -> dict[str, object]:
        """Plain values for run.json, where NaN stands as "nan"."""
        nodata = self.nodata if self.nodata is None or math.isfinite(self.nodata) else str(self.nodata)
        return {**asdict(self), "nodata": nodata}


def parse_nodata(text: str) -> float | None:
    """Read a nodata value as options give it: a number, `nan`, or `none` for None. Raises InputError."""
    if text.strip().lower() == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise InputError(
            "--nodata must be a number, nan or none",
            came=repr(text),
            remedy="e.g. --nodata 0; none: the files' own nodata value is a value like any other",
        ) from None


def settle_rule(
    dataset: DatasetReader, *, nodata: str, alpha_sample: NDArray[Any] | None, textured: bool
) -> tuple[ValidityRule, tuple[str, ...]]:
    """Decide what says which pixels of a file are imagery. Returns the rule, and notes for people.

    `nodata`: as in `LoadOptions`. `alpha_sample`: values of the band that is tagged alpha, any shape; None:
    no band is. `textured`: whether the colours vary where these values were taken.
    """
    notes: list[str] = []
    tagged = alpha_band(dataset)
    doubt = None
    if tagged is not None and alpha_sample is not None:
        doubt = alpha_doubt(dataset, tagged, alpha_sample, textured=textured)
    alpha = None if doubt else tagged
    if doubt:
        notes.append(
            f"band {tagged} is tagged as alpha, but {doubt}; it is not taken for a mask. If it is one, make "
            f"it the file's mask: `gdal_translate -b 1 -b 2 -b 3 -mask {tagged} in.tif out.tif`"
        )
    own = dataset.nodata
    value = own if nodata == "file" else parse_nodata(nodata)
    kinds = {dataset.dtypes[index] for index in range(dataset.count) if index + 1 != tagged}
    if value is not None and not all(can_hold(kind, value) for kind in kinds):
        notes.append(
            f"the nodata value {value:g} cannot occur in {', '.join(sorted(kinds))}, so no pixel has it"
        )
        value = None
    masked = any(MaskFlags.per_dataset in f and MaskFlags.alpha not in f for f in dataset.mask_flag_enums)
    kind: ValidityKind = "mask" if masked else "alpha" if alpha else "nodata" if value is not None else "none"
    rewritten = alpha != tagged or not same_value(value, own)
    return ValidityRule(kind=kind, nodata=value, alpha=alpha, rewritten=rewritten), tuple(notes)


def alpha_doubt(dataset: DatasetReader, index: int, values: NDArray[Any], *, textured: bool) -> str:
    """Say why a band that is tagged alpha may be another band. Empty: it is alpha."""
    description = (dataset.descriptions[index - 1] or "").strip()
    if not _ALPHA_NAMES.search(description):
        return f"it is described as {description!r}"
    wave = [key for key in dataset.tags(index) if "wavelength" in key.lower()]
    if wave:
        return f"it has the tag {wave[0]}"
    if values.size == 0:
        return ""
    top = values.max()
    if top == 0:
        return "it is 0 everywhere over imagery" if textured else ""
    between = _share_between(values)
    if between > 1 - MASK_SHARE and np.unique(values).size > MASK_VALUES:
        return f"{between:.0%} of its pixels are neither 0 nor {top}"
    return ""


def _share_between(values: NDArray[Any]) -> float:
    """Share of the values that are neither 0 nor the largest of them."""
    return float(np.mean((values != 0) & (values != values.max())))


def unused_mask(dataset: DatasetReader, index: int, values: NDArray[Any]) -> tuple[str, ...]:
    """Note that a band looks like a mask but is not tagged as one, so that it hides nothing.

    `values`: a sample of the band, any shape. Returns one note, or none for any other band.
    """
    named = _ALPHA_NAMES.search(dataset.descriptions[index - 1] or "") is not None
    tops = (1, np.iinfo(values.dtype).max) if np.issubdtype(values.dtype, np.integer) else (1,)
    if not named or values.size == 0 or values.max() not in tops or values.min() != 0:
        return ()
    if _share_between(values) > 1 - MASK_SHARE:
        return ()
    hidden = float(np.mean(values == 0))
    return (
        f"band {index} is 0 in {hidden:.1%} of the scene and {values.max()} elsewhere, as a mask is, but "
        "nothing tags it as one; all is judged. If it is a mask, make it the file's: "
        f"`gdal_translate -b 1 -b 2 -b 3 -mask {index} in.tif out.tif`",
    )


def same_value(one: float | None, other: float | None) -> bool:
    """Whether two nodata values are the same, NaN being equal to itself."""
    if one is None or other is None:
        return one is other
    return one == other or (math.isnan(one) and math.isnan(other))


def can_hold(dtype: str, value: float) -> bool:
    """Whether a data type can store `value`."""
    if np.issubdtype(np.dtype(dtype), np.integer):
        return math.isfinite(value) and value == int(value) and bool(in_dtype_range(value, dtype))
    return True


def opened_by(dataset: DatasetReader, rule: ValidityRule) -> DatasetReader:
    """Return `dataset` itself, or a VRT of the same bands where the rule differs from the header.

    The VRT opens the file again, so the caller closes both.
    """
    return rasterio.open(_vrt_text(dataset, rule)) if rule.rewritten else dataset


def _vrt_text(dataset: DatasetReader, rule: ValidityRule) -> str:
    """Write the header of `dataset` as a VRT, with nodata value and alpha band as the rule has them."""
    root = ElementTree.Element("VRTDataset", rasterXSize=str(dataset.width), rasterYSize=str(dataset.height))
    if dataset.crs:
        ElementTree.SubElement(root, "SRS").text = dataset.crs.to_wkt()
    transform = ", ".join(repr(float(value)) for value in dataset.transform.to_gdal())
    ElementTree.SubElement(root, "GeoTransform").text = transform
    for index in range(1, dataset.count + 1):
        kind = typename_fwd[dtype_rev[dataset.dtypes[index - 1]]]
        band = ElementTree.SubElement(root, "VRTRasterBand", dataType=kind, band=str(index))
        if index == rule.alpha:
            ElementTree.SubElement(band, "ColorInterp").text = "Alpha"
        elif rule.nodata is not None:
            ElementTree.SubElement(band, "NoDataValue").text = repr(rule.nodata)
        _add_source(band, dataset, str(index))
    if rule.kind == "mask":
        mask = ElementTree.SubElement(root, "MaskBand")
        _add_source(ElementTree.SubElement(mask, "VRTRasterBand", dataType="Byte"), dataset, "mask,1")
    return ElementTree.tostring(root, encoding="unicode")


def _add_source(band: ElementTree.Element, dataset: DatasetReader, name: str) -> None:
    source = ElementTree.SubElement(band, "SimpleSource")
    ElementTree.SubElement(source, "SourceFilename", relativeToVRT="0", shared="0").text = dataset.name
    ElementTree.SubElement(source, "SourceBand").text = name


def dataset_validity(
    dataset: DatasetReader,
    values: NDArray[Any],
    *,
    window: RasterWindow | None = None,
    out_shape: tuple[int, int] | None = None,
) -> NDArray[np.bool_]:
    """Read the validity (H, W) of `window` as the dataset declares it.

    A pixel lacks imagery only when ALL bands do, because masks per band punch holes into bright roofs. This
    goes for NaN and infinity too: one of the three bands must be finite and not nodata. `values` (3, H, W):
    the stored values of the window. `window`: None: the whole dataset. `out_shape`: (H, W) of a decimated
    read; None: full resolution.
    """
    alpha = alpha_band(dataset)
    if all(flags == [MaskFlags.all_valid] for flags in dataset.mask_flag_enums):
        valid = np.ones(values.shape[1:], dtype=np.bool_)  # GDAL would write and compare as many bytes
    else:
        valid = np.asarray(dataset.dataset_mask(window=window, out_shape=out_shape)) > 0
    if alpha is not None:
        valid &= dataset.read(alpha, window=window, out_shape=out_shape) > 0
    if np.issubdtype(values.dtype, np.floating):
        finite = np.isfinite(values)
        if not finite.all():
            valid &= finite.all(axis=0) | (finite & band_validity(values, dataset.nodata)).any(axis=0)
    return valid


def band_validity(values: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    """Say per band (same shape as `values`) which values are numbers and not nodata."""
    valid = np.isfinite(values) if np.issubdtype(values.dtype, np.floating) else np.ones(values.shape, bool)
    if nodata is not None and not math.isnan(nodata):
        valid &= values != np.asarray(nodata, dtype=values.dtype)
    return valid


def alpha_band(dataset: DatasetReader) -> int | None:
    """Find the 1-based index of the band that is tagged alpha. None: there is none.

    It is found by its tag: GDAL's mask flags know it only in files of two or four bands.
    """
    return next(
        (index for index, kind in enumerate(dataset.colorinterp, start=1) if kind == ColorInterp.alpha), None
    )
