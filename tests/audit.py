"""Audit what is installed, for `make audit`: known vulnerabilities, and a bill of materials.

1. pip-audit asks a service on the network about every installed version, and CycloneDX writes
   build/sbom.json. Both run in environments of their own, so that they are not part of what they audit.
2. `judge` reads pip-audit's answer. A finding that `audit_allowed.toml` does not explain fails the audit.
3. So does a package that the service does not know. pip-audit calls that "no vulnerabilities", even when the
   service knows no package at all.

Exit code 0: nothing was found in anything. 1: findings, or entries of the list without one. 3: some packages
could not be audited.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ALLOWED = ROOT / "tests" / "audit_allowed.toml"
BUILD = ROOT / "build"
TOOLS = ("pip-audit==2.10.1", "cyclonedx-bom==7.5.0")
"""What `uvx` runs; neither is a dependency."""

OWN = frozenset({"terraquery"})
"""What no service can know."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What an audit found."""

    n_audited: int
    findings: tuple[str, ...]
    """Vulnerabilities that nobody has explained: package, version, id, and the versions that mend it."""
    unaudited: tuple[str, ...]
    """Packages that the service did not know, with its words."""
    stale: tuple[str, ...]
    """Explanations of what is not found any more."""

    @property
    def exit_code(self) -> int:
        if self.findings or self.stale:
            return 1
        return 3 if self.unaudited else 0


def judge(answer: Mapping[str, Any], allowed: Mapping[str, str]) -> Verdict:
    """Judge the JSON of pip-audit. `allowed`: id or alias of a finding -> why it does not matter here."""
    findings = []
    unaudited = []
    met = set[str]()
    n_audited = 0
    for package in answer["dependencies"]:
        if package["name"] in OWN:
            continue
        if "skip_reason" in package:
            unaudited.append(f"{package['name']}: {package['skip_reason']}")
            continue
        n_audited += 1
        for found in package["vulns"]:
            names = {found["id"], *found.get("aliases", ())}
            met |= names
            if not names & set(allowed):
                mended = ", ".join(found.get("fix_versions", ())) or "no version yet"
                findings.append(f"{package['name']} {package['version']}: {found['id']}, mended in {mended}")
    stale = () if unaudited else tuple(sorted(set(allowed) - met))
    return Verdict(n_audited=n_audited, findings=tuple(findings), unaudited=tuple(unaudited), stale=stale)


def read_allowed(path: Path = ALLOWED) -> dict[str, str]:
    """Read the list of explained findings. Raises ValueError for one without an explanation."""
    entries = tomllib.loads(path.read_text()).get("allowed", {})
    for name, why in entries.items():
        if not isinstance(why, str) or len(why.split()) < 5:
            raise ValueError(f"{path}: {name} must say in a sentence why it does not matter here")
    return dict(entries)


def tool(requirement: str, *words: str) -> Sequence[str]:
    """The command that runs a tool in an environment of its own."""
    return [str(Path(sys.executable).parent / "uvx"), "--from", requirement, *words]


def main() -> int:
    """Audit this environment; returns the exit code."""
    BUILD.mkdir(exist_ok=True)
    allowed = read_allowed()
    bill = BUILD / "sbom.json"
    words = ("cyclonedx-py", "environment", "--of", "JSON", "--output-reproducible", "-o", str(bill))
    subprocess.run(tool(TOOLS[1], *words, sys.executable), check=True)
    count = len(json.loads(bill.read_text())["components"])
    print(f"bill of materials: {bill}, {count} components")

    packages = next(path for path in sys.path if path.endswith("site-packages"))
    report = BUILD / "audit.json"
    report.unlink(missing_ok=True)
    words = (
        "pip-audit",
        "--path",
        packages,
        "--progress-spinner",
        "off",
        "--format",
        "json",
        "-o",
        str(report),
    )
    subprocess.run(tool(TOOLS[0], *words), check=False)  # exit code 1 is findings, which `judge` reads
    if not report.is_file() or not report.stat().st_size:
        print("NOT AUDITED  the service for vulnerabilities cannot be reached from here")
        return 3
    verdict = judge(json.loads(report.read_text()), allowed)
    for finding in verdict.findings:
        print(f"FOUND        {finding}")
    for name in verdict.stale:
        print(f"STALE        {name} is in {ALLOWED.name} and was not found")
    for name in verdict.unaudited[:5]:
        print(f"NOT AUDITED  {name}")
    if len(verdict.unaudited) > 5:
        print(f"NOT AUDITED  and {len(verdict.unaudited) - 5} more")
    done = f"audited {verdict.n_audited}, could not audit {len(verdict.unaudited)}"
    print(f"{done}, {len(verdict.findings)} findings")
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(main())
