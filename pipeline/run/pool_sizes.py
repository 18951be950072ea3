"""How many actors each pool gets on the nodes that are there.

1. Pools with a number of actors keep it. They are laid on the nodes first, the largest actors before
   smaller ones, each where it fits.
2. A prompter and a segmenter whose numbers are left open (`auto`) are a *pair*. Every node takes as many
   pairs as its GPUs and CPUs hold. A pair never spans two GPUs, unless it asks for more than one. Where only
   one of the two is open, it gets as many actors as the other.
3. Readers whose number is left open take the CPUs that are left, at most READERS_PER_PAIR for each pair. When
   too few are left to feed the pairs, there are fewer pairs.
4. No pool gets more actors than there are blocks.

The sizes are fixed for the whole start. Nodes that come later are used by the next one, which resumes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.run.config import ROLES, Pool, ResourceOptions, Role

READERS_PER_PAIR = 4
"""Readers beyond this many per pair hold file handles and connections, and wait."""

PAIRS_PER_READER = 2
"""One reader is trusted to feed this many pairs. A reader core decodes some 15 tiles of 1024 px a second
(tests/benchmarks/reading.py); a pair on one GPU answers fewer than half of that.
"""

_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Node:
    """What one node of a cluster offers."""

    cpus: float
    gpus: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PoolSizes:
    """Actors per pool, for one start of a run."""

    reader: int
    prompter: int
    segmenter: int
    pairs: int = 0
    """How many prompters share a GPU with a segmenter. 0: the two are not placed together."""

    def of(self, role: Role) -> int:
        """Actors of one pool."""
        return {"reader": self.reader, "prompter": self.prompter, "segmenter": self.segmenter}[role]

    def __str__(self) -> str:
        counts = [f"{self.of(role)} {role}{'' if self.of(role) == 1 else 's'}" for role in ROLES]
        paired = f": {self.pairs} pairs that share a GPU each" if self.pairs else ""
        return ", ".join(counts) + paired


def size_pools(options: ResourceOptions, nodes: Sequence[Node], *, n_blocks: int) -> PoolSizes:
    """Settle how many actors each pool has. Raises InputError when an actor has no room, or when pools of
    fixed sizes need more than there is: they would run one after the other.
    """
    room = _Room(nodes)
    fixed = {role: pool.actors for role, pool in options.pools().items() if isinstance(pool.actors, int)}
    _require_fixed(options, fixed, nodes)
    room.take(options.plan_cpus, 0.0)
    for role in sorted(fixed, key=lambda role: _weight(options.pool(role)), reverse=True):
        pool = options.pool(role)
        for _ in range(fixed[role]):
            if not room.take(pool.cpus, pool.gpus):
                raise _no_room(f"one of the {fixed[role]} {role}s", pool.cpus, pool.gpus, nodes)
    members: tuple[Role, ...] = tuple(role for role in ("prompter", "segmenter") if role not in fixed)
    reader = options.reader if "reader" not in fixed else None
    n_pairs, n_readers = _fill(room, [options.pool(role) for role in members], reader, fixed, n_blocks)
    if members and not n_pairs:
        pair = " and a ".join(members)
        cpus, gpus = _sum(options.pool(role) for role in members)
        raise _no_room(f"a {pair}", cpus, gpus, nodes)
    if reader is not None and not n_readers:
        raise _no_room("a reader", reader.cpus, reader.gpus, nodes)
    gpus = all(options.pool(role).gpus for role in members)
    return PoolSizes(
        reader=fixed.get("reader", n_readers),
        prompter=fixed.get("prompter", n_pairs),
        segmenter=fixed.get("segmenter", n_pairs),
        pairs=n_pairs if len(members) == 2 and gpus else 0,
    )


def _fill(
    room: _Room, pair: Sequence[Pool], reader: Pool | None, fixed: dict[Role, int], n_blocks: int
) -> tuple[int, int]:
    """Pairs, and readers for them, in the room that is left. `pair`: its pools; none when both are fixed.
    `reader`: None when readers are fixed. `fixed`: pools with a number.
    """
    cpus, gpus = _sum(pair)
    fed = max((n for role, n in fixed.items() if role != "reader"), default=0)
    most = min(room.holds(cpus, gpus), fed or n_blocks, n_blocks) if pair else 0
    if reader is None:
        return most, 0
    for n_pairs in range(most, -1, -1):
        left = room.copy()
        for _ in range(n_pairs):
            left.take(cpus, gpus)
        wanted = max(n_pairs, fed, 1)
        n_readers = min(left.holds(reader.cpus, reader.gpus), READERS_PER_PAIR * wanted, n_blocks)
        if n_readers >= min(math.ceil(wanted / PAIRS_PER_READER), n_blocks) or n_pairs <= 1:
            return (n_pairs, n_readers) if n_readers or not n_pairs else (0, 0)
    return 0, 0


class _Room:
    """What is still free on each node, GPU by GPU."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._cpus = [node.cpus for node in nodes]
        self._gpus = [[1.0] * int(node.gpus) for node in nodes]

    def copy(self) -> _Room:
        other = _Room(())
        other._cpus = list(self._cpus)
        other._gpus = [list(gpus) for gpus in self._gpus]
        return other

    def take(self, cpus: float, gpus: float) -> bool:
        """Reserve room on the first node that has it. False: none has."""
        for node, free in enumerate(self._cpus):
            if free + _ROUNDING < cpus or not self._take_gpus(node, gpus):
                continue
            self._cpus[node] -= cpus
            return True
        return False

    def holds(self, cpus: float, gpus: float) -> int:
        """How many actors of one size fit at once."""
        return sum(self._node_holds(node, cpus, gpus) for node in range(len(self._cpus)))

    def _node_holds(self, node: int, cpus: float, gpus: float) -> int:
        by_cpu = math.inf if cpus <= 0 else math.floor(self._cpus[node] / cpus + _ROUNDING)
        by_gpu = math.inf
        if gpus > 1:
            by_gpu = sum(free == 1.0 for free in self._gpus[node]) // math.ceil(gpus)
        elif gpus > 0:
            by_gpu = sum(math.floor(free / gpus + _ROUNDING) for free in self._gpus[node])
        most = min(by_cpu, by_gpu)
        return 1 if math.isinf(most) else int(most)

    def _take_gpus(self, node: int, gpus: float) -> bool:
        """Reserve a share of one GPU, or whole ones. An open number of them is rounded up."""
        own = self._gpus[node]
        if gpus > 1:
            whole = [index for index, free in enumerate(own) if free == 1.0][: math.ceil(gpus)]
            if len(whole) < math.ceil(gpus):
                return False
            for index in whole:
                own[index] = 0.0
            return True
        if gpus > 0:
            for index, free in enumerate(own):
                if free + _ROUNDING >= gpus:
                    own[index] = max(free - gpus, 0.0)
                    return True
            return False
        return True


def _require_fixed(options: ResourceOptions, fixed: dict[Role, int], nodes: Sequence[Node]) -> None:
    """Refuse pools of fixed sizes that all nodes together cannot hold."""
    cpus = options.plan_cpus + sum(n * options.pool(role).cpus for role, n in fixed.items())
    gpus = sum(n * options.pool(role).gpus for role, n in fixed.items())
    offers = {"CPU": sum(node.cpus for node in nodes), "GPU": sum(node.gpus for node in nodes)}
    for name, need in (("CPU", cpus), ("GPU", gpus)):
        if need > offers[name] + _ROUNDING:
            raise InputError(
                f"the actor pools of this run need {need:g} {name}s, more than the cluster has; an "
                "oversubscribed pool would run the stages one after the other",
                came=f"{offers[name]:g} {name}s",
                remedy=_REMEDY,
            )


def _no_room(what: str, cpus: float, gpus: float, nodes: Sequence[Node]) -> InputError:
    size = f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
    offers = ", ".join(f"{node.cpus:g} CPUs and {node.gpus:g} GPUs" for node in list(nodes)[:4])
    more = f" and {len(nodes) - 4} more" if len(nodes) > 4 else ""
    return InputError(
        f"the cluster has no room for {what} ({size}), beside what is already reserved on its nodes",
        came=f"{count_of(nodes)}: {offers}{more}" if nodes else "no node with CPUs",
        remedy=_REMEDY,
    )


def count_of(nodes: Sequence[Node]) -> str:
    """How many nodes, in words."""
    return f"{len(nodes)} node{'' if len(nodes) == 1 else 's'}"


def cluster_text(nodes: Sequence[Node], sizes: PoolSizes) -> str:
    """Say what a cluster has, and how it is used."""
    cpus = sum(node.cpus for node in nodes)
    gpus = sum(node.gpus for node in nodes)
    return f"on {count_of(nodes)} with {cpus:g} CPUs and {gpus:g} GPUs: {sizes}"


_REMEDY = "lower actors, cpus or gpus under [resources] in --config, or add nodes"


def _weight(pool: Pool) -> tuple[float, float]:
    return pool.gpus, pool.cpus


def _sum(pools: Iterable[Pool]) -> tuple[float, float]:
    every = list(pools)
    return sum(pool.cpus for pool in every), sum(pool.gpus for pool in every)
