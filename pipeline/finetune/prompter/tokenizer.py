"""Make the embedded prompter's small tokenizer: byte-level BPE, one token per integer, few tokens per object.

1. `train_tokenizer` learns the BPE from queries and replies. It adds one token for each integer up to
   MAX_NUMBER, for each fixed piece of a reply (`REPLY_PIECES`), and for the opening of an object in each cell
   of the grid (`CELL_OPENS`).
2. `write_tokenizer` writes it with the chat template.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_NUMBER = 280
"""Largest integer that is one token, so images may have sides of up to 280 pixels."""

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""Special tokens, with Qwen2.5-VL's names, which the processor and vLLM look up."""

OBJECTS_OPEN = "["
POINT_TO_BOX = ']],"bbox_2d":['
NEXT_OBJECT = "]},"
OBJECTS_CLOSE = "]}]"
NOTHING = "[]"
ANSWER_OPEN = "<answer>"
ANSWER_CLOSE = "</answer>"
THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"

REPLY_PIECES = (
    POINT_TO_BOX,
    NEXT_OBJECT,
    OBJECTS_CLOSE,
    NOTHING,
    ANSWER_OPEN,
    ANSWER_CLOSE,
    THINK_OPEN,
    THINK_CLOSE,
)

CELL_SIDE = 9
"""Cells per side of the merged token grid (252 px / 28 px)."""


def cell_name(row: int, col: int) -> str:
    """Name a cell of the grid: a letter for its column from the left, a number for its row from the top."""
    return f"{chr(ord('a') + col)}{row + 1}"


def cell_open(cell: int) -> str:
    """Write the opening of an object whose point lies in `cell`. So the place comes before any number."""
    return f'{{"cell":"{cell_name(*divmod(cell, CELL_SIDE))}","positive_points":[['


CELL_OPENS = tuple(cell_open(cell) for cell in range(CELL_SIDE**2))

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] in ('image', 'image_url') %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Jinja: `<|im_start|>role NEWLINE content <|im_end|> NEWLINE` per message, then the assistant's opening.

The image comes first in a message, so that all queries about one tile share its prefix.
"""


def train_tokenizer(corpus: Iterable[str], *, vocab_size: int = 1024) -> Tokenizer:
    """Learn the BPE (`vocab_size` tokens, 256 of them bytes), and add integers, reply pieces, special tokens.

    Integers and pieces are ordinary text: decoding never skips them, and the longest match wins. So decoding
    the ids of any text gives back exactly that text.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    pieces = [*REPLY_PIECES, *CELL_OPENS, *(str(number) for number in range(MAX_NUMBER + 1))]
    tokenizer.add_tokens([AddedToken(piece, normalized=False, special=False) for piece in pieces])
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS]
    )
    return tokenizer


def number_token_ids(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """List the token id of each integer, (MAX_NUMBER + 1,) int64."""
    ids = [tokenizer.token_to_id(str(number)) for number in range(MAX_NUMBER + 1)]
    if any(token_id is None for token_id in ids):
        raise InputError(
            "the tokenizer must hold every integer as one token", remedy="build it with train_tokenizer"
        )
    return np.asarray(ids, np.int64)


def cell_token_ids(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """List the token id that opens an object in each cell, (81,) int64, in raster order."""
    ids = [tokenizer.token_to_id(piece) for piece in CELL_OPENS]
    if any(token_id is None for token_id in ids):
        raise InputError(
            "the tokenizer must hold the opening of an object in every cell",
            remedy="build it with train_tokenizer",
        )
    return np.asarray(ids, np.int64)


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json (with the chat template) into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 4096,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "vision_start_token": "<|vision_start|>",
        "vision_end_token": "<|vision_end|>",
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read the tokenizer of a checkpoint folder. Raises InputError when the file is missing."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise InputError(
            "a checkpoint folder needs tokenizer.json", came=str(folder), remedy="export the prompter first"
        )
    return Tokenizer.from_file(str(path))
