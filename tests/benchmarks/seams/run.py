"""Merging across tile edges, ours against everybody else's, on a world whose objects are known to the pixel.

    python tests/benchmarks/seams/run.py [--quick] [--out DIR] [--methods "ours" "SAHI NMS" ...]

Every method merges the same masks of the same tiles: exact ones, and with mild and strong noise. Peers run
from their own packages in environments that the first run makes below build/seams/ (about 15 GB, most of it
torch). Written to DIR: comparison.md, comparison.json, seams.png. Times and memory are those of the
merge alone and depend on the machine: only their ratios are reported, as medians of three.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "tests"))

from benchmarks.seams import report, views  # noqa: E402 - after the path above
from benchmarks.seams.adapters.exchange import Outputs, save_masks  # noqa: E402
from benchmarks.seams.methods import METHODS, Job, Limits, Method, MethodError, run_method  # noqa: E402
from benchmarks.seams.picture import draw, places  # noqa: E402
from benchmarks.seams.score import Pixels, Score, pixels_of, score  # noqa: E402
from benchmarks.seams.world import SeamWorld, seam_world  # noqa: E402

from pipeline.world.oracle import NoiseName  # noqa: E402

LEVELS: dict[str, NoiseName | None] = {"oracle": None, "mild": "mild", "strong": "strong"}
"""The first level is the one that is repeated for time and memory."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; 1 when our own method gave no answer."""
    args = _parse(arguments)
    chosen = [method for method in METHODS if not args.methods or method.name in args.methods]
    args.out.mkdir(parents=True, exist_ok=True)
    args.build.mkdir(parents=True, exist_ok=True)
    world = seam_world(args.side, args.seed)
    lattice = views.lattice_over(world, args.tile, args.halo)
    crossing = views.crossing(world, lattice)
    results: list[tuple[report.Row, Pixels | None]] = []
    with tempfile.TemporaryDirectory() as scratch:
        setting = report.Setting(
            command=shlex.join(
                [
                    "python",
                    "tests/benchmarks/seams/run.py",
                    *(sys.argv[1:] if arguments is None else arguments),
                ]
            ),
            side_px=args.side,
            seed=args.seed,
            tile_px=args.tile,
            halo_px=args.halo,
            kind=world.kind,
            crossing=crossing,
            masks=_write_masks(world, args, Path(scratch)),
        )
        for method in chosen:
            results.append(_compare(method, world, args, Path(scratch)))
            text = _write_report(args.out, setting, [row for row, _ in results])
    _picture(args.out / "seams.png", world, lattice.core_px, crossing, results)
    print(text)
    return int(any(row.failure and not row.method.requires for row, _ in results))


def _write_report(out: Path, setting: report.Setting, rows: Sequence[report.Row]) -> str:
    """Tables and JSON of the rows so far: a run that is broken off leaves what it has."""
    text = report.as_markdown(setting, rows)
    (out / "comparison.md").write_text(text)
    (out / "comparison.json").write_text(json.dumps(report.as_json(setting, rows), indent=2) + "\n")
    return text


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--quick", action="store_true", help="a world of 3072 px, one repeat")
    top.add_argument("--out", type=Path, default=ROOT / "build" / "seams" / "out")
    top.add_argument(
        "--build", type=Path, default=ROOT / "build" / "seams", help="where the peers' environments are kept"
    )
    top.add_argument(
        "--methods", nargs="+", choices=[method.name for method in METHODS], metavar="NAME", help="only these"
    )
    top.add_argument("--side", type=int, help="side of the world in px; 8192, or 3072 with --quick")
    top.add_argument("--seed", type=int, default=5)
    top.add_argument("--tile", type=int, default=1024)
    top.add_argument("--halo", type=int, default=64)
    top.add_argument(
        "--limit", type=float, default=1800, help="seconds that a method may take for all levels"
    )
    top.add_argument("--memory", type=float, default=8, help="GB that a method may take")
    args = top.parse_args(arguments)
    args.side = args.side or (3072 if args.quick else 8192)
    args.repeats = 1 if args.quick else 3
    return args


def _write_masks(world: SeamWorld, args: argparse.Namespace, scratch: Path) -> dict[str, int]:
    """Masks of all tiles at every level, as files; how many there are."""
    lattice = views.lattice_over(world, args.tile, args.halo)
    views.write_truth(scratch / "labels.tif", world)
    counts = {}
    for level, noise in LEVELS.items():
        masks = views.tile_masks(world, scratch / "labels.tif", lattice, noise)
        save_masks(scratch / f"{level}.npz", masks)
        counts[level] = len(masks.wkb)
    return counts


def _compare(
    method: Method, world: SeamWorld, args: argparse.Namespace, scratch: Path
) -> tuple[report.Row, Pixels | None]:
    """The method's row and, if they go into the picture, its outputs at the first level."""
    jobs = []
    for i, level in enumerate(LEVELS):
        jobs.append(
            Job(
                masks=scratch / f"{level}.npz",
                out=scratch / f"{level}.out.npz",
                repeats=1 if i else args.repeats,
            )
        )
    print(f"{method.name} ...", file=sys.stderr, flush=True)
    try:
        answers = run_method(
            method, jobs, args.build, Limits(seconds=args.limit, memory_bytes=int(args.memory * 1e9))
        )
    except MethodError as error:
        return report.Row(method=method, scores={}, cost=None, failure=str(error)), None
    outputs = [pixels_of(answer.outputs, world.labels.shape) for answer in answers]
    scores = {level: score(world.labels, pixels) for level, pixels in zip(LEVELS, outputs, strict=True)}
    cost = replace(answers[0], outputs=Outputs())
    return report.Row(method=method, scores=scores, cost=cost), outputs[0] if method.pictured else None


def _picture(
    path: Path,
    world: SeamWorld,
    core_px: int,
    crossing: np.ndarray,
    results: list[tuple[report.Row, Pixels | None]],
) -> None:
    first = next(iter(LEVELS))
    shown: dict[str, tuple[Pixels, Score]] = {}
    for row, pixels in results:
        if pixels is not None:
            shown[row.method.name] = (pixels, row.scores[first])
    windows = places(world, core_px, crossing, [got for _, got in shown.values()])
    if windows:
        draw(path, world, core_px, windows, shown)


if __name__ == "__main__":
    sys.exit(main())
