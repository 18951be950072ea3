"""The folder of an export: what is written, what is replaced, and what stays."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from pipeline.errors import InputError  # noqa: E402
from pipeline.finetune.prompter.prompter_model import (  # noqa: E402
    EXPORT_FILES,
    build_model,
    check_export_folder,
    export_checkpoint,
)
from pipeline.finetune.prompter.tokenizer import train_tokenizer  # noqa: E402
from tests.unit.finetune.prompter.test_prompter_train import TINY  # noqa: E402


def export(folder: Path, card: str = "# tiny\n") -> None:
    tokenizer = train_tokenizer([])
    export_checkpoint(build_model(TINY, tokenizer, seed=0), tokenizer, folder, card=card)


def test_an_export_holds_the_files_it_says(tmp_path: Path) -> None:
    export(tmp_path / "new" / "prompter")
    assert {path.name for path in (tmp_path / "new" / "prompter").iterdir()} == EXPORT_FILES
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["prompter"]


def test_an_earlier_export_is_replaced_and_its_neighbours_stay(tmp_path: Path) -> None:
    """A folder of the same name and .old is somebody else's."""
    (tmp_path / "prompter.old").mkdir()
    (tmp_path / "prompter.old" / "mine.txt").write_text("mine")
    for card in ("# first\n", "# second\n"):
        export(tmp_path / "prompter", card)
    assert (tmp_path / "prompter" / "MODEL_CARD.md").read_text() == "# second\n"
    assert (tmp_path / "prompter.old" / "mine.txt").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"prompter", "prompter.old"}


def test_the_current_folder_can_be_the_export_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    export(Path())
    assert {path.name for path in (tmp_path / "here").iterdir()} == EXPORT_FILES


@pytest.mark.parametrize(
    ("held", "named"),
    [
        (["tiles.npy"], "tiles.npy"),
        (["config.json", "model.safetensors", "notes.txt"], "notes.txt"),
        (["config.json"], "no whole export"),
        (["MODEL_CARD.md"], "no whole export"),
    ],
)
def test_a_folder_of_anything_else_is_refused_and_left(tmp_path: Path, held: list[str], named: str) -> None:
    for name in held:
        (tmp_path / name).write_text("precious")
    with pytest.raises(InputError, match=f"replaces its folder as a whole.*{named}"):
        export(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(held, "precious")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    for folder in (tmp_path / "file", tmp_path / "file" / "under" / "it"):
        with pytest.raises(InputError, match=r"needs a folder.*file, which is a file"):
            check_export_folder(folder)
