"""Mask models are checked before anything is loaded, and pinned by their content."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from segment.dual_route.tiny_phrases import write_sam3
from segment.mask_model.mask_tiles import COLOURS, colours

from pipeline.errors import InputError
from pipeline.files.provenance import path_identity
from pipeline.segment.mask_model.build_mask_model import (
    build_mask_model,
    check_mask_model,
    mask_model_identity,
    mask_model_parameters,
    told_by,
)
from pipeline.segment.mask_model.mask_options import MaskModelOptions
from pipeline.segment.mask_model.process_model import ProcessMaskModel
from pipeline.segment.mask_model.sam3_masks import Sam3Masks


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"python": "/no-such-python"}, "the Python of the model's environment"),
        ({"adapter": "lysa"}, "a shipped adapter or a Python file"),
        ({"adapter": "/no/such.py"}, "a shipped adapter or a Python file"),
        ({"repo": "/no/such/tree"}, "the working tree"),
        ({"options": {"weights": "/no/weights"}}, "option weights of colours must be a file"),
        ({"options": {"leest": 1}}, "has no option 'leest'"),
        ({"python": shutil.which("true")}, "say hello"),
    ],
)
def test_what_is_wrong_is_found_without_loading(changes: dict[str, Any], why: str) -> None:
    options = colours(**{**changes, "options": {"weights": "a/hub-id", **changes.get("options", {})}})
    with pytest.raises(InputError, match=why):
        check_mask_model(options)


def test_a_hub_id_and_a_folder_pass(tmp_path: Path) -> None:
    for weights in ("some/model", str(tmp_path)):
        check_mask_model(colours(options={"weights": weights}))


def test_it_is_pinned_by_its_adapter_its_options_and_its_weights(tmp_path: Path) -> None:
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"1")
    adapter = tmp_path / "own.py"
    adapter.write_text(COLOURS.read_text())
    first = mask_model_parameters(colours(adapter=str(adapter), options={"weights": str(weights)}))
    moved = shutil.copytree(tmp_path, tmp_path / "moved")
    same = colours(
        adapter=str(moved / "own.py"), options={"weights": str(moved / "weights.bin")}, limit_s=9.0
    )
    assert mask_model_parameters(same) == first
    assert (first["name"], first["version"]) == ("colours", "1")
    weights.write_bytes(b"2")
    other_weights = mask_model_parameters(colours(adapter=str(adapter), options={"weights": str(weights)}))
    assert other_weights["adapter"] == first["adapter"]
    assert other_weights != first
    adapter.write_text(adapter.read_text() + "\n")
    other_adapter = mask_model_parameters(colours(adapter=str(adapter)))
    assert other_adapter["adapter"] != first["adapter"]


def test_a_model_is_named_by_its_weights(tmp_path: Path) -> None:
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"1")
    assert mask_model_identity(colours(options={"weights": str(weights)})).startswith("sha256:")
    assert mask_model_identity(colours(options={"weights": "some/model"})) == "some/model"
    assert mask_model_identity(colours()) == path_identity(str(COLOURS))  # no weights are named


def test_run_json_has_what_a_model_says_of_itself() -> None:
    said = told_by(colours())
    assert (said["name"], said["one_mask"]) == ("colours", True)
    assert said["versions"]["numpy"]


def test_sam3_is_checked_and_built_in_this_process(tmp_path: Path) -> None:
    wrong = MaskModelOptions(kind="sam3-text", checkpoint=str(tmp_path))
    with pytest.raises(InputError, match=r"mask_model\.checkpoint"):
        check_mask_model(wrong)
    folder = write_sam3(tmp_path / "sam3")
    options = MaskModelOptions(kind="sam3-text", checkpoint=str(folder), device="cpu")
    check_mask_model(options)
    assert str(mask_model_parameters(options)["checkpoint"]).startswith("sha256:")
    assert told_by(options) == {}
    assert isinstance(build_mask_model(options), Sam3Masks)


def test_a_process_is_built() -> None:
    model = build_mask_model(colours())
    assert isinstance(model, ProcessMaskModel)
    model.close()
    model.close()
