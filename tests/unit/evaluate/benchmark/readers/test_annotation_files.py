"""Images, masks and folders as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import InputError, SourceError
from pipeline.evaluate.benchmark.benchmark import mask_digest
from pipeline.evaluate.benchmark.readers.annotation_files import (
    EmptyMask,
    FileIndex,
    ImageFile,
    MaskFile,
    content_hash,
    read_json,
    require_complete,
    require_file,
    require_folders,
    rle_mask,
)


def save(path: Path, array: np.ndarray) -> str:
    Image.fromarray(array).save(path)
    return str(path)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_pictures_come_back_bit_by_bit(tmp_path: Path, suffix: str) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    picture = ImageFile(path=save(tmp_path / f"a{suffix}", rgb))
    assert picture.size_hw() == (7, 9)
    np.testing.assert_array_equal(picture.read(), rgb)
    grey = ImageFile(path=save(tmp_path / f"g{suffix}", rgb[..., 0])).read()
    np.testing.assert_array_equal(grey, np.repeat(rgb[..., :1], 3, 2))


def test_a_mask_is_the_first_channel_above_zero(tmp_path: Path) -> None:
    values = np.array([[0, 1, 255], [0, 0, 7]], dtype=np.uint8)
    expected = values > 0
    np.testing.assert_array_equal(MaskFile(path=save(tmp_path / "l.png", values)).read(), expected)
    coloured = np.stack([values, 255 - values, values], 2)
    np.testing.assert_array_equal(MaskFile(path=save(tmp_path / "rgb.tif", coloured)).read(), expected)
    np.testing.assert_array_equal(MaskFile(path=save(tmp_path / "bits.png", expected)).read(), expected)
    assert MaskFile(path=str(tmp_path / "l.png")).size_hw() == (2, 3)
    assert MaskFile(path=str(tmp_path / "l.png")).digest() == mask_digest(expected)
    assert not EmptyMask(height=2, width=3).read().any()
    assert EmptyMask(height=2, width=3).digest() != EmptyMask(height=3, width=2).digest()


def test_what_does_not_decode_is_named(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    cut = tmp_path / "cut.png"
    cut.write_bytes(Path(whole).read_bytes()[:900])
    for source in (ImageFile(path=str(cut)), MaskFile(path=str(cut))):
        assert source.size_hw() == (40, 40)  # the header is whole
        with pytest.raises(SourceError, match=r"cut\.png"):
            source.read()
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError, match=r"text\.png"):
        ImageFile(path=str(tmp_path / "text.png")).size_hw()
    deep = ImageFile(path=save(tmp_path / "deep.tif", np.zeros((4, 4), np.uint16)))
    with pytest.raises(SourceError, match="8 bits"):
        deep.read()


def test_files_are_found_with_another_ending_and_the_preferred_one_first(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "b.tif", "c.txt"):
        (tmp_path / name).touch()
    files = FileIndex(tmp_path)
    assert files.find("a.png") == tmp_path / "a.png"
    assert files.find("a") == tmp_path / "a.jpg"
    assert files.find("b.jpg") == tmp_path / "b.tif"
    assert files.find("c") is None


def test_folders_and_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(
        InputError, match=r"risk must be laid out as <root>/images.*no folder .*images.*holds pictures"
    ):
        require_folders("risk", "<root>/images", [tmp_path / "images"])
    with pytest.raises(InputError, match=rf"no file .*a\.json; {tmp_path} holds pictures\..*--split"):
        require_file("risk", "x", tmp_path / "nowhere" / "deeper" / "a.json")
    for k in range(9):
        (tmp_path / "pictures" / f"{k}.png").touch()
    with pytest.raises(
        InputError, match=r"pictures holds 0.png, 1.png, 2.png, 3.png, 4.png, 5.png and 3 more\."
    ):
        require_folders("risk", "x", [tmp_path / "pictures" / "test" / "images"])
    with pytest.raises(InputError, match=r"2 of 9 without: a, b\."):
        require_complete("risk", "an image", ["a", "b"], 9)
    require_complete("risk", "an image", [], 9)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match=r"bad\.json must be a readable JSON"):
        read_json(tmp_path / "bad.json", "risk")


def test_polygons_are_not_run_lengths() -> None:
    with pytest.raises(InputError, match="run-length"):
        rle_mask([[0, 0, 5, 0, 5, 5]], "entry 7")
    mask = rle_mask({"size": [2, 2], "counts": b"04"}, "entry 7")
    assert mask.size_hw() == (2, 2)
    assert mask.read().all()
    assert mask.digest() == mask_digest(np.ones((2, 2), bool))
    with pytest.raises(
        SourceError,
        match=r"entry 8 of ann\.json does not decode: the runs of a mask of 2 x 2 px must add up to 4",
    ):
        rle_mask({"size": [2, 2], "counts": "05"}, "entry 8 of ann.json").read()


def test_the_hash_sees_where_texts_end() -> None:
    assert content_hash(["ab", "c"]) != content_hash(["a", "bc"])
    assert content_hash(["ab", b"c"]) == content_hash([b"ab", "c"])
