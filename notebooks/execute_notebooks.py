"""Execute notebooks one after the other, and say how long each took.

python notebooks/execute_notebooks.py quickstart results          # a check: no file changes
python notebooks/execute_notebooks.py --save quickstart results   # keeps what the cells show

It ends with 1 at the first cell that fails, and names notebook and cell. Kernels are reached through files in
a folder of their own instead of ports, so that several of these commands may run side by side.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from traitlets.config import Config

FOLDER = Path(__file__).resolve().parent

CELL_S = 1200
"""Seconds that one cell may take."""


def execute(path: Path) -> NotebookNode:
    """Run all cells of a notebook in its own folder; the notebook with what they showed.

    Raises what nbclient raises when a cell fails, takes too long or ends the kernel.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="nb-") as sockets:
        # a socket's name has at most 107 characters
        connection = Config(ConnectionFileMixin={"transport": "ipc", "ip": f"{sockets}/k"})
        client = NotebookClient(
            notebook,
            config=connection,
            kernel_name="python3",
            timeout=CELL_S,
            record_timing=False,
            resources={"metadata": {"path": str(path.parent)}},
        )
        client.execute()
    return notebook


def save(notebook: NotebookNode, path: Path) -> None:
    """Write the notebook with its outputs, without times of cells and what kernels say of themselves."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    nbformat.validate(notebook)
    path.write_text(nbformat.writes(notebook) + "\n")


def main(argv: list[str] | None = None) -> int:
    """Execute the notebooks that are named; returns the exit code."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("names", nargs="+", metavar="NAME", help="notebook of notebooks/, or a path")
    top.add_argument("--save", action="store_true", help="keep outputs in the files")
    args = top.parse_args(argv)
    paths = [Path(name) if name.endswith(".ipynb") else FOLDER / f"{name}.ipynb" for name in args.names]
    for path in paths:
        if not path.is_file():
            top.error(f"there is no notebook {path}")
    for path in paths:
        begun = time.monotonic()
        try:
            notebook = execute(path)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            print(f"FAILED {path.name} after {time.monotonic() - begun:.0f} s:\n{error}", file=sys.stderr)
            return 1
        if args.save:
            save(notebook, path)
        print(f"{path.name}  {time.monotonic() - begun:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
