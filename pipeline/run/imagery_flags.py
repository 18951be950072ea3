"""The options of jobs/segment_region.py about imagery: rasters, masks of clouds, and catalogues.

Nothing here imports a heavy library. What the options mean is checked where they are read.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.grid.catalog.catalog_options import CatalogOptions
    from pipeline.grid.source import SourceOptions


_CATALOGS = """A --source may be a STAC API or a static catalogue, stac:URL#collection[,collection];
a file or URL of items, a collection or a catalogue (.json, .geojson); or stac-geoparquet
(.parquet). Rasters and catalogues may be mixed. For example:
  --source "stac:https://earth-search.aws.element84.com/v1#sentinel-2-l2a"
  --datetime 2025-06/2025-08 --max-cloud 20 --mosaic least-cloudy"""


def add_imagery_options(top: argparse.ArgumentParser) -> None:
    """Add the groups `imagery`, `clouds` and `catalogues`."""
    _add_rasters(top)
    _add_clouds(top)
    _add_catalogs(top)


def _add_rasters(top: argparse.ArgumentParser) -> None:
    imagery = top.add_argument_group("imagery")
    imagery.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="HREF",
        help="GeoTIFF: path, glob, folder, http(s):// or s3://; red=FILE,green=FILE,blue=FILE of one scene; "
        "or a catalogue (see below); repeatable",
    )
    imagery.add_argument(
        "--bands", metavar="R,G,B", help="red, green, blue as 1-based numbers or names (default: the file's)"
    )
    imagery.add_argument(
        "--nodata",
        metavar="V|none",
        help="stored value without imagery, in place of what files declare; none: no value means that",
    )
    imagery.add_argument(
        "--collar",
        choices=("auto", "off", "black"),
        help="black borders that no file declares: no imagery where that is certain (auto, default), all "
        "imagery (off), or none, dark water at the border included (black)",
    )
    imagery.add_argument(
        "--radiometry",
        default="auto",
        metavar="HOW",
        help="how stored values become reflectance, so that one ground has one grey: auto (default; what "
        "catalogue and file say), stored (they do not), sentinel-2-l2a, landsat-c2-l2, or SCALE,OFFSET",
    )
    imagery.add_argument(
        "--scale",
        metavar="LO,HI",
        help="stored values that become black and white (default: reflectance 0 to 0.3 where it is known, "
        "else 8 bits as they are, else percentiles)",
    )
    imagery.add_argument(
        "--crs",
        help="run grid CRS, e.g. EPSG:32633 (default: the sources' own; where they have several, each is "
        "worked in its own pixels)",
    )
    imagery.add_argument(
        "--datetime-of",
        action="append",
        default=[],
        metavar="TIME",
        help="when scenes were taken whose files do not say: a time (2024-06-01), `name` (the date in the "
        "file's name), or GLOB=TIME for some of them; repeatable, the first that fits wins",
    )
    imagery.add_argument(
        "--resolution",
        type=float,
        metavar="SIDE",
        help="side of the run grid's pixels, in the unit of its CRS: metres, feet or degrees",
    )
    imagery.add_argument(
        "--gsd",
        type=float,
        metavar="METRES",
        help="side of the run grid's pixels on the ground, in metres whatever the CRS; scenes whose own "
        "pixels are within one per cent of it are read as they are",
    )


def _add_clouds(top: argparse.ArgumentParser) -> None:
    clouds = top.add_argument_group("clouds")
    clouds.add_argument(
        "--mask",
        metavar="RULE",
        help='which mask, and what of it hides the ground: "SCL in (3,8,9,10)", "QA_PIXEL bits (1,2,3,4)", '
        '"cloud > 50"; items without that mask are left out (default: the mask that an item is known to '
        "have, if it has one); off reads none, csmask computes one from six bands where there is none "
        "(extra `clouds`)",
    )
    clouds.add_argument(
        "--mask-file",
        metavar="NAME",
        help='masks beside scenes that are named one by one: "{stem}_SCL.tif"; --mask says what hides the '
        "ground, unless the name is that of a known mask",
    )
    clouds.add_argument(
        "--max-cloud-tile",
        type=float,
        metavar="PERCENT",
        help="tiles of which clouds hide more, in every scene, are empty(cloud) without a model call "
        "(default 80); what is hidden in the others is not judged",
    )


def _add_catalogs(top: argparse.ArgumentParser) -> None:
    catalogs = top.add_argument_group(
        "catalogues",
        _CATALOGS,
    )
    catalogs.add_argument(
        "--datetime",
        metavar="A/B",
        help="only items of this time: a day, month or year, or two with / between, `..` for an open end "
        "(2025-06-01/..)",
    )
    catalogs.add_argument(
        "--max-cloud", type=float, metavar="P", help="only items with at most P per cent of clouds (0..100)"
    )
    catalogs.add_argument(
        "--stac-filter",
        metavar="CQL2",
        help="only items that fit, e.g. \"gsd <= 1 AND platform = 'landsat-9'\"",
    )
    catalogs.add_argument(
        "--sort",
        metavar="FIELDS",
        help="order of the items, e.g. -datetime,eo:cloud_cover; - for falling (default: newest first)",
    )
    catalogs.add_argument(
        "--max-items",
        type=int,
        metavar="N",
        help="only the first N items in the order of --sort (default: all)",
    )
    catalogs.add_argument(
        "--assets",
        metavar="A[,B,C]",
        help="which files of an item: one that holds all colours, or those of red, green and blue (default: "
        "what the items say, a picture in colour before single bands)",
    )
    catalogs.add_argument(
        "--mosaic",
        default="first",
        metavar="ORDER",
        help="which of several scenes of one place wins, of rasters too: first (default; as named or found), "
        "newest, oldest, least-cloudy or closest-to:DATE; the next ones fill what it leaves",
    )
    catalogs.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="HOST",
        help="let items name files on this host too, beside the catalogue's own; *.host for all below it",
    )
    catalogs.add_argument(
        "--allow-root",
        action="append",
        default=[],
        metavar="DIR",
        help="let items name local files below this folder too; repeatable",
    )


def with_falling_sort(words: Sequence[str]) -> list[str]:
    """Join `--sort -datetime` into one word: argparse takes a word that begins with - for an option."""
    joined: list[str] = []
    for word in words:
        if joined[-1:] == ["--sort"] and word.startswith("-") and not word.startswith("--"):
            joined[-1] = f"--sort={word}"
        else:
            joined.append(word)
    return joined


def source_options(args: argparse.Namespace) -> SourceOptions:
    """Read which rasters, and how. Raises InputError; opens nothing."""
    from pipeline.grid.catalog.quality_table import check_mask
    from pipeline.grid.radiometry import parse_radiometry
    from pipeline.grid.source import SourceOptions

    check_mask(args.mask)
    return SourceOptions(
        hrefs=tuple(args.source),
        bands=_bands(args.bands),
        crs=args.crs,
        datetimes=tuple(args.datetime_of),
        mask_file=args.mask_file,
        mask=args.mask,
        radiometry=parse_radiometry(args.radiometry),
    )


def catalog_options(args: argparse.Namespace) -> CatalogOptions:
    """Read what is asked of catalogues. Raises InputError; searches nothing."""
    from pipeline.grid.catalog.asset_choice import check_asset_names
    from pipeline.grid.catalog.catalog_options import CatalogOptions

    return CatalogOptions(
        datetime=args.datetime,
        max_cloud=args.max_cloud,
        filter=args.stac_filter,
        sort=args.sort,
        limit=args.max_items,
        assets=None if args.assets is None else check_asset_names(args.assets.split(",")),
        allow_hosts=tuple(args.allow_host),
        allow_roots=tuple(args.allow_root),
    )


def _bands(text: str | None) -> tuple[str | int, ...] | None:
    if text is None:
        return None
    return tuple(int(part) if part.strip().isdecimal() else part.strip() for part in text.split(","))
