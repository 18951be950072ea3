"""How long the figures of a large benchmark take: time and peak memory of `build_results` by samples.

    python tests/benchmarks/evaluation_figures.py [1928 16158]

The defaults are the sizes of the test splits of EarthReason and RISBench. The records are drawn, not
answered, and hold no masks. Each size prints one line: samples, CPU seconds, peak of the memory allocated
meanwhile in MB. Time and memory come from a call each, since tracing allocations doubles the time.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np

from pipeline.evaluate.benchmark.results import Scoring, Subject, build_results
from pipeline.evaluate.benchmark.sample_records import SampleRecord
from pipeline.evaluate.figures.boundary import BoundaryAgreement
from pipeline.schema.tile_answers import Prompt, Reason, TileStatus

SIDE = 840
SUBJECT = Subject(benchmark={"name": "drawn", "split": "test"}, models={}, protocol={})


def drawn_records(n: int) -> list[SampleRecord]:
    """`n` records, one per image: 2 % empty targets, 5 % abstentions, 28 categories."""
    rng = np.random.default_rng(0)
    records = []
    for index in range(n):
        true = 0 if rng.random() < 0.02 else int(rng.integers(1, SIDE * SIDE // 2))
        found = rng.random() > 0.05
        predicted = int(rng.integers(1, SIDE * SIDE // 2)) if found else 0
        common = int(rng.integers(0, min(true, predicted) + 1))
        outline = BoundaryAgreement(
            true_px=4 * (true > 0), true_near=2 * (true > 0), predicted_px=4 * found, predicted_near=2 * found
        )
        record = SampleRecord(
            sample_id=f"{index}#0",
            image_id=str(index),
            query="?",
            strata={"category": str(index % 28)},
            status=TileStatus.FOUND if found else TileStatus.EMPTY,
            reason=Reason.NONE if found else Reason.PROMPTER,
            prompts=(Prompt(box_xyxy=(0.0, 0.0, 1.0, 1.0)),) if found else (),
            height=SIDE,
            width=SIDE,
            true_px=true,
            predicted_px=predicted,
            common_px=common,
            outline=outline,
        )
        records.append(record)
    return records


def seconds_and_peak(call: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds of a call, and the peak in bytes of what another one allocates."""
    started = time.process_time()
    call()
    seconds = time.process_time() - started
    tracemalloc.start()
    try:
        call()
        return seconds, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def main(sizes: list[int]) -> None:
    """Measure and print."""
    for n in sizes:
        seconds, peak = seconds_and_peak(partial(build_results, drawn_records(n), Scoring(), SUBJECT))
        print(f"{n:>7} samples  {seconds:6.1f} s CPU  {peak / 1e6:7.1f} MB")


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [1928, 16158])
