"""GeoSeg-Bench (810 queries): domains, difficulty levels, one query per image.

    <root>/RS_ReasonSeg_Benchmark/images/<Domain>/<LevelN>/...
                                  masks/<Domain>/<LevelN>/...       (PNG 0/255)
    <root>/annotations/<Domain>.json, or the same folder inside RS_ReasonSeg_Benchmark:
        [{id, file_name, mask_path, height, width, difficulty, question}]

This is the layout that the authors' scripts read; their download was not public. UniGeoSeg's data set of the
same name is a different one with another layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.benchmark import Benchmark, BenchmarkImage, Target, Wording
from pipeline.evaluate.benchmark.readers.annotation_files import (
    ImageFile,
    MaskFile,
    content_hash,
    layout_error,
    read_json,
    require_complete,
    require_folders,
)

NAME = "geoseg-bench"
FOLDER = "RS_ReasonSeg_Benchmark"
EXPECTED = f"<root>/{FOLDER}/{{images,masks}}/<Domain>/<LevelN>/ and <root>/annotations/<Domain>.json"
KEYS = ("id", "file_name", "mask_path", "height", "width", "difficulty", "question")
SPLIT = "test"


def read_geoseg(root: Path, split: str = SPLIT) -> Benchmark:
    """Read all domains, in order of their names.

    Raises InputError for another layout, a missing file or an entry whose size differs from its image's.
    """
    if split != SPLIT:
        raise InputError(f"{NAME} has one split, {SPLIT!r}", came=repr(split), remedy="leave --split out")
    inner = root if root.name == FOLDER else root / FOLDER
    require_folders(NAME, EXPECTED, [inner / "images", inner / "masks"])
    listings = _listings(inner)
    entries = [(path.stem, entry) for path in listings for entry in _entries(path)]
    pairs = [
        (
            _find(inner, "images", domain, str(entry["file_name"])),
            _find(inner, "masks", domain, str(entry["mask_path"])),
        )
        for domain, entry in entries
    ]
    for place, what, key in ((0, "an image", "file_name"), (1, "a mask", "mask_path")):
        missing = [
            str(entry[key]) for (_, entry), pair in zip(entries, pairs, strict=True) if pair[place] is None
        ]
        require_complete(NAME, f"{what} under {inner}", missing, len(entries))
    found = [
        _image(domain, entry, (str(a), str(b)))
        for (domain, entry), (a, b) in zip(entries, pairs, strict=True)
    ]
    identity = {"root": str(root), "annotations": content_hash([path.read_bytes() for path in listings])}
    return Benchmark(name=NAME, split=split, images=tuple(found), queries="all", identity=identity)


def _listings(inner: Path) -> list[Path]:
    """List the annotation files: those inside the inner folder, or if it has none, those beside it."""
    for folder in (inner / "annotations", inner.parent / "annotations"):
        listings = sorted(folder.glob("*.json"))
        if listings:
            return listings
    raise layout_error(
        NAME, EXPECTED, f"no *.json in {inner / 'annotations'} or {inner.parent / 'annotations'}"
    )


def _entries(path: Path) -> list[Mapping[str, object]]:
    """Read the entries of one domain. Raises InputError unless each has all KEYS."""
    entries = read_json(path, NAME)
    if not isinstance(entries, list) or not entries:
        raise layout_error(NAME, EXPECTED, f"{path} holds no list of entries")
    for entry in entries:
        absent = [key for key in KEYS if key not in entry] if isinstance(entry, dict) else list(KEYS)
        if absent:
            raise layout_error(
                NAME,
                f"{EXPECTED} with the keys {', '.join(KEYS)}",
                f"an entry of {path} without {', '.join(absent)}",
            )
    return entries


def _find(inner: Path, part: str, domain: str, name: str) -> Path | None:
    """Find the file that an annotation names. None: there is none.

    The authors' scripts open `file_name` as it is, so it may be an absolute path on their machine. The part
    after the last RS_ReasonSeg_Benchmark/ is tried first, under the root, and the path itself last.
    """
    tail = f"/{name}".rpartition(f"/{FOLDER}/")[2].lstrip("/")
    places = (
        inner / tail,
        inner.parent / tail,
        inner / part / tail,
        inner / part / domain / tail,
        inner.parent / name,
    )
    return next((path for path in places if path.is_file()), None)


def _image(domain: str, entry: Mapping[str, object], paths: tuple[str, str]) -> BenchmarkImage:
    """Read one entry. Its id is `<Domain>/<difficulty>/<id>`, as in the scripts' outputs.

    The `id` alone may repeat on another level.
    """
    identity = f"{domain}/{entry['difficulty']}/{entry['id']}"
    pixels = ImageFile(path=paths[0])
    height, width = pixels.size_hw()
    if (entry["height"], entry["width"]) != (height, width):
        came = (
            f"{entry['height']} x {entry['width']} for {paths[0]} of {height} x {width} px (height x width)"
        )
        raise InputError(
            f"{NAME}: an entry must state the size of its image",
            came=came,
            remedy="correct the annotation or the image",
        )
    strata = {"domain": domain, "difficulty": str(entry["difficulty"])}
    target = Target(
        target_id=identity,
        mask=MaskFile(path=paths[1]),
        wordings=(Wording(text=str(entry["question"])),),
        strata=strata,
    )
    return BenchmarkImage(image_id=identity, pixels=pixels, targets=(target,))
