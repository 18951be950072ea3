"""Real kernels: what cells show is kept if asked for, and a cell that fails ends with its notebook's name."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

SCRIPT = Path(__file__).parents[3] / "notebooks" / "execute_notebooks.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("execute_notebooks", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(path: Path, *sources: str) -> Path:
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in sources],
        metadata={"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
    )
    path.write_text(nbformat.writes(notebook))
    return path


def test_outputs_are_kept_if_asked_for_and_no_port_is_opened(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(
        tmp_path / "a.ipynb",
        "from pathlib import Path; print(6 * 7, Path.cwd().name)",
        "from ipykernel.kernelapp import IPKernelApp; print(IPKernelApp.instance().transport)",
    )
    before = path.read_text()
    assert script.main([str(path)]) == 0
    assert path.read_text() == before
    assert script.main(["--save", str(path)]) == 0
    first, second = nbformat.read(path, as_version=4).cells
    assert first.outputs[0].text == f"42 {tmp_path.name}\n"
    assert second.outputs[0].text == "ipc\n"
    assert "execution" not in first.metadata
    assert capsys.readouterr().out.count("a.ipynb") == 2


def test_a_failing_cell_ends_with_its_notebook_and_the_rest_is_not_run(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = write(tmp_path / "bad.ipynb", "1 / 0")
    after = write(tmp_path / "after.ipynb", "from pathlib import Path; Path('ran').touch()")
    before = bad.read_text()
    assert script.main(["--save", str(bad), str(after)]) == 1
    said = capsys.readouterr().err
    assert "FAILED bad.ipynb" in said
    assert "ZeroDivisionError" in said
    assert not (tmp_path / "ran").exists()
    assert bad.read_text() == before


def test_a_notebook_that_is_not_there_ends_with_2(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        script.main(["quickstart", "no-such"])
    assert stop.value.code == 2
    assert "no-such.ipynb" in capsys.readouterr().err
