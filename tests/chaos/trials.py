"""A trial: one place, some faults, and the same command again until it ends."""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from chaos_places import Bench, compared
from killed_jobs import JobProcess, start_job
from ledger import Ledger

from pipeline.files.fail_point import VARIABLE
from pipeline.files.store.store_path import store_path
from pipeline.run.verify.verify_run import verify

MOST_STARTS = 4
"""Starts of the same command after which a trial must have ended."""

COLD = 1 / 25
"""Share of starts that are plain processes."""

IN_FLIGHT = 1
MOST_IN_FLIGHT_ON_RAY = 16
"""Blocks that can be on their way at once."""


@dataclass(kw_only=True)
class Trial:
    """One place, and what happens to it."""

    bench: Bench
    ledger: Ledger
    seed: int
    kind: str
    """Of the place."""
    plan: tuple[str, ...]
    """Names of the faults, in order."""
    place: str = ""
    faults: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    jobs: list[JobProcess] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    """More words of every start."""
    settings: dict[str, str] = field(default_factory=dict)
    """More environment variables of every start."""
    points: list[str] = field(default_factory=list)
    """Fail points that are still to be met, in the order of a run."""
    damaged: set[str] = field(default_factory=set)
    """Blocks whose records were damaged: they are done again."""
    healed: bool = False
    """Whether failed tiles may have been published before."""
    stormy: bool = False
    """Whether a start may end in an error, because its store answers badly."""
    _committed: dict[int, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.place = self.bench.place(f"seed-{self.seed}", self.kind)

    def finish(self) -> list[str]:
        """Start the command until it ends, and compare; returns what was wrong, a line each."""
        self.bench.proxy.clear()
        self.stormy = False
        self._end()
        if not self.wrong:
            self.wrong += compared(self.bench, self.place, self.kind, healed=self.healed)
            verdict = verify(self.place)
            if not verdict.sound:
                self.wrong.append(f"verify: {verdict.findings[:3]} {verdict.not_made}")
        return self.wrong

    def story(self) -> str:
        """What happened, in a line."""
        told = Counter(self.faults)
        faults = (f"{count} x {name}" if count > 1 else name for name, count in told.items())
        return f"{self.kind}, {', '.join(faults)}; {len(self.jobs)} starts"

    def committed(self) -> set[str]:
        """Blocks that have a record."""
        return {path.name.partition(".")[0] for path in (store_path(self.place) / "blocks").entries()}

    def start(self, *, point: str = "") -> JobProcess:
        """Start the command in the place."""
        settings = self.bench.settings(self.kind) | self.settings
        if point:
            settings[VARIABLE] = point
        before = self.committed()
        job = start_job(
            [*self.bench.words(self.place, self.kind), *self.words],
            self.bench.folder / "logs" / f"{self.seed}-{len(self.jobs)}.txt",
            settings=settings,
            cold=self.kind != "ray" and self.rng.random() < COLD,
        )
        self.jobs.append(job)
        self._committed[job.pid] = before
        return job

    def note(self, fault: str, *, met: bool = True, killed: int = 0, times: int = 1) -> None:
        """Count a fault."""
        self.faults += [fault if met else f"{fault} (not met)"] * times
        self.ledger.injected[fault] += times
        self.ledger.met[fault] += times * met
        self.ledger.killed[fault] += killed

    def expect(self, job: JobProcess, codes: Sequence[int], what: str) -> int:
        """Wait for the end of a process, and note it as wrong when its exit code is another one."""
        code = job.wait()
        self._judge_work(job)
        if self.stormy and code in (1, 2):
            self.require_clear_words(job, what)
        elif code not in codes:
            self.wrong.append(f"{what}: exit code {code}, expected {list(codes)}: {job.said()}")
        return code

    def require_clear_words(self, job: JobProcess, what: str) -> None:
        """A run that ends for its store says so in one line."""
        text = job.log.read_text(errors="replace")
        said = [line for line in text.splitlines() if line.startswith("error: ")]
        if "Traceback" in text or len(said) != 1 or said[0].startswith("error: unexpected"):
            self.wrong.append(f"{what}: not one clear line: {job.said()}")

    def moment(self) -> float:
        """Seconds after the start of a run, from nothing to shortly before its end."""
        return self.rng.uniform(0.0, 0.9 * self.bench.undisturbed(self.kind).seconds)

    def _judge_work(self, job: JobProcess) -> None:
        """What is committed is not done again, except where it must be."""
        todo = job.todo()
        if todo is None:
            return
        again = self._committed[job.pid].intersection(todo.left) - self.damaged
        if again and not self.words:
            self.wrong.append(f"committed blocks are done again: {sorted(again)}")
        if len(todo.begun) > (MOST_IN_FLIGHT_ON_RAY if self.kind == "ray" else IN_FLIGHT):
            self.wrong.append(f"more blocks were in flight than can be: {todo.begun}")
        self.ledger.resumes += bool(self._committed[job.pid]) or bool(todo.begun)
        self.ledger.redone += len(todo.begun)
        self.ledger.most_redone = max(self.ledger.most_redone, len(todo.begun))

    def _end(self) -> None:
        code = None
        for _ in range(MOST_STARTS):
            job = self.start()
            code = job.wait()
            self._judge_work(job)
            if code in (0, 3):
                break
        if code != 0:
            self.wrong.append(f"the last start ended with exit code {code}: {self.jobs[-1].said()}")

    def end_processes(self) -> None:
        """Kill what is still at work."""
        for job in self.jobs:
            job.send(signal.SIGCONT)
            job.send(signal.SIGKILL)

    def remove(self) -> None:
        """Delete the place."""
        store_path(self.place).delete_tree()
