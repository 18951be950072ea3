"""Those who act in a simulated run: drivers that are started again and again, workers, readers, a cleaner."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from dataclasses import dataclass, field

from simulator.actors import Killed, Process
from simulator.judges import RUN, Judge, ViolationError
from simulator.sim_store import SCHEME, LostAnswerError, World
from simulator.tiny_run import LATTICE, PARAMETERS, left, publish_run, record, start_of

from pipeline.errors import IncompleteRunError, TerraqueryError
from pipeline.run.clean_run import clean
from pipeline.run.todo import Todo
from pipeline.schema.tiling import BlockSpec
from pipeline.write.records.block_records import write_block_record
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import begin
from pipeline.write.run_lock import alone_in


@dataclass(frozen=True)
class Command:
    """What an operator types."""

    run: int = 0
    retry_failed: bool = False
    new_run: bool = False


@dataclass(eq=False)
class Troupe:
    """The actors of one simulation, and what came of them."""

    world: World
    judge: Judge
    bucket: str
    fails: float = 0.5
    """Chance that the tile fails that may."""
    outcomes: list[str] = field(default_factory=list)

    @property
    def run_dir(self) -> RunDir:
        return RunDir(f"{SCHEME}{self.bucket}/{RUN}")

    def attempt(self, name: str, host: str, command: Command) -> str:
        """Be a driver until it ends or dies; returns how it ended."""
        self.world.note(f"starts {command}")
        try:
            self.drive(host, command)
            outcome = "done"
        except Killed:
            outcome = "killed"
        except (TerraqueryError, LostAnswerError) as error:
            outcome = type(error).__name__
            self.world.note(f"{outcome}: {error}"[:200])
        except Exception as error:
            outcome = f"escaped: {error!r}"
            self.world.stage.failure = self.world.stage.failure or _escaped(name, error)
        self.world.note(f"ends: {outcome}")
        self.outcomes.append(outcome)
        return outcome

    def drive(self, host: str, command: Command) -> None:
        """What `flow.run_together` does, with simulated workers."""
        run_dir = self.run_dir
        with alone_in(run_dir.path, say=self.world.note) as require_still_alone:
            run_dir.claim(PARAMETERS[command.run], new_run=command.new_run, say=self.world.note)
            info = begin(run_dir, start_of(command.run), new_run=command.new_run)
            if command.new_run:
                run_dir.clear()
            run_dir.plan.write_bytes(b"plan")
            todo = left(command.run, run_dir, retry_failed=command.retry_failed)
            _Crew(self, host, command, todo).work()
            require_still_alone()
            publish_run(command.run, run_dir, info, whole=self.judge.whole)

    def read(self, rounds: int) -> None:
        """Be a reader that follows run.json."""
        store = self.run_dir.path.store
        for _ in range(rounds):
            self.world.stage.pause(self.world.dice.uniform(1.0, 120.0))
            n_new_runs = self.judge.n_new_runs
            try:
                snapshot = json.loads(store.get("run.json").data)["snapshot"]
                if not snapshot:
                    continue
                files = json.loads(store.get(f"snapshots/{snapshot}/manifest.json").data)["files"]
                for path, entry in files.items():
                    data = store.get(f"snapshots/{snapshot}/{path}").data
                    if (len(data), hashlib.sha256(data).hexdigest()) != (entry["size"], entry["sha256"]):
                        raise ViolationError(f"a reader finds other bytes in {path} of {snapshot}")
            except FileNotFoundError as error:
                # nothing was published yet, or a new run has removed it
                if not str(error.filename).endswith("/run.json") and n_new_runs == self.judge.n_new_runs:
                    raise ViolationError(f"a reader misses {error.filename}") from error

    def tidy(self) -> None:
        """Be a cleaner."""
        try:
            clean(self.run_dir, keep=self.world.dice.randrange(2), min_age_s=900.0, say=self.world.note)
        except (TerraqueryError, LostAnswerError) as error:
            self.world.note(f"cleaning ends: {error}"[:200])
        except Exception as error:
            self.world.stage.failure = self.world.stage.failure or _escaped("cleaner", error)


def _escaped(name: str, error: Exception) -> BaseException:
    if isinstance(error, ViolationError):
        return error
    violation = ViolationError(f"{name} ends with what is no error of ours: {error!r}")
    violation.__cause__ = error
    return violation


@dataclass(eq=False)
class _Crew:
    """The workers of one driver, each a process."""

    troupe: Troupe
    host: str
    command: Command
    todo: Todo

    def __post_init__(self) -> None:
        self.world = self.troupe.world
        self.blocks = deque(self.todo.blocks)
        self.n_working = 0
        self.error: Exception | None = None
        me = self.world.actor
        assert me is not None
        self.driver: Process = me

    def work(self) -> None:
        """Have all blocks done. Raises what a worker raised."""
        for _ in range(6):
            for _ in range(min(len(self.blocks), 1 + self.world.dice.randrange(2))):
                self._hire()
            self.world.stage.pause(float("inf"), until=lambda: self.n_working == 0)
            if self.error is not None:
                raise self.error
            if not self.blocks:
                return
        raise IncompleteRunError("workers die one after the other")

    def _hire(self) -> None:
        worker = self.world.process("worker", self.host)
        if self.world.dice.random() < 0.5:
            self.driver.children.append(worker)
        self.n_working += 1
        self.world.stage.spawn(f"{self.driver.token}'s", worker, self._commit_all)

    def _commit_all(self) -> None:
        block: BlockSpec | None = None
        try:
            while self.blocks and self.error is None and self.driver.alive:
                block = self.blocks.popleft()
                self.world.stage.pause(self.world.dice.uniform(0.1, 40.0))
                self._commit(block)
        except Killed:
            if block is not None:
                self.blocks.append(block)
        except Exception as error:
            self.error = error
        finally:
            self.n_working -= 1

    def _commit(self, block: BlockSpec) -> None:
        fails = self.world.dice.random() < (0.2 if self.command.retry_failed else 1.0) * self.troupe.fails
        made = record(self.command.run, block.block_id, fails)
        seal = self.todo.redone.get(block.block_id, "")
        write_block_record(self.troupe.run_dir, made, lattice=LATTICE, replaced=seal)
