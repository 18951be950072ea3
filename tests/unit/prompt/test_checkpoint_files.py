"""A checkpoint from which one thing is missing, each in turn; the shipped one as the real thing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import save_file
from whole_checkpoint import weights_bytes, write_whole_checkpoint

from pipeline.errors import InputError
from pipeline.prompt.checkpoint_files import chat_template, check_files
from pipeline.prompt.prompter_checkpoint import resolve_model


def test_the_shipped_checkpoint_is_complete() -> None:
    folder = Path(resolve_model("models/embedded-prompter"))
    check_files(folder)
    assert chat_template(folder) == (folder / "chat_template.jinja").read_text()


def test_a_whole_checkpoint_passes(tmp_path: Path) -> None:
    check_files(write_whole_checkpoint(tmp_path / "whole"))


def without(*names: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return remove


def cut_off(folder: Path) -> None:
    whole = weights_bytes(1000)
    (folder / "model.safetensors").write_bytes(whole[:-200])


def a_page(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"<html><body>404</body></html>")


def a_part_missing(folder: Path) -> None:
    parts = {f"layer{number}": f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)}
    (folder / "model.safetensors").unlink()
    (folder / "model-00001-of-00003.safetensors").write_bytes(weights_bytes())
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))


def an_index_that_is_cut(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": ')


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (without("model.safetensors"), "no weights"),
        (cut_off, f"model.safetensors has {len(weights_bytes(1000)) - 200:,} bytes of"),
        (a_page, "model.safetensors is no safetensors file"),
        (a_part_missing, "2 of 3 weights files are missing, the first is model-00002-of-00003.safetensors"),
        (an_index_that_is_cut, "needs a readable model.safetensors.index.json"),
        (without("preprocessor_config.json"), "no image settings"),
        (without("merges.txt"), "no tokenizer (tokenizer.json or vocab.json with merges.txt)"),
        (without("chat_template.jinja"), "no chat template (in one of chat_template.jinja"),
        (
            without("chat_template.jinja", "vocab.json", "preprocessor_config.json", "model.safetensors"),
            "no image settings (preprocessor_config.json or processor_config.json); no tokenizer "
            "(tokenizer.json or vocab.json with merges.txt); and 1 more",
        ),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, spoil: Callable[[Path], None], told: str) -> None:
    folder = write_whole_checkpoint(tmp_path / "spoilt")
    spoil(folder)
    with pytest.raises(InputError) as refused:
        check_files(folder)
    assert told in str(refused.value)
    assert refused.value.exit_code == 2


def test_a_part_that_the_index_does_not_name_is_not_looked_at(tmp_path: Path) -> None:
    folder = write_whole_checkpoint(tmp_path / "two")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"w": "model.safetensors"}}')
    (folder / "optimizer.safetensors").write_bytes(b"cut")
    check_files(folder)


def test_sizes_are_those_of_the_library(tmp_path: Path) -> None:
    """A file that safetensors itself wrote is whole, and one byte less is not."""
    import numpy as np

    folder = write_whole_checkpoint(tmp_path / "real")
    tensors = {"a": np.zeros((3, 5), np.float32), "b": np.zeros(0, np.int64), "c": np.ones(7, np.uint8)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    check_files(folder)
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-1])
    with pytest.raises(InputError, match=f"has {len(content) - 1} bytes of {len(content)}"):
        check_files(folder)


def test_templates_are_found_in_any_of_their_files(tmp_path: Path) -> None:
    assert chat_template(tmp_path) is None
    several = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}))
    assert chat_template(tmp_path) == "D"
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "J"}))
    assert chat_template(tmp_path) == "J"
    (tmp_path / "chat_template.jinja").write_text("X")
    assert chat_template(tmp_path) == "X"
