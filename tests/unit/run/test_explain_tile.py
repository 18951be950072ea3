"""What a tile is made of. Oracle: three scenes of 40 x 40 px whose valid parts are counted by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from item_files import grey, item_document, projection_fields, write_items, write_pixels

from pipeline.errors import InputError
from pipeline.grid.mosaic_order import mosaic_order
from pipeline.grid.source import SourceOptions
from pipeline.run.config import AreaOptions, GridChoice, RunConfig, build_preset, merge_tables, preset_tables
from pipeline.run.explain_tile import explain_plan, explain_run
from pipeline.run.prepare import RunRequest, claim, plan_request
from pipeline.write.run_dir import RunDir

TILES = {"px": 40, "halo_px": 4, "block_tiles": 2}


def config_of(folder: Path) -> RunConfig:
    """Newest first: the left half under clouds but for 8 columns, then one with the upper half alone, then
    one with a wrong item, which is never needed where the others are full."""
    new = write_pixels(folder / "new.tif", grey(40, 40, 50))
    classes = np.full((1, 40, 40), 4, np.uint8)
    classes[:, :, 8:20] = 9
    scl = write_pixels(folder / "scl.tif", classes)
    half = grey(40, 40, 60)
    half[:, 20:] = 0
    mid = write_pixels(folder / "mid.tif", half)
    old = write_pixels(folder / "old.tif", grey(40, 40, 70))
    documents = [
        item_document("new", {"image": new, "scl": scl}, when="2024-06-01T00:00:00Z"),
        item_document("mid", {"image": mid}, when="2023-06-01T00:00:00Z", on_item={"eo:cloud_cover": 12.5}),
        item_document("old", {"image": old}, when=None, on_item=projection_fields(old)),
    ]
    for document in documents[:2]:
        document["properties"] |= projection_fields(new)
    documents[2]["properties"]["proj:shape"] = [40, 41]
    source = SourceOptions(hrefs=(str(write_items(folder / "items.json", documents)),))
    oracle = {"prompter": {"kind": "oracle", "model": f"oracle:{labels(folder)}"}}
    oracle |= {"segmenter": {"kind": "oracle", "checkpoint": f"oracle:{labels(folder)}"}}
    return RunConfig(
        queries=("x",),
        area=AreaOptions(whole_scene=True),
        source=source,
        grid=GridChoice(),
        preset_name="embedded",
        preset=build_preset(merge_tables({**preset_tables("embedded"), **oracle}, {"tiles": TILES})),
        mosaic=mosaic_order("newest"),
    )


def labels(folder: Path) -> Path:
    return write_pixels(folder / "labels.tif", np.ones((1, 40, 41), np.int32), nodata=None)


def cells(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(name + " ")]
    return line.replace(" %", "%").split()


def test_each_scene_fills_what_those_before_it_leave(tmp_path: Path) -> None:
    """The tile reads 36 x 36 px of the first core and its halo: rows and columns 0 to 36."""
    told = explain_plan(config_of(tmp_path), (0, 0))
    text = told.text
    assert not told.readable
    assert "tile r00000c00000 reads 36 x 36 px, rows 0 to 36 and columns 0 to 36" in text
    assert cells(text, "scene") == ["scene", "date", "clouds", "covers", "imagery", "masked", "fills"]
    hidden = 100 * 12 / 36
    upper = 100 * 20 / 36
    assert cells(text, "new") == [
        *("new", "2024-06-01", "unknown", "100.0%", f"{100 - hidden:.1f}%", f"{hidden:.1f}%"),
        f"{100 - hidden:.1f}%",
    ]
    fills = 100 * 12 * 20 / 36**2
    assert cells(text, "mid") == [
        *("mid", "2023-06-01", "12.5%", "100.0%", f"{upper:.1f}%", "0.0%", f"{fills:.1f}%"),
    ]
    assert cells(text, "old") == ["old", "unknown", "unknown", "100.0%", *["unreadable"] * 3]
    assert "what is shown by none of them is not known; order of the mosaic: newest" in text
    assert "note: old: " in text
    assert "note: old: old: " not in text
    assert "shape is 40 x 41 in the item, 40 x 40 in the file" in text


def test_a_run_is_explained_as_it_was_planned(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    claim(plan_request(RunRequest(config=config, out=str(tmp_path / "out"), runner="local")))
    told = explain_run(RunDir(tmp_path / "out"), (0, 0))
    assert told == explain_plan(config, (0, 0)), "the same scenes, and no ledger yet"


def test_a_place_that_is_none_is_refused(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    with pytest.raises(InputError, match=r"Got: 7 0\. To fix: the plan has 2 rows and 2 columns"):
        explain_plan(config, (7, 0))
    with pytest.raises(InputError, match="a run needs a region"):
        explain_plan(replace(config, area=AreaOptions()), (0, 0))
