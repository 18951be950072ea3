"""Simulated runs, one per seed: `python tests/simulator/simulate.py --seeds 100000`; `--seed 17` shows one.

1. A seed says how bad the day is, who starts when, and what befalls each store call.
2. Judges look at every change (`judges`). When all is over, the same command is given on a calm day, and must
   leave what an undisturbed run leaves.
3. A failure is told with its seed. What befell it and does not matter is left out, then its calls are told.

Every hundredth seed publishes with the whole of phase two; in the others small files stand for its results.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("", "unit/write")]

from simulator.actors import NeverEndsError
from simulator.judges import Judge, ViolationError
from simulator.seams import simulated
from simulator.sim_drivers import Command, Troupe
from simulator.sim_store import WORLDS, Weather, World
from simulator.tiny_run import FINGERPRINTS

WHOLE_EVERY = 100


@dataclass(frozen=True)
class Outcome:
    """What came of a seed."""

    seed: int
    failure: str
    """Empty: all promises were kept."""
    world: World
    n_published: int
    endings: tuple[str, ...]


def weather_of(dice: random.Random) -> Weather:
    """Draw how bad the day is."""
    level = dice.choice((0.0, 0.3, 1.0, 1.0, 2.5))
    drawn = {
        name: level * most * dice.random()
        for name, most in (
            ("reset", 0.01),
            ("lost", 0.01),
            ("again", 0.03),
            ("kill", 0.015),
            ("freeze", 0.02),
            ("slow", 0.05),
        )
    }
    return Weather(
        **drawn,
        lag_s=dice.choice((0.0, 0.0, 30.0)),
        clock_jump_at=dice.uniform(10.0, 900.0) if dice.random() < 0.05 else float("inf"),
    )


def simulate(seed: int, *, muted: frozenset[int] = frozenset()) -> Outcome:
    """Simulate one seed. `muted`: numbers of calls that nothing befalls."""
    dice = random.Random(f"scenario {seed}")
    world = World(seed=seed, weather=weather_of(dice), muted=muted)
    whole = seed % WHOLE_EVERY == 0
    with simulated(World(seed=0)):
        judge = Judge(whole=whole)
    WORLDS["tiny"] = world
    world.watch = judge.watch
    troupe = Troupe(world=world, judge=judge, bucket="tiny", fails=dice.choice((0.0, 0.0, 0.6)))
    with simulated(world):
        failure = ""
        try:
            _play(troupe, dice)
            _finish(troupe)
        except (ViolationError, NeverEndsError) as error:
            failure = f"{type(error).__name__}: {error}"
    return Outcome(seed, failure, world, judge.n_published, tuple(troupe.outcomes))


def _play(troupe: Troupe, dice: random.Random) -> None:
    world = troupe.world
    for number in range(2 if dice.random() < 0.8 else 3):
        host = dice.choice(("a", "b"))
        _operate(troupe, dice, f"driver{number}", host, Command(), attempts=dice.randint(1, 4),
                 after=dice.uniform(0.0, dice.choice((2.0, 60.0, 900.0))))  # fmt: skip
    world.stage.spawn("reader", world.process("reader", "r"), lambda: troupe.read(8))
    if dice.random() < 0.3:
        cleaner = world.process("cleaner", "b")
        world.stage.spawn("cleaner", cleaner, troupe.tidy, after=dice.uniform(60.0, 3000.0))
    world.stage.run()


def _operate(
    troupe: Troupe,
    dice: random.Random,
    name: str,
    host: str,
    command: Command,
    *,
    attempts: int,
    after: float,
) -> None:
    """Start a driver, and after its end the same command again."""
    world = troupe.world

    def body() -> None:
        outcome = troupe.attempt(name, host, now)
        if attempts > 1 and (outcome != "done" or world.dice.random() < 0.3):
            _operate(troupe, dice, name, host, replace(now, new_run=False), attempts=attempts - 1,
                     after=world.dice.uniform(1.0, 500.0))  # fmt: skip

    now = replace(command, retry_failed=world.dice.random() < 0.25)
    if world.dice.random() < 0.05:
        now = replace(now, new_run=True, run=world.dice.choice((command.run, 1)))
    world.stage.spawn(name, world.process(name, host), body, after=after)


def _finish(troupe: Troupe) -> None:
    """Give the command again on a calm day, and judge what is there."""
    world = troupe.world
    world.weather = replace(world.weather, reset=0, lost=0, again=0, kill=0, freeze=0, slow=0, lag_s=0)
    troupe.fails = 0.0
    run = 0
    if "run/run.json" in world.objects:
        run = next(
            i for i, text in enumerate(FINGERPRINTS) if text in world.objects["run/run.json"].data.decode()
        )
    last = Command(run=run, retry_failed=True)
    endings: list[str] = []

    def body() -> None:
        endings.append(troupe.attempt("last", "c", last))

    while endings[-1:] != ["done"]:
        if len(endings) == 3:
            raise ViolationError(f"on a calm day the command ends with {endings}")
        world.stage.spawn("last", world.process("last", "c"), body, after=2000.0)
        world.stage.run()
    troupe.judge.at_the_end(world, run)


def shrunk(outcome: Outcome) -> Outcome:
    """Leave out what befell a failed seed and does not matter."""
    best, muted = outcome, frozenset[int]()
    for number in sorted(outcome.world.struck, reverse=True):
        if number not in best.world.struck:
            continue
        tried = simulate(outcome.seed, muted=muted | {number})
        if tried.failure:
            best, muted = tried, muted | {number}
    return best


def told(outcome: Outcome, *, most_lines: int = 120) -> str:
    """Tell a failure, and how to see it again."""
    small = shrunk(outcome)
    muted = ",".join(map(str, sorted(small.world.muted)))
    lines = list(small.world.trace)
    command = f"python tests/simulator/simulate.py --seed {outcome.seed}"
    return "\n".join(
        [
            f"seed {outcome.seed} fails: {outcome.failure}",
            f"again: {command}",
            f"the smallest failure: {small.failure}",
            f"again: {command}" + (f" --mute {muted}" if muted else ""),
            f"its last {min(len(lines), most_lines)} of {len(lines)} calls; befell: {small.world.struck}",
            *lines[-most_lines:],
        ]
    )


def main() -> int:
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--seeds", type=int, default=2000, help="how many (default: 2000)")
    top.add_argument("--first", type=int, default=0, help="the first of them (default: 0)")
    top.add_argument("--seed", type=int, help="this one alone, with its calls")
    top.add_argument("--mute", default="", help="numbers of calls that nothing befalls, with commas")
    top.add_argument("--most-failures", type=int, default=3, help="stop after so many (default: 3)")
    args = top.parse_args()
    if args.seed is not None:
        muted = frozenset(int(text) for text in args.mute.split(",") if text)
        outcome = simulate(args.seed, muted=muted)
        print("\n".join(outcome.world.trace))
        print(f"seed {args.seed}: {outcome.failure or 'all promises kept'}; befell: {outcome.world.struck}")
        return 1 if outcome.failure else 0
    _, failed = run_seeds(args.first, args.seeds, args.most_failures)
    return 1 if failed else 0


def run_seeds(first: int, count: int, most_failures: int) -> tuple[Counter[str], int]:
    """Simulate many seeds, and print failures and counts. Returns what befell them, and how many failed."""
    start = time.monotonic()
    befell, endings = Counter[str](), Counter[str]()
    failed = done = published = calls = 0
    for seed in range(first, first + count):
        outcome = simulate(seed)
        done += 1
        befell.update(outcome.world.struck.values())
        endings.update(outcome.endings)
        published += outcome.n_published
        calls += outcome.world.n_calls
        if outcome.failure:
            failed += 1
            print(told(outcome), flush=True)
            if failed >= most_failures:
                break
        if done % 5000 == 0:
            print(f"{done} seeds, {failed} failed, {time.monotonic() - start:.0f} s", flush=True)
    print(f"{done} seeds, {failed} failed, {time.monotonic() - start:.0f} s; {calls:,} store calls, "
          f"{published:,} publications")  # fmt: skip
    print(f"befell: {dict(befell.most_common())}")
    print(f"drivers ended: {dict(endings.most_common())}")
    return befell, failed


if __name__ == "__main__":
    sys.exit(main())
