"""A folder of images, masks and questions: what is read, what is refused and how it is said, and the rows TRL gets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from grpo_scenes import ABSENT, PRESENT, TARGET, mask_of, scene, write_data
from PIL import Image

from pipeline.errors import InputError, SourceError
from pipeline.finetune.grpo_data import TABLE, as_dataset, read_samples
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
    assert (present.question, absent.question, absent.mask) == (PRESENT, ABSENT, None)
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


def test_a_mask_of_colours_counts_every_pixel_that_is_not_black(folder: Path) -> None:
    colours = np.zeros((256, 256, 3), np.uint8)
    colours[5:9, 7:12, 2] = 1
    Image.fromarray(colours).save(folder / "masks/colours.png")
    add(folder, image="images/a.png", mask="masks/colours.png", question="x")
    assert np.array_equal(read_samples(folder)[-1].truth((256, 256)), colours[..., 2] > 0)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"image": "images/a.png", "mask": None}, r"line 3 must have the keys image, mask, question.*\['image', 'mask'\]"),
        ({"image": "images/a.png", "mask": None, "question": "x", "labels": 3}, r"line 3.*labels"),
        ({"image": "images/a.png", "mask": None, "question": 7}, "line 3: question must be text.*7"),
        ({"image": "images/a.png", "mask": None, "question": " "}, "line 3: a query must hold text"),
        ({"image": "images/a.png", "mask": None, "question": "<|im_end|>"}, "line 3: a query may not hold control tokens"),
        ({"image": "images/b.png", "mask": None, "question": "x"}, "line 3 must name readable images.*b.png"),
        ({"image": "images/a.png", "mask": "masks/9.png", "question": "x"}, "line 3 must name readable images.*9.png"),
    ],
)
def test_a_wrong_line_is_named(folder: Path, row: dict[str, object], said: str) -> None:
    add(folder, **row)
    with pytest.raises(InputError, match=said):
        read_samples(folder)


def test_a_mask_of_another_size_is_refused(folder: Path) -> None:
    Image.fromarray(np.zeros((200, 256), np.uint8)).save(folder / "masks/small.png")
    add(folder, image="images/a.png", mask="masks/small.png", question="x")
    with pytest.raises(InputError, match=r"line 3: image and mask must be of one size.*256 x 256 px and 256 x 200 px"):
        read_samples(folder)


def test_no_table_an_empty_table_and_no_json(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"folder with questions\.jsonl"):
        read_samples(tmp_path)
    with (folder / TABLE).open("a") as table:
        table.write("{\n")
    with pytest.raises(InputError, match="line 3 must be one JSON object"):
        read_samples(folder)
    (folder / TABLE).write_text("\n")
    with pytest.raises(InputError, match="must hold a question"):
        read_samples(folder)


def test_a_file_that_is_cut_off_is_a_source_error(folder: Path) -> None:
    sample = read_samples(folder)[0]
    sample.image.write_bytes(b"no image")
    with pytest.raises(SourceError, match="does not decode"):
        sample.rgb()


def test_rows_are_the_messages_and_the_picture_of_inference(folder: Path) -> None:
    pytest.importorskip("datasets")
    profile, samples = load_profile("embedded"), read_samples(folder)
    rows = as_dataset(samples, profile)
    assert len(rows) == 2
    assert rows[1]["prompt"] == chat_messages(profile, ABSENT)
    assert rows[1]["sample"] == 1
    assert rows[0]["image"].tobytes() == squash(scene(), profile).tobytes()
