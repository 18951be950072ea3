"""What a merge method is handed and what it hands back, as files that every environment with numpy can read.

1. `TileMasks` holds the masks of all tiles twice: as label images, and as polygons in pixel edges of the
   whole grid, so that each method starts from the form it is written for. Both forms show the same pixels.
2. `answer` is the main program of every adapter: it reads the jobs, lets the adapter prepare its native input
   (not timed), times the merge alone, and writes the outputs with time, peak memory and package versions.
3. Outputs are a raster of ids or a list of polygons, whatever the method makes.

This module imports nothing but numpy and the standard library, because it runs inside the peers'
environments.
"""

from __future__ import annotations

import ctypes
import gc
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class TileMasks:
    """The masks of all tiles of one grid; `n` masks in `t` tiles."""

    shape: tuple[int, int]
    """(height, width) of the grid in px."""
    tile_px: int
    halo_px: int
    tile_rc: NDArray[np.int64]
    """(t, 2) row and column of each tile in the lattice, row-major."""
    read: NDArray[np.int64]
    """(t, 4) read window: row0, col0, row1, col1, half-open."""
    core: NDArray[np.int64]
    """(t, 4) write window; cores partition the grid."""
    labels: tuple[NDArray[np.uint16], ...]
    """t label images over the read windows, 0 = background, 1..k = masks of this tile."""
    tile: NDArray[np.int64]
    """(n,) index of the tile of each mask, ascending."""
    local: NDArray[np.int64]
    """(n,) value of the mask in its tile's label image."""
    score: NDArray[np.float64]
    """(n,) confidence, 0..1."""
    box: NDArray[np.int64]
    """(n, 4) bounding box in the grid: x0, y0, x1, y1, half-open."""
    wkb: tuple[bytes, ...]
    """n polygons or multipolygons, x = column and y = row in pixel edges of the grid."""

    def tiles_below(self, stop: int) -> TileMasks:
        """The first `stop` tiles with their masks; the other tiles saw nothing."""
        keep = self.tile < stop
        empty = [labels if i < stop else np.zeros_like(labels) for i, labels in enumerate(self.labels)]
        columns = {name: getattr(self, name)[keep] for name in ("tile", "local", "score", "box")}
        wkb = tuple(w for w, k in zip(self.wkb, keep, strict=True) if k)
        same = {
            name: getattr(self, name) for name in ("shape", "tile_px", "halo_px", "tile_rc", "read", "core")
        }
        return TileMasks(**same, labels=tuple(empty), wkb=wkb, **columns)


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What a method made: exactly one of `raster` and `wkb`."""

    raster: NDArray[Any] | None = None
    """(H, W) integers, 0 = background; each other value is one output."""
    wkb: tuple[bytes, ...] | None = None
    """Polygons or multipolygons in pixel edges of the grid; they may overlap each other."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Outputs and what they cost."""

    outputs: Outputs
    cpu_s: tuple[float, ...]
    """CPU seconds of the merge, all threads, one per repeat."""
    wall_s: tuple[float, ...]
    peak_bytes: int
    """Largest growth of the resident set during one merge, over what was resident before it."""
    versions: dict[str, str]


def save_masks(path: Path, masks: TileMasks) -> None:
    """Write a `.npz`."""
    columns = {
        name: getattr(masks, name) for name in ("tile_rc", "read", "core", "tile", "local", "score", "box")
    }
    sizes = np.array([*masks.shape, masks.tile_px, masks.halo_px])
    flat = np.concatenate([labels.ravel() for labels in masks.labels])
    np.savez_compressed(path, sizes=sizes, flat=flat, **columns, **_pack(masks.wkb))


def load_masks(path: Path) -> TileMasks:
    """Read what `save_masks` wrote."""
    with np.load(path) as file:
        held = {name: file[name] for name in file.files}
    height, width, tile_px, halo_px = (int(v) for v in held["sizes"])
    sides = held["read"][:, 2:] - held["read"][:, :2]
    parts = np.split(held["flat"], np.cumsum(sides.prod(axis=1))[:-1])
    labels = tuple(part.reshape(tuple(side)) for part, side in zip(parts, sides, strict=True))
    columns = {name: held[name] for name in ("tile_rc", "read", "core", "tile", "local", "score", "box")}
    return TileMasks(
        shape=(height, width), tile_px=tile_px, halo_px=halo_px, labels=labels, wkb=_unpack(held), **columns
    )


def save_answer(path: Path, answer: Answer) -> None:
    """Write a `.npz`."""
    out = answer.outputs
    held = _pack(out.wkb or ()) if out.raster is None else _pack_raster(out.raster)
    cost = {"cpu_s": answer.cpu_s, "wall_s": answer.wall_s, "peak_bytes": answer.peak_bytes}
    np.savez_compressed(path, **held, **cost, versions=np.array(json.dumps(answer.versions)))


def load_answer(path: Path) -> Answer:
    """Read what `save_answer` wrote."""
    with np.load(path) as file:
        held = {name: file[name] for name in file.files}
    outputs = Outputs(wkb=_unpack(held)) if "wkb" in held else Outputs(raster=_unpack_raster(held))
    return Answer(
        outputs=outputs,
        cpu_s=tuple(held["cpu_s"].tolist()),
        wall_s=tuple(held["wall_s"].tolist()),
        peak_bytes=int(held["peak_bytes"]),
        versions=json.loads(str(held["versions"])),
    )


def answer(
    prepare: Callable[[TileMasks, dict[str, Any]], Any],
    merge: Callable[[Any], Any],
    export: Callable[[Any], Outputs],
    packages: Sequence[str],
) -> None:
    """Main program of an adapter. Its only argument is a JSON file: settings, and jobs with `masks`, `out`,
    `repeats`.

    A method that wants more than `memory_bytes` gets a MemoryError instead of the machine.

    Before the first job the merge runs once on one tile alone, so that compilers and lazy imports do not
    count.
    """
    order = json.loads(Path(sys.argv[1]).read_text())
    resource.setrlimit(resource.RLIMIT_DATA, (order["memory_bytes"], order["memory_bytes"]))
    versions = {name: metadata.version(name) for name in packages}
    for number, job in enumerate(order["jobs"]):
        masks = load_masks(Path(job["masks"]))
        if number == 0:
            merge(prepare(masks.tiles_below(1), order["settings"]))
        cpu_s = []
        wall_s = []
        peak = 0
        merged = None
        for _ in range(job["repeats"]):
            merged = None
            native = prepare(masks, order["settings"])
            before = _forget_peak()
            cpu = time.process_time()
            wall = time.perf_counter()
            merged = merge(native)
            cpu_s.append(time.process_time() - cpu)
            wall_s.append(time.perf_counter() - wall)
            peak = max(peak, _status_bytes("VmHWM") - before)
        made = Answer(
            outputs=export(merged),
            cpu_s=tuple(cpu_s),
            wall_s=tuple(wall_s),
            peak_bytes=peak,
            versions=versions,
        )
        save_answer(Path(job["out"]), made)


def _pack(wkb: Sequence[bytes]) -> dict[str, Any]:
    start = np.cumsum([0, *(len(w) for w in wkb)])
    return {"wkb": np.frombuffer(b"".join(wkb), dtype=np.uint8), "wkb_start": start}


def _unpack(held: dict[str, Any]) -> tuple[bytes, ...]:
    data = held["wkb"].tobytes()
    start = held["wkb_start"].tolist()
    return tuple(data[a:b] for a, b in pairwise(start))


def _pack_raster(raster: NDArray[Any]) -> dict[str, Any]:
    """The raster as runs of equal pixels, row after row."""
    flat = raster.ravel()
    first = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    return {"shape": np.array(raster.shape), "first": first, "value": flat[first]}


def _unpack_raster(held: dict[str, Any]) -> NDArray[Any]:
    shape = tuple(held["shape"].tolist())
    length = np.diff(np.append(held["first"], shape[0] * shape[1]))
    return np.repeat(held["value"], length).reshape(shape)


def _forget_peak() -> int:
    """Free what nobody uses, set the high-water mark to what is resident then, and return that, in bytes
    (Linux).
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status_bytes("VmRSS")


def _status_bytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {key}")
