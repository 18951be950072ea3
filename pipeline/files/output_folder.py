"""The folder that a command writes to.

`require_folder` looks before the work, `writing_to` guards the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import InputError
from pipeline.files.store.store_path import StorePath


def require_folder(path: Path | StorePath, option: str = "--out") -> None:
    """Raise InputError, which names `option`, when a file lies in the place of the folder."""
    if isinstance(path, StorePath) and not path.is_local:
        return  # a bucket has no folders that a file could stand in the way of
    if path.exists() and not path.is_dir():
        raise InputError(f"{option} must be a folder: {path}", came="a file", remedy=f"give another {option}")


@contextmanager
def writing_to(path: Path | StorePath, option: str = "--out") -> Iterator[None]:
    """Turn an OSError of the body into an InputError, which names `option` and `path`."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{option} must be writable: {path}", came=str(error), remedy=f"give another {option}"
        ) from error
