"""Images and masks from files and annotations, and helpers with which readers look into a folder.

If a folder does not have the layout of its data set, a reader raises `layout_error`. The message says what
was expected where, and what was found instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError, SourceError
from pipeline.evaluate.benchmark.benchmark import mask_digest
from pipeline.evaluate.benchmark.readers.coco_rle import decode_union, rle_size

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
"""Suffixes of image files, in order of preference."""

_EIGHT_BIT_MODES = ("RGB", "RGBA", "L", "LA", "P", "CMYK", "YCbCr", "1")

_SHOWN = 3
_LISTED = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFile:
    """An 8-bit picture. Grey is repeated to three channels; alpha is dropped."""

    path: str

    def size_hw(self) -> tuple[int, int]:
        return _header_size(self.path)

    def read(self) -> NDArray[np.uint8]:
        with _opened(self.path, "does not decode") as image:
            if image.mode not in _EIGHT_BIT_MODES:
                what = "benchmark images must have 8 bits per channel"
                raise SourceError(f"{what}, {self.path} has the mode {image.mode}")
            return np.array(image.convert("RGB"), dtype=np.uint8)


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskFile:
    """A picture whose first channel is above 0 inside the target."""

    path: str

    def size_hw(self) -> tuple[int, int]:
        return _header_size(self.path)

    def read(self) -> NDArray[np.bool_]:
        values = decode_picture(self.path)
        first = values if values.ndim == 2 else values[..., 0]
        return np.ascontiguousarray(first > 0)

    def digest(self) -> str:
        return mask_digest(self.read())


@dataclass(frozen=True, kw_only=True, slots=True)
class RleMask:
    """The union of COCO run-length masks, kept as the annotation's own JSON text."""

    text: str
    """JSON list of at least one {"size": [height, width], "counts": ...}, all of one size."""
    where: str = ""
    """Entry and file of the annotation, for error messages."""

    def size_hw(self) -> tuple[int, int]:
        return rle_size(json.loads(self.text)[0])

    def read(self) -> NDArray[np.bool_]:
        try:
            return decode_union(json.loads(self.text))
        except InputError as error:
            raise SourceError(f"{self.where or 'a run-length mask'} does not decode: {error}") from error

    def digest(self) -> str:
        return mask_digest(self.read())


@dataclass(frozen=True, kw_only=True, slots=True)
class EmptyMask:
    """The mask of a target that is known to be absent."""

    height: int
    width: int

    def size_hw(self) -> tuple[int, int]:
        return self.height, self.width

    def read(self) -> NDArray[np.bool_]:
        return np.zeros((self.height, self.width), dtype=np.bool_)

    def digest(self) -> str:
        return f"empty {self.height} x {self.width}"


def picture_size(path: str) -> tuple[int, int]:
    """Read (height, width) from a picture's header. Raises SourceError."""
    with _opened(path, "does not open as a picture") as image:
        return image.height, image.width


def decode_picture(path: str) -> NDArray[Any]:
    """Decode a picture as stored: (H, W), or (H, W, C) with alpha last, in the file's dtype.

    Raises SourceError when that fails.
    """
    with _opened(path, "does not decode") as image:
        return np.asarray(image)


@contextmanager
def _opened(path: str, trouble: str) -> Iterator[Image]:
    """Open a picture. What Pillow raises, also later in the body, becomes a SourceError with `trouble`."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            yield image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SourceError(f"{path} {trouble}: {error}") from error


def rle_mask(segmentation: object, where: str) -> RleMask:
    """Make a mask from one run-length object or a list of them. Raises InputError, which names `where`."""
    items = segmentation if isinstance(segmentation, list) else [segmentation]
    runs = [item for item in items if isinstance(item, Mapping) and "counts" in item and "size" in item]
    if not runs or len(runs) != len(items):
        remedy = "polygons are not part of this data set; fetch the annotations again"
        raise InputError(
            f"{where} must hold COCO run-length masks", came=repr(segmentation)[:80], remedy=remedy
        )
    plain = [
        {
            "size": list(item["size"]),
            "counts": item["counts"].decode() if isinstance(item["counts"], bytes) else item["counts"],
        }
        for item in runs
    ]
    return RleMask(text=json.dumps(plain), where=where)


def layout_error(name: str, expected: str, came: str) -> InputError:
    """Make (but do not raise) the error for a folder without the layout of data set `name`."""
    remedy = (
        f"give the root of a complete copy, --benchmark {name}:PATH, and with --split a split that it holds"
    )
    return InputError(f"{name} must be laid out as {expected}", came=came, remedy=remedy)


def require_folders(name: str, expected: str, folders: Sequence[Path]) -> None:
    """Raise InputError for the first folder that is missing, and say what is there instead."""
    for folder in folders:
        if not folder.is_dir():
            raise layout_error(name, expected, f"no folder {folder}{beside(folder)}")


def require_file(name: str, expected: str, path: Path) -> Path:
    """Return `path`. If it is no file, raise InputError and say what is there instead."""
    if not path.is_file():
        raise layout_error(name, expected, f"no file {path}{beside(path)}")
    return path


def require_complete(name: str, what: str, missing: Sequence[str], n: int) -> None:
    """Raise InputError when any of `n` entries lacks its file. The message shows the first few."""
    if missing:
        some = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        remedy = "complete the download or correct the paths"
        raise InputError(
            f"{name}: every entry needs {what}", came=f"{len(missing)} of {n} without: {some}", remedy=remedy
        )


def beside(path: Path) -> str:
    """Say what the nearest folder above `path` holds, for an error message."""
    above = next((folder for folder in path.parents if folder.is_dir()), None)
    if above is None:
        return ""
    names = sorted(entry.name for entry in above.iterdir())
    shown = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    return f"; {above} holds {shown or 'nothing'}"


class FileIndex:
    """The files of one folder, by name and by name without suffix. The folder is listed once."""

    def __init__(self, folder: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> None:
        self._by_name = {path.name: path for path in folder.iterdir() if path.suffix.lower() in suffixes}
        self._by_stem: dict[str, Path] = {}
        for path in sorted(
            self._by_name.values(), key=lambda path: (suffixes.index(path.suffix.lower()), path.name)
        ):
            self._by_stem.setdefault(path.stem, path)

    def find(self, name: str) -> Path | None:
        """Find the file `name`, or else one with a suffix added, or else one with another suffix.

        None: there is no such file.
        """
        return self._by_name.get(name) or self._by_stem.get(name) or self._by_stem.get(Path(name).stem)


def read_json(path: Path, name: str) -> object:
    """Read a JSON file. Raises InputError, which names data set and file."""
    try:
        document: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        remedy = "fetch the file again"
        raise InputError(
            f"{name}: {path} must be a readable JSON file", came=str(error), remedy=remedy
        ) from error
    return document


def content_hash(parts: Sequence[bytes | str]) -> str:
    """Hash texts, in order, to 32 hex digits. It identifies the annotations of a benchmark."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(data)}:".encode() + data)
    return digest.hexdigest()[:32]


def _header_size(path: str) -> tuple[int, int]:
    try:
        return picture_size(path)
    except SourceError as error:
        raise InputError(
            "a benchmark's images and masks must be readable pictures",
            came=str(error),
            remedy="fetch it again",
        ) from error
