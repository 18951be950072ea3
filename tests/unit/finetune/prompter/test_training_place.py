"""Where a training of the prompter keeps its things."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from pipeline.finetune.prompter.prompter_options import KEPT_IN_WORK
from pipeline.finetune.prompter.training_place import TrainingPlace


def test_everything_lies_in_the_working_directory_under_names_that_an_export_may_not_take(
    tmp_path: Path,
) -> None:
    place = TrainingPlace(work=tmp_path)
    folders = [place.train_tiles, place.valid_tiles, *map(place.checkpoints, ("vision", "language", "joint"))]
    assert [folder.parent for folder in folders] == [tmp_path] * 5
    assert [folder.name for folder in folders] == ["train", "valid", "vision", "language", "joint"]
    assert {folder.name for folder in folders} <= KEPT_IN_WORK
