"""What `make audit` makes of pip-audit's answers, and the licences of what is installed."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from audit import OWN, judge, read_allowed

CLEAN = {"name": "numpy", "version": "2.3.5", "vulns": []}
HURT = {
    "name": "pillow",
    "version": "9.0.0",
    "vulns": [{"id": "PYSEC-2022-1", "aliases": ["CVE-2022-1"], "fix_versions": ["9.0.1"]}],
}
UNKNOWN = {"name": "odd", "skip_reason": "not found"}
SELF = {"name": "terraquery", "skip_reason": "not found"}


def test_an_audit_without_findings_passes() -> None:
    verdict = judge({"dependencies": [CLEAN, SELF]}, {})
    assert (verdict.exit_code, verdict.n_audited, verdict.findings) == (0, 1, ())


def test_a_finding_fails_until_it_is_explained() -> None:
    answer = {"dependencies": [CLEAN, HURT]}
    verdict = judge(answer, {})
    assert verdict.exit_code == 1
    assert verdict.findings == ("pillow 9.0.0: PYSEC-2022-1, mended in 9.0.1",)
    assert judge(answer, {"CVE-2022-1": "only for a format we never open"}).exit_code == 0


def test_packages_that_nobody_knows_are_no_clean_bill() -> None:
    verdict = judge({"dependencies": [UNKNOWN, SELF]}, {"CVE-2022-1": "not met, but nothing was asked"})
    assert (verdict.exit_code, verdict.n_audited, verdict.stale) == (3, 0, ())
    assert verdict.unaudited == ("odd: not found",)
    assert judge({"dependencies": [UNKNOWN, HURT]}, {}).exit_code == 1


def test_an_explanation_of_nothing_fails() -> None:
    verdict = judge({"dependencies": [CLEAN]}, {"CVE-2022-1": "was mended last year by somebody"})
    assert (verdict.exit_code, verdict.stale) == (1, ("CVE-2022-1",))


def test_the_list_explains_every_entry(tmp_path: Path) -> None:
    assert set(read_allowed()) & set(OWN) == set()
    path = tmp_path / "allowed.toml"
    path.write_text('[allowed]\n"CVE-2022-1" = "fine"\n')
    with pytest.raises(ValueError, match="must say in a sentence why"):
        read_allowed(path)


AFFERO = re.compile(r"\bAGPL|\bAffero\b", re.IGNORECASE)


def licence_of(package: Distribution) -> str:
    """What a package's metadata say; where they say nothing, the heads of its licence files."""
    metadata = package.metadata
    told = [metadata.get("License-Expression") or "", (metadata.get("License") or "")[:400]]
    told += [text for text in metadata.get_all("Classifier") or () if text.startswith("License")]
    if any(told):
        return " | ".join(filter(None, told))
    files = [file for file in package.files or () if re.search(r"dist-info/.*(LICEN|COPYING)", str(file))]
    return " | ".join(
        Path(str(package.locate_file(file))).read_text(errors="replace")[:400] for file in files
    )


def test_nothing_that_is_installed_is_under_the_affero_licence() -> None:
    """Its terms reach whoever offers this project as a service."""
    licences = {package.metadata["Name"]: licence_of(package) for package in distributions()}
    assert len(licences) > 100
    assert sum(bool(told) for told in licences.values()) > 0.95 * len(licences)
    assert {name: told for name, told in licences.items() if AFFERO.search(told)} == {}
    assert AFFERO.search("GNU Affero General Public License v3")
    assert AFFERO.search("License :: OSI Approved :: AGPL-3.0")
