"""Kill real runs, seed by seed, and start them again, for as long as asked: `make chaos MINUTES=20`.

    python tests/chaos/run.py --minutes 20 --seed 0

1. One world is drawn, and one undisturbed run made of it per kind of place: a local folder, a bucket of a
   moto server behind a proxy, a scene on a web server, a Ray of two nodes.
2. Each seed draws a place and faults (`FAULTS`), gives them to real processes of `jobs/segment_region.py`,
   and then starts the same command until it ends.
3. The place must then hold what the undisturbed run left, byte by byte, and `verify` must find it sound. No
   start may do a block again that was committed.
4. At the end come kills on Ray (`--ray`) and simulated runs (`--simulated`, see tests/simulator).

A table tells each fault, how often it was injected and met, how many processes SIGKILL ended, what was
expected and what was seen. Exit code 1 when anything differed; every failure is printed with the command that
repeats it.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("", "tests", "tests/chaos", "tests/unit/write")]

from chaos_faults import (  # noqa: E402
    at_fail_point,
    at_random,
    child_killed,
    damaged_record,
    drawn_points,
    full_disk,
    signalled,
    sleeper,
    two_drivers,
)
from chaos_places import Bench  # noqa: E402
from fault_server import fault_server  # noqa: E402
from ledger import Ledger  # noqa: E402
from ray_faults import RayMachines, actor_killed, driver_killed, node_killed  # noqa: E402
from s3_proxy import s3_proxy  # noqa: E402
from s3_server import BUCKET, serving_s3  # noqa: E402
from server_faults import bad_bucket, bad_server, note_storm, refused_bucket  # noqa: E402
from trials import Trial  # noqa: E402


@dataclass(frozen=True)
class Fault:
    """What can happen to a place."""

    inject: Callable[[Trial], None]
    weight: int
    """How often it is drawn first."""
    kinds: tuple[str, ...] = ("local", "local", "s3")
    """Kinds of place where it can happen."""
    followed: bool = False
    """Whether kills follow at the same place, and how the next one finds it does not matter."""


FAULTS = {
    "point": Fault(at_fail_point, 12, followed=True),
    "kill": Fault(at_random, 6, followed=True),
    "signal": Fault(signalled, 2, followed=True),
    "record": Fault(damaged_record, 2, followed=True),
    "bucket": Fault(bad_bucket, 6, ("s3",), followed=True),
    "refused": Fault(refused_bucket, 2, ("s3",), followed=True),
    "child": Fault(child_killed, 1),
    "drivers": Fault(two_drivers, 2),
    "sleeper": Fault(sleeper, 4),
    "server": Fault(bad_server, 3, ("http",)),
    "disk": Fault(full_disk, 2, ("local",)),
    "ray_driver": Fault(driver_killed, 0, ("ray",)),
    "ray_actor": Fault(actor_killed, 0, ("ray",)),
    "ray_node": Fault(node_killed, 0, ("ray",)),
}
FOLLOWING = ("point",) * 6 + ("kill",) * 3 + ("signal",)
RAY_FAULTS = ("ray_driver", "ray_actor", "ray_node")


def parse_args() -> argparse.Namespace:
    """The command line."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--minutes", type=float, default=20.0, help="for real runs (default: 20)")
    top.add_argument("--seed", type=int, default=None, help="first seed (default: from the clock)")
    top.add_argument("--trials", type=int, default=None, help="stop after this many seeds")
    top.add_argument("--only", choices=sorted(FAULTS), help="one fault alone")
    top.add_argument("--store", choices=("local", "s3"), help="one kind of place alone")
    top.add_argument(
        "--ray", type=int, default=0, metavar="N", help="N trials of each kill on Ray, at the end"
    )
    top.add_argument("--simulated", type=int, default=0, metavar="N", help="N simulated runs, at the end")
    top.add_argument("--table", type=Path, metavar="FILE", help="write the table as Markdown as well")
    top.add_argument("--world", type=Path, help="a world of jobs/make_world.py, instead of a fresh one")
    return top.parse_args()


@dataclass
class Campaign:
    """All trials of a command."""

    bench: Bench
    args: argparse.Namespace
    ledger: Ledger = field(default_factory=Ledger)
    failed: list[str] = field(default_factory=list)
    n_trials: int = 0

    def go(self, seed: int, only: str | None) -> None:
        """One trial; prints what became of it."""
        trial = drawn(self.bench, self.ledger, seed, only, self.args.store)
        wrong = judged(trial)
        self.n_trials += 1
        if wrong:
            words = {"only": only, "store": self.args.store, "world": self.args.world}
            more = "".join(f" --{name} {value}" for name, value in words.items() if value)
            self.failed.append(f"python tests/chaos/run.py --seed {seed} --trials 1{more}")
            print(f"FAILED: seed {seed}: {trial.story()}", *wrong, f"again: {self.failed[-1]}", sep="\n  ")
        else:
            trial.remove()
        print(f"seed {seed}: {trial.story()}   [{self.counts()}]", flush=True)

    def counts(self) -> str:
        """How much was done, in a line."""
        return (
            f"{self.n_trials} trials, {self.ledger.n_faults()} faults, {self.ledger.n_kills()} real kills, "
            f"{len(self.failed)} failed"
        )

    def simulate(self, count: int) -> None:
        """Simulated runs after the real ones."""
        from simulator.simulate import run_seeds

        befell, failed = run_seeds(0, count, 3)
        self.ledger.add_simulated(befell, failed=bool(failed))
        if failed:
            self.failed.append(f"{failed} simulated runs: see above")


def main() -> int:
    """Inject faults until the time is over; exit code 1 when a trial failed."""
    args = parse_args()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    seed = int(time.time()) if args.seed is None else args.seed
    with ExitStack() as stack:
        campaign = Campaign(set_up(stack, args.world), args)
        end = time.monotonic() + 60 * args.minutes
        print(f"chaos from seed {seed} for {args.minutes:g} minutes", flush=True)
        while time.monotonic() < end and (args.trials is None or campaign.n_trials < args.trials):
            campaign.go(seed, args.only)
            seed += 1
        for number, only in enumerate(RAY_FAULTS * args.ray):
            campaign.go(seed + number, only)
    if args.simulated:
        campaign.simulate(args.simulated)
    ledger = campaign.ledger
    print(f"\n{ledger.text()}\n{ledger.work_repeated()}\n{campaign.counts()}")
    if args.table:
        args.table.write_text(f"{ledger.markdown()}\n\n{ledger.work_repeated()}; {campaign.counts()}.\n")
    for line in campaign.failed:
        print(f"  {line}")
    return 1 if campaign.failed or not campaign.n_trials else 0


def set_up(stack: ExitStack, world: Path | None) -> Bench:
    """What all trials share."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="terraquery-chaos-")))
    world = world or draw_world(folder / "world")
    endpoint = stack.enter_context(serving_s3())
    machines = RayMachines(folder=folder)
    stack.callback(machines.close)
    return Bench(
        folder=folder,
        world=world,
        server=stack.enter_context(fault_server(world)),
        bucket=f"s3://{BUCKET}",
        proxy=stack.enter_context(s3_proxy(endpoint)),
        ray=machines,
    )


def drawn(bench: Bench, ledger: Ledger, seed: int, only: str | None, store: str | None) -> Trial:
    """The trial of a seed: its place, and its faults in `plan`."""
    dice = random.Random(f"plan {seed}")
    first = only or dice.choices(list(FAULTS), [fault.weight for fault in FAULTS.values()])[0]
    kinds = FAULTS[first].kinds
    kind = store if store in kinds else dice.choice(kinds)
    names = [first]
    if FAULTS[first].followed:
        names += [first if only else dice.choice(FOLLOWING) for _ in range(dice.randint(2, 7))]
    trial = Trial(bench=bench, ledger=ledger, seed=seed, kind=kind, plan=tuple(names))
    trial.points = drawn_points(trial, names.count("point"))
    return trial


def judged(trial: Trial) -> list[str]:
    """One trial; returns what was wrong, a line each."""
    try:
        for name in trial.plan:
            FAULTS[name].inject(trial)
        note_storm(trial)
        wrong = trial.finish()
    except Exception:  # every failure counts, whatever its kind
        wrong = [*trial.wrong, traceback.format_exc()]
    finally:
        trial.end_processes()
    for name in {fault.removesuffix(" (not met)") for fault in trial.faults}:
        trial.ledger.wrong[name] += bool(wrong)
    return wrong


def draw_world(out: Path) -> Path:
    """A small world with its labels."""
    words = ["--seed", "7", "--size", "768", "--out", str(out), "--quiet"]
    subprocess.run([sys.executable, "jobs/make_world.py", *words], cwd=ROOT, check=True)
    return out


if __name__ == "__main__":
    sys.exit(main())
