"""How often models are loaded when several runs are worked on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from prompt.fakes_prompt import FakePrompter
from segment.fakes_segment import FakeSegmenter

from pipeline.grid.source import SourceOptions
from pipeline.run.config import AreaOptions, GridChoice, RunConfig, build_preset, merge_tables, preset_tables
from pipeline.run.infer import shared_models
from pipeline.run.infer.shared_models import SharedModels
from pipeline.schema.tiling import RunGrid, TileLattice


def config_of(**tables: object) -> RunConfig:
    return RunConfig(
        queries=("tanks",),
        area=AreaOptions(whole_scene=True),
        source=SourceOptions(hrefs=("scene.tif",)),
        grid=GridChoice(),
        preset_name="embedded",
        preset=build_preset(merge_tables(preset_tables("embedded"), tables)),
    )


def lattice_of(left: float, *, tile_px: int = 32) -> TileLattice:
    grid = RunGrid(crs_wkt=None, transform=(1.0, 0.0, left, 0.0, -1.0, 0.0), width=40, height=40)
    return TileLattice(grid=grid, tile_px=tile_px, halo_px=4, block_tiles=2)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts what is built."""
    counted: Counter[str] = Counter()

    def counting(name: str, make: Callable[[], object]) -> Callable[..., object]:
        def build(*_: object) -> object:
            counted[name] += 1
            return make()

        return build

    monkeypatch.setattr(shared_models, "build_prompter", counting("prompter", lambda: FakePrompter({})))
    monkeypatch.setattr(shared_models, "build_segmenter", counting("segmenter", FakeSegmenter))
    monkeypatch.setattr(shared_models, "build_looks", counting("verifier", object))
    return counted


def test_models_that_judge_pictures_are_loaded_once_for_all_grids(loads: Counter[str]) -> None:
    models = SharedModels()
    assert not loads, "nothing is loaded before it is asked for"
    config = config_of(verifier={"mode": "crop"})
    lattices = [lattice_of(0), lattice_of(1000), lattice_of(2000)]
    assert len({id(models.prompter(config, lattice)) for lattice in lattices}) == 1
    assert len({id(models.segmenter(config, lattice)) for lattice in lattices}) == 1
    assert len({id(models.looks(config, lattice)) for lattice in lattices}) == 1
    assert loads == {"prompter": 1, "segmenter": 1, "verifier": 1}


def test_other_options_and_other_tile_sizes_are_other_models(loads: Counter[str]) -> None:
    models = SharedModels()
    one = config_of()
    other = config_of(prompter={"vllm": {"max_tokens": 7}}, segmenter={"device": "cpu"})
    for config in (one, other, replace(one, queries=("lakes",))):
        models.prompter(config, lattice_of(0))
        models.segmenter(config, lattice_of(0))
    assert loads == {"prompter": 2, "segmenter": 2}
    models.segmenter(one, lattice_of(0, tile_px=24))
    assert loads["segmenter"] == 3


@pytest.mark.parametrize("kind", ["oracle", "vector"])
def test_answers_that_lie_on_a_grid_are_opened_for_each(loads: Counter[str], kind: str) -> None:
    models = SharedModels()
    segmenter = {"kind": "oracle", "checkpoint": "oracle:a.tif"} if kind == "oracle" else {}
    config = config_of(prompter={"kind": kind, "model": "oracle:a.tif"}, segmenter=segmenter)
    for left in (0, 1000, 0):
        models.prompter(config, lattice_of(left))
        models.segmenter(config, lattice_of(left))
    assert loads["prompter"] == 2
    assert loads["segmenter"] == (2 if kind == "oracle" else 1)


def test_a_verifier_that_is_off_is_none_for_all(loads: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    models = SharedModels()
    assert models.looks(config_of(), lattice_of(0)) is None
    assert models.looks(config_of(), lattice_of(1000)) is None
    assert not loads


def test_closing_releases_every_prompter(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[float] = []

    class Closing(FakePrompter):
        def __init__(self, left: float) -> None:
            super().__init__({})
            self._left = left

        def close(self) -> None:
            closed.append(self._left)

    monkeypatch.setattr(shared_models, "build_prompter", lambda _, grid: Closing(grid.transform[2]))
    models = SharedModels()
    config = config_of(prompter={"kind": "oracle", "model": "oracle:a.tif"})
    for left in (0.0, 1000.0, 0.0):
        models.prompter(config, lattice_of(left))
    models.close()
    assert closed == [0.0, 1000.0]


def test_a_mask_model_is_loaded_once_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[FakeMaskModel] = []

    class FakeMaskModel:
        closed = 0

        def close(self) -> None:
            self.closed += 1

    def build(options: object) -> FakeMaskModel:
        built.append(FakeMaskModel())
        return built[-1]

    monkeypatch.setattr(shared_models, "build_mask_model", build)
    table = {"kind": "sam3-text", "checkpoint": "facebook/sam3"}
    asked = config_of(
        prompter={"kind": "whole", "model": ""}, segmenter={"kind": "mask-model", "mask_model": table}
    )
    models = SharedModels()
    assert models.mask_model(config_of()) is None
    assert models.mask_model(asked) is models.mask_model(asked)
    models.close()
    assert [one.closed for one in built] == [1]
