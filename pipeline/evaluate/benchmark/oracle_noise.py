"""Mistakes of given size in prompts from the truth, so that one knows what a figure should say.

1. `read_noise` takes `mild`, `strong`, or the mistakes one by one: `box=0.1,drift=0.15,miss=0.05,seed=3`.
2. `disturbed` moves boxes and points, leaves prompts out, and invents one.
3. `OracleNoise` also has the mistakes of masks; `oracle_routes` makes those.

Every draw depends on seed, picture, query and object alone. So two variants of an ablation get the same
mistakes, and a run can be repeated. Sizes are shares of the box, because prompters see scaled pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from pipeline.errors import InputError
from pipeline.schema.tile_answers import Prompt

INVENTED_PART = 0
"""Number in the label of a prompt that points at nothing; true parts have 1 and more."""

_INVENTED_SIDE = (0.08, 0.25)
"""Least and largest side of an invented box, as shares of the picture's."""

_SIZES = ("box", "drift", "point", "edge")
_PROMPTS = ("box", "drift", "point", "miss", "invent")


@dataclass(frozen=True, kw_only=True, slots=True)
class OracleNoise:
    """Sizes and probabilities of mistakes; all zero: none."""

    box: float = 0.0
    """Standard deviation of each side of a box, as a share of its width or height."""
    drift: float = 0.0
    """By which share of its size every box lies too far right and down. GeoSeg reports such a drift."""
    point: float = 0.0
    """Standard deviation of a point's x and y, as a share of the box's width and height."""
    miss: float = 0.0
    """Probability that an object gets no prompt."""
    invent: float = 0.0
    """Probability, per query, of a prompt where nothing of it is. Absent queries count."""
    edge: float = 0.0
    """Standard deviation by which outlines of masks lie too far out, as a share of the root of the area."""
    leak: float = 0.0
    """Probability that a mask of route A, or one without routes, takes background of its box with it."""
    confuse: float = 0.0
    """Probability that a mask of route B takes other things of its box with it."""
    lose: float = 0.0
    """Probability that a route finds nothing."""
    seed: int = 0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            most = {"seed": 2**31, **dict.fromkeys(_SIZES, 2.0)}.get(item.name, 1.0)
            if not 0 <= value <= most:
                raise ValueError(f"{item.name} of the oracle's noise lies from 0 to {most:g}, got {value}")

    @property
    def in_prompts(self) -> bool:
        """Whether prompts are disturbed."""
        return any(getattr(self, name) for name in _PROMPTS)

    @property
    def on(self) -> bool:
        """Whether there is any mistake."""
        return bool(self.result_parameters())

    def result_parameters(self) -> dict[str, float]:
        """What can change a result, for a fingerprint: the mistakes that are made, and their seed."""
        made = {item.name: getattr(self, item.name) for item in fields(self) if getattr(self, item.name)}
        return made if made.keys() - {"seed"} else {}


NO_NOISE = OracleNoise()

NAMED = {
    "none": NO_NOISE,
    "mild": OracleNoise(
        box=0.05, point=0.05, miss=0.03, invent=0.05, edge=0.02, leak=0.1, confuse=0.1, lose=0.03
    ),
    "strong": OracleNoise(
        box=0.15, point=0.15, miss=0.1, invent=0.2, edge=0.05, leak=0.3, confuse=0.3, lose=0.1
    ),
}
"""Levels that have a name."""


def read_noise(text: str) -> OracleNoise:
    """Read `none`, `mild`, `strong`, or `NAME=NUMBER,...`; a level may come first, as in `mild,drift=0.15`.

    Raises InputError.
    """
    noise = NO_NOISE
    for place, item in enumerate(text.split(",")):
        name, mark, value = item.strip().partition("=")
        try:
            if not mark and place == 0 and name in NAMED:
                noise = NAMED[name]
            elif mark and name in OracleNoise.__dataclass_fields__:
                noise = OracleNoise(**{**asdict(noise), name: int(value) if name == "seed" else float(value)})
            else:
                raise ValueError(f"{item!r} is none of them")
        except ValueError as error:
            known = ", ".join(OracleNoise.__dataclass_fields__)
            raise InputError(
                f"--noise is {', '.join(NAMED)}, or NAME=NUMBER of {known}",
                came=f"{text!r}: {error}",
                remedy="for example --noise box=0.1,drift=0.15,miss=0.05",
            ) from error
    return noise


def disturbed(
    prompts: Sequence[Prompt], noise: OracleNoise, key: tuple[int, int], window_hw: tuple[int, int]
) -> tuple[Prompt, ...]:
    """Make the mistakes of `noise` in the prompts of one query.

    Args:
        prompts: in pixel edges of the picture; the place of a prompt is its object's number.
        noise: sizes and probabilities.
        key: numbers of picture and query.
        window_hw: (height, width) of the picture.
    """
    if not noise.in_prompts:
        return tuple(prompts)
    kept = []
    for number, prompt in enumerate(prompts, start=1):
        rng = np.random.default_rng((noise.seed, *key, number))
        if rng.random() >= noise.miss:
            kept.append(_moved(prompt, noise, rng, window_hw))
    rng = np.random.default_rng((noise.seed, *key, 0))
    if rng.random() < noise.invent:
        kept.append(_invented(rng, window_hw))
    return tuple(kept)


def _moved(
    prompt: Prompt, noise: OracleNoise, rng: np.random.Generator, window_hw: tuple[int, int]
) -> Prompt:
    height, width = window_hw
    sides = rng.normal(0.0, 1.0, 4) * noise.box + noise.drift
    shifts = rng.normal(0.0, 1.0, (max(len(prompt.points_xy), 1), 2)) * noise.point
    if prompt.box_xyxy is None:
        return prompt
    x0, y0, x1, y1 = prompt.box_xyxy
    size = np.array([x1 - x0, y1 - y0])
    moved = np.array(prompt.box_xyxy) + sides * np.tile(size, 2)
    limits = np.array([width, height, width, height], dtype=np.float64)
    left, top, right, bottom = np.clip(moved, 0, limits).tolist()
    points = tuple(
        (
            float(np.clip(x + dx * size[0], 0, width - 0.5)),
            float(np.clip(y + dy * size[1], 0, height - 0.5)),
        )
        for (x, y), (dx, dy) in zip(prompt.points_xy, shifts, strict=False)
    )
    whole = right - left >= 1 and bottom - top >= 1
    return replace(
        prompt, box_xyxy=(left, top, right, bottom) if whole else prompt.box_xyxy, points_xy=points
    )


def _invented(rng: np.random.Generator, window_hw: tuple[int, int]) -> Prompt:
    """Make a box with a point in its middle, somewhere."""
    height, width = window_hw
    high, wide = rng.uniform(*_INVENTED_SIDE, 2) * (height, width)
    top = rng.uniform(0, height - high)
    left = rng.uniform(0, width - wide)
    return Prompt(
        box_xyxy=(float(left), float(top), float(left + wide), float(top + high)),
        points_xy=((float(left + wide / 2), float(top + high / 2)),),
        point_labels=(1,),
        label=str(INVENTED_PART),
    )
