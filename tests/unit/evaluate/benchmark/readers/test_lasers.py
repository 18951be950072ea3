"""LaSeRS from a tiny copy of its layout: which entries count, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_layouts import (
    Filled,
    check_as_written,
    copied,
    remove,
    rewrite,
    rle_text,
    targets_of,
    write_lasers,
)
from PIL import Image

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.readers.lasers import read_lasers

LISTING = "train/annotations/train_ann.json"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    return write_lasers(tmp_path_factory.mktemp("lasers"))


def test_every_target_has_its_mask_its_image_and_its_queries(written: Filled) -> None:
    check_as_written(read_lasers(written.root), written)


def test_the_papers_policy(written: Filled) -> None:
    benchmark = read_lasers(written.root)
    assert (benchmark.name, benchmark.split, benchmark.queries) == ("lasers", "train", "all")
    with pytest.raises(InputError, match="test masks are hidden"):
        read_lasers(written.root, "test")


@pytest.mark.parametrize(
    ("n_masks", "stratum"), [(1, "1"), (2, "2"), (4, "4"), (5, "5+"), (7, "5+"), (None, "1")]
)
def test_the_stratum_counts_the_masks(
    written: Filled, tmp_path: Path, n_masks: int | None, stratum: str
) -> None:
    """None: one run-length object that stands in no list."""
    root = copied(written, tmp_path / "l")
    mask = np.zeros((128, 128), np.bool_)
    mask[3:9, 20:40] = True
    masks = rle_text(mask) if n_masks is None else [rle_text(mask)] * n_masks
    rewrite(root / LISTING, lambda entries: [{**entries[0], "mask": masks}])
    target = targets_of(read_lasers(root))["q0"]
    assert target.strata == {"masks": stratum}
    np.testing.assert_array_equal(target.mask.read(), mask)


def test_a_target_that_is_not_there_has_no_masks_and_its_entrys_size(written: Filled, tmp_path: Path) -> None:
    root = copied(written, tmp_path / "l")
    assert targets_of(read_lasers(root))["q3"].strata == {"masks": "0"}
    rewrite(root / LISTING, lambda entries: [{**entries[3], "size": [64, 32]}])
    empty = targets_of(read_lasers(root))["q3"].mask
    assert empty.size_hw() == (64, 32)  # what the entry states, not what the picture has
    assert not empty.read().any()


def test_entries_about_one_picture_are_its_targets(written: Filled, tmp_path: Path) -> None:
    root = copied(written, tmp_path / "l")
    rewrite(root / LISTING, lambda entries: [{**entry, "image_name": "0.png"} for entry in entries])
    (image,) = read_lasers(root).images
    assert [target.target_id for target in image.targets] == ["q0", "q1", "q2", "q3"]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("train/images", "lasers must be laid out as .*no folder .*images"),
        (LISTING, r"lasers must be laid out as .*no file .*train_ann\.json"),
        ("train/images/2.png", r"1 of 4 without: 2\.png"),
    ],
)
def test_what_is_missing_is_named(written: Filled, tmp_path: Path, part: str, message: str) -> None:
    root = copied(written, tmp_path / "l")
    remove(root / part)
    with pytest.raises(InputError, match=message):
        read_lasers(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entries: {}, "holds no list of entries"),
        (lambda entries: [], "holds no list of entries"),
        (lambda entries: [{"id": 4}], "without image_name, description"),
        (lambda entries: ["text"], "without id, image_name, description"),
        (
            lambda entries: [{**entries[0], "split": "val"}, {**entries[1], "mask": None}],
            "Got: 1 of another split, 1 without the masks of their answer",
        ),
        (lambda entries: [{**entries[3], "size": [0, 5]}], r"with size \[0, 5\]"),
        (lambda entries: [{**entries[3], "size": "128"}], "with size '128'"),
        (
            lambda entries: [{**entries[0], "mask": [[0, 0, 5, 5]]}],
            r"entry 'q0' of .*train_ann\.json must hold COCO run-length masks",
        ),
    ],
)
def test_annotations_of_another_form_are_named(
    written: Filled, tmp_path: Path, change: Callable[[Any], Any], message: str
) -> None:
    root = copied(written, tmp_path / "l")
    rewrite(root / LISTING, change)
    with pytest.raises(InputError, match=message):
        read_lasers(root)


def test_pictures_whose_names_differ_in_the_ending_alone(written: Filled, tmp_path: Path) -> None:
    """Each keeps its own pixels and its own mask."""
    root = copied(written, tmp_path / "l")
    Image.open(root / "train/images/1.png").save(root / "train/images/0.bmp")
    rename = {"q1": "0.bmp"}
    rewrite(
        root / LISTING,
        lambda entries: [{**e, "image_name": rename.get(e["id"], e["image_name"])} for e in entries],
    )
    found = {image.image_id: image for image in read_lasers(root).images}
    assert list(found) == ["0.png", "0.bmp", "2.png", "3.png"]
    for image_id, target_id in (("0.png", "q0"), ("0.bmp", "q1")):
        np.testing.assert_array_equal(found[image_id].pixels.read(), written.images[target_id])
        np.testing.assert_array_equal(found[image_id].targets[0].mask.read(), written.masks[target_id])


def test_entries_that_are_left_out_are_counted(written: Filled, tmp_path: Path) -> None:
    """No masks, no [SEG] in the answer: nothing is there. A [SEG] without masks, or no answer: no truth."""
    whole = read_lasers(written.root)
    assert whole.notes == ("1 entries without masks, whose answer names no object, count as empty targets",)
    root = copied(written, tmp_path / "l")

    def change(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        named = {**entries[0], "id": "named", "mask": []}
        silent = {key: value for key, value in entries[3].items() if key not in ("answer", "mask")}
        other = {**entries[0], "id": "other", "split": "test"}
        nameless = {key: value for key, value in entries[1].items() if key != "split"}
        return [*entries, named, {**silent, "id": "silent"}, other, {**nameless, "id": "no split"}]

    rewrite(root / LISTING, change)
    benchmark = read_lasers(root)
    assert set(targets_of(benchmark)) == {"q0", "q1", "q2", "q3", "no split"}
    assert benchmark.notes == (
        "1 entries of another split were left out",
        "2 entries without the masks of their answer were left out",
        "1 entries without masks, whose answer names no object, count as empty targets",
    )
