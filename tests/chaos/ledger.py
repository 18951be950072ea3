"""What was injected in all trials, and the table of it: fault, injected, met, kills, expected, seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

EXPECTED = {
    "point": "killed there; the same bytes after a resume",
    "kill": "killed; the same bytes after a resume",
    "child": "another child does the block; the same bytes",
    "signal": "exit code 143 or 130; the same bytes after a resume",
    "drivers": "one is refused with exit code 2, or resumes; the same bytes",
    "sleeper": "its publication is refused with exit code 1; it changes nothing",
    "record": "found and done again; the same bytes",
    "server": "failed tiles, healed by --retry-failed; the same snapshot",
    "bucket": "asked again, or one clear line and exit code 1; the same bytes",
    "disk": "exit code 1; the same bytes once there is room",
    "ray_driver": "killed; the same bytes after a resume",
    "ray_actor": "Ray starts another; the same bytes",
    "ray_node": "its actors start on another node; the same bytes",
    "simulated": "conservation, the same bytes, one lock",
}
"""First word of a fault -> what must come of it."""

HEADS = ("fault", "injected", "met", "kills", "expected", "seen")


@dataclass
class Ledger:
    """What was injected in all trials. A fault is named by its kind and, where there are several, a second
    word.
    """

    injected: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    """Fault -> times that a process met it before it had ended."""
    killed: Counter[str] = field(default_factory=Counter)
    """Fault -> processes that SIGKILL has ended."""
    wrong: Counter[str] = field(default_factory=Counter)
    """Fault -> trials that differed from what was expected."""
    resumes: int = 0
    """Starts that went on from an earlier one and told what they found."""
    redone: int = 0
    """Blocks that an earlier start had begun and not committed, over all resumes."""
    most_redone: int = 0
    """The most of them in one resume."""

    def n_faults(self) -> int:
        """Faults that real runs met."""
        return sum(count for name, count in self.met.items() if not name.startswith("simulated "))

    def n_kills(self) -> int:
        """Processes that SIGKILL has ended."""
        return self.killed.total()

    def add_simulated(self, befell: Mapping[str, int], *, failed: bool) -> None:
        """Add what befell simulated runs."""
        for name, count in befell.items():
            self.injected[f"simulated {name}"] += count
            self.met[f"simulated {name}"] += count
            self.wrong[f"simulated {name}"] += failed

    def rows(self) -> list[tuple[str, ...]]:
        """The table, without its heads."""
        rows = []
        for name in sorted(self.injected):
            seen = f"{self.wrong[name]} trials differed" if self.wrong[name] else "as expected"
            if not self.met[name]:
                seen = "not met"
            counts = (self.injected[name], self.met[name], self.killed[name])
            rows.append((name, *map(str, counts), EXPECTED[name.partition(" ")[0]], seen))
        return rows

    def text(self) -> str:
        """The table for a terminal."""
        rows = [HEADS, *self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(HEADS))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    def markdown(self) -> str:
        """The table as Markdown."""
        rows = [HEADS, ("---",) * len(HEADS), *self.rows()]
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def work_repeated(self) -> str:
        """What resumes did again, in a line."""
        return (
            f"{self.resumes} resumes did {self.redone} blocks again that were in flight, at most "
            f"{self.most_redone} after one end"
        )
