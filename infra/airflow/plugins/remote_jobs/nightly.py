"""The commands of a night: what the DAG `nightly_region` runs, from its parameters and the night's date.

Nothing here imports Airflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

NOTHING_FOUND = "must find an item that can be used"
"""What the job says when the catalogue has nothing for a night."""


@dataclass(frozen=True, kw_only=True)
class Night:
    """One night's run. `day`: the UTC date of the imagery, as YYYY-MM-DD; `out`: the run's place."""

    day: str
    out: str
    plan: list[str]
    segment: list[str]
    verify: list[str]

    def told(self) -> dict[str, Any]:
        """As Airflow hands it from task to task."""
        return asdict(self)


def night_of(start: datetime, params: Mapping[str, Any]) -> Night:
    """Write the commands of the night whose data interval starts at `start`.

    params: `name`, `source`, `queries`, `preset`, `runs` (where results go), `python` and `jobs` (on the
    head), `late_days` (days that a catalogue lags behind), exactly one of `aoi` (a file) and `bbox` (W, S, E,
    N), and `options`, further words for jobs/segment_region.py. Raises ValueError for what cannot be a run.
    """
    area = _area(params)
    if not params["queries"]:
        raise ValueError("a run needs a query: give `queries`")
    day = f"{start - timedelta(days=params['late_days']):%Y-%m-%d}"
    out = f"{params['runs'].rstrip('/')}/{params['name']}/{day}"
    segment = [params["python"], f"{params['jobs']}/segment_region.py", "--source", params["source"], *area]
    segment += ["--datetime", day, "--preset", params["preset"], "--out", out]
    for query in params["queries"]:
        segment.append(f"--query={query}")  # one word: a query may begin with a dash
    segment += params["options"]
    verify = [params["python"], f"{params['jobs']}/verify_run.py", out]
    return Night(day=day, out=out, plan=[*segment, "--dry-run"], segment=segment, verify=verify)


def _area(params: Mapping[str, Any]) -> list[str]:
    aoi, bbox = params["aoi"], params["bbox"]
    if (aoi is None) == (bbox is None):
        raise ValueError(f"give either `aoi` or `bbox`: came aoi={aoi!r}, bbox={bbox!r}")
    if aoi is not None:
        return ["--aoi", aoi]
    return ["--bbox", *(str(side) for side in bbox)]
