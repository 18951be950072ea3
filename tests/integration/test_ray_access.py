"""Who may talk to a Ray that a run starts or joins, with real heads."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import pytest
from label_worlds import blobs, write_label_world
from ray_heads import RAY, ray_environment, ray_head, token_file

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.long]

OWN_RAY = """
import os
from pipeline.run import ray_engine
ray_engine._start_own_ray()
import ray
context = ray.get_runtime_context()
worker = ray.remote(lambda: (os.environ.get("RAY_AUTH_MODE"), os.environ.get("RAY_AUTH_TOKEN")))
print(ray.get(worker.remote()), os.environ["RAY_AUTH_TOKEN_PATH"], context.gcs_address, flush=True)
input()
"""

JOIN = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False); print(ray.cluster_resources())"


def answer_to(url: str, token: str | None) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def listening(port: int) -> set[str]:
    """Addresses at which a process of this user listens on a port."""
    found = set()
    for process in psutil.process_iter():
        try:
            found |= {
                at.laddr.ip
                for at in process.net_connections("tcp")
                if at.status == psutil.CONN_LISTEN and at.laddr.port == port
            }
        except psutil.Error:
            continue
    return found


def join(address: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", JOIN, address], env=environment, capture_output=True, text=True, timeout=120
    )


def test_a_head_answers_only_those_who_have_its_token(tmp_path: Path) -> None:
    token = token_file().read_text()
    without = {k: v for k, v in ray_environment().items() if not k.startswith("RAY_AUTH")} | {
        "HOME": str(tmp_path)
    }
    with ray_head(tmp_path) as head:
        for path in ("api/version", "api/jobs/", "nodes?view=summary", "api/v0/actors"):
            url = f"{head.jobs}/{path}"
            assert answer_to(url, None) == 401, path
            assert answer_to(url, token[::-1]) == 403, path
            assert answer_to(url, token) == 200, path
        assert listening(head.dashboard_port) == {"127.0.0.1"}
        submit = [str(RAY), "job", "submit", "--address", head.jobs, "--", "touch", str(tmp_path / "ran")]
        refused = subprocess.run(submit, env=without, capture_output=True, text=True, timeout=120)
        assert refused.returncode != 0
        assert "Missing authentication token" in refused.stdout + refused.stderr
        assert not (tmp_path / "ran").exists()
        assert join(head.gcs, without | {"RAY_AUTH_MODE": "disabled"}).returncode != 0
        assert join(head.gcs, ray_environment()).returncode == 0


def test_a_ray_that_a_run_starts_has_a_token_of_its_own(tmp_path: Path) -> None:
    """Whatever the user's own settings of Ray are, and without a file in the user's home."""
    home = tmp_path / "home"
    home.mkdir()
    environment = ray_environment() | {"HOME": str(home), "RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "x"}
    run = subprocess.Popen(
        [sys.executable, "-c", OWN_RAY],
        env=environment,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdin is not None
    assert run.stdout is not None
    try:
        worker, _, rest = run.stdout.readline().rpartition(") ")
        path, address = rest.split()
        assert worker == "('token', None"
        assert Path(path) != token_file()
        assert join(address, environment).returncode != 0
        assert join(address, ray_environment()).returncode != 0  # the token of another cluster
        allowed = {k: v for k, v in ray_environment().items() if k != "RAY_AUTH_TOKEN_PATH"}
        done = join(address, allowed | {"RAY_AUTH_TOKEN_PATH": path})
        assert done.returncode == 0, done.stderr
    finally:
        run.stdin.write("\n")
        run.stdin.close()
        run.wait(timeout=60)
        run.stdout.close()
    assert not Path(path).exists()
    assert not os.listdir(home)


def test_a_job_does_not_join_a_head_that_is_open_to_the_network(tmp_path: Path) -> None:
    world = write_label_world(tmp_path, blobs(np.random.default_rng(3), 130, 120, grain=23))
    words = ["--source", str(world.scene), "--whole-scene", "--tile", "64", "--halo", "8", "--block", "2"]
    words += ["--models", f"oracle:{world.labels}", "--query", "anything", "--out", str(tmp_path / "out")]
    environment = {k: v for k, v in ray_environment().items() if k != "RAY_AUTH_TOKEN_PATH"}
    environment["RAY_AUTH_MODE"] = "disabled"
    with ray_head(tmp_path, "--dashboard-host", "0.0.0.0", environment=environment) as head:
        assert listening(head.dashboard_port) == {"0.0.0.0"}
        done = subprocess.run(
            [sys.executable, "jobs/segment_region.py", *words],
            cwd=ROOT,
            env=environment | {"RAY_ADDRESS": head.gcs},
            capture_output=True,
            text=True,
            timeout=240,
        )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "anybody who reaches it can run any code" in done.stderr
    assert "--dashboard-host 127.0.0.1" in done.stderr
    assert not (tmp_path / "out" / "instances").exists()
