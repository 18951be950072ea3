"""The scenes of a run in the report: which bands were seen, how bright, and what of each was not judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.write.report.report_html import Html, table, tag
from pipeline.write.run_json import RunInfo

_MAX_SCENES = 200

REASONS = {
    "outside": "outside the area",
    "mask": "mask",
    "alpha": "transparent",
    "nodata": "nodata",
    "not a number": "not a number",
    "collar": "black border (collar)",
    "cloud": "under clouds",
}
"""Reason, as run.json has it, and the head of its column."""


def scenes_section(info: RunInfo) -> Html:
    """Make the table of scenes; nothing for runs that recorded none."""
    scenes = [scene for scene in info.stretches.values() if "unjudged" in scene]
    if not scenes:
        return Html("")
    seen = [name for name in REASONS if any(scene["unjudged"].get(name) for scene in scenes)]
    rows = [_row(scene, seen) for scene in scenes[:_MAX_SCENES]]
    head = ("scene", "bands", "black to white", "judged", *(REASONS[name] for name in seen))
    lead = tag(
        "p",
        "Shares of each scene's pixels, about. No model saw what is not judged, so nothing is found there"
        + (", unless another scene shows the same ground. " if len(scenes) > 1 else ". ")
        + "A black border (collar) that no file declares is left out only where that is certain.",
    )
    parts = [tag("h2", "Scenes"), lead, table(head, rows)]
    if len(scenes) > _MAX_SCENES:
        parts.append(tag("p", f"{len(scenes) - _MAX_SCENES} more are in run.json."))
    return tag("section", *parts)


def _row(scene: Mapping[str, Any], seen: list[str]) -> tuple[object, ...]:
    stretch = scene["stretch"]
    limits = [f"{lo:g} to {hi:g}" for lo, hi in zip(stretch["lo"], stretch["hi"], strict=True)]
    levels = "as stored" if stretch["kind"] == "identity" else ", ".join(dict.fromkeys(limits))
    shares = (f"{scene['unjudged'].get(name, 0.0):.1%}" for name in seen)
    return (scene["scene_id"], scene["bands"], levels, f"{scene['judged_share']:.1%}", *shares)
