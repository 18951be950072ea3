"""Scenes that keep red, green and blue in files of their own, opened as one dataset of three bands.

1. `_require_alike` refuses files that are not three bands of one picture.
2. `_vrt_text` writes the header of that picture: a VRT, in which each band names its file. GDAL opens the
   files again by the names of their datasets, which the caller has opened and checked.

A pixel of a scene lacks imagery only when all of its bands do. So files with masks get one joint mask, which
is valid where one of theirs is. Whoever reads the dataset need not know that there are three files.

While pixels of remote files are read so, no other thread of the process may open or close a dataset: GDAL
opens the files under its lock over all datasets, and asks Python for their bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import rasterio
from rasterio.dtypes import dtype_rev, typename_fwd
from rasterio.enums import MaskFlags

from pipeline.errors import InputError
from pipeline.geo.pixel_rules import offset_on

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

COLOURS = ("red", "green", "blue")

LOSSLESS = ("", "LZW", "DEFLATE", "ZSTD", "PACKBITS", "LZMA")
"""Compressions, as GDAL names them, that keep every value."""


@dataclass(frozen=True, kw_only=True)
class OpenBand:
    """One band of an opened file."""

    name: str
    """The file's href as it may be shown."""
    dataset: DatasetReader
    band: int
    """1-based band of the file."""

    @property
    def dtype(self) -> str:
        return str(self.dataset.dtypes[self.band - 1])


def stack_bands(bands: Sequence[OpenBand]) -> DatasetReader:
    """Open red, green and blue of three files as one dataset of three bands, in this order.

    It opens the files again, so the caller closes all four. Raises InputError for files that do not share
    CRS, pixels, data type and nodata value, or do not have the band.
    """
    _require_alike(bands)
    return rasterio.open(_vrt_text(bands), driver="VRT", sharing=False)


def _require_alike(bands: Sequence[OpenBand]) -> None:
    """Raise InputError unless all files are bands of one picture. It names two that differ, and how."""
    for own in bands:
        if not 1 <= own.band <= own.dataset.count:
            raise InputError(
                f"A file of a scene must have the band that is read of it: {own.name}",
                came=f"band {own.band} of {own.dataset.count}",
                remedy="name another band or file",
            )
    first = bands[0]
    for own, colour in zip(bands[1:], COLOURS[1:], strict=True):
        for what, value in _RULES.items():
            if value(own, first) != value(first, first):
                came = (
                    f"red: {value(first, first)} ({first.name}); {colour}: {value(own, first)} ({own.name})"
                )
                raise InputError(
                    f"Red, green and blue of one scene must have one {what}",
                    came=came,
                    remedy="give bands of one scene and one resolution; `gdalwarp` and `gdal_edit` make them "
                    "alike",
                )


def _pixels(own: OpenBand, first: OpenBand) -> str:
    """Where the pixels lie, in words that are equal when they are the same to a hundredth of a pixel."""
    dataset = own.dataset
    one, other = (tuple(item.dataset.transform)[:6] for item in (first, own))
    same = offset_on(one, other, width=dataset.width, height=dataset.height) == (0, 0)
    return str(first.dataset.transform if same else dataset.transform).replace("\n", " ")


_RULES: dict[str, Callable[[OpenBand, OpenBand], Any]] = {
    "CRS": lambda own, first: first.dataset.crs if own.dataset.crs == first.dataset.crs else own.dataset.crs,
    "size": lambda own, _: f"{own.dataset.width} x {own.dataset.height} px",
    "place of their pixels": _pixels,
    "data type": lambda own, _: own.dtype,
    "nodata value": lambda own, _: None if own.dataset.nodata is None else repr(own.dataset.nodata),
}
"""What must be the same, and how a band says it; the second argument is the band of red."""


def _vrt_text(bands: Sequence[OpenBand]) -> str:
    """Write the header of three bands as a VRT."""
    first = bands[0].dataset
    root = ElementTree.Element("VRTDataset", rasterXSize=str(first.width), rasterYSize=str(first.height))
    if first.crs:
        ElementTree.SubElement(root, "SRS").text = first.crs.to_wkt()
    place = ", ".join(repr(float(value)) for value in first.transform.to_gdal())
    ElementTree.SubElement(root, "GeoTransform").text = place
    if compression := _compression(bands):
        structure = ElementTree.SubElement(root, "Metadata", domain="IMAGE_STRUCTURE")
        ElementTree.SubElement(structure, "MDI", key="COMPRESSION").text = compression
    rows, cols = first.block_shapes[bands[0].band - 1]
    for index, own in enumerate(bands, start=1):
        element = ElementTree.SubElement(
            root,
            "VRTRasterBand",
            dataType=typename_fwd[dtype_rev[own.dtype]],
            band=str(index),
            blockXSize=str(cols),
            blockYSize=str(rows),
        )
        ElementTree.SubElement(element, "ColorInterp").text = COLOURS[index - 1].capitalize()
        if first.nodata is not None:
            ElementTree.SubElement(element, "NoDataValue").text = repr(first.nodata)
        for tag, values in (
            ("UnitType", own.dataset.units),
            ("Offset", own.dataset.offsets),
            ("Scale", own.dataset.scales),
        ):
            ElementTree.SubElement(element, tag).text = str(values[own.band - 1] or "")
        _add_source(element, own, "SimpleSource", str(own.band))
    if any(_has_mask(own.dataset) for own in bands):
        mask = ElementTree.SubElement(
            ElementTree.SubElement(root, "MaskBand"), "VRTRasterBand", dataType="Byte"
        )
        for own in bands:  # what is 0 in one is not painted over what another painted before
            source = _add_source(mask, own, "ComplexSource", f"mask,{own.band}")
            ElementTree.SubElement(source, "NODATA").text = "0"
    return ElementTree.tostring(root, encoding="unicode")


def _add_source(band: ElementTree.Element, own: OpenBand, kind: str, name: str) -> ElementTree.Element:
    source = ElementTree.SubElement(band, kind)
    ElementTree.SubElement(source, "SourceFilename", relativeToVRT="0", shared="0").text = own.dataset.name
    ElementTree.SubElement(source, "SourceBand").text = name
    return source


def _compression(bands: Sequence[OpenBand]) -> str:
    """Find the compression of a file, as GDAL names it: of one that loses something, if any does."""
    found = [str(own.dataset.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION", "")) for own in bands]
    return next((name for name in found if name.upper() not in LOSSLESS), found[0])


def _has_mask(dataset: DatasetReader) -> bool:
    """Whether a file has a mask or an alpha band, besides a nodata value."""
    return any(MaskFlags.per_dataset in flags for flags in dataset.mask_flag_enums)
