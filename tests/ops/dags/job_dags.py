"""One job, whose command is in the run's configuration: deferred, in its worker, and as a RayJob."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG
from remote_jobs.operators import RayJobOperator, RayJobResourceOperator

SHARED: dict[str, Any] = {
    "schedule": None,
    "start_date": datetime(2026, 1, 1),
    "catchup": False,
    "render_template_as_native_obj": True,
    "default_args": {"retries": 2, "retry_delay": timedelta(seconds=1)},
}
COMMAND = "{{ dag_run.conf['command'] }}"

with DAG("deferred_job", **SHARED):
    RayJobOperator(task_id="segment", command=COMMAND)

with DAG("waiting_job", **SHARED):
    RayJobOperator(task_id="segment", command=COMMAND, deferrable=False)

with DAG("kube_job", **SHARED):
    RayJobResourceOperator(
        task_id="segment",
        command=COMMAND,
        manifest="{{ dag_run.conf['manifest'] }}",
        ray_conn_id="ray_jobs",
    )
