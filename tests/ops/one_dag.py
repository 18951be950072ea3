"""Run a DAG once with `dag.test()`, in Airflow's environment: `one_dag.py FILE DAY CONF`. Prints states."""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import UTC, datetime

from airflow.models.asset import AssetEvent
from airflow.sdk import DAG
from airflow.utils.session import create_session
from sqlalchemy import select


def main(file: str, day: str, conf: str) -> None:
    spec = importlib.util.spec_from_file_location("the_dag", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["the_dag"] = module
    spec.loader.exec_module(module)
    (dag,) = [value for value in vars(module).values() if isinstance(value, DAG)]
    when = datetime.fromisoformat(day).replace(tzinfo=UTC)  # it names the run, too
    run = dag.test(run_after=when, logical_date=when, run_conf=json.loads(conf))
    states = {task.task_id: (task.state, task.try_number) for task in run.get_task_instances()}
    with create_session() as session:
        events = session.scalars(select(AssetEvent).where(AssetEvent.source_run_id == run.run_id))
        assets = [{"asset": event.asset.name, "extra": event.extra} for event in events]
    print()
    print(json.dumps({"states": states, "assets": assets}))


main(*sys.argv[1:])
