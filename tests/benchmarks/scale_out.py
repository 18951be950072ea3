"""Tiles a second against GPUs, readers and bandwidth: a simulation, with its assumptions in the table.

    python tests/benchmarks/scale_out.py
    python tests/benchmarks/scale_out.py --gpus 1 8 64 --cpus 32 --node-gpus 8 --bandwidth-gbit 100
    python tests/benchmarks/scale_out.py --from-run out

A run is a tandem queue (`tandem_queue.py`): readers, prompters, segmenters and the driver. Their numbers are
those that a start on such nodes would choose (`pipeline.run.pool_sizes`, with the resources of `--preset`).

What is assumed, and not measured:

1. A block is read in a time of its own (latency and decoding) while its bytes come over one link, which all
   readers share equally. A link per node or per bucket would be wider.
2. A prompter and a segmenter that share a GPU keep their times, whatever the other does. A prompter does two
   blocks at once in the time of two; how full the engine's batch is does not change.
3. The driver commits one block at a time, and nothing else holds it up. Ray itself does not get slower with
   the number of nodes, nor does a catalogue's server with that of readers.
4. Models are loaded and nothing fails. Publication, which comes after, is left out.
5. Times are the defaults of the arguments unless a run is named: they are guesses that are to be replaced.

`--from-run DIR` takes the times of blocks from the log of a run, with their spread, and the bytes where they
were counted. They hold for its machine, its models, its queries, and the network that it had. A run on Ray is
simulated too, with the pools that it had, and its own rate is told beside: how far to believe the rest.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, mean

PLACES = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
sys.path[:0] = PLACES

from benchmarks.tandem_queue import SETTLED, Link, Outcome, Stage, simulate  # noqa: E402

from pipeline.run.config import ResourceOptions, build_preset, preset_tables  # noqa: E402
from pipeline.run.events.event_log import read_events  # noqa: E402
from pipeline.run.events.stage_times import StageTime  # noqa: E402
from pipeline.run.pool_sizes import Node, PoolSizes, size_pools  # noqa: E402
from pipeline.write.run_dir import RunDir  # noqa: E402

GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

IN_FLIGHT = {"reader": 2, "prompter": 4, "segmenter": 2}
"""Blocks that one actor is given at once, those that it works on among them (`ray_engine.ActorStage`)."""

LEAST_BLOCKS = 20
"""Blocks below which the rate of a run says nothing."""

BLOCKS_PER_GPU = 60
"""Blocks of the simulated region, for each GPU."""

WORDS = {
    "read": "readers",
    "prompt": "prompters",
    "segment": "segmenters",
    "driver": "driver",
    "link": "bandwidth",
}


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds of one block at each stage, and its bytes."""

    tiles: float
    read: Sequence[float]
    prompt: Sequence[float]
    segment: Sequence[float]
    driver: Sequence[float]
    block_bytes: float
    source: str
    """Where they come from, for the table."""


def assumed(args: argparse.Namespace) -> Times:
    """Make times of the arguments."""
    tiles = args.block_tiles**2
    seconds = {
        "read": args.latency_s + tiles * args.read_s,
        "prompt": tiles * args.prompt_s,
        "segment": tiles * args.segment_s,
        "driver": args.driver_s,
    }
    return Times(
        tiles=tiles,
        block_bytes=tiles * args.tile_mb * 1e6,
        source="assumed",
        **{name: spread(value, args.spread) for name, value in seconds.items()},
    )


def spread(center: float, share: float, n: int = 64) -> list[float]:
    """Draw values of a mean and a relative spread: quantiles of a log-normal distribution."""
    if not share:
        return [center]
    sigma = math.sqrt(math.log1p(share**2))
    values = [math.exp(sigma * NormalDist().inv_cdf((i + 0.5) / n)) for i in range(n)]
    return [center * value / mean(values) for value in values]


def measured(place: str, driver_s: float) -> Times:
    """Take times from the log of a run, all its starts together. Raises SystemExit when it has no blocks."""
    blocks = [event.values for event in read_events(RunDir(place)) if event.event == "block"]
    if not blocks:
        raise SystemExit(f"{place} has no log with blocks: name the --out of a run")
    readings = [StageTime(**row) for block in blocks for row in block["times"]]
    tiles = mean(block["found"] + block["empty"] + block["failed"] for block in blocks)
    read_bytes = sum(
        count
        for one in readings
        for name, count in one.traffic.items()
        if name in ("http_bytes", "s3_bytes") and one.stage == "read"
    )
    return Times(
        tiles=tiles,
        read=at_stage(readings, "read"),
        prompt=at_stage(readings, "prompt"),
        segment=at_stage(readings, "segment"),
        driver=[driver_s],
        block_bytes=read_bytes / len(blocks),
        source=f"{len(blocks)} blocks of {place}",
    )


def at_stage(readings: Iterable[StageTime], stage: str) -> list[float]:
    """Seconds of blocks at a stage. Where a worker does two at once, each has its part of the time."""
    own = [one for one in readings if one.stage == stage]
    alone = sum(busy_s([one for one in own if one.worker == name]) for name in {one.worker for one in own})
    together = sum(one.seconds for one in own)
    return [one.seconds * (alone / together if together else 1.0) for one in own] or [0.0]


def busy_s(readings: Sequence[StageTime]) -> float:
    """Seconds in which a worker was at anything."""
    total = reached = 0.0
    for begin, end in sorted((one.began, one.began + one.seconds) for one in readings):
        total += max(end - max(begin, reached), 0.0)
        reached = max(reached, end)
    return total


def outcome(times: Times, sizes: PoolSizes, *, bandwidth_gbit: float, blocks: int) -> Outcome:
    """Simulate pools of these sizes."""
    pools = [("read", "reader", times.read), ("prompt", "prompter", times.prompt)]
    pools.append(("segment", "segmenter", times.segment))
    stages = [
        Stage(
            name=name,
            servers=sizes.of(role),  # type: ignore[arg-type]
            seconds=seconds,
            waiting=(IN_FLIGHT[role] - 1) * sizes.of(role),  # type: ignore[arg-type]
        )
        for name, role, seconds in pools
    ]
    stages.append(Stage(name="driver", servers=1, seconds=times.driver))
    link = (
        Link(bytes_s=bandwidth_gbit * 1e9 / 8, block_bytes=times.block_bytes) if times.block_bytes else None
    )
    return simulate(stages, blocks=blocks, link=link)


def replayed(place: str, times: Times, bandwidth_gbit: float) -> str:
    """Compare the last start of a run with its simulation. Empty: it had no pools, or too few blocks."""
    events = read_events(RunDir(place))
    own = [event for event in events if event.start == events[-1].start]
    pools = next((event.values["actors"] for event in own if event.event == "pools"), None)
    ends = [event.time for event in own if event.event == "block"]
    if pools is None or len(ends) < LEAST_BLOCKS:
        return ""
    first, last = (int(share * len(ends)) for share in SETTLED)
    rate = (last - first) / (ends[last] - ends[first])
    found = outcome(times, PoolSizes(**pools), bandwidth_gbit=bandwidth_gbit, blocks=len(ends))
    return (
        f"Its last start did {rate:.2f} blocks/s with {PoolSizes(**pools)}; simulated: "
        f"{found.blocks_s:.2f}, limited by {WORDS[found.limit]}."
    )


def rows(args: argparse.Namespace, times: Times, resources: ResourceOptions) -> Iterable[str]:
    """Make the table's rows: one for each number of GPUs."""
    yield "| GPUs | readers | tiles/s | tiles/s per GPU | efficiency | limited by | its share of time |"
    yield "| ---: | ---: | ---: | ---: | ---: | --- | ---: |"
    pair = min(1 / mean(times.prompt), 1 / mean(times.segment))
    for gpus in args.gpus:
        whole, rest = divmod(gpus, args.node_gpus)
        nodes = [Node(cpus=args.cpus, gpus=args.node_gpus)] * whole
        nodes += [Node(cpus=args.cpus, gpus=rest)] if rest else []
        nodes += [Node(cpus=args.reader_cpus)] if args.reader_cpus else []
        blocks = BLOCKS_PER_GPU * max(gpus, 4)
        sizes = size_pools(resources, nodes, n_blocks=blocks)
        found = outcome(times, sizes, bandwidth_gbit=args.bandwidth_gbit, blocks=blocks)
        tiles_s = found.blocks_s * times.tiles
        efficiency = found.blocks_s / (gpus * pair)
        yield (
            f"| {gpus} | {sizes.reader} | {tiles_s:,.1f} | {tiles_s / gpus:.2f} | {100 * efficiency:.0f} % "
            f"| {WORDS[found.limit]} | {100 * found.busy[found.limit]:.0f} % |"
        )


ARGUMENTS = {
    "--node-gpus": (int, 1, "GPUs of a node"),
    "--cpus": (float, 8.0, "CPUs of a node"),
    "--reader-cpus": (float, 0.0, "CPUs of nodes without GPUs, together"),
    "--bandwidth-gbit": (float, 25.0, "of all readers together"),
    "--block-tiles": (int, 4, "tiles a side of a block"),
    "--tile-mb": (float, 2.0, "MB that are fetched for a tile"),
    "--latency-s": (float, 0.5, "waiting for answers, per block"),
    "--read-s": (float, 0.07, "a reader's seconds per tile"),
    "--prompt-s": (float, 0.25, "a prompter's, for all queries"),
    "--segment-s": (float, 0.05, "a segmenter's, tiles without an object among them"),
    "--driver-s": (float, 0.025, "the driver's seconds per block"),
    "--spread": (float, 0.5, "deviation of a block's times, as a share of their mean"),
}
"""Name -> type, default, meaning."""


def parsed(argv: list[str] | None) -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--gpus", type=int, nargs="+", default=list(GPUS))
    parser.add_argument("--preset", default="think2seg-3b", help="whose [resources] are taken")
    parser.add_argument("--from-run", metavar="DIR", help="take times from the log of a run")
    for name, (kind, default, meaning) in ARGUMENTS.items():
        parser.add_argument(name, type=kind, default=default, help=f"{meaning} (default {default:g})")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Print the assumptions, and the table."""
    args = parsed(argv)
    times = measured(args.from_run, args.driver_s) if args.from_run else assumed(args)
    resources = build_preset(preset_tables(args.preset)).resources
    each = ", ".join(
        f"{name} {mean(values):.3g} s"
        for name, values in (
            ("read", times.read),
            ("prompt", times.prompt),
            ("segment", times.segment),
            ("driver", times.driver),
        )
    )
    print(
        f"A block has {times.tiles:.3g} tiles and {times.block_bytes / 1e6:.3g} MB; {each} ({times.source})."
    )
    further = f", {args.reader_cpus:g} CPUs beside them" if args.reader_cpus else ""
    print(
        f"Nodes have {args.node_gpus} GPUs and {args.cpus:g} CPUs{further}; all readers share "
        f"{args.bandwidth_gbit:g} Gbit/s.\n"
    )
    for row in rows(args, times, resources):
        print(row)
    if args.from_run and (told := replayed(args.from_run, times, args.bandwidth_gbit)):
        print(f"\n{told}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
