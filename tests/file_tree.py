"""Writes the file tree of ARCHITECTURE.md: every module with the first sentence of its docstring.

    python tests/file_tree.py            # writes it; `make tree` does the same
    python tests/file_tree.py --check    # exit code 1 when it is not current

tests/unit/test_architecture.py checks the same. The folders stand in the order of the data flow. A package
shows the first sentence of its `__init__`. Long sentences are shortened to their first clauses.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "ARCHITECTURE.md"
BEGIN = "<!-- tree: written by tests/file_tree.py -->\n```text\n"
END = "```\n<!-- end of tree -->"
WIDTH = 110
COMMENT_COLUMN = 34
SHORTEST = 24
"""Characters that a shortened comment keeps at least."""

ORDER = (
    "grid",
    "load",
    "prompt",
    "segment",
    "stitch",
    "write",
    "run",
    "evaluate",
    "finetune",
    "world",
    "files",
    "geo",
)
"""Folders of pipeline/ in the order of the data flow; what is not named here follows by name."""

DATA = {
    "presets": "models and tiling that belong together, as TOML; training/ the same for trainings",
    "models": "the two embedded models, with their cards",
    "profiles": "what a checkpoint family is asked and how its numbers are read, as TOML",
}
"""Folders without modules."""


def first_sentence(path: Path) -> str:
    """The first sentence of a module's docstring on one line, without its full stop; "" if there is none."""
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s+(?=[A-Z`])", paragraph)[0].removesuffix(".").removesuffix(":")


def entry(name: str, comment: str, depth: int) -> list[str]:
    """The lines of one file: indented name, comment in a column of its own.

    A comment that is too long ends with its last clause that fits. If that leaves little, it goes on below.
    """
    head = f"{'  ' * depth}{name}"
    start = max(COMMENT_COLUMN, len(head) + 2)
    room = WIDTH - start
    if len(comment) > room:
        clauses = [m.start() for m in re.finditer(r"[;:](?= )", comment[: room + 1])]
        if clauses and clauses[-1] >= SHORTEST:
            comment = comment[: clauses[-1]]
    first, *rest = textwrap.wrap(comment, room, break_long_words=False) or [""]
    return [f"{head:<{start}}{first}".rstrip(), *(" " * start + line for line in rest)]


def tree(folder: Path, depth: int = 0) -> list[str]:
    """The lines of one folder: itself, its modules, its folders."""
    init = folder / "__init__.py"
    comment = first_sentence(init) if init.is_file() else DATA.get(folder.name, "one thin script per job")
    lines = entry(f"{folder.name}/", comment, depth)
    modules = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    for path in modules:
        lines += entry(path.name, first_sentence(path), depth + 1)
    if folder.name in ("presets", "models"):
        return lines
    folders = [
        p for p in folder.iterdir() if p.is_dir() and (p.name in DATA or (p / "__init__.py").is_file())
    ]
    for child in sorted(folders, key=_place):
        lines += tree(child, depth + 1)
    return lines


def _place(folder: Path) -> tuple[int, str]:
    known = ORDER.index(folder.name) if folder.name in ORDER else len(ORDER)
    return known, folder.name


def rendered(root: Path = ROOT) -> str:
    """The whole tree, with the marks around it."""
    lines = [*tree(root / "pipeline"), *tree(root / "jobs")]
    return BEGIN + "\n".join(lines) + "\n" + END


def with_tree(page: str, block: str) -> str:
    """The page with `block` in place of the tree it holds. Raises ValueError for a page without the marks."""
    start = page.find(BEGIN)
    stop = page.find(END)
    if start < 0 or stop < start:
        raise ValueError("ARCHITECTURE.md must hold the two marks of the tree")
    return page[:start] + block + page[stop + len(END) :]


def main(argv: list[str] | None = None) -> int:
    """Write or check; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 when the tree is old"
    )
    args = parser.parse_args(argv)
    page = PAGE.read_text()
    new = with_tree(page, rendered())
    if args.check:
        if new != page:
            print("ARCHITECTURE.md shows an old tree: run `python tests/file_tree.py`", file=sys.stderr)
        return int(new != page)
    PAGE.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
