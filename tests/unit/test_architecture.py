"""ARCHITECTURE.md is current: its tree is the one on disk, its links exist, its words are explained."""

from __future__ import annotations

import re
from pathlib import Path

import file_tree
import pytest

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "infra/terraform/README.md",
    "tests/benchmarks/README.md",
)
STAGES = ["grid", "load", "prompt", "segment", "stitch", "write"]


def page() -> str:
    return (ROOT / "ARCHITECTURE.md").read_text()


def shown_tree() -> str:
    text = page()
    return text[text.index(file_tree.BEGIN) + len(file_tree.BEGIN) : text.index(file_tree.END)]


def test_the_tree_is_the_one_that_the_script_writes() -> None:
    assert file_tree.with_tree(page(), file_tree.rendered()) == page(), "run `python tests/file_tree.py`"


def test_the_tree_names_every_module_once_and_nothing_else() -> None:
    """Counted on the shown text, without the script that wrote it."""
    shown = sorted(re.findall(r"^ *(\w+\.py)\b", shown_tree(), flags=re.MULTILINE))
    files = [*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "jobs").glob("*.py")]
    assert shown == sorted(path.name for path in files if path.name != "__init__.py")


def test_every_module_has_a_comment_and_no_line_is_wide() -> None:
    for line in shown_tree().splitlines():
        assert len(line) <= 110, line
        named = re.match(r" *\w+(?:\.py|/)", line)
        assert named is None or len(line.split()) >= 3, f"a docstring that says something is missing: {line}"


def test_stages_stand_in_flow_order() -> None:
    text = shown_tree()
    positions = [text.index(f"\n  {stage}/") for stage in STAGES]
    assert positions == sorted(positions)


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text()
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    missing = [t for t in targets if "://" not in t and not (ROOT / name).parent.joinpath(t).exists()]
    assert missing == []


@pytest.mark.parametrize("name", PAGES)
def test_paths_of_the_repository_in_code_marks_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    paths = re.findall(r"`((?:pipeline|jobs|tests|notebooks)/[\w./-]+)`", text)
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize(
    "word",
    [
        *(
            "scene",
            "run grid",
            "tile",
            "core",
            "halo",
            "block",
            "super-tile",
            "seam",
            "prompt",
            "frame",
            "fragment",
        ),
        *(
            "piece",
            "component",
            "ghost",
            "instance",
            "coverage",
            "gate",
            "verifier",
            "oracle",
            "profile",
            "preset",
        ),
    ],
)
def test_the_glossary_explains_the_word(word: str) -> None:
    assert f"\n| **{word}** |" in page()


@pytest.mark.parametrize(
    "thing", ["source", "prompter", "profile", "segmenter", "output", "metric", "benchmark reader", "job"]
)
def test_a_new_thing_has_a_place(thing: str) -> None:
    section = page().split("## Where would a new ... go?")[1].split("\n## ")[0]
    assert f"| a {thing} |" in section or f"| an {thing} |" in section


def test_a_long_comment_ends_with_a_clause_that_fits() -> None:
    comment = "Rows of a large table from arrays: " + "without an object for any of them " * 3
    assert file_tree.entry("a.py", comment, 1) == ["  a.py" + 28 * " " + "Rows of a large table from arrays"]


def test_a_long_comment_without_clauses_goes_on_below() -> None:
    lines = file_tree.entry("a.py", "word " * 40, 1)
    assert len(lines) > 1
    assert all(len(line) <= 110 for line in lines)
    assert " ".join(" ".join(lines).split()) == "a.py " + " ".join(["word"] * 40)


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="two marks"):
        file_tree.with_tree("no tree here", "")
