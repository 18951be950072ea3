"""Which trainings may go on in a working directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.finetune.working_dir import Beginning, require_same_training, start_name


def test_a_start_is_named_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert start_name(Path("weights.pt")) == f"{tmp_path.resolve()}/weights.pt"
    assert start_name(None) == ""


@pytest.mark.parametrize(
    ("began", "said"),
    [
        (Beginning(start="/a", seed=3), None),
        (Beginning(start="/a", seed=None), None),
        (Beginning(start="/b", seed=3), "goes on from what it began with.*holds a training from /b"),
        (Beginning(start="", seed=None), "goes on from what it began with.*from nothing"),
        (Beginning(start="/a", seed=0), "keeps its seed.*holds a training of seed 0, and --seed 3"),
    ],
)
def test_a_training_goes_on_with_its_own_start_and_seed(began: Beginning, said: str | None) -> None:
    now = Beginning(start="/a", seed=3)
    if said is None:
        require_same_training(Path("work"), began=began, now=now)
        return
    with pytest.raises(InputError, match=f"{said}.*To fix: repeat the command"):
        require_same_training(Path("work"), began=began, now=now)
