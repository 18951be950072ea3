"""RISBench and RefSegRS: one text file per split, one phrase per line, one mask per image.

    RISBench   <root>/img_rgb/<file>    mask/<file>        output_phrase_<split>.txt   <file name> <phrase>
    RefSegRS   <root>/images/<id>.tif   masks/<id>.tif     output_phrase_<split>.txt   <id> <phrase>

The mask has the name of its image, with any suffix; its first channel is above 0 inside the target. Lines
that name the same file become wordings of one target. The papers score every line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.benchmark import Benchmark, BenchmarkImage, Target, Wording
from pipeline.evaluate.benchmark.readers.annotation_files import (
    FileIndex,
    ImageFile,
    MaskFile,
    content_hash,
    layout_error,
    require_complete,
    require_file,
    require_folders,
)


@dataclass(frozen=True, kw_only=True)
class PhraseLayout:
    """Names of the folders of one of these data sets."""

    name: str
    images: str
    masks: str

    @property
    def expected(self) -> str:
        """The layout as one line, for error messages."""
        folders = f"<root>/{{{self.images},{self.masks}}}"
        return f"{folders} and <root>/output_phrase_{{train,val,test}}.txt with lines '<file> <phrase>'"


LAYOUTS: Mapping[str, PhraseLayout] = {
    "risbench": PhraseLayout(name="risbench", images="img_rgb", masks="mask"),
    "refsegrs": PhraseLayout(name="refsegrs", images="images", masks="masks"),
}


def read_phrases(layout: PhraseLayout, root: Path, split: str) -> Benchmark:
    """Read a split in the order of its file.

    Raises InputError for another layout, a missing file or a line without a phrase.
    """
    name = layout.name
    expected = layout.expected
    listing = require_file(name, expected, root / f"output_phrase_{split}.txt")
    folders = root / layout.images, root / layout.masks
    require_folders(name, expected, folders)
    phrases = _phrases(listing, layout)
    images, masks = (FileIndex(folder) for folder in folders)
    for folder, files in zip(folders, (images, masks), strict=True):
        require_complete(
            name, f"a file in {folder}", [key for key in phrases if files.find(key) is None], len(phrases)
        )
    by_image: dict[Path, list[str]] = {}  # `0001` and `0001.tif` are one file
    for key, texts in phrases.items():
        if path := images.find(key):
            by_image.setdefault(path, []).extend(texts)
    found = []
    for path, texts in by_image.items():
        wordings = tuple(Wording(text=text) for text in texts)
        target = Target(
            target_id=path.name, mask=MaskFile(path=str(masks.find(path.name))), wordings=wordings
        )
        found.append(BenchmarkImage(image_id=path.name, pixels=ImageFile(path=str(path)), targets=(target,)))
    identity = {"root": str(root), "annotations": content_hash([listing.read_bytes()])}
    return Benchmark(name=name, split=split, images=tuple(found), queries="all", identity=identity)


def _phrases(listing: Path, layout: PhraseLayout) -> dict[str, list[str]]:
    """Read file or id -> phrases, in order of first appearance. Raises InputError for a damaged listing.

    A line is split at its first white space.
    """
    phrases: dict[str, list[str]] = {}
    try:
        lines = listing.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{layout.name}: {listing} must be readable text", came=str(error), remedy="fetch it again"
        ) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        key, *phrase = line.split(maxsplit=1)
        if not phrase:
            raise layout_error(
                layout.name, layout.expected, f"line {number} of {listing} without a phrase: {line!r:.60}"
            )
        phrases.setdefault(key, []).append(phrase[0].strip())
    if not phrases:
        raise layout_error(layout.name, layout.expected, f"no line in {listing}")
    return phrases
