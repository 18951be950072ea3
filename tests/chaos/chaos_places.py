"""The places of runs, the undisturbed runs, and how a place is compared with them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fault_server import FaultServer
from killed_jobs import contents, differences, start_job
from s3_proxy import S3Proxy

if TYPE_CHECKING:
    from ray_faults import RayMachines

QUERIES = ("storage tanks", "greenhouses")

CONFIG = """[prompter]
kind = "oracle"
model = "oracle:{labels}"
[segmenter]
kind = "oracle"
checkpoint = "oracle:{labels}"
[tiles]
px = 192
halo_px = 24
block_tiles = 2
[limits]
source_pause_s = 0.2
first_failures = 100
[resources]
reader.cpus = 1.4
prompter.cpus = 1.4
segmenter.cpus = 1.4
"""
"""The CPUs put actors on both nodes of a Ray, and all of them on one when the other has died."""

PATIENCE_S = 20

PATIENCE = {
    "GDAL_HTTP_MAX_RETRY": "2",
    "GDAL_HTTP_RETRY_DELAY": "0.05",
    "GDAL_HTTP_LOW_SPEED_TIME": str(PATIENCE_S),
}
"""Environment of runs whose servers are bad: otherwise they would wait for most of the time."""

STALL_S = PATIENCE_S + 3
"""Seconds that a server is silent, longer than a run waits."""

OF_THE_REPORT = ("report.html", "manifest.json")
"""Files of a snapshot that follow from its pictures."""


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """A run that nothing happened to."""

    place: str
    contents: dict[str, str]
    """As `killed_jobs.contents` gives them."""
    seconds: float
    """How long it took, imports left out."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all trials share. Kinds of places: local, s3 (behind the proxy), http (imagery on a web server)
    and ray (a local folder, with Ray as runner).
    """

    folder: Path
    world: Path
    server: FaultServer
    """It serves the world."""
    bucket: str
    proxy: S3Proxy
    """What stands before the bucket of a run."""
    ray: RayMachines
    _undisturbed: dict[str, Undisturbed] = field(default_factory=dict)

    def place(self, name: str, kind: str) -> str:
        """Where the run of a name lies."""
        return f"{self.bucket}/{name}" if kind == "s3" else str(self.folder / "runs" / name)

    def words(self, out: str, kind: str) -> list[str]:
        """The command line of every start in a place."""
        source = f"{self.server.url}/scene.tif" if kind == "http" else str(self.world / "scene.tif")
        queries = [word for query in QUERIES for word in ("--query", query)]
        runner = "ray" if kind == "ray" else "local"
        config = ["--config", str(self._config()), "--runner", runner, "--out", out]
        return ["--source", source, "--whole-scene", *queries, *config]

    def settings(self, kind: str) -> dict[str, str]:
        """Environment variables of every start in a place."""
        if kind == "ray":
            return self.ray.settings()
        return {"AWS_ENDPOINT_URL_S3": self.proxy.url} if kind == "s3" else {}

    def undisturbed(self, kind: str) -> Undisturbed:
        """The run of a kind that nothing happens to; made once. Raises RuntimeError when it does not end."""
        if kind not in self._undisturbed:
            place = self.place(f"undisturbed-{kind}", kind)
            log = self.folder / "logs" / f"undisturbed-{kind}.txt"
            started = time.monotonic()
            job = start_job(self.words(place, kind), log, settings=self.settings(kind))
            code = job.wait()
            if code != 0:
                raise RuntimeError(f"the undisturbed run ended with exit code {code}: {job.said()}")
            took = time.monotonic() - started
            self._undisturbed[kind] = Undisturbed(place=place, contents=contents(place), seconds=took)
            print(f"an undisturbed run ({kind}) took {took:.1f} s", flush=True)
        return self._undisturbed[kind]

    def _config(self) -> Path:
        path = self.folder / "oracle.toml"
        if not path.exists():
            path.write_text(CONFIG.format(labels=(self.world / "labels.tif").absolute()))
        return path


def compared(bench: Bench, place: str, kind: str, *, healed: bool) -> list[str]:
    """Say what differs from the undisturbed run. `healed`: the place has published before with failed tiles,
    so earlier snapshots stand there as well, and run.json names them. A report whose pictures met the fault
    may differ if run.json says so.
    """
    found = contents(place)
    wanted = bench.undisturbed(kind).contents
    if healed:
        snapshot = next(
            name.split("/")[1] for name in sorted(wanted, reverse=True) if name.startswith("snapshots/")
        )
        found = {
            name: what
            for name, what in found.items()
            if name.split("/")[0] != "snapshots" or name.split("/")[1] in ("", snapshot)
        }
        found["run.json"] = wanted["run.json"] if _same_run(bench, place, kind) else "another one"
        if _notes(place):
            changed = {"item.json", *(f"snapshots/{snapshot}/{name}" for name in OF_THE_REPORT)}
            found |= {name: wanted[name] for name in changed & found.keys()}
    return differences(wanted, found)


def _notes(place: str) -> list[str]:
    """What run.json says of pictures that could not be read."""
    notes = json.loads((Path(place) / "run.json").read_text())["notes"]
    return [text for text in notes if text.startswith(("the pictures of report.html", "the overview"))]


def _same_run(bench: Bench, place: str, kind: str) -> bool:
    """Whether two run.json are equal, but for earlier snapshots and notes of pictures."""
    documents = []
    for run in (place, bench.undisturbed(kind).place):
        document = json.loads((Path(run) / "run.json").read_text())
        document.pop("earlier", None)
        document["notes"] = sorted(set(document["notes"]).difference(_notes(run)))
        documents.append(document)
    return documents[0] == documents[1]
