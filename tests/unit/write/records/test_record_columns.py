"""Columns of a block record: values by hand, and records back from them."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest
from record_world import lattice_of, plain_tile

from pipeline.schema.tile_answers import Fragment, Prompt, Reason, TileRecord, TileStatus
from pipeline.schema.tiling import Window
from pipeline.write.records.record_columns import (
    SCHEMA,
    features_column,
    fragment_lists,
    fragments_column,
    prompts_column,
    record_schema,
    tile_records,
    tile_specs,
)

EMPTY = plain_tile(lattice_of(), 0, 0, TileStatus.EMPTY, Reason.PROMPTER)
PROMPTS = (
    Prompt(box_xyxy=(1.0, 2.0, 3.5, 4.0), points_xy=((1.5, 2.5),), point_labels=(0,), label="roof"),
    Prompt(box_xyxy=None, points_xy=((0.25, 0.5), (9.0, 8.0)), point_labels=(1, 0), label="half \ud800 done"),
)


def fragment(local: int) -> Fragment:
    return Fragment(
        local=local,
        prompt_index=local + 1,
        score_q=local + 2,
        full_px=local + 3,
        core_px=local + 4,
        anchor=local + 5,
        window=Window(row0=local + 8, col0=local + 9, row1=local + 10, col1=local + 11),
        censored=local + 6,
        margin=local + 7,
    )


def test_prompts_are_structs_and_a_lone_surrogate_becomes_a_question_mark() -> None:
    column = prompts_column([replace(EMPTY, prompts=PROMPTS), EMPTY])
    assert column.to_pylist() == [
        [
            {"box_xyxy": [1.0, 2.0, 3.5, 4.0], "points": [{"x": 1.5, "y": 2.5, "label": 0}], "label": "roof"},
            {
                "box_xyxy": None,
                "points": [{"x": 0.25, "y": 0.5, "label": 1}, {"x": 9.0, "y": 8.0, "label": 0}],
                "label": "half ? done",
            },
        ],
        [],
    ]


def test_fragments_keep_every_number_in_its_own_field() -> None:
    rows = [
        replace(EMPTY, fragments=(fragment(100), fragment(200))),
        EMPTY,
        replace(EMPTY, fragments=(fragment(300),)),
    ]
    column = fragments_column(rows)
    names = ["local", "prompt_index", "score_q", "full_px", "core_px", "anchor", "censored", "margin"]
    names += ["row0", "col0", "row1", "col1"]
    assert column.to_pylist() == [
        [{name: first + place for place, name in enumerate(names)} for first in firsts]
        for firsts in ([100, 200], [], [300])
    ]
    chunks = pa.chunked_array([column.slice(0, 1), column.slice(1)])
    assert fragment_lists(chunks) == [(fragment(100), fragment(200)), (), (fragment(300),)]


@pytest.mark.parametrize(
    ("change", "added"),
    [
        ({}, []),
        ({"gate_p": 0.0}, ["gate_p", "audited"]),
        ({"verified": (None, 0.5)}, ["verified"]),
        ({"gate_p": 0.25, "verified": (1.0,)}, ["gate_p", "audited", "verified"]),
    ],
)
def test_a_second_look_adds_its_columns_at_the_end(change: dict[str, object], added: list[str]) -> None:
    schema = record_schema([EMPTY, replace(EMPTY, **change)])  # type: ignore[arg-type]
    assert schema.names == [*SCHEMA.names, *added]


def test_a_row_without_second_looks_comes_back_with_their_defaults() -> None:
    row: TileRecord = replace(EMPTY, prompts=PROMPTS[:1], error="no", n_calls=3)
    names = [
        name for name in SCHEMA.names if name not in ("labels", "valid") and not name.startswith("seam_")
    ]
    entry: dict[str, object] = {name: getattr(row, name, None) for name in names}
    entry |= {"tile_id": "r00000c00000", "tile_row": 0, "tile_col": 0}
    entry |= {"core_row0": 0, "core_col0": 0, "core_row1": 10, "core_col1": 10}
    entry |= {"read_row0": 0, "read_col0": 0, "read_row1": 13, "read_col1": 13}
    columns = {name: [value] for name, value in entry.items()}
    columns |= {"prompts": prompts_column([row]), "fragments": fragments_column([row])}
    table = pa.table([pa.array(columns[name], type=SCHEMA.field(name).type) for name in names], names=names)
    assert tile_records(table, labels=[None]) == (row,)
    (tile,) = tile_specs({name: table[name].to_pylist() for name in names if name != "fragments"})
    assert (tile.tile_id, tile.core, tile.read) == (
        "r00000c00000",
        Window(row0=0, col0=0, row1=10, col1=10),
        Window(row0=0, col0=0, row1=13, col1=13),
    )


def test_known_locations_travel_in_a_column_of_their_own() -> None:
    known = tuple(replace(p, feature_id=f"way/{k}", attributes='{"h": 2}') for k, p in enumerate(PROMPTS))
    rows = (replace(EMPTY, prompts=known), EMPTY)
    assert "features" in record_schema(rows).names
    assert "features" not in record_schema((replace(EMPTY, prompts=PROMPTS),)).names
    assert features_column(rows).to_pylist() == [
        [{"id": "way/0", "attributes": '{"h": 2}'}, {"id": "way/1", "attributes": '{"h": 2}'}],
        [],
    ]
