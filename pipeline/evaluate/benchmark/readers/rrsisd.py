"""RRSIS-D: referring expressions in the REFER layout, masks as COCO run-lengths.

    <root>/rrsisd/refs(unc).p
        pickle: list of {ref_id, image_id, ann_id, split, sentences: [{sent, raw, ...}]}
    <root>/rrsisd/instances.json
        COCO: images [{id, file_name, height, width}], annotations [{id, segmentation: [RLE]}]
    <root>/images/rrsisd/JPEGImages/<file_name>

`load_plain_pickle` reads the pickle without running code from it. Every ref of the split becomes a target and
its sentences become wordings; the papers ask the first. `Sentence` says which text of a sentence is asked.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NoReturn, TypedDict, cast

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.benchmark import Benchmark, BenchmarkImage, Target, Wording
from pipeline.evaluate.benchmark.readers.annotation_files import (
    FileIndex,
    ImageFile,
    content_hash,
    layout_error,
    read_json,
    require_complete,
    require_file,
    require_folders,
    rle_mask,
)

NAME = "rrsis-d"
EXPECTED = "<root>/rrsisd/{refs(unc).p,instances.json} and <root>/images/rrsisd/JPEGImages"

Sentence = Literal["sent", "sent+dot", "raw"]
"""Which text of a sentence is asked: `sent` (cleaned, in lower case), the same with a full stop
(Think2Seg-RS), or `raw` (SegEarth-R1). Published numbers depend on it.
"""


class _Expression(TypedDict):
    """One sentence of a ref."""

    sent: str
    raw: str


class _Ref(TypedDict):
    """One referring expression: the keys that are read."""

    ref_id: int
    image_id: int
    ann_id: int
    split: str
    sentences: list[_Expression]


class _Annotation(TypedDict, total=False):
    """One object in instances.json: the keys that are read."""

    id: int
    category_id: int
    segmentation: object


class _Picture(TypedDict):
    id: int
    file_name: str


class _Category(TypedDict):
    id: int
    name: str


class _Instances(TypedDict, total=False):
    """instances.json: the keys that are read."""

    images: list[_Picture]
    annotations: list[_Annotation]
    categories: list[_Category]


def read_rrsisd(root: Path, split: str, sentence: Sentence = "sent") -> Benchmark:
    """Read a split in the order of the pickle.

    Targets belong to one image when they name the same file; several `image_id`s may do so.

    Raises InputError for another layout, a missing file or a pickle with code in it.
    """
    refs_path = require_file(NAME, EXPECTED, root / "rrsisd" / "refs(unc).p")
    instances_path = require_file(NAME, EXPECTED, root / "rrsisd" / "instances.json")
    folder = root / "images" / "rrsisd" / "JPEGImages"
    require_folders(NAME, EXPECTED, [folder])
    # A document of another form raises KeyError or TypeError, which is caught below.
    refs = cast("list[_Ref]", load_plain_pickle(refs_path))
    instances = cast("_Instances", read_json(instances_path, NAME))
    try:
        annotations = {entry["id"]: entry for entry in instances["annotations"]}
        names = {entry["id"]: entry["file_name"] for entry in instances["images"]}
        classes: dict[int | None, str] = {
            entry["id"]: str(entry["name"]) for entry in instances.get("categories", ())
        }
        chosen = [ref for ref in refs if ref["split"] == split]
        splits = sorted({str(ref["split"]) for ref in refs})
        missing_images = sorted({names[ref["image_id"]] for ref in chosen})
    except (KeyError, TypeError) as error:
        raise layout_error(
            NAME, EXPECTED, f"refs(unc).p or instances.json without the key {error}"
        ) from error
    if not chosen:
        raise InputError(
            f"{NAME}: the split must hold refs",
            came=f"none in {split!r}",
            remedy=f"use one of {', '.join(splits)}",
        )
    files = FileIndex(folder)
    require_complete(
        NAME, f"a file in {folder}", [n for n in missing_images if files.find(n) is None], len(missing_images)
    )
    by_image: dict[Path, list[Target]] = {}
    for ref in chosen:
        if path := files.find(names[ref["image_id"]]):
            by_image.setdefault(path, []).append(_target(ref, annotations, classes, sentence))
    found = tuple(
        BenchmarkImage(image_id=path.name, pixels=ImageFile(path=str(path)), targets=tuple(targets))
        for path, targets in by_image.items()
    )
    identity = {
        "root": str(root),
        "annotations": content_hash([refs_path.read_bytes(), instances_path.read_bytes()]),
        "sentence": sentence,
    }
    return Benchmark(name=NAME, split=split, images=found, queries="first", identity=identity)


def _target(
    ref: _Ref, annotations: Mapping[int, _Annotation], classes: Mapping[int | None, str], sentence: Sentence
) -> Target:
    """Make the target of one ref. Raises InputError when the ref or its annotation lacks something."""
    where = f"{NAME}: annotation {ref.get('ann_id')!r} of ref {ref.get('ref_id')!r} in instances.json"
    try:
        annotation = annotations[ref["ann_id"]]
        texts = [_text(item, sentence) for item in ref["sentences"]]
        mask = rle_mask(annotation["segmentation"], where)
        name = classes.get(annotation.get("category_id"), "")
        identity = str(ref["ref_id"])
    except (KeyError, TypeError) as error:
        raise layout_error(NAME, EXPECTED, f"{where} without the key {error}") from error
    if not texts:
        raise layout_error(NAME, EXPECTED, f"ref {identity} without sentences")
    strata = {"category": name} if name else {}
    return Target(
        target_id=identity, mask=mask, wordings=tuple(Wording(text=text) for text in texts), strata=strata
    )


def _text(item: _Expression, sentence: Sentence) -> str:
    """Choose the text to ask; see `Sentence`."""
    if sentence == "raw":
        return str(item["raw"])
    text = str(item["sent"])
    return text if sentence == "sent" else f"{text.rstrip(' .')}."


class _PlainUnpickler(pickle.Unpickler):
    """Unpickler that refuses classes and functions. Containers, texts and numbers need none."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, _pid: object) -> NoReturn:
        raise pickle.UnpicklingError("it asks for an object stored elsewhere")


def load_plain_pickle(path: Path) -> list[dict[str, object]]:
    """Load a list of dictionaries of plain values.

    Raises InputError for anything else. Nothing from the file is run.
    """
    remedy = "fetch refs(unc).p again from the data set's own place; never load a pickle of unknown origin"
    try:
        value = _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="utf-8").load()
    except Exception as error:  # a damaged pickle raises almost anything
        what = f"{NAME}: {path} must be a pickle of plain lists, dictionaries, texts and numbers"
        raise InputError(what, came=f"{type(error).__name__}: {error}", remedy=remedy) from error
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InputError(
            f"{NAME}: {path} must hold a list of dictionaries", came=type(value).__name__, remedy=remedy
        )
    return value
