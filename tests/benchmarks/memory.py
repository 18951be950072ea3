"""Peak memory of a run against the size of its scene, with oracle models, so that the pipeline itself is measured.

    python tests/benchmarks/memory.py --sizes 4096 8192 16384 --runner ray

Every size runs in a fresh process tree; memory is the proportional set size (pages shared between processes are counted
once) of the driver and of everything it started, sampled twice a second. Reported: peak of the sum, of the driver and of
the largest worker with its name, and the ratio of the last size to the first. Absolute figures depend on the machine; the ratio is what
should stay near 1.
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


def main() -> int:
    """Run all sizes and print a table."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--sizes", type=int, nargs="+", default=[4096, 8192, 16384], help="sides of the worlds in pixels")
    top.add_argument("--seed", type=int, default=5)
    top.add_argument("--runner", choices=("ray", "local"), default="ray")
    top.add_argument("--tile", type=int, default=512)
    top.add_argument("--halo", type=int, default=32)
    top.add_argument("--worlds", type=Path, help="keep the worlds here and reuse them")
    top.add_argument("--json", type=Path, help="also write the figures here")
    args = top.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        worlds = args.worlds or Path(scratch)
        rows = [measure(args, size, worlds, Path(scratch)) for size in args.sizes]
    names = (("side_px", 8), ("tiles", 7), ("instances", 9), ("peak_sum_mb", 12), ("driver_mb", 10), ("worker_mb", 10), ("seconds", 8))
    print(" ".join(f"{name:>{width}}" for name, width in names), " largest worker")
    for row in rows:
        print(
            f"{row['side_px']:>8} {row['tiles']:>7} {row['instances']:>9} {row['sum_mb']:>12.0f} {row['driver_mb']:>10.0f} "
            f"{row['worker_mb']:>10.0f} {row['seconds']:>8.1f}  {row['worker']}"
        )
    for name in ("sum_mb", "driver_mb", "worker_mb"):
        print(f"{name}: last / first = {rows[-1][name] / rows[0][name]:.2f}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


def measure(args: argparse.Namespace, size: int, worlds: Path, scratch: Path) -> dict[str, Any]:
    """One run; returns its figures."""
    world, out = worlds / f"world-{args.seed}-{size}", scratch / f"run-{size}"
    if not (world / "queries.json").exists():
        make = [sys.executable, "jobs/make_world.py", "--seed", str(args.seed), "--size", str(size), "--out", str(world)]
        subprocess.run(make, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    command = [sys.executable, "jobs/segment_region.py", "--source", str(world / "scene.tif"), "--whole-scene", "--query", "anything"]
    command += ["--models", f"oracle:{world / 'labels.tif'}", "--tile", str(args.tile), "--halo", str(args.halo)]
    command += ["--runner", args.runner, "--out", str(out)]
    start = time.monotonic()
    with (scratch / f"log-{size}").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        peaks = watch(psutil.Process(process.pid), process)
    if process.returncode != 0:
        raise SystemExit(f"the run of {size} px ended with {process.returncode}:\n{(scratch / f'log-{size}').read_text()}")
    counters = json.loads((out / "run.json").read_text())["counters"]
    figures = {"side_px": size, "tiles": counters["tiles_planned"], "instances": counters["instances"]}
    return {**figures, **peaks, "seconds": time.monotonic() - start}


def watch(driver: psutil.Process, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Peaks in MB while the process tree lives, and the title of the largest worker at its peak."""
    peaks: dict[str, Any] = {"sum_mb": 0.0, "driver_mb": 0.0, "worker_mb": 0.0, "worker": ""}
    while process.poll() is None:
        own = pss_mb(driver)
        try:
            children = [(pss_mb(child), title(child)) for child in driver.children(recursive=True)]
        except psutil.NoSuchProcess:
            children = []
        peaks["sum_mb"] = max(peaks["sum_mb"], own + sum(size for size, _ in children))
        peaks["driver_mb"] = max(peaks["driver_mb"], own)
        largest, name = max(children, default=(0.0, ""))
        if largest > peaks["worker_mb"]:
            peaks |= {"worker_mb": largest, "worker": name}
        time.sleep(0.5)
    return peaks


def title(process: psutil.Process) -> str:
    """What the process calls itself: Ray puts the actor or task there."""
    try:
        return Path((process.cmdline() or ["?"])[0]).name[:60]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return "?"


def pss_mb(process: psutil.Process) -> float:
    """Proportional set size in MB; 0 for a process that has just ended."""
    try:
        return float(process.memory_full_info().pss) / 1e6
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0.0


if __name__ == "__main__":
    sys.exit(main())
