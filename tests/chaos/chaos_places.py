"""The undisturbed runs, and how a place is compared with them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from fault_server import FaultServer
from killed_jobs import contents, differences, start_job

QUERIES = ("storage tanks", "greenhouses")

CONFIG = """[prompter]
kind = "oracle"
model = "oracle:{labels}"
[segmenter]
kind = "oracle"
checkpoint = "oracle:{labels}"
[tiles]
px = 256
halo_px = 32
block_tiles = 2
[limits]
source_pause_s = 0.2
first_failures = 100
"""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all trials share."""

    folder: Path
    world: Path
    server: FaultServer
    """It serves the world."""
    bucket: str
    wanted: dict[str, dict[str, str]] = field(default_factory=dict)
    """Kind of place -> `contents` of the undisturbed run."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Kind of place -> how long that run took, imports left out."""

    def place(self, name: str, kind: str) -> str:
        """Where the run of a name lies."""
        return f"{self.bucket}/{name}" if kind == "s3" else str(self.folder / "runs" / name)

    def words(self, out: str, kind: str, runner: str = "local") -> list[str]:
        """The command line of every start in a place."""
        source = f"{self.server.url}/scene.tif" if kind == "http" else str(self.world / "scene.tif")
        queries = [word for query in QUERIES for word in ("--query", query)]
        config = ["--config", str(self.folder / "oracle.toml"), "--runner", runner, "--out", out]
        return ["--source", source, "--whole-scene", *queries, *config]


KINDS = ("local", "s3", "http")


def undisturbed(bench: Bench) -> Bench:
    """Make one run per kind of place that nothing happens to. Raises RuntimeError when one does not end."""
    labels = (bench.world / "labels.tif").absolute()
    (bench.folder / "oracle.toml").write_text(CONFIG.format(labels=labels))
    wanted = {}
    seconds = {}
    for kind in KINDS:
        out = bench.place(f"undisturbed-{kind}", kind)
        for place in (out, bench.place(f"again-{kind}", kind)):
            started = time.monotonic()
            cold = (kind, place) == ("local", out)  # a plain process leaves what a forked one does
            job = start_job(bench.words(place, kind), bench.folder / f"{kind}.txt", cold=cold)
            code = job.wait()
            if code != 0:
                raise RuntimeError(f"the undisturbed run ended with exit code {code}: {job.said()}")
            seconds[kind] = time.monotonic() - started
        wanted[kind] = contents(out)
        wrong = differences(wanted[kind], contents(place))
        if wrong:
            raise RuntimeError(f"two undisturbed runs differ: {wrong}")
    return replace(bench, wanted=wanted, seconds=seconds)


def compared(bench: Bench, place: str, kind: str, *, healed: bool) -> list[str]:
    """Say what differs from the undisturbed run. `healed`: the place has published before with failed tiles,
    so earlier snapshots stand there as well, and run.json names them.
    """
    found = contents(place)
    wanted = bench.wanted[kind]
    if healed:
        snapshot = next(name.split("/")[1] for name in wanted if name.startswith("snapshots/"))
        found = {
            name: what
            for name, what in found.items()
            if name.split("/")[0] != "snapshots" or name.split("/")[1] in ("", snapshot)
        }
        found["run.json"] = wanted["run.json"] if _same_but_earlier(bench, place, kind) else "another one"
    return differences(wanted, found)


def _same_but_earlier(bench: Bench, place: str, kind: str) -> bool:
    documents = []
    for run in (place, bench.place(f"undisturbed-{kind}", kind)):
        document = json.loads((Path(run) / "run.json").read_text())
        document.pop("earlier", None)
        documents.append(document)
    return documents[0] == documents[1]
