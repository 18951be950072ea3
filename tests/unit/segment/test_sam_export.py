"""Which folders hold an export, and what is said of those that do not."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from exported_sams import SIDE, network_of, write_export

from pipeline.errors import InputError
from pipeline.segment.sam_export import find_export, open_session


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `sam` and `sam2`."""
    folder = tmp_path_factory.mktemp("exports")
    write_export(network_of("sam", folder), "sam", 1, folder / "sam")
    write_export(network_of("sam2", folder), "sam2", 3, folder / "sam2")
    return folder


def test_a_sam_takes_one_prompt_a_call(exports: Path) -> None:
    found = find_export(exports / "sam")
    assert (found.family, found.image_px, found.decodes_many) == ("sam", SIDE, False)
    assert (found.encoder.name, found.decoder.name) == ("encoder.onnx", "decoder.onnx")


def test_a_sam2_takes_many(exports: Path) -> None:
    found = find_export(exports / "sam2")
    assert (found.family, found.image_px, found.decodes_many) == ("sam2", SIDE, True)


def test_names_of_files_do_not_matter(exports: Path, tmp_path: Path) -> None:
    shutil.copy(exports / "sam/encoder.onnx", tmp_path / "b.onnx")
    shutil.copy(exports / "sam/decoder.onnx", tmp_path / "a.onnx")
    found = find_export(tmp_path)
    assert (found.encoder.name, found.decoder.name) == ("b.onnx", "a.onnx")


def no_folder(exports: Path, place: Path) -> None:
    place.rmdir()


def no_decoder(exports: Path, place: Path) -> None:
    shutil.copy(exports / "sam/encoder.onnx", place)


def two_encoders(exports: Path, place: Path) -> None:
    shutil.copytree(exports / "sam", place, dirs_exist_ok=True)
    shutil.copy(exports / "sam/encoder.onnx", place / "second.onnx")


def of_two_models(exports: Path, place: Path) -> None:
    shutil.copy(exports / "sam/encoder.onnx", place)
    shutil.copy(exports / "sam2/decoder.onnx", place)


def no_graph(exports: Path, place: Path) -> None:
    (place / "encoder.onnx").write_bytes(b"<html>not found</html>")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (no_folder, "which is no folder"),
        (no_decoder, "encoders: 1, decoders: 0, of 1 .onnx files"),
        (two_encoders, "encoders: 2, decoders: 1, of 3 .onnx files"),
        (of_two_models, "encoder.onnx, which gives image_embeddings, and a decoder of sam2"),
        (no_graph, "encoder.onnx (InvalidProtobuf"),
    ],
)
def test_other_folders_are_refused(
    exports: Path, tmp_path: Path, spoil: Callable[[Path, Path], None], told: str
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    spoil(exports, place)
    with pytest.raises(InputError) as refused:
        find_export(place)
    assert told in str(refused.value)


def test_without_onnxruntime_it_says_what_to_install(exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[onnx\]'"):
        open_session(exports / "sam/encoder.onnx", device="cpu")
