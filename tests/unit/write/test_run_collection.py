"""A collection of runs, read by pystac: every link leads somewhere, also after all was moved."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rustac
from job_files import load_job
from record_world import golden_run, lattice_of, run_info

from pipeline.errors import InputError
from pipeline.grid.catalog.catalog_search import CatalogSearch
from pipeline.grid.catalog.item_sieve import ItemSieve
from pipeline.grid.catalog.parquet_items import add_parquet_items
from pipeline.write.run_collection import COLLECTION, CollectionRequest, read_items, write_collection
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import write_run_json
from pipeline.write.stac_item import ItemInputs, footprint_lonlat, write_item


def run_of(
    folder: Path, run_id: str, *, queries: tuple[str, ...] = ("roofs", "été"), place: bool = True
) -> Path:
    """A run directory with an id and queries of its own."""
    golden_run(folder)
    info = replace(run_info(), run_id=run_id, queries=queries)
    write_run_json(folder / "run.json", info)
    lattice = lattice_of()
    inside = np.ones((lattice.n_tile_rows, lattice.n_tile_cols), dtype=np.bool_)
    geometry = footprint_lonlat(lattice, inside) if place else None
    (folder / "item.json").unlink()
    write_item(RunDir(folder), ItemInputs(info=info, geometry=geometry), "")
    return folder


def request_for(runs: list[Path], out: Path, **changes: Any) -> CollectionRequest:
    whole = CollectionRequest(
        runs=tuple(map(str, runs)), out=out, collection_id="bay", title="The bay", description="Two nights"
    )
    return replace(whole, **changes)


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [run_of(tmp_path / "runs/a", "run-a"), run_of(tmp_path / "runs/b", "run-b", queries=("ships",))]


def test_a_reader_finds_every_run_and_file(runs: list[Path], tmp_path: Path) -> None:
    path = write_collection(request_for(runs, tmp_path / "catalogue"))
    assert path == tmp_path / "catalogue" / COLLECTION
    collection = pystac.Collection.from_file(str(path))
    collection.validate()
    assert (collection.title, collection.license) == ("The bay", "other")
    assert collection.summaries.get_list("terraquery:queries") == ["roofs", "ships", "été"]
    items = list(collection.get_items())
    assert [item.id for item in items] == ["run-a", "run-b"]
    for item, run in zip(items, runs, strict=True):
        item.stac_extensions = []  # their schemas would need a network
        item.validate()
        assert {"masks", "instances", "coverage"} <= set(item.assets)
        for asset in item.assets.values():
            own = Path(asset.get_absolute_href())
            assert own.exists()
            assert run in own.parents
            assert not Path(asset.href).is_absolute()
        assert [link.rel for link in item.links if link.rel == "derived_from"]
    boxes = [item.bbox for item in items]
    assert collection.extent.spatial.bboxes[0] == [
        pytest.approx(pick(box[at] for box in boxes)) for at, pick in enumerate((min, min, max, max))
    ]


def test_the_table_has_the_items_and_is_a_source_for_searches(runs: list[Path], tmp_path: Path) -> None:
    """Read by the reader of --source, and by rustac; the files that its items name are those of the runs."""
    write_collection(request_for(runs, tmp_path / "c"))
    collection = pystac.Collection.from_file(str(tmp_path / "c" / COLLECTION))
    mirror = collection.assets["items"]
    assert (mirror.roles, mirror.media_type) == (["collection-mirror"], "application/vnd.apache.parquet")
    table = Path(mirror.get_absolute_href())
    documents = json.loads(json.dumps(rustac.read_sync(str(table))["features"]))
    assert [document["id"] for document in documents] == ["run-a", "run-b"]
    for document, own in zip(documents, collection.get_items(), strict=True):
        assert {link["rel"] for link in document["links"]} == {link.rel for link in own.links} - {"self"}
        found = pystac.Item.from_dict(document, href=str(table.with_name("row.json")))
        found.stac_extensions = []
        found.validate()
        assert (found.geometry, found.bbox, found.collection_id) == (own.geometry, own.bbox, "bay")
        assert found.properties["terraquery:queries"] == own.properties["terraquery:queries"]
        assert found.properties["processing:datetime"] == own.properties["processing:datetime"]
    sieve = ItemSieve(CatalogSearch(source="", filter="\"terraquery:status\" = 'complete'"), None)
    add_parquet_items(str(table), sieve)
    assert [item.item_id for item in sieve.found()] == ["run-a", "run-b"]
    for item, run in zip(sieve.found(), runs, strict=True):
        assert {"masks", "instances", "coverage", "run"} <= set(item.assets)
        for name, asset in item.assets.items():
            own_file = Path(asset.href).resolve()
            assert own_file.exists(), name
            assert run in own_file.parents


def test_catalogue_and_runs_can_be_moved_together(runs: list[Path], tmp_path: Path) -> None:
    write_collection(request_for(runs, tmp_path / "runs/catalogue"))
    shutil.move(tmp_path / "runs", tmp_path / "elsewhere")
    collection = pystac.Collection.from_file(str(tmp_path / "elsewhere/catalogue" / COLLECTION))
    hrefs = [
        Path(asset.get_absolute_href()) for item in collection.get_items() for asset in item.assets.values()
    ]
    assert len(hrefs) > 6
    assert all(href.exists() for href in hrefs)


def test_a_collection_is_made_anew(runs: list[Path], tmp_path: Path) -> None:
    write_collection(request_for(runs, tmp_path / "c"))
    with pytest.raises(InputError, match="not replaced unasked"):
        write_collection(request_for(runs[:1], tmp_path / "c"))
    write_collection(request_for(runs[:1], tmp_path / "c", overwrite=True))
    assert [path.name for path in (tmp_path / "c/items").iterdir()] == ["run-a"]
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [COLLECTION, "items", "items.parquet"]


def test_what_cannot_be_listed_is_named_and_nothing_is_written(runs: list[Path], tmp_path: Path) -> None:
    def refused(*more: Path) -> str:
        with pytest.raises(InputError) as caught:
            write_collection(request_for([*runs, *more], tmp_path / "c"))
        assert not (tmp_path / "c").exists()
        return str(caught.value)

    assert "without an item.json" in refused(tmp_path / "nothing")
    shutil.copytree(runs[0], tmp_path / "copy")
    assert "which are one run" in refused(tmp_path / "copy")
    assert "without a CRS of the Earth" in refused(run_of(tmp_path / "nowhere", "run-c", place=False))
    (tmp_path / "copy/item.json").write_text("[]")
    assert "must be a STAC Item" in refused(tmp_path / "copy")
    (tmp_path / "copy/item.json").write_text("{")
    assert "must be a STAC Item" in refused(tmp_path / "copy")


def test_runs_come_in_the_order_of_their_times(runs: list[Path]) -> None:
    document = json.loads((runs[1] / "item.json").read_text())
    document["properties"] |= {"datetime": "1999-01-01T00:00:00Z"}
    (runs[1] / "item.json").write_text(json.dumps(document))
    assert [run.item.id for run in read_items([str(run) for run in runs])] == ["run-b", "run-a"]


def test_the_job_lists_runs(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = load_job("collect_runs").main
    words = [*map(str, runs), "--out", str(tmp_path / "c"), "--id", "bay"]
    assert main(words) == 0
    assert "2 runs" in capsys.readouterr().out
    assert json.loads((tmp_path / "c" / COLLECTION).read_text())["title"] == "bay"
    assert main(words) == 2
    assert "add --overwrite" in capsys.readouterr().err
