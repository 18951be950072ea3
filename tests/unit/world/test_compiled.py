from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.world import compiled


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "__pycache__").mkdir()
    cache = (("__pycache__/a.nbi", 50), ("__pycache__/b.nbi", 200), ("__pycache__/b.nbc", 1))
    for name, mtime in (("paint_objects.py", 100), ("queries.py", 900), *cache):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (mtime, mtime))
    return tmp_path


def test_only_indexes_older_than_the_renderer_are_dropped(package: Path) -> None:
    assert compiled.drop_stale_indexes(package) == 1
    assert sorted(p.name for p in (package / "__pycache__").iterdir()) == ["b.nbc", "b.nbi"]


def test_every_module_with_a_kernel_is_known() -> None:
    here = Path(compiled.__file__).parent
    with_kernel = {p.stem for p in here.glob("*.py") if "\n@kernel\n" in p.read_text()}
    # scene.py compiles one function that calls no other kernel and that no other kernel calls
    assert with_kernel - {"scene"} <= set(compiled.RENDERER)


def test_kernel_keeps_the_result() -> None:
    def twice(x: int) -> int:
        return 2 * x

    assert compiled.kernel(twice)(21) == 42
