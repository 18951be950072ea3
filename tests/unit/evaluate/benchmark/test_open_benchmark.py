"""`NAME:PATH` reaches the reader of that name, with its options; other texts are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmark_layouts import LAYOUTS, Filled, check_as_written, targets_of, write_layout

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.benchmark import Benchmark
from pipeline.evaluate.benchmark.open_benchmark import BENCHMARKS, ReadOptions, open_benchmark


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Filled]:
    root = tmp_path_factory.mktemp("layouts")
    return {name: write_layout(name, root / name) for name in LAYOUTS}


def opened(filled: Filled, name: str, **options: str) -> Benchmark:
    return open_benchmark(f"{name}:{filled.root}", ReadOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_a_name_reaches_its_reader(written: dict[str, Filled], name: str) -> None:
    benchmark = opened(written[name], name)
    assert (benchmark.name, benchmark.split) == (name, "train" if name == "lasers" else "test")
    check_as_written(benchmark, written[name])


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_a_split_reaches_its_reader(written: dict[str, Filled], name: str) -> None:
    """No copy has a split of this name: each reader says so in its own words, and names it."""
    with pytest.raises(InputError, match=f"{name}.*nowhere"):
        opened(written[name], name, split="nowhere")


def test_the_papers_policies(written: dict[str, Filled]) -> None:
    policies = {name: opened(written[name], name).queries for name in LAYOUTS}
    assert policies == {
        "earthreason": "first",
        "rrsis-d": "first",
        "risbench": "all",
        "refsegrs": "all",
        "geoseg-bench": "all",
        "lasers": "all",
    }


def test_the_sentence_reaches_the_reader_of_rrsisd(written: dict[str, Filled]) -> None:
    texts = {
        s: targets_of(opened(written["rrsis-d"], "rrsis-d", sentence=s))["900"].wordings[0].text
        for s in ("sent", "sent+dot", "raw")
    }
    sent = written["rrsis-d"].wordings["900"][0]
    assert texts == {"sent": sent, "sent+dot": f"{sent}.", "raw": f"T{sent[1:]} ."}


def test_the_size_of_a_world_and_of_its_tiles() -> None:
    benchmark = open_benchmark("world:7:256", ReadOptions(tile_px=128))
    assert [image.pixels.size_hw() for image in benchmark.images] == [(128, 128)] * 4
    assert benchmark.identity == {"seed": "7", "size_px": "256", "tile_px": "128"}


def test_names_and_places(tmp_path: Path) -> None:
    assert set(BENCHMARKS) == {*LAYOUTS, "world", "world-pairs", "world-lines"}
    for text, message in (
        ("coco:/x", r"NAME is one of earthreason"),
        ("earthreason", "write earthreason:PATH"),
        (f"earthreason:{tmp_path / 'none'}", "which is none"),
        ("world:abc", r"world:SEED\[:SIZE\]"),
        ("world:7:", r"world:SEED\[:SIZE\]"),
        ("world:7:100", "one tile of the preset"),
    ):
        with pytest.raises(InputError, match=message):
            open_benchmark(text, ReadOptions())
    with pytest.raises(InputError, match="no splits"):
        open_benchmark("world:7", ReadOptions(split="test"))
