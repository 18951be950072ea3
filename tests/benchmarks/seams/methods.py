"""The merge methods compared, and how each of them is run.

1. `METHODS` names every method, its rule in one line, its settings and where those are documented.
2. `environment` makes the virtual environment of a peer below `build/` and installs its own package there,
   once.
3. `run_method` runs the method's adapter in that environment as a process of its own, over files.

Whatever goes wrong with a peer becomes the text of its row: an installation that fails, a crash, a time-out.
Settings are the ones that the package's own documentation gives for merging the masks of tiles.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.seams.adapters.exchange import Answer, load_answer

ADAPTERS = Path(__file__).parent / "adapters"
INSTALL_LIMIT_S = 1800
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)


@dataclass(frozen=True, kw_only=True)
class Method:
    """One row of the comparison."""

    name: str
    rule: str
    adapter: str
    """Module of `adapters/`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    """Where the settings come from."""
    requires: tuple[str, ...] = ()
    """What pip installs into the method's own environment; nothing = it runs in ours."""
    pictured: bool = True


class MethodError(Exception):
    """A method gave no answer; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One set of tile masks for a method to merge."""

    masks: Path
    out: Path
    repeats: int


_SAHI = ("sahi==0.12.8",)
_SAMGEO = ("segment-geospatial==1.4.2",)
_SUPERVISION = ("supervision==0.31.2", "opencv-python-headless", "shapely")

METHODS = (
    Method(
        name="ours",
        rule="pieces of the shared strip match by mutual best overlap; union-find; complete views first",
        adapter="shipped_merge",
        source="defaults of StitchOptions",
    ),
    Method(
        name="cores alone",
        rule="no merge: every tile paints its core with its own ids",
        adapter="cores_alone",
        pictured=False,
    ),
    Method(
        name="SAHI greedy NMM",
        rule="boxes by intersection over smaller box >= 0.5, greedy; masks united",
        adapter="sahi_postprocess",
        settings={"rule": "GreedyNMMPostprocess", "match_metric": "IOS", "match_threshold": 0.5},
        source="defaults of get_sliced_prediction; its guide: best for most use cases",
        requires=_SAHI,
    ),
    Method(
        name="SAHI NMM",
        rule="the same, transitive",
        adapter="sahi_postprocess",
        settings={"rule": "NMMPostprocess", "match_metric": "IOS", "match_threshold": 0.5},
        source="default metric and threshold of get_sliced_prediction",
        requires=_SAHI,
        pictured=False,
    ),
    Method(
        name="SAHI NMS",
        rule="boxes by intersection over union > 0.5; the most confident stays",
        adapter="sahi_postprocess",
        settings={"rule": "NMSPostprocess", "match_metric": "IOU", "match_threshold": 0.5},
        source="what SAHI itself switches to when the confidence threshold is low",
        requires=_SAHI,
    ),
    Method(
        name="plain NMS (torchvision)",
        rule="boxes by intersection over union > 0.5; the most confident stays",
        adapter="torchvision_nms",
        settings={"iou_threshold": 0.5},
        source="no default in torchvision; 0.5 is the usual one",
        requires=_SAMGEO,
        pictured=False,
    ),
    Method(
        name="supervision NMM",
        rule="masks by intersection over smaller mask >= 0.5, greedy by confidence; masks united",
        adapter="supervision_slicer",
        settings={"overlap_filter": "nmm", "overlap_metric": "IOS", "iou_threshold": 0.5},
        source="InferenceSlicer's merging filter and threshold, with the metric for cut objects, "
        "compact masks",
        requires=_SUPERVISION,
    ),
    Method(
        name="supervision NMS",
        rule="masks by intersection over union > 0.5; the most confident stays",
        adapter="supervision_slicer",
        settings={"overlap_filter": "nms", "overlap_metric": "IOU", "iou_threshold": 0.5},
        source="defaults of InferenceSlicer, compact masks",
        requires=_SUPERVISION,
        pictured=False,
    ),
    Method(
        name="dask-image label",
        rule="semantic mask; whatever touches is one object",
        adapter="dask_label",
        source="defaults of ndmeasure.label, one chunk per core",
        requires=("dask-image==2026.5.0",),
    ),
    Method(
        name="detectree2",
        rule="what touches a tile's border is dropped; of overlapping ones the most confident stays",
        adapter="detectree2_crowns",
        settings={"shift": 1, "iou_threshold": 0.6, "confidence": 0},
        source="its prediction guide",
        requires=("detectree2==2.1.2",),
    ),
    Method(
        name="segment-geospatial",
        rule="cores are pasted, halos fill what is empty; ids are a running counter",
        adapter="samgeo_paste",
        source="SamGeo3.generate_masks_tiled at its default 1024 px with 128 px overlap",
        requires=_SAMGEO,
    ),
    Method(
        name="ftw-tools",
        rule="polygons by intersection over union >= 0.2 or containment >= 0.8; union-find; united",
        adapter="ftw_polygons",
        settings={"iou_thresh": 0.2, "contain_thresh": 0.8, "grid_size": 1.0},
        source="defaults of merge_polygons; its grid of 10 m, one pixel of Sentinel-2, as one pixel here",
        requires=("ftw-tools==2.0.0b5",),
    ),
    Method(
        name="sopa",
        rule="polygons of different tiles by intersection over smaller >= 0.5, one after the other; united",
        adapter="sopa_conflicts",
        settings={"threshold": 0.5},
        source="defaults of solve_conflicts, with patch indices",
        requires=("sopa==2.2.11",),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a method may take before it counts as failed."""

    seconds: float
    """Wall time for all its jobs, imports included."""
    memory_bytes: int


def run_method(method: Method, jobs: Sequence[Job], build: Path, limits: Limits) -> list[Answer]:
    """The answers of one method, in the order of `jobs`. Raises MethodError when there are none."""
    python = Path(sys.executable) if not method.requires else environment(method.requires, build)
    with tempfile.TemporaryDirectory() as scratch:
        order = Path(scratch) / "order.json"
        listed = [
            {"masks": str(job.masks.resolve()), "out": str(job.out.resolve()), "repeats": job.repeats}
            for job in jobs
        ]
        asked = {"settings": dict(method.settings), "jobs": listed, "memory_bytes": limits.memory_bytes}
        order.write_text(json.dumps(asked))
        clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        command = [str(python), str(ADAPTERS / f"{method.adapter}.py"), str(order)]
        done = _run(
            command, limits.seconds, cwd=Path(scratch), env={**clean, **ONE_THREAD, "PYTHONNOUSERSITE": "1"}
        )
    if done.returncode != 0:
        raise MethodError(f"ended with {done.returncode}: {_last_line(done.stderr)}")
    return [load_answer(job.out) for job in jobs]


def environment(requires: tuple[str, ...], build: Path) -> Path:
    """Python of the environment that holds `requires`; made below `build` unless it is there. Raises
    MethodError.
    """
    name = "".join(c if c.isalnum() or c in ".-" else "-" for c in Path(requires[0]).name)
    folder = build / "environments" / name
    python = folder / "bin" / "python"
    done = folder / "installed.json"
    if done.exists() and json.loads(done.read_text()) == list(requires):
        return python
    shutil.rmtree(folder, ignore_errors=True)
    uv = Path(sys.executable).parent / "uv"
    if uv.exists():
        make = [str(uv), "venv", "--python", sys.executable]
        install = [str(uv), "pip", "install", "--python", str(python)]
    else:
        make = [sys.executable, "-m", "venv"]
        install = [str(python), "-m", "pip", "install"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    for step in ([*make, str(folder)], [*install, *requires]):
        made = _run(step, INSTALL_LIMIT_S, cwd=build, env=dict(os.environ))
        if made.returncode != 0:
            shutil.rmtree(folder, ignore_errors=True)
            raise MethodError(f"could not be installed: {_last_line(made.stderr)}")
    done.write_text(json.dumps(list(requires)))
    return python


def _run(
    command: Sequence[str], limit_s: float, *, cwd: Path, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=cwd, env=env, timeout=limit_s, check=False, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired as error:
        raise MethodError(f"did not finish in {limit_s:.0f} s") from error


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no message"
