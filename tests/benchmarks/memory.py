"""Peak memory of a run against the size of its scene. Oracle models: the pipeline itself is measured.

    python tests/benchmarks/memory.py --sizes 4096 8192 16384 --runner ray

Every size runs in a fresh process tree, sampled twice a second. Two kinds of memory are kept apart:

1. Private memory: pages that a process has to itself (proportional set size of anonymous pages,
   /proc/PID/smaps_rollup). This is what code can leak. The table has its peaks: over all processes
   together, in the driver, and in the largest worker, which it names.
2. Shared memory: pages of the object store (/dev/shm), which Ray maps into every worker; each is counted
   once. The store keeps every page that it has touched until it ends, so this is the most bytes of blocks
   that were on their way at once.

`peak_sum_mb` is the peak of everything: private, shared, and the code of libraries (each page counted once).
The last lines are each column's ratio of the last size to the first. Absolute figures depend on the machine;
the ratios should stay near 1. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]

INTERVAL_S = 0.5

COLUMNS = (
    ("side_px", "side_px", 0),
    ("tiles", "tiles", 0),
    ("instances", "instances", 0),
    ("peak_sum_mb", "sum_mb", 0),
    ("private_mb", "private_mb", 0),
    ("shared_mb", "shared_mb", 0),
    ("driver_mb", "driver_mb", 0),
    ("worker_mb", "worker_mb", 0),
    ("seconds", "seconds", 1),
)
"""(heading, key of a row, decimals)."""

RATIOS = ("sum_mb", "private_mb", "shared_mb", "driver_mb", "worker_mb")


def main() -> int:
    """Run all sizes and print a table."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument(
        "--sizes", type=int, nargs="+", default=[4096, 8192, 16384], help="sides of the worlds in pixels"
    )
    top.add_argument("--seed", type=int, default=5)
    top.add_argument("--runner", choices=("ray", "local"), default="ray")
    top.add_argument("--tile", type=int, default=512)
    top.add_argument("--halo", type=int, default=32)
    top.add_argument("--worlds", type=Path, help="keep the worlds here and reuse them")
    top.add_argument("--json", type=Path, help="also write the figures here")
    top.add_argument(
        "--trace", type=Path, help="also write every sample of every process here, one JSON object per line"
    )
    args = top.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        worlds = args.worlds or Path(scratch)
        rows = [measure(args, size, worlds, Path(scratch)) for size in args.sizes]
    print(" ".join(f"{heading:>{len(heading) + 2}}" for heading, _, _ in COLUMNS), " largest worker")
    for row in rows:
        print(
            " ".join(f"{row[key]:>{len(heading) + 2}.{decimals}f}" for heading, key, decimals in COLUMNS),
            "",
            row["worker"],
        )
    for name in RATIOS:
        print(f"{name}: last / first = {ratio(rows[-1][name], rows[0][name])}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


def ratio(last: float, first: float) -> str:
    """Format with two decimals; a dash where nothing can be divided by (the local runner has no workers)."""
    return f"{last / first:.2f}" if first else "-"


def measure(args: argparse.Namespace, size: int, worlds: Path, scratch: Path) -> dict[str, Any]:
    """Run once; returns the figures."""
    world = worlds / f"world-{args.seed}-{size}"
    out = scratch / f"run-{size}"
    if not (world / "queries.json").exists():
        make = [
            sys.executable,
            "jobs/make_world.py",
            "--seed",
            str(args.seed),
            "--size",
            str(size),
            "--out",
            str(world),
        ]
        subprocess.run(make, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    command = [
        sys.executable,
        "jobs/segment_region.py",
        "--source",
        str(world / "scene.tif"),
        "--whole-scene",
        "--query",
        "anything",
    ]
    command += [
        "--models",
        f"oracle:{world / 'labels.tif'}",
        "--tile",
        str(args.tile),
        "--halo",
        str(args.halo),
    ]
    command += ["--runner", args.runner, "--out", str(out)]
    start = time.monotonic()
    with (scratch / f"log-{size}").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        peaks = watch(psutil.Process(process.pid), process, Trace(args.trace, size))
    if process.returncode != 0:
        raise SystemExit(
            f"the run of {size} px ended with {process.returncode}:\n{(scratch / f'log-{size}').read_text()}"
        )
    counters = json.loads((out / "run.json").read_text())["counters"]
    figures = {"side_px": size, "tiles": counters["tiles_planned"], "instances": counters["instances"]}
    return {**figures, **peaks, "seconds": time.monotonic() - start}


class Trace:
    """Appends samples to a file, when one is asked for."""

    def __init__(self, path: Path | None, size: int) -> None:
        self._path = path
        self._size = size
        self._start = time.monotonic()

    def add(self, samples: list[tuple[str, dict[str, float]]]) -> None:
        """`samples`: (title, memory) of every process, the driver first."""
        if self._path is not None:
            line = {
                "side_px": self._size,
                "t_s": round(time.monotonic() - self._start, 2),
                "processes": samples,
            }
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")


def watch(driver: psutil.Process, process: subprocess.Popen[bytes], trace: Trace) -> dict[str, Any]:
    """Peaks in MB while the process tree lives, and the title of the worker with the most private memory."""
    peaks: dict[str, Any] = {**dict.fromkeys(RATIOS, 0.0), "worker": ""}
    while process.poll() is None:
        try:
            children = driver.children(recursive=True)
        except psutil.NoSuchProcess:
            children = []
        samples = [
            ("driver", memory_mb(driver.pid)),
            *((title(child), memory_mb(child.pid)) for child in children),
        ]
        trace.add(samples)
        now = {
            "sum_mb": sum(sample["total"] for _, sample in samples),
            "private_mb": sum(sample["private"] for _, sample in samples),
            "shared_mb": sum(sample["shared"] for _, sample in samples),
            "driver_mb": samples[0][1]["private"],
        }
        peaks |= {name: max(peaks[name], value) for name, value in now.items()}
        largest, name = max(
            ((sample["private"], worker) for worker, sample in samples[1:]), default=(0.0, "")
        )
        if largest > peaks["worker_mb"]:
            peaks |= {"worker_mb": largest, "worker": name}
        time.sleep(INTERVAL_S)
    return peaks


def title(process: psutil.Process) -> str:
    """Return what the process calls itself: Ray puts the actor or task there."""
    try:
        return Path((process.cmdline() or ["?"])[0]).name[:60]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return "?"


def memory_mb(pid: int) -> dict[str, float]:
    """Proportional set size of a process in MB, total, private (anonymous) and shared (shm); zeros when it
    has just ended.
    """
    try:
        words = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]]
    except OSError:
        words = []
    found = {line[0].rstrip(":"): float(line[1]) * 1024 / 1e6 for line in words if len(line) == 3}
    names = {"total": "Pss", "private": "Pss_Anon", "shared": "Pss_Shmem"}
    return {name: round(found.get(field, 0.0), 2) for name, field in names.items()}


if __name__ == "__main__":
    sys.exit(main())
