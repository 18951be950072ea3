"""A region, every night: check the plan, segment, verify, and tell others that there is a new result.

The night's date is that of its data interval, less `late_days`: catalogues list imagery days after it was
taken. A night without imagery is skipped. Jobs never overlap: the schedule has one run at a time, and all
jobs, a backfill's as well, share the one slot of a pool.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Asset, CronDataIntervalTimetable, Param, dag, task
from airflow.sdk.exceptions import AirflowFailException
from remote_jobs.job_end import VERIFY_ENDS
from remote_jobs.nightly import NOTHING_FOUND, night_of
from remote_jobs.operators import RayJobOperator

POOL = "terraquery"
"""One slot, with deferred tasks counted; the README says how it is made."""
REGION = Asset(name="terraquery_region", uri="x-terraquery://region")

TEXT = {"type": "string", "minLength": 1}
PARAMS = {
    "name": Param(
        "region", pattern="^[a-z0-9-]+$", **TEXT, description="of the region; results go to RUNS/NAME/DATE"
    ),
    "aoi": Param(
        None, type=["null", "string"], description="file of the area of interest, as the head finds it"
    ),
    "bbox": Param(
        [-122.5, 37.7, -122.2, 38.0],
        type=["null", "array"],
        items={"type": "number"},
        minItems=4,
        maxItems=4,
        description="instead of aoi: west, south, east, north in degrees",
    ),
    "queries": Param(["storage tanks"], type="array", items=TEXT, minItems=1, description="what to ask"),
    "source": Param("stac:https://earth-search.aws.element84.com/v1#sentinel-2-l2a", **TEXT),
    "preset": Param("think2seg-3b", **TEXT),
    "options": Param(
        ["--max-cloud", "20", "--mosaic", "least-cloudy", "--runner", "ray"],
        type="array",
        items={"type": "string"},
        description="further words for segment_region.py",
    ),
    "late_days": Param(2, type="integer", minimum=0, description="days that the catalogue lags behind"),
    "runs": Param("s3://EDIT/runs", **TEXT, description="where results go"),
    "python": Param("python", **TEXT, description="on the head"),
    "jobs": Param("/opt/terraquery/jobs", **TEXT, description="folder of the jobs on the head"),
}


@dag(
    schedule=CronDataIntervalTimetable("0 6 * * *", timezone="UTC"),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),  # a backfill reaches no further
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    default_args={
        "pool": POOL,
        "retries": 4,
        "retry_delay": timedelta(minutes=2),  # a killed driver's lock counts for five
        "execution_timeout": timedelta(hours=8),
    },
)
def nightly_region() -> None:
    """The four jobs of a night, in order."""

    @task(pool="default_pool", retry_delay=timedelta(seconds=30))  # bad parameters fail at once
    def describe_night(params: dict[str, Any], data_interval_start: datetime | None = None) -> dict[str, Any]:
        if data_interval_start is None:
            raise AirflowFailException("a run needs a date: trigger it with a logical date")
        try:
            return night_of(data_interval_start, params).told()
        except ValueError as error:
            raise AirflowFailException(str(error)) from error

    @task(pool="default_pool", outlets=[REGION])
    def publish(night: dict[str, Any], *, outlet_events: Any) -> None:
        outlet_events[REGION].extra = {"day": night["day"], "run": night["out"]}

    night: Any = describe_night()
    plan = RayJobOperator(task_id="check_plan", command=night["plan"], nothing_to_do=NOTHING_FOUND)
    segment = RayJobOperator(task_id="segment", command=night["segment"])
    verify = RayJobOperator(task_id="verify", command=night["verify"], ends=VERIFY_ENDS)
    plan >> segment >> verify >> publish(night)


nightly = nightly_region()
