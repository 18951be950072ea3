"""What is printed about the scenes of a run: how their pixels are read, and what of them is not judged.

It is told from the entries of `SceneSource.to_dict` in run.json, so a later merge tells the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.load.prepare_scenes import SceneSource
from pipeline.load.unjudged import percent, unjudged_text

MAX_SCENES = 20
"""Scenes that are listed one by one; run.json and the report have them all."""

_COLOURS = ("red", "green", "blue")


def imagery_text(scenes: Sequence[Mapping[str, Any]]) -> str:
    """List the scenes: bands, grey levels, what is not judged, and notes. `scenes`: as in run.json."""
    lines = [line for scene in scenes[:MAX_SCENES] for line in _scene_lines(scene)]
    if len(scenes) > MAX_SCENES:
        rest = scenes[MAX_SCENES:]
        lines.append(f"and {len(rest)} more scenes, of which {percent(_judged(rest))} on average is judged")
    return "\n".join(lines)


def _scene_lines(scene: Mapping[str, Any]) -> list[str]:
    lines = [
        f"scene {scene['scene_id']}",
        f"  bands        {scene['bands']}",
        f"  grey levels  {levels_text(scene['stretch'])}",
        *([f"  clouds       {scene['clouds']}"] if "clouds" in scene else []),
        f"  not judged   {unjudged_text(scene['unjudged']) or 'nothing: all of it is looked at'}",
    ]
    return lines + [f"  note: {note}" for note in scene["notes"]]


def levels_text(stretch: Mapping[str, Any]) -> str:
    """Say which stored values become black and white."""
    if stretch["kind"] == "identity":
        return "as stored"
    limits = [f"{lo:g}..{hi:g}" for lo, hi in zip(stretch["lo"], stretch["hi"], strict=True)]
    if len(set(limits)) == 1:
        meaning = f": {stretch['meaning']}" if stretch.get("meaning") else ""
        return f"{limits[0]} become 0..255 (black..white){meaning}"
    named = ", ".join(f"{colour} {text}" for colour, text in zip(_COLOURS, limits, strict=True))
    return f"{named} become 0..255 (black..white)"


def unjudged_rows(scenes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Make the rows of the final table: what the models did not see, per scene.

    Scenes of runs that did not record it are left out.
    """
    scenes = [scene for scene in scenes if "unjudged" in scene]
    told = {scene["scene_id"]: unjudged_text(scene["unjudged"]) for scene in scenes if scene["unjudged"]}
    if not told:
        return {"not judged": "nothing of the scenes"} if scenes else {}
    shown = list(told.items())[:MAX_SCENES]
    filled = "; ground that one of them does not show another may" if len(scenes) > 1 else ""
    rows = {"not judged": f"parts of {len(told)} of {len(scenes)} scenes, about{filled}"}
    rows |= {f"  {name}": text for name, text in shown}
    if len(told) > len(shown):
        rows["  others"] = f"{len(told) - len(shown)} more; see run.json"
    return rows


def scene_notes(sources: Sequence[SceneSource]) -> tuple[str, ...]:
    """Gather the notes of all scenes with their names, for run.json and the report."""
    notes = [f"{source.scene.scene_id}: {note}" for source in sources for note in source.notes]
    more = len(notes) - 5 * MAX_SCENES
    return tuple(notes[: 5 * MAX_SCENES]) + ((f"and {more} more notes on scenes",) if more > 0 else ())


def _judged(scenes: Sequence[Mapping[str, Any]]) -> float:
    return sum(float(scene["judged_share"]) for scene in scenes) / len(scenes)
