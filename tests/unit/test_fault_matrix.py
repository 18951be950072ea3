"""The fault matrix names tests that exist, and every fault has one that CI runs."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS / "fault_matrix.md"
N_FAULTS = 37
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows() -> dict[int, list[str]]:
    """Number of a fault -> its cells: fault, expected, shown by, seen."""
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \d+ \|", line)]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert all(len(row) == 5 for row in cells)
    return {int(row[0]): row[1:] for row in cells}


@cache
def marks_of(path: str) -> dict[str, set[str]]:
    """Test of a file, in a class or not -> names of its marks, those of its class and file included."""
    tree = ast.parse((TESTS / path).read_text())
    own = [node.value for node in tree.body if isinstance(node, ast.Assign) and _is_pytestmark(node)]
    found: dict[str, set[str]] = {}

    def walk(body: list[ast.stmt], above: list[ast.expr]) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                walk(node.body, [*above, *node.decorator_list])
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                text = " ".join(ast.unparse(mark) for mark in [*above, *node.decorator_list])
                found[node.name] = set(re.findall(r"pytest\.mark\.(\w+)", text))

    walk(tree.body, own)
    return found


def _is_pytestmark(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets)


def test_every_test_that_is_named_exists() -> None:
    named = NAMED.findall(PAGE.read_text())
    assert len(named) > N_FAULTS
    missing = [
        f"{path}::{test}"
        for path, test in named
        if not (TESTS / path).is_file() or test not in marks_of(path)
    ]
    assert missing == []


def test_every_fault_has_a_test_that_is_not_left_to_a_quiet_machine() -> None:
    """Names in brackets are those of heavy tests, and no others are."""
    table = rows()
    assert list(table) == list(range(1, N_FAULTS + 1))
    for number, (_, _, shown, seen) in table.items():
        heavy = {name for name in NAMED.findall(shown) if "heavy" in marks_of(name[0])[name[1]]}
        bracketed = set(re.findall(r"\[`([\w/]+\.py)::(\w+)`\]", shown))
        assert heavy == bracketed, number
        assert set(NAMED.findall(shown)) - heavy, f"fault {number} has no test that CI runs"
        assert seen, number


def test_marks_are_read_from_file_class_and_function() -> None:
    assert (
        "heavy" in marks_of("integration/test_fail_points.py")["test_killed_at_every_moment_on_a_local_disk"]
    )
    assert (
        "long"
        in marks_of("integration/test_full_disk.py")["test_a_disk_that_is_full_at_any_moment_costs_one_line"]
    )
    assert marks_of("unit/load/test_source_breaker.py")["test_pauses_do_not_grow_for_ever"] == set()
