"""Where the project asks for time, threads, processes and random names, the simulation answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from simulator.sim_store import SCHEME, SimStore, World
from simulator.tiny_run import genuine, record, remembered_bytes, replaced

from pipeline.files.store.store_path import StorePath, register_store
from pipeline.run import todo
from pipeline.run.merge import publish
from pipeline.write import manifest, run_document, run_lock
from pipeline.write.records import block_records, done_records
from pipeline.write.run_lock import Driver


class InlinePool:
    """A `ThreadPoolExecutor` without threads: calls keep their order."""

    def __init__(self, max_workers: int) -> None:
        self.max_workers = max_workers

    def __enter__(self) -> InlinePool:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        return map(work, items)


class SimThread:
    """A `threading.Thread` that is an actor of the same process."""

    def __init__(self, world: World, target: Callable[..., None], args: tuple[Any, ...], name: str) -> None:
        self._world = world
        self._work = lambda: target(*args)
        self._name = name
        self._over = False

    def start(self) -> None:
        actor = self._world.stage.current
        assert actor is not None

        def body() -> None:
            try:
                self._work()
            finally:
                self._over = True

        self._world.stage.spawn(f"{actor.name}'s beat", actor.process, body)

    def join(self) -> None:
        self._world.stage.pause(float("inf"), until=lambda: self._over)


class SimEvent:
    """A `threading.Event` on the simulated clock."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def wait(self, timeout: float) -> bool:
        self._world.stage.pause(timeout, until=lambda: self._is_set)
        return self._is_set


_parse = block_records._parsed
_parsed: dict[tuple[bytes, str, str], tuple[Any, dict[str, str]]] = {}


@contextmanager
def parse_once(data: bytes, path: StorePath, fingerprint: str) -> Iterator[tuple[Any, dict[str, str]]]:
    """Check and parse a record, as `block_records` does; one that is whole is remembered."""
    key = (data, path.stem, fingerprint)
    if key not in _parsed:
        with _parse(data, path, fingerprint) as (_, metadata):
            _parsed[key] = (pq.ParquetFile(pa.BufferReader(data)), metadata)
    yield _parsed[key]


def summaries(path: StorePath, fingerprint: str) -> Any:
    """`read_summaries` of a record that was made here: its rows are known."""
    data = path.read_bytes()
    block_records.check_bytes(data, path, fingerprint)
    return SimpleNamespace(tiles=record(*genuine()[data]).tiles)


@contextmanager
def simulated(world: World) -> Iterator[None]:
    """Let the lock, the documents and the publication live in a world."""
    register_store(SCHEME, SimStore)

    def this_driver() -> Driver:
        process = world.actor
        if process is None:
            return Driver(host="judge", pid=1, born="1", pid_table="judge", token="judge")
        host = process.host
        return Driver(host=host, pid=process.pid, born=f"{process.pid}", pid_table=host, token=process.token)

    def born(pid: int) -> str | None:
        asker = world.actor
        process = world.processes.get((asker.host if asker else "", pid))
        return str(pid) if process is not None and process.alive else None

    threads = SimpleNamespace(
        Event=lambda: SimEvent(world),
        Thread=lambda target, args, name, daemon: SimThread(world, target, args, name),
    )
    time = SimpleNamespace(monotonic=lambda: world.stage.now, sleep=world.stage.pause)
    log = SimpleNamespace(warning=lambda text, *args: world.note(text % args))
    names = SimpleNamespace(token_hex=lambda n: f"{world.dice.getrandbits(8 * n):0{2 * n}x}")
    with replaced(
        (run_lock, "this_driver", this_driver),
        (run_document, "this_driver", this_driver),
        (run_lock, "_born", born),
        (run_lock, "time", time),
        (run_lock, "threading", threads),
        (run_lock, "_log", log),
        (run_lock, "_taken", set()),
        (todo, "read_summaries", summaries),
        (manifest, "version", lambda _: "simulated"),
        (publish, "secrets", names),
        (done_records, "ThreadPoolExecutor", InlinePool),
        (block_records, "record_to_bytes", remembered_bytes),
        (block_records, "_parsed", parse_once),
    ):
        yield
