"""One job, whose command is in the environment."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta

from airflow.sdk import DAG
from remote_jobs.operators import RayJobOperator

with DAG("one_job", schedule=None, start_date=datetime(2026, 1, 1), catchup=False) as dag:
    RayJobOperator(
        task_id="segment",
        command=json.loads(os.environ["JOB_COMMAND"]),
        deferrable=os.environ.get("JOB_DEFERRABLE", "1") == "1",
        poll_s=0.5,
        retries=2,
        retry_delay=timedelta(seconds=1),
    )
