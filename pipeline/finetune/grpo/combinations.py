"""Prompt combinations: the boxes and points that an answer gives for every target.

They are the action space of mask-only GRPO. The paper fixes one per training (Think2Seg-RS section 3.2.3) and
compares five (section 4.5.3, table 6). `holds` tells the format reward whether an item is complete; `keep`
removes from a prompt what the combination lacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.prompt.profile import Profile
from pipeline.prompt.reply.parse import ReplyItem
from pipeline.schema.tile_answers import Prompt


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptCombination:
    """The parts of every item of an answer.

    A training has one. So the policy explores where prompts lie, and not which kind they are.
    """

    box: bool
    positive: int = 0
    """Number of points inside the target."""
    negative: int = 0
    """Number of points beside the target."""

    def holds(self, item: ReplyItem) -> bool:
        """Whether an item has exactly the combination's parts."""
        parts = item.box_xyxy is not None, len(item.points_xy), len(item.negative_xy)
        return parts == (self.box, self.positive, self.negative)

    def keep(self, prompt: Prompt) -> Prompt | None:
        """Drop the parts of a prompt that the combination lacks. None: no box and no inner point is left."""
        counts = {1: self.positive, 0: self.negative}
        chosen = []
        for point, label in zip(prompt.points_xy, prompt.point_labels, strict=True):
            if counts[label] > 0:
                counts[label] -= 1
                chosen.append((point, label))
        box = prompt.box_xyxy if self.box else None
        if box is None and not any(label == 1 for _, label in chosen):
            return None
        return Prompt(
            box_xyxy=box,
            points_xy=tuple(p for p, _ in chosen),
            point_labels=tuple(label for _, label in chosen),
            label=prompt.label,
        )


COMBINATIONS: Mapping[str, PromptCombination] = {
    "box": PromptCombination(box=True),
    "points2": PromptCombination(box=False, positive=2),
    "box+points2": PromptCombination(box=True, positive=2),
    "box+points4": PromptCombination(box=True, positive=4),
    "box+points2+negatives2": PromptCombination(box=True, positive=2, negative=2),
    "box+point": PromptCombination(box=True, positive=1),
}
"""The five combinations of the paper's table 6, and `box+point`, which the embedded prompter learned."""


def find_combination(name: str, profile: Profile) -> PromptCombination:
    """Find the combination called `name`.

    Raises InputError when there is none, when the profile cannot read its parts, or when the profile requires
    a box and the combination has none.
    """
    if name not in COMBINATIONS:
        remedy = f"use one of {', '.join(COMBINATIONS)}"
        raise InputError("the prompt combination must be a known one", came=repr(name), remedy=remedy)
    chosen = COMBINATIONS[name]
    parser = profile.parser
    readable = parser.n_points if parser.points_keys else 0, parser.n_negative if parser.negative_keys else 0
    if chosen.positive > readable[0] or chosen.negative > readable[1]:
        raise InputError(
            f"the profile must read all parts of the combination {name!r}: {chosen.positive} points inside "
            f"and {chosen.negative} beside",
            came=f"profile {profile.name!r}, which reads {readable[0]} and {readable[1]}",
            remedy="choose a profile of this combination (see pipeline/prompt/profiles)",
        )
    needed = [key for key in parser.required if key == parser.box_keys[0]]
    if needed and not chosen.box:
        came = f"profile {profile.name!r}, which drops items without {needed[0]}"
        raise InputError(
            f"the combination {name!r} has no box",
            came=came,
            remedy="choose a profile that does not require one",
        )
    return chosen
