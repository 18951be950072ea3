"""Many runs as one STAC Collection, so that a catalogue's browser finds results by place and time.

1. `read_items` reads item.json of each finished run, and refuses what has none, no place, or is there twice.
2. `write_collection` makes a static catalogue: collection.json, and one item per run beside it. Links between
   them are relative. Files of runs are linked where they lie: relative where a run lies on this machine, so
   that a folder that holds both can be moved, and by address in a bucket.
3. All items are in items.parquet too (stac-geoparquet, `item_table`), which the collection names as its
   mirror: one file to search, however many runs there are.

Runs are only read. A collection is made anew each time: it holds nothing that is not in the runs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pystac

from pipeline.errors import InputError
from pipeline.files.output_folder import require_folder, require_no_run, work_folder
from pipeline.files.store.store_path import StorePath, store_path
from pipeline.write.item_table import write_item_table
from pipeline.write.run_document import finished_run

COLLECTION = "collection.json"

ITEMS = "items"
"""Folder of the items."""

ITEM_TABLE = "items.parquet"
"""All items as stac-geoparquet."""

_WORK = ".collection-"

_QUERIES = "terraquery:queries"


@dataclass(frozen=True, kw_only=True)
class CollectionRequest:
    """Which runs, and what the collection says about itself."""

    runs: tuple[str, ...]
    out: Path
    collection_id: str
    title: str
    description: str
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class CollectedRun:
    """A run with its item."""

    run_dir: StorePath
    item: pystac.Item


def read_items(runs: Sequence[str]) -> list[CollectedRun]:
    """Read the items of runs, the earliest first. Raises InputError."""
    found: dict[str, CollectedRun] = {}
    for place in runs:
        run_dir = finished_run(place)
        if not run_dir.item.is_file():
            raise InputError(
                "a collection needs the directories of finished runs",
                came=f"{run_dir.path} without an item.json",
                remedy="let the run end; jobs/verify_run.py says why an ended run has none",
            )
        try:
            item = pystac.Item.from_dict(_document(run_dir.item))
        except (ValueError, KeyError, TypeError, pystac.STACError) as error:
            raise InputError(
                f"{run_dir.item} must be a STAC Item",
                came=str(error) or type(error).__name__,
                remedy="merge the run again with jobs/restitch_region.py, which writes it anew",
            ) from error
        if item.geometry is None:
            raise InputError(
                "runs of a collection have a place on the Earth",
                came=f"{run_dir.path}, a run without a CRS of the Earth",
                remedy="leave it out",
            )
        if item.id in found:
            raise InputError(
                "each run is in a collection once",
                came=f"{run_dir.path} and {found[item.id].run_dir}, which are one run",
                remedy="leave one of them out",
            )
        found[item.id] = CollectedRun(run_dir=run_dir.path, item=item)
    return sorted(found.values(), key=lambda run: (_begin(run.item), run.item.id))


def write_collection(request: CollectionRequest) -> Path:
    """Write the collection into `request.out`; returns the path of collection.json. Raises InputError."""
    require_folder(request.out)
    require_no_run(request.out)
    if (request.out / COLLECTION).exists() and not request.overwrite:
        raise InputError(
            "a collection is not replaced unasked",
            came=str(request.out / COLLECTION),
            remedy="add --overwrite, or give another --out",
        )
    runs = read_items(request.runs)
    with work_folder(request.out, _WORK) as work:
        _make(request, runs, work)
        shutil.rmtree(request.out / ITEMS, ignore_errors=True)
        (work / ITEMS).replace(request.out / ITEMS)
        (work / ITEM_TABLE).replace(request.out / ITEM_TABLE)
        return (work / COLLECTION).replace(request.out / COLLECTION)


def _make(request: CollectionRequest, runs: Sequence[CollectedRun], work: Path) -> None:
    collection = pystac.Collection(
        id=request.collection_id,
        title=request.title,
        description=request.description,
        extent=pystac.Extent.from_items([run.item for run in runs]),
        license="other",
    )
    queries = sorted({query for run in runs for query in run.item.properties.get(_QUERIES, [])})
    collection.summaries.add(_QUERIES, queries)
    collection.add_asset(
        "items",
        pystac.Asset(
            href=f"./{ITEM_TABLE}",
            media_type="application/vnd.apache.parquet",
            title="all items as stac-geoparquet",
            roles=["collection-mirror"],
        ),
    )
    collection.set_self_href(str(work / COLLECTION))
    rows = []
    for run in runs:
        own = run.item
        hrefs = {name: asset.href for name, asset in own.assets.items()}
        own.links = [link for link in own.links if link.rel == "derived_from"]
        collection.add_item(own)
        own.set_self_href(str(work / ITEMS / own.id / f"{own.id}.json"))
        for name, href in hrefs.items():  # last: pystac moves relative ones with the item
            own.assets[name].href = _href(run.run_dir, href, request.out / ITEMS / own.id)
        beside = {name: _href(run.run_dir, href, request.out) for name, href in hrefs.items()}
        rows.append(_row(own, beside))
    collection.save(catalog_type=pystac.CatalogType.SELF_CONTAINED)
    write_item_table(work / ITEM_TABLE, rows, _document(store_path(work / COLLECTION)))


def _row(item: pystac.Item, hrefs: Mapping[str, str]) -> dict[str, Any]:
    """The item as the table has it: its links and files (`hrefs`) are seen from the folder of the table."""
    document: dict[str, Any] = item.to_dict(include_self_link=False, transform_hrefs=False)
    for link in document["links"]:
        if link["rel"] != "derived_from":  # root, parent and collection
            link["href"] = f"./{COLLECTION}"
    for name, href in hrefs.items():
        document["assets"][name]["href"] = href
    return document


def _href(run_dir: StorePath, href: str, beside: Path) -> str:
    """Address of a run's file, seen from the folder of its item."""
    whole = run_dir / href.removeprefix("./")
    if not run_dir.is_local:
        return str(whole)
    return Path(os.path.relpath(whole.local(), beside)).as_posix()


def _begin(item: pystac.Item) -> str:
    when = item.datetime or item.common_metadata.start_datetime
    return when.isoformat() if when else ""


def _document(path: StorePath) -> dict[str, object]:
    import json

    document = json.loads(path.read_text())
    if not isinstance(document, dict):
        raise TypeError("no JSON object")
    return document
