"""Refuses output paths that would not last: URLs of no store, and paths below Ray's copy of the working
directory.

A URL such as `gs://bucket/run` would become a local folder named `gs:`.

`ray job submit --working-dir .` starts the driver in a copy of the folder
(`.../runtime_resources/working_dir_files/_ray_pkg_<hash>`), where relative paths lead. Ray deletes the copy
when it needs room, and any changed file makes another one: the results would be gone, and the same command
would start from nothing.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from pipeline.errors import InputError
from pipeline.files.store.s3_store import SCHEME
from pipeline.files.store.store_path import store_path

PACKAGES = ("runtime_resources", "working_dir_files")
"""Nested folders of a Ray session that hold copies of working directories."""


def require_lasting(path: str, option: str, *, in_store: bool = False) -> None:
    """Refuse a URL, and a path below a copy that Ray keeps of a working directory. Raises InputError naming
    `option`. `in_store`: what lies there is a run, which may be in a bucket.
    """
    if in_store and path.startswith(SCHEME):
        store_path(path, option)
        return
    if "://" in path or re.match(r"[a-z0-9]{2,}:/", path):
        raise InputError(
            f"{option} must be a local path" + (" or s3://bucket/prefix" if in_store else ""),
            came=path,
            remedy="give one of these; other services are reached through their S3 protocol, with "
            "AWS_ENDPOINT_URL_S3 as its address"
            if in_store
            else "give a folder of this machine",
        )
    parts = Path(path).absolute().parts
    if PACKAGES in pairwise(parts):
        raise InputError(
            f"{option} must lie outside Ray's copy of the working directory, which does not last",
            came=f"{path}, which is {Path(path).absolute()}",
            remedy=f"give {option} as an absolute path that all machines of the cluster see, "
            "for example /data/run",
        )
