"""Notebooks as they are kept: executed, small, without traces of a machine, and all in `make notebook`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

MOST_BYTES = 300_000

ELSEWHERE = re.compile(r"(?<![\w.])/(?:home|root|Users|tmp|var|private|mnt|opt|workspace)/[\w.-]+")
"""Places of a machine, which name their user too."""

SOMEBODY = re.compile(r"\b[\w.-]+@[\w-]+(?:\.[\w-]+)*\b(?!:)")
"""A user at a host. `vllm:NAME@sha256:...` is a model."""

needs_all = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def traces(text: str) -> list[str]:
    """What a text says of the machine that it was made on."""
    return ELSEWHERE.findall(text) + SOMEBODY.findall(text)


def test_what_counts_as_a_trace() -> None:
    assert traces("see /home/ada/work and file:///tmp/run-1") == ["/home/ada", "/tmp/run-1"]
    assert traces("by ada@stellar9 and ada@host.example") == ["ada@stellar9", "ada@host.example"]
    assert traces("build/tmp/run, s3://bucket/home/x, a/b, vllm:embedded@sha256:37") == []


@needs_all
def test_it_is_executed_and_shows_no_error(path: Path) -> None:
    nbformat.validate(nbformat.read(path, as_version=4))
    code = cells(path, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert len(outputs) >= len(code) / 2
    assert [output for output in outputs if output["output_type"] == "error"] == []
    assert [output for output in outputs if output.get("name") == "stderr"] == []


@needs_all
def test_it_is_small_and_has_no_trace_of_a_machine(path: Path) -> None:
    assert path.stat().st_size < MOST_BYTES
    shown = [
        value
        for cell in cells(path, "code")
        for output in cell["outputs"]
        for kind, value in {**output.get("data", {}), "text": output.get("text", "")}.items()
        if not kind.startswith("image/")
    ]
    text = "\n".join(value if isinstance(value, str) else "".join(value) for value in shown)
    assert traces(text) == []
    assert [cell["metadata"] for cell in cells(path, "code") if "execution" in cell["metadata"]] == []


@needs_all
def test_its_links_lead_to_files(path: Path) -> None:
    text = "".join("".join(cell["source"]) + "\n" for cell in cells(path, "markdown"))
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    inside = [link for link in links if link and "://" not in link]
    assert inside
    assert [link for link in inside if not (FOLDER / link).exists()] == []


@needs_all
def test_the_jobs_that_it_names_exist(path: Path) -> None:
    text = path.read_text()
    named = set(re.findall(r"jobs/(\w+\.py)", text)) | set(re.findall(r'job\(\s*\\?"(\w+\.py)', text))
    assert [name for name in named if not (ROOT / "jobs" / name).exists()] == []


def test_all_are_executed_by_make_notebook() -> None:
    (block,) = re.findall(r"^define NOTEBOOKS\n(.*?)^endef", (ROOT / "Makefile").read_text(), re.M | re.S)
    assert sorted(block.split()) == [path.stem for path in NOTEBOOKS]
    order = block.split()
    for first, then in (("quickstart", "results"), ("two_dates", "assessment")):
        assert f"{first} {then}" in block, "one reads what the other made"
        assert order.index(first) < order.index(then)
