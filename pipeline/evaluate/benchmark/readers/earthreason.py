"""EarthReason: reasoning queries about 28 kinds of scenes; some ask for things that are not there.

    <root>/<split>/images/<id>.jpg|.jpeg|.png
                   labels/<id>.png    (> 0 = target, all zero = empty)
                   QAs/<id>.json      {"questions": [...], "answer": [...]}  (empty answer = nothing there)

All queries of an image ask for the same mask. SegEarth-R1 scores the first, Think2Seg-RS a random one. Only
the mask decides what is there; the answer list becomes the stratum `answer`.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.evaluate.benchmark.benchmark import Benchmark, BenchmarkImage, Target, Wording
from pipeline.evaluate.benchmark.readers.annotation_files import (
    FileIndex,
    ImageFile,
    MaskFile,
    content_hash,
    layout_error,
    read_json,
    require_complete,
    require_folders,
)

NAME = "earthreason"
EXPECTED = "<root>/{train,val,test}/{images,labels,QAs}"


def read_earthreason(root: Path, split: str) -> Benchmark:
    """Read a split, in ascending order of id.

    Raises InputError for another layout, a missing file or an annotation without queries.
    """
    folders = {part: root / split / part for part in ("images", "labels", "QAs")}
    require_folders(NAME, EXPECTED, list(folders.values()))
    annotations = sorted(folders["QAs"].glob("*.json"))
    if not annotations:
        raise layout_error(NAME, EXPECTED, f"no *.json in {folders['QAs']}")
    images = FileIndex(folders["images"])
    labels = FileIndex(folders["labels"])
    for part, files in (("images", images), ("labels", labels)):
        missing = [path.stem for path in annotations if files.find(path.stem) is None]
        require_complete(NAME, f"a file in {folders[part]}", missing, len(annotations))
    found = []
    texts = []
    for path in annotations:
        entry = read_json(path, NAME)
        queries, strata = _queries(entry, path)
        target = Target(
            target_id=path.stem,
            mask=MaskFile(path=str(labels.find(path.stem))),
            wordings=tuple(Wording(text=text) for text in queries),
            strata=strata,
        )
        found.append(
            BenchmarkImage(
                image_id=path.stem, pixels=ImageFile(path=str(images.find(path.stem))), targets=(target,)
            )
        )
        texts += [path.stem, *queries]
    identity = {"root": str(root), "annotations": content_hash(texts)}
    return Benchmark(name=NAME, split=split, images=tuple(found), queries="first", identity=identity)


def _queries(entry: object, path: Path) -> tuple[list[str], dict[str, str]]:
    """Read the queries and strata of one annotation. Raises InputError."""
    queries = entry.get("questions") if isinstance(entry, dict) else None
    answer = entry.get("answer") if isinstance(entry, dict) else None
    if not isinstance(queries, list) or not queries or not all(isinstance(text, str) for text in queries):
        expected = f'{EXPECTED}, with "questions": [text, ...] in every file of QAs'
        raise layout_error(NAME, expected, f"{path} has questions {queries!r:.80}")
    if not isinstance(answer, list):
        raise layout_error(
            NAME,
            f'{EXPECTED}, with "answer": [...] in every file of QAs',
            f"{path} has answer {answer!r:.80}",
        )
    return queries, {"answer": "given" if answer else "none"}
