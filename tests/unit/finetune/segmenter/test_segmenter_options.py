"""What the segmenter's training refuses from options and file names alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.finetune.segmenter.segmenter_options import MEAN_FILE, STATE_FILE, SegmenterTrainOptions, check
from pipeline.segment.sam2_model import EMBEDDED_DIR


@pytest.fixture
def options(tmp_path: Path) -> SegmenterTrainOptions:
    return SegmenterTrainOptions(work_dir=tmp_path / "work", out=tmp_path / "out" / "model.safetensors")


def test_the_defaults_can_be_trained_and_nothing_is_written(
    options: SegmenterTrainOptions, tmp_path: Path
) -> None:
    check(options)
    assert list(tmp_path.iterdir()) == []
    check(SegmenterTrainOptions())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "at least one step"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"box_steps": -1}, "warm-up's steps must be 0 or more"),
        ({"config": Path("/nowhere.yaml")}, "architecture's config must be a file"),
        ({"start": Path("/nowhere.pt")}, "weights to start from must be a file"),
    ],
)
def test_bad_input_is_refused(options: SegmenterTrainOptions, changes: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check(replace(options, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [MEAN_FILE, STATE_FILE, "weights-12.safetensors", "pool/rgb.u8"])
def test_the_weights_do_not_go_where_the_training_writes_itself(
    options: SegmenterTrainOptions, name: str
) -> None:
    with pytest.raises(InputError, match="need a file of their own"):
        check(replace(options, out=options.work_dir / name))
    check(replace(options, out=options.work_dir / "model.safetensors"))


def test_a_folder_is_no_file_and_a_file_no_folder(options: SegmenterTrainOptions, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="go to a file in a folder"):
        check(replace(options, out=tmp_path))
    (tmp_path / "work").write_text("precious")
    with pytest.raises(InputError, match="--work must be a folder"):
        check(options)


def test_weights_do_not_go_beside_the_config_of_others(options: SegmenterTrainOptions) -> None:
    options.out.parent.mkdir()
    beside = options.out.parent / "config.yaml"
    beside.write_bytes((EMBEDDED_DIR / "config.yaml").read_bytes())
    check(options)
    beside.write_text("model: another\n")
    with pytest.raises(InputError, match="must belong together"):
        check(options)
