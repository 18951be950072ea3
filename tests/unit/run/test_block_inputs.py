"""The key of a block changes exactly when something changes that the block's result follows from.

Oracle: arrays of pixels, painted tile by tile.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from run.infer.oracle_context import oracle_context

from pipeline.errors import InputError
from pipeline.run.block_inputs import (
    BlockInputs,
    aim_of,
    keys_of_aim,
    keys_of_run,
    shared_fingerprint,
    why_again,
)
from pipeline.schema.tiling import RunGrid, TileLattice, block_id
from pipeline.write.plan_table import read_inside
from pipeline.write.records.record_keys import key_of
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo, read_run_json

SIDE, CORE, HALO, K = 14, 4, 1, 2
LATTICE = TileLattice(
    grid=RunGrid(crs_wkt=None, transform=(1, 0, 0, 0, -1, 0), width=SIDE, height=SIDE),
    tile_px=CORE + 2 * HALO,
    halo_px=HALO,
    block_tiles=K,
)
"""4 x 4 tiles in 2 x 2 blocks; the last tiles are smaller."""

NAMES = ("a", "b", "c")
edges = st.tuples(st.integers(0, SIDE), st.integers(0, SIDE)).map(sorted)
windows = st.tuples(edges, edges).map(lambda e: (e[0][0], e[1][0], e[0][1], e[1][1]))
scene_lists = st.permutations(NAMES).flatmap(
    lambda names: st.lists(
        st.tuples(windows, st.sampled_from(["old", "new"])), min_size=0, max_size=len(names)
    ).map(lambda places: [(name, *place) for name, place in zip(names, places, strict=False)])
)
insides = st.lists(st.booleans(), min_size=16, max_size=16).map(lambda tiles: np.reshape(tiles, (4, 4)))
World = tuple[NDArray[np.bool_], list[tuple[str, tuple[int, int, int, int], str]], str]
worlds = st.tuples(insides, scene_lists, st.sampled_from(["models", "other models"]))


def inputs_of(world: World) -> BlockInputs:
    inside, scenes, shared = world
    return BlockInputs(
        shared=shared,
        lattice=LATTICE,
        inside=inside,
        scene_ids=tuple(name for name, _, _ in scenes),
        contents=tuple(content for _, _, content in scenes),
        windows=np.array([window for _, window, _ in scenes], dtype=np.int64).reshape(-1, 4),
    )


def painted(world: World, row: int, col: int) -> object:
    """Everything that decides a block, from pixels; None: there is nothing to look at."""
    inside, scenes, shared = world
    read = np.zeros((SIDE, SIDE), dtype=np.bool_)
    tiles = []
    for r in range(row * K, row * K + K):
        for c in range(col * K, col * K + K):
            if inside[r, c]:
                tiles.append((r, c))
                rows = slice(max(r * CORE - HALO, 0), (r + 1) * CORE + HALO)
                cols = slice(max(c * CORE - HALO, 0), (c + 1) * CORE + HALO)
                read[rows, cols] = True
    if not tiles:
        return None
    box = read.any(axis=1)[:, None] & read.any(axis=0)[None]
    seen = []
    for name, (row0, col0, row1, col1), content in scenes:
        shown = np.zeros_like(box)
        shown[row0:row1, col0:col1] = True
        if (shown & box).any():
            seen.append((name, content, (shown & box).tobytes()))
    return shared, tuple(tiles), tuple(seen)


@given(one=worlds, other=worlds, keep=st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_a_key_changes_exactly_when_its_inputs_do(
    one: World, other: World, keep: tuple[bool, bool, bool]
) -> None:
    other = tuple(a if kept else b for a, b, kept in zip(one, other, keep, strict=True))  # type: ignore[assignment]
    for row in range(2):
        for col in range(2):
            name = f"b{row:05d}_{col:05d}"
            keys = [inputs_of(world).of(name) for world in (one, other)]
            wanted = [painted(world, row, col) for world in (one, other)]
            assert [key is None for key in keys] == [want is None for want in wanted]
            if keys[0] is not None and keys[1] is not None:
                assert (keys[0].fingerprint == keys[1].fingerprint) == (wanted[0] == wanted[1])
                if wanted[0] == wanted[1]:
                    numbers = [key.scenes or () for key in keys if key is not None]
                    names = [
                        [world[1][number][0] for number in own]
                        for world, own in zip((one, other), numbers, strict=True)
                    ]
                    assert names[0] == names[1], "a record's numbers mean the same scenes"
                else:
                    same_run = one[2] == other[2]
                    assert bool(why_again(keys[0].inputs, keys[1])) == same_run
                    assert inputs_of(other).is_own(name, keys[0].inputs) == same_run


INSIDE = np.ones((4, 4), dtype=np.bool_)
WHOLE = (0, 0, SIDE, SIDE)


@pytest.mark.parametrize(
    ("scenes", "inside", "want"),
    [
        ([("b", WHOLE, "x"), ("a", WHOLE, "x")], INSIDE, "new scene b"),
        ([(n, WHOLE, "x") for n in "bca"], INSIDE, "new scene b and 1 more"),
        ([], INSIDE, "no longer there: scene a"),
        ([("a", WHOLE, "y")], INSIDE, "other content of scene a"),
        ([("a", (0, 0, 3, 3), "x")], INSIDE, "a scene shows another part"),
        ([("a", WHOLE, "x")], np.tri(4, dtype=np.bool_), "other area"),
    ],
)
def test_it_says_why_a_block_is_done_again(scenes: Any, inside: Any, want: str) -> None:
    before = inputs_of((INSIDE, [("a", WHOLE, "x")], "models"))
    now = inputs_of((inside, scenes, "models"))
    name = "b00000_00000"
    assert why_again(key_of(before, name).inputs, key_of(now, name)) == want


def test_a_larger_area_and_another_order_are_named() -> None:
    name = "b00000_00000"
    small = inputs_of((np.tri(4, dtype=np.bool_), [("a", WHOLE, "x"), ("b", WHOLE, "x")], "models"))
    large = inputs_of((INSIDE, [("b", WHOLE, "x"), ("a", WHOLE, "x")], "models"))
    said = why_again(key_of(small, name).inputs, key_of(large, name))
    assert said == "larger area, other order of scenes"
    assert why_again("", key_of(large, name)) == ""
    assert why_again("no JSON", key_of(large, name)) == ""


@given(worlds)
def test_run_json_says_what_the_blocks_of_an_update_are_to_be_of(world: World) -> None:
    """Through the text of the document."""
    keys = inputs_of(world)
    aim = json.loads(json.dumps(aim_of("f" * 64, keys)))
    assert aim["fingerprint"] == "f" * 64
    info = SimpleNamespace(update=aim, lattice=LATTICE)
    again = keys_of_aim(cast("RunInfo", info), world[0])
    names = [block_id(row, col) for row in range(2) for col in range(2)]
    assert [again.of(name) for name in names] == [keys.of(name) for name in names]


def test_an_aim_that_lacks_its_scenes_is_refused() -> None:
    info = SimpleNamespace(update={"fingerprint": "f"}, lattice=LATTICE)
    with pytest.raises(InputError, match="what an update makes of the run"):
        keys_of_aim(cast("RunInfo", info), np.zeros((4, 4), dtype=np.bool_))


def test_what_all_blocks_share_leaves_the_ground_out() -> None:
    parameters = {"queries": ["a"], "area": "x", "scenes": [{"scene_id": "s"}], "items": {"mask": "off"}}
    moved = {"queries": ["a"], "area": "y", "scenes": [], "clouds": {"max_cloud_share": 0.8}}
    assert shared_fingerprint(parameters) == shared_fingerprint(moved)
    assert shared_fingerprint(parameters) != shared_fingerprint({**parameters, "queries": ["b"]})


def test_run_json_and_the_plan_give_the_keys_of_the_run(tmp_path: Path) -> None:
    context = oracle_context(tmp_path, n_scenes=2)
    info = read_run_json(RunDir(context.run_dir).run_json)
    inside = read_inside(RunDir(context.run_dir).plan, info.lattice)
    keys = keys_of_run(info, inside)
    for block in context.plan.blocks():
        assert keys.of(block.block_id) == context.keys.of(block.block_id)
        assert len(key_of(keys, block.block_id).scenes or ()) == 2
    with pytest.raises(InputError, match=r"start segment_region\.py again"):
        keys_of_run(replace(info, stretches={}), inside)
    old = replace(info, records_share="")
    assert key_of(keys_of_run(old, inside), "b00000_00000").fingerprint == info.fingerprint
    again = replace(old, settings={"merged_from": {"run": "x", "fingerprint": "parent"}})
    assert key_of(keys_of_run(again, inside), "b00000_00000").fingerprint == "parent"
