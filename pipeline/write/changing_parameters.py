"""Which parameters of a run may change while it goes on with its block records (`--update`, `--add-query`).

Area, scenes and their dates may: the records of blocks that they do not touch stay. `items` and `clouds` say
how scenes of catalogues are read and what clouds mean. They come and go with the scenes that they are about,
and must not change while there are such scenes. Queries may be added after those that there are
(`is_addition`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.files.fingerprint import canonical

_GROUND = ("area", "scenes", "datetime_of")
ABOUT_SCENES = ("items", "clouds")
"""Parameters that stand in run.json where some scene needs them."""


def shared_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Take the parameters that all blocks of a run share, whatever its area and its scenes are."""
    return {key: value for key, value in parameters.items() if key not in (*_GROUND, *ABOUT_SCENES)}


def is_update(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a run differs from an earlier one by nothing but its area, its scenes and their dates.

    Of runs of several zones, what both say of all zones is compared. What is said of one is in its own run.
    """
    zoned = [isinstance(each.get("zones"), Mapping) for each in (before, now)]
    if any(zoned):
        return all(zoned) and _same_for_all_zones(before, now)
    same = canonical(shared_parameters(before)) == canonical(shared_parameters(now))
    return same and _same_where_both(before, now)


def is_addition(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a run differs from an earlier one by nothing but queries that are added after its own
    (`--add-query`). Runs of several zones name their zones by fingerprints, which follow.
    """
    was = list(before.get("queries", ()))
    asked = list(now.get("queries", ()))
    if len(asked) <= len(was) or asked[: len(was)] != was:
        return False
    kept = [{key: value for key, value in each.items() if key != "queries"} for each in (before, now)]
    if all(isinstance(each.get("zones"), Mapping) for each in kept):
        kept = [{**each, "zones": sorted(each["zones"])} for each in kept]
    return canonical(kept[0]) == canonical(kept[1])


def could_update(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether they differ by nothing else if the place of the grid is set aside: an update keeps the grid."""
    return is_update(_without_place(before), _without_place(now))


def _same_for_all_zones(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    both = shared_parameters(before).keys() & shared_parameters(now).keys() - {"zones", "grid"}
    return all(canonical(before[key]) == canonical(now[key]) for key in both)


def _same_where_both(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether `items` and `clouds` agree, where both runs have scenes that they are about."""
    both_listed = _has_listed(before) and _has_listed(now)
    items = not both_listed or canonical(before.get("items")) == canonical(now.get("items"))
    clouds = "clouds" not in before or "clouds" not in now or before["clouds"] == now["clouds"]
    return items and clouds


def _has_listed(parameters: Mapping[str, Any]) -> bool:
    """Whether some scene is of a catalogue."""
    return any("collection" in scene for scene in parameters.get("scenes", ()))


def _without_place(parameters: Mapping[str, Any]) -> dict[str, Any]:
    grid = parameters.get("grid")
    if not isinstance(grid, Mapping):
        return dict(parameters)
    kept = {key: value for key, value in grid.items() if key not in ("transform", "shape")}
    return {**parameters, "grid": kept}
