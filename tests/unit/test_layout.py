"""The package's folders are its architecture: sorted in flow order, small modules, no name twice."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pipeline"
STAGES = ["grid", "load", "prompt", "segment", "stitch", "write"]
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
MAX_LINES = 450
"""Of a module, its header and blank lines included."""


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_stage_folders_sort_in_flow_order_and_exist() -> None:
    assert sorted(STAGES) == STAGES
    for stage in STAGES:
        assert (PACKAGE / stage / "__init__.py").is_file()


def test_no_module_is_a_grab_bag_or_shadows_a_dependency() -> None:
    names = {path.stem for path in MODULES}
    assert names.isdisjoint({"utils", "common", "helpers", "misc", "zarr", "sam2", "vllm", "torch", "ray"})


def test_no_two_modules_share_a_file_name() -> None:
    count = Counter(path.name for path in MODULES)
    assert {name: n for name, n in count.items() if n > 1} == {}


def test_modules_stay_within_their_size() -> None:
    sizes = {shown(path): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {name: n for name, n in sizes.items() if n > MAX_LINES} == {}


def test_no_two_classes_share_a_name() -> None:
    places: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(shown(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def packed_assignments(source: str) -> list[int]:
    """Lines with `a, b = x, y` that could stand on two: outside numba kernels, and no value reads a target (a
    swap and a step of an iteration need the tuple).
    """
    return [node.lineno for node in _outside_kernels(ast.parse(source)) if _is_packed(node)]


def _outside_kernels(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        decorators = getattr(child, "decorator_list", [])
        if not any(re.search(r"kernel|jit", ast.unparse(decorator)) for decorator in decorators):
            yield child
            yield from _outside_kernels(child)


def _is_packed(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple)):
        return False
    targets = node.targets[0].elts
    if not (
        isinstance(node.value, ast.Tuple) and all(isinstance(t, ast.Name | ast.Attribute) for t in targets)
    ):
        return False
    written = {ast.unparse(target) for target in targets}
    read = {ast.unparse(n) for n in ast.walk(node.value) if isinstance(n, ast.Name | ast.Attribute)}
    return not (written & read) and not any(isinstance(value, ast.Starred) for value in node.value.elts)


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("a, b = 1, 2", [1]),
        ("def f():\n    self.a, b = x, y", [2]),
        ("a, b = b, a", []),
        ("a, b = f()", []),
        ("a[0], a[1] = 1, 2", []),
        ("first, second = *x, 1", []),
        ("@kernel\ndef f():\n    a, b = 1, 2", []),
        ("@numba.njit(cache=True)\ndef f():\n    a, b = 1, 2\nc, d = 3, 4", [4]),
    ],
)
def test_what_counts_as_two_statements_in_one(source: str, lines: list[int]) -> None:
    assert packed_assignments(source) == lines


def test_one_statement_per_line() -> None:
    found = {shown(path): lines for path in MODULES if (lines := packed_assignments(path.read_text()))}
    assert found == {}
