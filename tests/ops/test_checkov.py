"""checkov finds nothing in the Terraform files, and every check that is left out says why."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.ops

ROOT = Path(__file__).parents[2]
CHECKOV = ROOT / "build/checkov/bin/checkov"


def test_checkov_finds_nothing() -> None:
    if not CHECKOV.exists():
        pytest.skip("checkov is not installed: make build/checkov")
    options = ["--framework", "terraform", "--skip-download", "--output", "json"]
    done = subprocess.run(
        [CHECKOV, "--directory", "infra/terraform", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stdout.strip(), done.stderr
    found = json.loads(done.stdout)
    assert found["results"]["failed_checks"] == []
    assert found["summary"]["parsing_errors"] == 0
    assert found["summary"]["passed"] > 100


def test_every_exception_says_why() -> None:
    texts = [path.read_text() for path in (ROOT / "infra/terraform").rglob("*.tf")]
    skips = [
        skip for text in texts for skip in re.findall(r"checkov:skip=(\S+?)(?::(.*))?$", text, re.MULTILINE)
    ]
    assert skips
    assert [check for check, reason in skips if len(reason.split()) < 5] == []
