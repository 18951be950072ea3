"""The prompter's tokenizer: exact round trips, one token per integer, few tokens per object."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.finetune.prompter import samples, tokenizer

CORPUS = [
    "storage tanks",
    "find all the buildings",
    "where do people swim?",
    samples.rationale("storage tanks", found=True),
] * 20


@pytest.fixture(scope="module")
def small():  # type: ignore[no-untyped-def]
    return tokenizer.train_tokenizer(CORPUS, vocab_size=400)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=60))
def test_any_text_comes_back_exactly(small, text: str) -> None:  # type: ignore[no-untyped-def]
    assert small.decode(small.encode(text).ids, skip_special_tokens=False) == text


@pytest.mark.parametrize(
    "text", ["héllo 漢字 \n\t 12345 007", '[{"positive_points":[[ 3.5%', "a  b <think>]]]", "[[1,2],[3,4]]"]
)
def test_awkward_text_comes_back_exactly(small, text: str) -> None:  # type: ignore[no-untyped-def]
    assert small.decode(small.encode(text).ids) == text


def test_every_integer_is_one_token_inside_a_reply(small) -> None:  # type: ignore[no-untyped-def]
    ids = tokenizer.number_token_ids(small)
    assert len(set(ids.tolist())) == tokenizer.MAX_NUMBER + 1
    for number in range(tokenizer.MAX_NUMBER + 1):
        tokens = small.encode(f"{tokenizer.OBJECTS_OPEN}{tokenizer.cell_open(40)}{number},0").tokens
        assert tokens == ["[", '{"cell":"e5","positive_points":[[', str(number), ",", "0"]


def test_every_cell_opens_an_object_with_one_token(small) -> None:  # type: ignore[no-untyped-def]
    assert [tokenizer.cell_name(row, col) for row, col in ((0, 0), (0, 8), (1, 0), (8, 8))] == [
        "a1",
        "i1",
        "a2",
        "i9",
    ]
    ids = tokenizer.cell_token_ids(small)
    assert len(set(ids.tolist())) == samples.GRID**2 == tokenizer.CELL_SIDE**2
    assert [small.decode([token]) for token in ids] == [
        tokenizer.cell_open(cell) for cell in range(samples.GRID**2)
    ]


def test_an_object_costs_thirteen_tokens(small) -> None:  # type: ignore[no-untyped-def]
    lengths = [
        len(small.encode(samples.reply_text("storage tanks", [[41, 30, 20, 12, 60, 49]] * n)).ids)
        for n in (1, 2, 3)
    ]
    assert lengths[1] - lengths[0] == lengths[2] - lengths[1] == 13


def test_written_folder_serves_transformers_and_the_template_matches_the_training_text(
    small, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    transformers = pytest.importorskip("transformers")
    tokenizer.write_tokenizer(small, tmp_path)
    loaded = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    content = [{"type": "image"}, {"type": "text", "text": samples.query_text("storage tanks")}]
    text = loaded.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    assert text == f"{samples.PROMPT_PREFIX}<|image_pad|>{samples.prompt_text('storage tanks')}"
    reply = samples.reply_text("storage tanks", [[41, 30, 20, 12, 60, 49]])
    assert loaded.decode(loaded(reply).input_ids) == reply
    assert tokenizer.load_tokenizer(tmp_path).encode(reply).ids == small.encode(reply).ids


def test_special_tokens_are_dropped_from_replies_but_pieces_are_kept(small) -> None:  # type: ignore[no-untyped-def]
    ids = small.encode(samples.reply_text("lakes", []) + "<|im_end|>").ids
    assert small.decode(ids, skip_special_tokens=True) == samples.reply_text("lakes", [])


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        tokenizer.load_tokenizer(tmp_path)
