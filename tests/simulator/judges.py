"""What must hold whatever happens. A judge looks at every change of an object, and at the end.

1. run.json: only the driver that began last lets it name a snapshot, and then the snapshot is whole.
2. A file of a snapshot has the bytes that an undisturbed run writes, and stays while the snapshot counts.
3. A block record is one that inference gave. A finished one is never replaced by a failed one, and none is
   removed but by a new run at work.
4. The lock of a driver that lives and shows it is left alone.
5. At the end the same command gives what an undisturbed run leaves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from simulator import tiny_run
from simulator.actors import Process
from simulator.sim_store import Held, World
from simulator.tiny_run import BLOCK_IDS, FINGERPRINTS, Undisturbed, genuine, undisturbed

from pipeline.write.run_lock import STALE_S

RUN = "run"


class ViolationError(Exception):
    """A promise was broken."""


@dataclass
class Judge:
    """Watches a world."""

    whole: bool
    """Runs are published with the whole of phase two."""
    pointed: str = ""
    """The snapshot that counts."""
    n_new_runs: int = 0
    n_published: int = 0
    at_work: str = ""
    expected: dict[str, Undisturbed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for run in range(len(FINGERPRINTS)):
            for fails in (False, True):
                want = undisturbed(run, fails, self.whole)
                self.expected[want.snapshot] = want

    def watch(self, world: World, call: str, key: str, before: Held | None, after: Held | None) -> None:
        """Judge one change of an object. A violation ends the simulation."""
        folder, _, name = key.removeprefix(f"{RUN}/").partition("/")
        judges = {
            "run.json": self._document,
            "run.lock": self._lock,
            "blocks": self._block,
            "snapshots": self._file,
        }
        try:
            if folder in judges:
                judges[folder](world, name, before, after)
        except ViolationError as error:
            world.note(f"VIOLATION after {call} {key}: {error}")
            world.stage.failure = world.stage.failure or error

    def _document(self, world: World, _: str, before: Held | None, after: Held | None) -> None:
        if after is None:
            raise ViolationError("run.json was removed")
        old: dict[str, Any] = {} if before is None else json.loads(before.data)
        new = json.loads(after.data)
        me = world.actor
        assert me is not None
        if new["at_work"] == me.token:
            if new["snapshot"] not in ("", old.get("snapshot", "")):
                raise ViolationError("a driver that starts lets another snapshot count")
            if not new["snapshot"] and old.get("snapshot"):
                self.n_new_runs += 1
        elif new["at_work"]:
            if new["at_work"] != old.get("at_work") or new["snapshot"] != old["snapshot"]:
                raise ViolationError("a driver writes in the name of another")
        elif {**old, "at_work": ""} != new:  # else the one at work is barred
            self._conclusion(me, old, new)
        self.at_work = new["at_work"]
        self.pointed = new["snapshot"]
        if self.pointed != old.get("snapshot"):
            self.require_whole(world)

    def _conclusion(self, me: Process, old: dict[str, Any], new: dict[str, Any]) -> None:
        if old.get("at_work"):
            if old["at_work"] != me.token:
                raise ViolationError(f"{me.token} publishes, and {old['at_work']} began after it")
            if old["fingerprint"] != new["fingerprint"]:
                raise ViolationError("a driver closes another run")
            self.n_published += 1
        elif new["snapshot"] != old.get("snapshot"):
            raise ViolationError("the pointer moved and nobody was at work")

    def require_whole(self, world: World) -> None:
        """Raise ViolationError unless the snapshot that counts is there with all its bytes."""
        if not self.pointed:
            return
        if self.pointed not in self.expected:
            raise ViolationError(f"snapshot {self.pointed} follows from no records of the run")
        want = {
            f"{RUN}/snapshots/{self.pointed}/{path}": data
            for path, data in self.expected[self.pointed].files.items()
        }
        start = f"{RUN}/snapshots/{self.pointed}/"
        found = {key: held.data for key, held in world.objects.items() if key.startswith(start)}
        wrong = sorted(key for key in want.keys() | found.keys() if want.get(key) != found.get(key))
        if wrong:
            raise ViolationError(f"the snapshot that counts differs from an undisturbed run's in {wrong}")

    def _lock(self, world: World, _: str, before: Held | None, after: Held | None) -> None:
        me = world.actor
        assert me is not None
        if before is None:
            return
        holder = json.loads(before.data)
        if holder["token"] == me.token:
            return
        if after is None:
            raise ViolationError(f"{me.token} removes the lock of {holder['token']}")
        process = world.processes[holder["host"], holder["pid"]]
        age_s = world.clock() - before.written
        if process.alive and 0 <= age_s <= STALE_S:
            raise ViolationError(f"{me.token} takes the lock of {holder['token']}, {age_s:.0f} s old")
        if process.alive and process.host == me.host:
            raise ViolationError(
                f"{me.token} takes the lock of {holder['token']}, which lives on its machine"
            )

    def _block(self, world: World, name: str, before: Held | None, after: Held | None) -> None:
        block = name.removesuffix(".parquet")
        me = world.actor
        assert me is not None
        if after is None:
            if me.token != self.at_work:
                raise ViolationError(
                    f"{me.token} removes record {block}, and {self.at_work or 'nobody'} is at work"
                )
            return
        if after.data not in genuine() or genuine()[after.data][1] != block:
            raise ViolationError(f"record {block} is none that inference gave")
        if before is None:
            return
        old_run, _, old_fails = genuine()[before.data]
        new_run, _, new_fails = genuine()[after.data]
        if old_run == new_run and new_fails and not old_fails:
            raise ViolationError(f"record {block} was found, and is failed now")

    def _file(self, world: World, name: str, before: Held | None, after: Held | None) -> None:
        snapshot, _, path = name.partition("/")
        me = world.actor
        assert me is not None
        if after is None:
            if snapshot == self.pointed:
                raise ViolationError(f"{me.token} removes {path} of the snapshot that counts")
            return
        if snapshot not in self.expected:
            raise ViolationError(f"snapshot {snapshot} follows from no records of the run")
        if self.expected[snapshot].files.get(path) != after.data:
            raise ViolationError(f"{path} of snapshot {snapshot} is not what an undisturbed run writes")
        # one that slept and was barred may write where a cleaner removed: nobody was shown that snapshot, and
        # whoever publishes it writes its manifest last, again
        if path == "manifest.json" and me.token == self.at_work:
            there = {f"{RUN}/snapshots/{snapshot}/{other}" for other in self.expected[snapshot].files}
            if not there <= world.objects.keys():
                raise ViolationError(f"the manifest of {snapshot} comes before its files")

    def at_the_end(self, world: World, run: int) -> None:
        """Raise ViolationError unless the world holds what an undisturbed run leaves."""
        want = undisturbed(run, False, self.whole)
        found = {key: held.data for key, held in world.objects.items()}
        document = tiny_run.plain_document(found[f"{RUN}/run.json"])
        if document != want.run_json:
            odd = [name for name in want.run_json if document.get(name) != want.run_json[name]]
            raise ViolationError(f"run.json differs from an undisturbed run's in {odd}")
        self.require_whole(world)
        blocks = {
            key.removeprefix(f"{RUN}/blocks/"): data for key, data in found.items() if "/blocks/" in key
        }
        if blocks != {f"{name}.parquet": tiny_run.record_bytes(run, name, False) for name in BLOCK_IDS}:
            raise ViolationError(f"the records are not one of each planned block: {sorted(blocks)}")
        left = [key for key in found if key == f"{RUN}/run.lock" or "merge.tmp" in key]
        if left or self.at_work:
            raise ViolationError(f"a finished run left {left}, at work: {self.at_work or 'nobody'}")
