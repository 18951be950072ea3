"""How long the parts of an engine's start take, by the largest image that it is told of.

python tests/benchmarks/engine_start.py CHECKPOINT 840 3584

Each size starts an engine in a process of its own. `rest` is everything that vLLM does not tell: imports,
processes, the tokenizer.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

from pipeline.prompt.engine_times import engine_times
from pipeline.prompt.vllm_engine import VllmOptions, start_engine


def measured(path: str, side: int) -> dict[str, float]:
    """Start an engine for images of this side, end it, and return its times in seconds."""
    started = time.monotonic()
    options = VllmOptions(max_model_len=20_000, kv_cache_gib=1.0, enforce_eager=True, max_num_seqs=4)
    with engine_times() as times:
        engine = start_engine(path, options, (side, side))
    whole = time.monotonic() - started
    engine.shutdown()
    return {**times, "whole": whole, "rest": whole - times.get("weights", 0.0) - times.get("warm_up", 0.0)}


def main(path: str, *sides: str) -> None:
    """Measure each size in a process of its own and print a line."""
    if len(sides) == 2 and sides[0] == "--one":
        print("TIMES " + json.dumps(measured(path, int(sides[1]))))
        return
    for side in sides:
        command = [sys.executable, __file__, path, "--one", side]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        line = next((one for one in done.stdout.splitlines() if one.startswith("TIMES ")), None)
        if line is None:
            print(f"{side} px: no engine: {done.stderr[-300:]}")
            continue
        times = json.loads(line.removeprefix("TIMES "))
        print(f"{side} px: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in times.items()))


if __name__ == "__main__":
    main(*sys.argv[1:])
