"""manifest.json: what a snapshot consists of, each file with its size and SHA-256. It is written last.

A snapshot with a manifest is whole. Without one, a publication was killed on the way; the next one with the
same name writes the same bytes over it. The manifest names neither times nor machines, so two runs of the
same records have the same one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from pipeline.errors import IncompleteRunError, InputError
from pipeline.files.fail_point import reach
from pipeline.files.store.store_path import StorePath
from pipeline.files.store.stored_files import measured
from pipeline.files.store.zarr_adapter import Written
from pipeline.write.instances import part_files
from pipeline.write.run_dir import RunDir

MANIFEST_VERSION = 1
"""Version of this document's layout; a reader refuses a newer one."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of manifest.json."""

    snapshot: str
    fingerprint: str
    """Of the run."""
    files: Mapping[str, tuple[int, str]]
    """Path in the snapshot -> (bytes, SHA-256)."""


def write_manifest(
    run_dir: RunDir, fingerprint: str, shards: Iterable[Written], *, pages: Iterable[StorePath] = ()
) -> Manifest:
    """Write the manifest of `run_dir.results`, when everything else is there; the same one is not written
    again.

    `shards`: what was written of masks.zarr, by keys in it. All other files are measured here; `pages` are
    those beside the report. Raises IncompleteRunError when tables are gone: this process slept, and another
    driver removed them.
    """
    files = {f"{run_dir.masks.name}/{shard.key}": (shard.size, shard.sha256) for shard in shards}
    single = [run_dir.coverage, run_dir.report, *pages]
    for path in (*single, *part_files(run_dir)):  # a listing may lag behind
        try:
            files[path.below(run_dir.results)] = measured(path)
        except FileNotFoundError as error:
            if path == run_dir.report:
                continue  # it could not be made, which run.json says
            raise IncompleteRunError(
                f"{path} was removed while its snapshot was being written, maybe by another driver. "
                "To fix: start the same command again"
            ) from error
    manifest = Manifest(
        snapshot=run_dir.results.name, fingerprint=fingerprint, files=dict(sorted(files.items()))
    )
    data = manifest_bytes(manifest)
    reach("before_manifest")
    if _bytes_of(run_dir) != data:
        run_dir.manifest.write_bytes(data)
    reach("after_manifest")
    return manifest


def _bytes_of(run_dir: RunDir) -> bytes | None:
    try:
        return run_dir.manifest.read_bytes()
    except FileNotFoundError:
        return None


def snapshot_name(content: Mapping[str, object]) -> str:
    """Name a snapshot by all that its bytes follow from: sixteen hexadecimal digits.

    The version of this project counts as well: another one may write other bytes.
    """
    try:
        own = version("terraquery")
    except PackageNotFoundError:
        own = ""
    text = json.dumps({"version": own, **content}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def manifest_bytes(manifest: Manifest) -> bytes:
    """Make the text of manifest.json."""
    document = {
        "manifest_version": MANIFEST_VERSION,
        "snapshot": manifest.snapshot,
        "fingerprint": manifest.fingerprint,
        "files": {path: {"size": size, "sha256": digest} for path, (size, digest) in manifest.files.items()},
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def read_manifest(run_dir: RunDir) -> Manifest | None:
    """Read the manifest of `run_dir.results`. None: there is none. Raises InputError for one that is damaged
    or newer.
    """
    try:
        document = json.loads(run_dir.manifest.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _damaged(run_dir, str(error)) from error
    try:
        if document["manifest_version"] != MANIFEST_VERSION:
            raise _damaged(run_dir, f"manifest_version {document['manifest_version']}")
        return Manifest(
            snapshot=document["snapshot"],
            fingerprint=document["fingerprint"],
            files={path: (file["size"], file["sha256"]) for path, file in document["files"].items()},
        )
    except (KeyError, TypeError) as error:
        raise _damaged(run_dir, repr(error)) from error


def _damaged(run_dir: RunDir, came: str) -> InputError:
    return InputError(
        f"{run_dir.manifest} must be the readable manifest of a snapshot",
        came=came,
        remedy="merge the run again with jobs/restitch_region.py, which writes it anew",
    )
