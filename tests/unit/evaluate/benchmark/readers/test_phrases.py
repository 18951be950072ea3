"""RISBench and RefSegRS from tiny copies of their layouts, and listings that are damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from benchmark_layouts import (
    Filled,
    check_as_written,
    copied,
    remove,
    targets_of,
    write_refsegrs,
    write_risbench,
)
from PIL import Image

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.benchmark import Benchmark
from pipeline.evaluate.benchmark.readers.phrases import LAYOUTS, read_phrases

WRITERS: dict[str, Callable[[Path], Filled]] = {"risbench": write_risbench, "refsegrs": write_refsegrs}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Filled]:
    root = tmp_path_factory.mktemp("phrases")
    return {name: write(root / name) for name, write in WRITERS.items()}


def read(name: str, root: Path, split: str = "test") -> Benchmark:
    return read_phrases(LAYOUTS[name], root, split)


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_every_target_has_its_mask_its_image_and_its_queries(written: dict[str, Filled], name: str) -> None:
    check_as_written(read(name, written[name].root), written[name])


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_the_papers_policy(written: dict[str, Filled], name: str) -> None:
    benchmark = read(name, written[name].root)
    assert (benchmark.name, benchmark.split, benchmark.queries) == (name, "test", "all")


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_a_split_is_a_listing_of_its_own(written: dict[str, Filled], tmp_path: Path, name: str) -> None:
    root = copied(written[name], tmp_path / name)
    with pytest.raises(InputError, match=rf"{name} must be laid out as .*no file .*output_phrase_val\.txt"):
        read(name, root, "val")
    (root / "output_phrase_val.txt").write_text("0002 something\n")
    assert [w.text for target in targets_of(read(name, root, "val")).values() for w in target.wordings] == [
        "something"
    ]


@pytest.mark.parametrize(
    ("name", "part", "message"),
    [
        ("risbench", "img_rgb", "risbench must be laid out as .*no folder .*img_rgb"),
        (
            "refsegrs",
            "output_phrase_test.txt",
            r"refsegrs must be laid out as .*no file .*output_phrase_test\.txt",
        ),
        ("risbench", "mask/0003.png", r"1 of 4 without: 0003\.png"),
        ("refsegrs", "images/0000.tif", "1 of 4 without: 0000"),
    ],
)
def test_what_is_missing_is_named(
    written: dict[str, Filled], tmp_path: Path, name: str, part: str, message: str
) -> None:
    root = copied(written[name], tmp_path / name)
    remove(root / part)
    with pytest.raises(InputError, match=message):
        read(name, root)


def test_a_line_without_a_phrase_and_an_empty_listing(written: dict[str, Filled], tmp_path: Path) -> None:
    root = copied(written["refsegrs"], tmp_path / "r")
    (root / "output_phrase_test.txt").write_text("0000 tanks\n0001\n")
    with pytest.raises(InputError, match="line 2 of"):
        read("refsegrs", root)
    (root / "output_phrase_test.txt").write_text("\n\n")
    with pytest.raises(InputError, match="no line in"):
        read("refsegrs", root)


def test_a_listing_that_is_no_text_is_named(written: dict[str, Filled], tmp_path: Path) -> None:
    root = copied(written["refsegrs"], tmp_path / "r")
    (root / "output_phrase_test.txt").write_bytes(b"0000 t\xffnks\n")
    with pytest.raises(InputError, match=r"refsegrs: .*output_phrase_test\.txt must be readable text"):
        read("refsegrs", root)


def test_pictures_whose_names_differ_in_the_ending_alone(tmp_path: Path) -> None:
    """Each keeps its own mask."""
    filled = write_risbench(tmp_path)
    for folder in ("img_rgb", "mask"):
        Image.open(tmp_path / folder / "0001.png").save(tmp_path / folder / "0000.bmp")
    with (tmp_path / "output_phrase_test.txt").open("a") as file:
        file.write("0000.bmp something else\n")
    targets = targets_of(read("risbench", tmp_path))
    assert len(targets) == 5
    np.testing.assert_array_equal(targets["0000.png"].mask.read(), filled.masks["0000.png"])
    np.testing.assert_array_equal(targets["0000.bmp"].mask.read(), filled.masks["0001.png"])


def test_masks_with_another_ending_than_their_images(tmp_path: Path) -> None:
    filled = write_risbench(tmp_path, (".jpg", ".png"))
    targets = targets_of(read("risbench", tmp_path))
    assert list(targets) == list(filled.masks)
    for target_id, target in targets.items():
        np.testing.assert_array_equal(target.mask.read(), filled.masks[target_id])


@pytest.mark.parametrize("space", ["\t", "  ", " \t "])
def test_any_white_space_ends_an_id(tmp_path: Path, space: str) -> None:
    filled = write_refsegrs(tmp_path, space)
    targets = targets_of(read("refsegrs", tmp_path))
    assert {name: [w.text for w in target.wordings] for name, target in targets.items()} == filled.wordings


def test_an_id_with_and_without_its_ending_is_one_picture(tmp_path: Path) -> None:
    write_refsegrs(tmp_path)
    (tmp_path / "output_phrase_test.txt").write_text("0001 ripe\n0002 tanks\n0001.tif unripe\n")
    images = read("refsegrs", tmp_path).images
    texts = {image.image_id: [w.text for w in image.targets[0].wordings] for image in images}
    assert texts == {"0001.tif": ["ripe", "unripe"], "0002.tif": ["tanks"]}
