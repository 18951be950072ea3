"""Check the properties of the merge on random worlds for as long as asked: `make fuzz-stitch MINUTES=20`.

    python tests/fuzz_stitch.py --minutes 20 --seed 0

A failing world is printed with its property and seed; the same call with `--seed SEED --only PROPERTY
--worlds 1` repeats it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import stitch_properties as properties  # noqa: E402

PROPERTIES = {
    "oracle": (properties.check_oracle_is_exact, 4),
    "flat": (properties.check_two_level_is_flat, 4),
    "kept": (properties.check_nothing_is_lost, 2),
    "coarser": (properties.check_lower_threshold_is_coarser, 1),
    "far": (properties.check_far_tiles_change_nothing, 1),
    "published": (properties.check_published, 1),
}
"""Name -> (property, turns of thirteen)."""


def main() -> int:
    """Fuzz until the time is over; exit code 1 when a world failed."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--minutes", type=float, default=20.0)
    top.add_argument("--seed", type=int, default=None, help="first seed (default: from the clock)")
    top.add_argument("--only", choices=sorted(PROPERTIES), help="one property alone")
    top.add_argument("--worlds", type=int, default=None, help="stop after this many worlds")
    args = top.parse_args()
    seed = int(time.time()) * 1000 if args.seed is None else args.seed
    end = time.monotonic() + 60 * args.minutes
    done = Counter[str]()
    failed = 0
    turns = [
        name for name, (_, times) in PROPERTIES.items() for _ in range(times) if args.only in (None, name)
    ]
    print(f"fuzzing from seed {seed} for {args.minutes:g} minutes", flush=True)
    while time.monotonic() < end and (args.worlds is None or done.total() < args.worlds):
        name = turns[done.total() % len(turns)]
        failed += not holds(name, seed)
        done[name] += 1
        seed += 1
    counts = ", ".join(f"{name} {count}" for name, count in sorted(done.items()))
    print(f"{done.total()} worlds checked ({counts}), {failed} failed")
    return 1 if failed else 0


def holds(name: str, seed: int) -> bool:
    """One world; prints what went wrong."""
    check = PROPERTIES[name][0]
    try:
        if name == "published":
            with tempfile.TemporaryDirectory() as folder:
                properties.check_published(seed, Path(folder))
        else:
            check(seed)  # type: ignore[call-arg]
    except Exception:  # every failure counts, whatever its kind
        print(f"FAILED: property {name}, seed {seed}", flush=True)
        traceback.print_exc()
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
