"""A folder of images, masks and queries: what is read, what is refused and how it is said, and the rows TRL
gets.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from grpo_scenes import ABSENT, PRESENT, TARGET, mask_of, scene, write_data
from PIL import Image

from pipeline.errors import InputError, SourceError
from pipeline.evaluate.benchmark.readers.annotation_files import MaskFile
from pipeline.finetune.grpo.grpo_data import TABLE, as_dataset, check_pixels, read_samples
from pipeline.prompt.profile import load_profile
from pipeline.prompt.template import chat_messages, squash


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data", [(PRESENT, mask_of(TARGET)), (ABSENT, None)])


def add(folder: Path, **row: object) -> None:
    with (folder / TABLE).open("a") as table:
        table.write(json.dumps(row) + "\n")


def test_images_and_masks_come_back_as_written(folder: Path) -> None:
    present, absent = read_samples(folder)
    assert (present.query, absent.query, absent.mask) == (PRESENT, ABSENT, None)
    assert np.array_equal(present.rgb(), scene())
    assert np.array_equal(present.truth((256, 256)), mask_of(TARGET))
    assert not absent.truth((256, 256)).any()


def test_squashing_keeps_places(folder: Path) -> None:
    sample = read_samples(folder)[0]
    assert sample.rgb((128, 64)).shape == (64, 128, 3)
    x0, y0, x1, y1 = TARGET
    wanted = np.zeros((64, 128), np.bool_)
    wanted[y0 // 4 : -(-y1 // 4), x0 // 2 : x1 // 2] = True
    assert (sample.truth((64, 128)) != wanted).sum() <= x1 - x0  # at most one row of rounding


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "1", "P", "I;16"])
def test_masks_of_every_kind_say_the_same_in_training_and_in_evaluation(folder: Path, mode: str) -> None:
    """Alpha is opaque everywhere, as painting programs save it: it says nothing about the target."""
    wanted = mask_of(TARGET)
    grey = wanted.astype(np.uint8) * 255
    picture = (
        Image.fromarray(grey.astype(np.uint16)) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    )
    assert picture.mode == mode
    picture.save(folder / "masks/kind.png")
    add(folder, image="images/a.png", mask="masks/kind.png", question="x")
    check_pixels(read_samples(folder))
    assert np.array_equal(read_samples(folder)[-1].truth((256, 256)), wanted)
    assert np.array_equal(MaskFile(path=str(folder / "masks/kind.png")).read(), wanted)


def test_a_mask_whose_colours_disagree_is_refused(folder: Path) -> None:
    colours = np.zeros((256, 256, 3), np.uint8)
    colours[5:9, 7:12, 2] = 1
    Image.fromarray(colours).save(folder / "masks/colours.png")
    add(folder, image="images/a.png", mask="masks/colours.png", question="x")
    with pytest.raises(InputError, match=r"1 of 3 files.*the colours of .*colours\.png disagree"):
        check_pixels(read_samples(folder))
    with pytest.raises(SourceError, match="disagree"):
        read_samples(folder)[-1].truth((256, 256))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"image": "images/a.png", "mask": None},
            r"line 3 must have the keys image, mask, question.*\['image', 'mask'\]",
        ),
        ({"image": "images/a.png", "mask": None, "question": "x", "labels": 3}, r"line 3.*labels"),
        ({"image": "images/a.png", "mask": None, "question": 7}, "line 3: question must be text.*7"),
        ({"image": "images/a.png", "mask": None, "question": " "}, "line 3: a query must hold text"),
        (
            {"image": "images/a.png", "mask": None, "question": "<|im_end|>"},
            "line 3: a query may not hold control tokens",
        ),
        ({"image": "images/b.png", "mask": None, "question": "x"}, "line 3 must name readable images.*b.png"),
        (
            {"image": "images/a.png", "mask": "masks/9.png", "question": "x"},
            "line 3 must name readable images.*9.png",
        ),
    ],
)
def test_a_wrong_line_is_named(folder: Path, row: dict[str, object], said: str) -> None:
    add(folder, **row)
    with pytest.raises(InputError, match=said):
        read_samples(folder)


def test_a_mask_of_another_size_is_refused(folder: Path) -> None:
    Image.fromarray(np.zeros((200, 256), np.uint8)).save(folder / "masks/small.png")
    add(folder, image="images/a.png", mask="masks/small.png", question="x")
    with pytest.raises(
        InputError, match=r"line 3: image and mask must be of one size.*256 x 256 px and 256 x 200 px"
    ):
        read_samples(folder)


def test_no_table_an_empty_table_and_no_json(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"folder with questions\.jsonl"):
        read_samples(tmp_path)
    with (folder / TABLE).open("a") as table:
        table.write("{\n")
    with pytest.raises(InputError, match="line 3 must be one JSON object"):
        read_samples(folder)
    (folder / TABLE).write_text("\n")
    with pytest.raises(InputError, match="must hold a query"):
        read_samples(folder)


@pytest.mark.parametrize("part", ["images/a.png", "masks/0.png"])
def test_a_file_that_is_cut_off_is_named(folder: Path, part: str) -> None:
    """Its header is whole, so that only decoding it tells."""
    path = folder / part
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    sample = read_samples(folder)[0]
    with pytest.raises(InputError, match=rf"1 of 2 files that cannot; the first: .*{part} does not decode"):
        check_pixels([sample])
    with pytest.raises(SourceError, match=f"{part} does not decode"):
        sample.rgb() if part.startswith("images") else sample.truth((256, 256))


def test_an_image_of_16_bits_is_refused_instead_of_clipped(folder: Path) -> None:
    Image.fromarray(np.full((256, 256), 3000, np.uint16)).save(folder / "images/deep.tif")
    add(folder, image="images/deep.tif", mask=None, question="x")
    with pytest.raises(InputError, match=r"8 bits per channel.*deep\.tif has the mode I;16"):
        check_pixels(read_samples(folder))
    assert check_pixels(read_samples(folder)[:2]) is None


def test_a_grey_image_and_one_with_alpha_are_colours(folder: Path) -> None:
    values = np.arange(256, dtype=np.uint8)[None].repeat(256, 0)
    for number, mode in enumerate(("L", "LA", "RGBA")):
        Image.fromarray(values).convert(mode).save(folder / f"images/{number}.png")
        add(folder, image=f"images/{number}.png", mask=None, question="x")
    for sample in read_samples(folder)[2:]:
        assert np.array_equal(sample.rgb(), values[..., None].repeat(3, -1))


def test_rows_are_the_messages_and_the_picture_of_inference(folder: Path) -> None:
    pytest.importorskip("datasets")
    profile = load_profile("embedded")
    samples = read_samples(folder)
    rows = as_dataset(samples, profile)
    assert len(rows) == 2
    assert rows[1]["prompt"] == chat_messages(profile, ABSENT)
    assert rows[1]["sample"] == 1
    assert rows[0]["image"].tobytes() == squash(scene(), profile).tobytes()
