"""Kill real runs, seed by seed, and start them again, for as long as asked: `make chaos MINUTES=20`.

    python tests/chaos/run.py --minutes 20 --seed 0

1. One world is drawn, and one undisturbed run made of it per kind of place: a local folder, a bucket of a
   moto server, a scene on a web server.
2. Each seed draws a place and faults (`chaos_faults`), gives them to real processes of
   `jobs/segment_region.py`, and then starts the same command until it ends.
3. The place must then hold what the undisturbed run left, byte by byte, and `verify` must find it sound.

A table tells each fault, how often it was injected, what was expected and what was seen. Exit code 1 when
anything differed; every failure is printed with the command that repeats it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/chaos")]

from chaos_faults import FAULTS, Ledger, Trial  # noqa: E402
from chaos_places import Bench, undisturbed  # noqa: E402
from fault_server import fault_server  # noqa: E402
from s3_server import BUCKET, serving_s3  # noqa: E402


def parse_args() -> argparse.Namespace:
    """The command line."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--minutes", type=float, default=20.0)
    top.add_argument("--seed", type=int, default=None, help="first seed (default: from the clock)")
    top.add_argument("--trials", type=int, default=None, help="stop after this many seeds")
    top.add_argument("--only", choices=sorted(FAULTS), help="one fault alone")
    top.add_argument("--store", choices=("local", "s3"), help="one kind of place alone")
    top.add_argument("--world", type=Path, help="a world of jobs/make_world.py, instead of a fresh one")
    return top.parse_args()


def main() -> int:
    """Inject faults until the time is over; exit code 1 when a trial failed."""
    args = parse_args()
    seed = int(time.time()) if args.seed is None else args.seed
    ledger = Ledger()
    failed: list[str] = []
    n_trials = 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="terraquery-chaos-")))
        world = args.world or draw_world(folder / "world")
        server = stack.enter_context(fault_server(world))
        stack.enter_context(serving_s3())
        bench = Bench(folder=folder, world=world, server=server, bucket=f"s3://{BUCKET}")
        print(f"undisturbed runs of {world}", flush=True)
        bench = undisturbed(bench)
        end = time.monotonic() + 60 * args.minutes
        print(f"chaos from seed {seed} for {args.minutes:g} minutes", flush=True)
        while time.monotonic() < end and (args.trials is None or n_trials < args.trials):
            trial = Trial(bench=bench, ledger=ledger, seed=seed, only=args.only, store=args.store)
            wrong = judged(trial)
            n_trials += 1
            if wrong:
                more = "".join(f" --{name} {value}" for name, value in asked(args).items())
                failed.append(f"python tests/chaos/run.py --seed {seed} --trials 1{more}")
                print(f"FAILED: seed {seed}: {trial.story()}", *wrong, f"  again: {failed[-1]}", sep="\n  ")
            else:
                print(f"seed {seed}: {trial.story()}", flush=True)
                trial.remove()
            seed += 1
    print(f"\n{ledger.table()}")
    print(f"{n_trials} trials, {ledger.n_faults()} faults, {ledger.kills} real kills, {len(failed)} failed")
    for line in failed:
        print(f"  {line}")
    return 1 if failed or not n_trials else 0


def asked(args: argparse.Namespace) -> dict[str, str]:
    """The options that change what a seed draws."""
    return {
        name: str(value)
        for name, value in (("only", args.only), ("store", args.store), ("world", args.world))
        if value
    }


def judged(trial: Trial) -> list[str]:
    """One trial; returns what was wrong, a line each."""
    try:
        return trial.run()
    except Exception:  # every failure counts, whatever its kind
        return [*trial.wrong, traceback.format_exc()]
    finally:
        trial.end_processes()


def draw_world(out: Path) -> Path:
    """A small world with its labels."""
    words = ["--seed", "7", "--size", "1024", "--out", str(out), "--quiet"]
    subprocess.run([sys.executable, "jobs/make_world.py", *words], cwd=ROOT, check=True)
    return out


if __name__ == "__main__":
    sys.exit(main())
