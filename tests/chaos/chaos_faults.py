"""What is done to runs: one trial is one place, some faults, and the same command again until it ends."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos_places import Bench, compared
from killed_jobs import JobProcess, contents, start_job

from pipeline.files.fail_point import FAIL_POINTS, VARIABLE
from pipeline.files.store.store_path import store_path
from pipeline.run.verify.verify_run import verify

MOST_STARTS = 4
"""Starts of the same command after which a trial must have ended."""


@dataclass
class Ledger:
    """What was injected in all trials."""

    injected: Counter[str] = field(default_factory=Counter)
    """Fault -> times; kills at a fail point count under its name."""
    effective: Counter[str] = field(default_factory=Counter)
    """Fault -> times that a process met it before it had ended."""
    wrong: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    """Processes that SIGKILL has ended."""

    def n_faults(self) -> int:
        return sum(self.effective.values())

    def table(self) -> str:
        """Fault, times injected, expected, seen."""
        rows = [("fault", "injected", "met", "expected", "seen")]
        for name in sorted(self.injected):
            kind = name.partition(" ")[0]
            seen = f"{self.wrong[name]} trials differed" if self.wrong[name] else "as expected"
            rows.append((name, str(self.injected[name]), str(self.effective[name]), EXPECTED[kind], seen))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )


@dataclass(kw_only=True)
class Trial:
    """One place, and what happens to it."""

    bench: Bench
    ledger: Ledger
    seed: int
    only: str | None = None
    store: str | None = None
    kind: str = ""
    place: str = ""
    faults: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    jobs: list[JobProcess] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    """Words of all starts after the faults."""
    healed: bool = False

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def run(self) -> list[str]:
        """Inject, start until it ends, compare; returns what was wrong."""
        rng = self.rng
        names = [self.only or rng.choice(TURNS)]
        self.kind = KIND_OF.get(names[0]) or self.store or rng.choice(("local", "local", "s3"))
        if names[0] in REPEATABLE:
            names += [name for name in rng.choices(sorted(REPEATABLE), k=rng.randint(0, 2)) if not self.only]
        self.place = self.bench.place(f"seed-{self.seed}", self.kind)
        for name in names:
            FAULTS[name](self)
        self._end()
        if not self.wrong:
            self.wrong += compared(self.bench, self.place, self.kind, healed=self.healed)
            verdict = verify(self.place)
            if not verdict.sound:
                self.wrong.append(f"verify: {verdict.findings[:3]} {verdict.not_made}")
        for name in set(self.faults):
            self.ledger.wrong[name] += bool(self.wrong)
        return self.wrong

    def story(self) -> str:
        """What happened, in a line."""
        return f"{self.kind}, {', '.join(self.faults)}; {len(self.jobs)} starts"

    def start(self, *, point: str = "", runner: str = "local") -> JobProcess:
        """Start the command in the place; one in six as a plain process."""
        job = start_job(
            [*self.bench.words(self.place, self.kind, runner), *self.extra],
            self.bench.folder / "logs" / f"{self.seed}-{len(self.jobs)}.txt",
            settings={VARIABLE: point} if point else {},
            cold=self.rng.random() < 1 / 6,
        )
        self.jobs.append(job)
        return job

    def note(self, fault: str, *, met: bool) -> None:
        """Count a fault."""
        self.faults.append(fault if met else f"{fault} (not met)")
        self.ledger.injected[fault] += 1
        self.ledger.effective[fault] += met

    def expect(self, job: JobProcess, codes: Sequence[int], what: str) -> int:
        """Wait for the end of a process, and note it as wrong when its exit code is another one."""
        code = job.wait()
        self.ledger.kills += code == -signal.SIGKILL
        if code not in codes:
            self.wrong.append(f"{what}: exit code {code}, expected {list(codes)}: {job.said()}")
        return code

    def moment(self) -> float:
        """Seconds after the start of a run, from nothing to shortly before its end."""
        return self.rng.uniform(0.0, 0.9 * self.bench.seconds[self.kind])

    def _end(self) -> None:
        for _ in range(MOST_STARTS):
            code = self.start().wait()
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


def at_fail_point(trial: Trial) -> None:
    """SIGKILL at a named moment."""
    point = trial.rng.choice(FAIL_POINTS)
    most = {"before_object": 60, "after_object": 60, "after_shard": 9}.get(point, 1)
    most = 9 if point.endswith("block_record") else most
    nth = trial.rng.randint(1, most)
    code = trial.expect(trial.start(point=f"{point}:{nth}"), (-9, 0), f"killed at {point}")
    trial.note(f"point {point}", met=code == -9)


def at_random(trial: Trial) -> None:
    """SIGKILL at any moment."""
    job = trial.start()
    time.sleep(trial.moment())
    job.send(signal.SIGKILL)
    code = trial.expect(job, (-9, 0), "killed at random")
    trial.note("kill", met=code == -9)


def signalled(trial: Trial) -> None:
    """SIGTERM or SIGINT at any moment."""
    number = trial.rng.choice((signal.SIGTERM, signal.SIGINT))
    job = trial.start()
    time.sleep(trial.moment())
    job.send(number)
    code = trial.expect(job, (128 + number, -number, 0), number.name)
    trial.note(f"signal {number.name}", met=code != 0)


def two_drivers(trial: Trial) -> None:
    """Two starts at once: the second is refused, or comes after the first."""
    jobs = [trial.start(), trial.start()]
    codes = [trial.expect(job, (0, 2), "one of two drivers") for job in jobs]
    if 0 not in codes:
        trial.wrong.append(f"no driver of two came through: {codes}")
    trial.note("drivers", met=2 in codes)


SLEEPS = (
    "before_block_record",
    "before_coverage",
    "after_shard",
    "before_instances",
    "before_manifest",
    "before_run_json_swap",
    "after_run_json_swap",
    "before_item",
    "before_lock_release",
)


def sleeper(trial: Trial) -> None:
    """A driver is suspended, its lock removed as the refusal says or made a dead one's; a successor
    publishes; the sleeper wakes.
    """
    point = trial.rng.choice(SLEEPS)
    job = trial.start(point=f"{point}:1:stop")
    met = job.wait_suspended()
    trial.note(f"sleeper {point}", met=met)
    if not met:
        return
    _disown_lock(trial)
    trial.expect(trial.start(), (0,), "the successor of a sleeper")
    before = contents(trial.place)
    job.send(signal.SIGCONT)
    published = point in ("after_run_json_swap", "before_item", "before_lock_release")
    trial.expect(job, (0, 1) if published else (1,), f"a sleeper at {point} that wakes")
    after = contents(trial.place)
    if before != after:
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        trial.wrong.append(f"a sleeper at {point} changed {changed[:5]}")


def _disown_lock(trial: Trial) -> None:
    """Let the lock of a suspended driver count for nothing: gone, or of another machine and old."""
    path = store_path(trial.place) / "run.lock"
    if trial.kind == "s3" or trial.rng.random() < 0.5:
        path.delete()
        return
    file = path.local()
    file.write_text(file.read_text().replace('"host": "', '"host": "another-'))
    long_ago = time.time() - 3600
    os.utime(file, (long_ago, long_ago))


def damaged_record(trial: Trial) -> None:
    """A record that is truncated, changed in a byte, or gone, between two starts."""
    code = trial.expect(trial.start(point="before_coverage"), (-9, 0), "killed before a record is damaged")
    how = trial.rng.choice(("truncated", "flipped", "deleted"))
    records = sorted(str(path) for path in (store_path(trial.place) / "blocks").entries())
    path = store_path(trial.rng.choice(records))
    data = bytearray(path.read_bytes())
    place = trial.rng.randrange(len(data))
    if how == "deleted":
        path.delete()
    elif how == "truncated":
        path.write_bytes(bytes(data[:place]))
    else:
        data[place] ^= 1 << trial.rng.randrange(8)
        path.write_bytes(bytes(data))
    trial.note(f"record {how}", met=code in (-9, 0))


HTTP_FAULTS = ("403", "404", "429", "500", "503", "short", "slow", "stalled")


def bad_server(trial: Trial) -> None:
    """A web server that answers badly for a while, and then well."""
    server = trial.bench.server
    fault = trial.rng.choice(HTTP_FAULTS)
    server.clear()
    server.faults = dict.fromkeys(range(trial.rng.randint(1, 12), 400), fault)
    try:
        code = trial.expect(trial.start(), (0, 1, 2, 3, 4), f"a server with {fault}")
        met = server.number() > min(server.faults)
    finally:
        server.clear()
    trial.note(f"server {fault}", met=met)
    trial.extra = ["--retry-failed"]
    trial.healed = code in (0, 3)


def full_disk(trial: Trial) -> None:
    """A file system of its own that is too small, and then large enough."""
    place = Path(trial.place)
    place.mkdir(parents=True)
    options = f"size={trial.rng.randint(16, 400)}k"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=False)
    if mounted.returncode:
        trial.note("disk (needs root)", met=False)
        return
    try:
        code = trial.expect(trial.start(), (0, 1), f"a disk of {options}")
        trial.note("disk", met=code == 1)
        subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
        trial.expect(trial.start(), (0,), "a disk with room again")
    finally:
        for job in trial.jobs:
            job.send(signal.SIGKILL)
        shutil.copytree(place, f"{place}.copy", symlinks=True)
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()
        Path(f"{place}.copy").rename(place)


FAULTS: dict[str, Callable[[Trial], None]] = {
    "point": at_fail_point,
    "kill": at_random,
    "signal": signalled,
    "drivers": two_drivers,
    "sleeper": sleeper,
    "record": damaged_record,
    "server": bad_server,
    "disk": full_disk,
}
REPEATABLE = frozenset({"point", "kill", "signal", "record"})
"""Faults that one place can meet several times."""

KIND_OF = {"server": "http", "disk": "local"}
TURNS = (
    ("point",) * 6 + ("kill",) * 4 + ("signal", "drivers", "sleeper", "sleeper", "record", "server", "disk")
)

EXPECTED = {
    "point": "killed; the same bytes after a resume",
    "kill": "killed; the same bytes after a resume",
    "signal": "exit code 143 or 130; the same bytes after a resume",
    "drivers": "one is refused with exit code 2, or resumes; the same bytes",
    "sleeper": "its publication is refused with exit code 1; it changes nothing",
    "record": "found and done again; the same bytes",
    "server": "failed tiles, healed by --retry-failed; the same snapshot",
    "disk": "exit code 1; the same bytes once there is room",
}
