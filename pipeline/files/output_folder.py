"""The folder that a command writes to.

`require_folder` and `require_no_run` look before the work, `writing_to` guards the work, and `work_folder` is
where files are made before they appear under their names.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import InputError
from pipeline.files.store.store_path import StorePath

_LEFT_S = 86_400.0
"""Age in seconds at which a working folder belongs to no command that is still at work."""


def require_folder(path: Path | StorePath, option: str = "--out") -> None:
    """Raise InputError, which names `option`, when a file lies in the place of the folder."""
    if isinstance(path, StorePath) and not path.is_local:
        return  # a bucket has no folders that a file could stand in the way of
    if path.exists() and not path.is_dir():
        raise InputError(f"{option} must be a folder: {path}", came="a file", remedy=f"give another {option}")


def require_no_run(path: Path, option: str = "--out") -> None:
    """Raise InputError, which names `option`, when the folder is that of a run, or of a run's results."""
    if (path / "run.json").is_file() or (path / "masks.zarr").exists():
        raise InputError(
            f"{option} must be a folder of its own: {path}",
            came="the directory of a run",
            remedy=f"give another {option}",
        )


@contextmanager
def work_folder(out: Path, prefix: str, option: str = "--out") -> Iterator[Path]:
    """Make a hidden folder in `out`, which is made too, and remove it at the end.

    prefix: beginning of its name. Those that killed commands left are removed after a day: by then they
    belong to nobody who is still at work. Raises InputError when `out` cannot be written.
    """
    with writing_to(out, option):
        out.mkdir(parents=True, exist_ok=True)
        for left in out.glob(f"{prefix}*"):
            if time.time() - left.stat().st_mtime > _LEFT_S:
                shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=prefix, dir=out))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def writing_to(path: Path | StorePath, option: str = "--out") -> Iterator[None]:
    """Turn an OSError of the body into an InputError, which names `option` and `path`."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{option} must be writable: {path}", came=str(error), remedy=f"give another {option}"
        ) from error
