"""Open the benchmark that `NAME[:PATH]` or `world:SEED[:SIZE]` names. Only this module knows all readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.benchmark import Benchmark
from pipeline.evaluate.benchmark.readers import geoseg_bench, lasers, world_lines, world_pairs, world_tiles
from pipeline.evaluate.benchmark.readers.earthreason import read_earthreason
from pipeline.evaluate.benchmark.readers.phrases import LAYOUTS, read_phrases
from pipeline.evaluate.benchmark.readers.rrsisd import Sentence, read_rrsisd


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What a reader needs to know besides the path."""

    split: str | None = None
    """Name of the split. None: the test split, or the only one of the data set."""
    tile_px: int = 256
    """Side of the tiles into which a world is cut, in pixels."""
    sentence: Sentence = "sent"
    """Which text of an RRSIS-D sentence is asked."""


_READERS: Mapping[str, Callable[[Path, ReadOptions], Benchmark]] = {
    "earthreason": lambda root, o: read_earthreason(root, o.split or "test"),
    "rrsis-d": lambda root, o: read_rrsisd(root, o.split or "test", o.sentence),
    "risbench": lambda root, o: read_phrases(LAYOUTS["risbench"], root, o.split or "test"),
    "refsegrs": lambda root, o: read_phrases(LAYOUTS["refsegrs"], root, o.split or "test"),
    "geoseg-bench": lambda root, o: geoseg_bench.read_geoseg(root, o.split or geoseg_bench.SPLIT),
    "lasers": lambda root, o: lasers.read_lasers(root, o.split or lasers.SPLIT),
}

_WORLDS: Mapping[str, Callable[..., Benchmark]] = {
    world_tiles.NAME: world_tiles.read_world,
    world_pairs.NAME: world_pairs.read_pairs,
    world_lines.NAME: world_lines.read_lines,
}

BENCHMARKS = (*_READERS, *_WORLDS)
"""Names that `--benchmark` accepts."""


def open_benchmark(text: str, options: ReadOptions) -> Benchmark:
    """Read the annotations that `text` names.

    Raises InputError for an unknown name, a folder that is not there, or another layout.
    """
    name, _, place = text.partition(":")
    if name in _WORLDS:
        return _open_world(text, place, options)
    if name not in _READERS:
        what = "--benchmark must be NAME:PATH or world:SEED[:SIZE]"
        raise InputError(what, came=repr(text), remedy=f"NAME is one of {', '.join(BENCHMARKS)}")
    if not place:
        raise InputError(
            f"{name} is not part of this package and needs its folder",
            came=repr(text),
            remedy=f"write {name}:PATH",
        )
    root = Path(place)
    if not root.is_dir():
        raise InputError(
            f"{name} must be a folder",
            came=f"{root}, which is none",
            remedy=f"write {name}:PATH with the root of the data set",
        )
    return _READERS[name](root, options)


def _open_world(text: str, place: str, options: ReadOptions) -> Benchmark:
    if options.split is not None:
        raise InputError("a world has no splits", came=f"--split {options.split}", remedy="leave --split out")
    if text == world_pairs.NAME:
        return world_pairs.read_pair_set(tile_px=options.tile_px)
    seed, _, size = place.partition(":")
    if not seed.isdecimal() or not (size.isdecimal() or not size) or place.endswith(":"):
        raise InputError(
            "a world benchmark is written world:SEED[:SIZE]",
            came=repr(text),
            remedy="for example world:7 or world:7:4096",
        )
    read = _WORLDS[text.partition(":")[0]]
    return read(int(seed), size_px=int(size or world_tiles.DEFAULT_SIZE), tile_px=options.tile_px)
