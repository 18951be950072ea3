"""Keep a prompter's answers, so that evaluations that ask the same of it do not ask again.

1. `KeptAnswers` has a folder of its own for everything that determines an answer. One file per part.
2. A part with a failed answer is not kept: another evaluation asks again.
3. `with_parts` takes boxes or points away from prompts, after they were kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pipeline.files.atomic_file import write_bytes_atomic
from pipeline.run.infer.block_rows import bytes_to_prompts, prompts_to_bytes
from pipeline.schema.tile_answers import Prompt, TilePrompts, TileStatus

PromptParts = Literal["all", "box", "points"]
"""What of each prompt reaches the segmenter."""


class KeptAnswers:
    """Answers in a folder; without one nothing is kept."""

    def __init__(self, folder: str | None) -> None:
        self._folder = None if folder is None else Path(folder)

    @property
    def on(self) -> bool:
        """Whether answers are kept."""
        return self._folder is not None

    def read(self, part: str) -> tuple[TilePrompts, ...] | None:
        """Read the answers of a part. None: there are none."""
        if self._folder is None:
            return None
        try:
            return bytes_to_prompts((self._folder / f"{part}.answers").read_bytes())
        except FileNotFoundError:
            return None

    def write(self, part: str, answers: Sequence[TilePrompts]) -> None:
        """Keep the answers of a part, if all its queries have one."""
        if self._folder is None or any(answer.status is TileStatus.FAILED for answer in answers):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        write_bytes_atomic(self._folder / f"{part}.answers", prompts_to_bytes(answers))


def with_parts(answers: Sequence[TilePrompts], parts: PromptParts) -> tuple[TilePrompts, ...]:
    """Leave only boxes or only points in all prompts. One that would have neither stays as it is."""
    if parts == "all":
        return tuple(answers)
    return tuple(
        replace(answer, prompts=tuple(_reduced(prompt, parts) for prompt in answer.prompts))
        for answer in answers
    )


def _reduced(prompt: Prompt, parts: PromptParts) -> Prompt:
    if parts == "box" and prompt.box_xyxy is not None:
        return replace(prompt, points_xy=(), point_labels=())
    if parts == "points" and prompt.points_xy:
        return replace(prompt, box_xyxy=None)
    return prompt
