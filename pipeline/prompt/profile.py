"""A profile: what a checkpoint family is asked, which image it sees, and what its numbers mean.

1. `load_profile` reads `profiles/<name>.toml` or a user's own file; every key is checked against the
   dataclasses below.
2. `Profile.user_text` fills the query in.
3. `Profile.frame_wh` is the rectangle of the numbers. It belongs to the checkpoint, not to the model family,
   and the wrong one moves every box silently.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import InputError
from pipeline.options import parse_table

Frame = Literal["image_px", "thousand"]
Resampling = Literal["nearest", "bilinear", "bicubic", "lanczos", "box"]
Fence = Literal["required", "optional"]

PROFILE_DIR = Path(__file__).parent / "profiles"

MAX_IMAGE_SIDE_PX = 4096
"""Longest image side a profile may ask for: beyond it one image is more than 20,000 visual tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParserSettings:
    """How a reply is read. The first entry of a key list is the contract; the others are tolerated slips."""

    box_keys: tuple[str, ...]
    """Names under which an item holds its box [x0, y0, x1, y1]."""
    points_keys: tuple[str, ...] = ()
    """Names under which an item holds its points [[x, y], ...]; empty: the contract has no points."""
    negative_keys: tuple[str, ...] = ()
    """Names under which an item holds points beside the object; empty: the contract has none."""
    label_keys: tuple[str, ...] = ()
    """Names under which an item holds free text."""
    required: tuple[str, ...] = ()
    """Contract names (the first of each list) without which an item is dropped. It always needs a box or a
    point.
    """
    n_points: int = 2
    """Points that the contract asks for; further ones are cut off, fewer are kept."""
    n_negative: int = 2
    """Points beside the object that the contract asks for, treated like `n_points`. Not read when
    `negative_keys` is empty.
    """
    fence: Fence = "optional"
    """`required`: an answer outside a code fence is malformed, as in the authors' training reward."""
    nms_iou: float | None = None
    """IoU of two boxes above which only the larger stays; None: only exact duplicates go."""
    max_items: int = 1000
    """Items read from one reply; the rest counts as dropped. Far more than the token limit allows."""

    def __post_init__(self) -> None:
        if not self.box_keys:
            raise ValueError("box_keys needs at least one name")
        contract = {
            keys[0] for keys in (self.box_keys, self.points_keys, self.negative_keys, self.label_keys) if keys
        }
        if not contract.issuperset(self.required):
            raise ValueError(
                f"required may only name {', '.join(sorted(contract))}, got {', '.join(self.required)}"
            )
        if self.nms_iou is not None and not 0 < self.nms_iou <= 1:
            raise ValueError(f"nms_iou must lie in (0, 1], got {self.nms_iou}")
        if min(self.n_points, self.n_negative, self.max_items) < 1:
            given = f"{self.n_points}, {self.n_negative} and {self.max_items}"
            raise ValueError(f"n_points, n_negative and max_items must be above 0, got {given}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """How a checkpoint says yes or no in one token: the `[gate]` and `[verifier]` tables of a profile."""

    yes: tuple[str, ...]
    """Texts, each ONE token of the checkpoint, that say that the target is there."""
    no: tuple[str, ...]
    """Texts of one token that say that it is not."""
    user: str = ""
    """Text after the image, with `{query}` exactly once; empty: the profile's."""
    lead: str = ""
    """How the reply begins; the next token is the decision. Empty: the first token is."""
    lead_until: str = ""
    """For checkpoints that name their subject first: the lead is then the reply to a grey picture, up to and
    with this text, asked for once per query. That reply is made to begin with `lead`.
    """
    lead_tokens: int = 32
    """Longest lead of that kind, in tokens."""
    image_px: tuple[int, int] | None = None
    """(width, height) of the picture that is looked at, in pixels; None: the profile's. Fewer pixels mean
    fewer visual tokens.
    """

    def __post_init__(self) -> None:
        if not self.yes or not self.no or set(self.yes) & set(self.no):
            raise ValueError(
                f"yes and no need one text each that the other does not have, got {self.yes} and {self.no}"
            )
        if self.user and self.user.count("{query}") != 1:
            raise ValueError(f"user must hold {{query}} exactly once, got {self.user!r}")
        if self.lead_tokens < 1:
            raise ValueError(f"lead_tokens must be above 0, got {self.lead_tokens}")
        if self.image_px is not None and not all(1 <= side <= MAX_IMAGE_SIDE_PX for side in self.image_px):
            raise ValueError(
                f"image_px must be [width, height] from 1 to {MAX_IMAGE_SIDE_PX}, got {list(self.image_px)}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """What one checkpoint family is asked, sees and answers."""

    name: str
    system: str
    """System message; empty: none is sent."""
    user: str
    """Text after the image, with `{query}` exactly once."""
    image_px: tuple[int, int]
    """(width, height) in pixels that the tile is squashed to; the aspect ratio is not kept."""
    resampling: Resampling
    frame: Frame
    """`image_px`: numbers are pixel edges of the resized image. `thousand`: 0..1000 on both axes.

    Qwen2.5-VL answers in pixels of its image, Qwen3-VL in thousandths of it. An InternVL3 that was trained
    with reinforcement learning on 896-pixel images answers in those pixels, although its family does not.
    """
    max_tokens: int
    """Longest reply in tokens."""
    parser: ParserSettings
    gate: Decision | None = None
    """One-token look before the prompter; None: this family has none."""
    verifier: Decision | None = None
    """One-token look at the crop around a mask; None: this family has none."""

    def __post_init__(self) -> None:
        if self.user.count("{query}") != 1:
            raise ValueError(f"user must hold {{query}} exactly once, got {self.user!r}")
        if not all(1 <= side <= MAX_IMAGE_SIDE_PX for side in self.image_px):
            raise ValueError(
                f"image_px must be [width, height] from 1 to {MAX_IMAGE_SIDE_PX}, got {list(self.image_px)}"
            )
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be above 0, got {self.max_tokens}")

    @property
    def frame_wh(self) -> tuple[float, float]:
        """(width, height) of the rectangle in which replies give coordinates; its corner is (0, 0)."""
        if self.frame == "thousand":
            return 1000.0, 1000.0
        return float(self.image_px[0]), float(self.image_px[1])

    def user_text(self, query: str, decision: Decision | None = None) -> str:
        """Write the user message for a query that `check_query` passed.

        `decision`: a one-token look, whose text is used when it has one.
        """
        text = decision.user if decision is not None and decision.user else self.user
        return text.replace("{query}", query)


def known_profiles() -> tuple[str, ...]:
    """Names of the profiles that ship with the package, sorted."""
    return tuple(sorted(path.stem for path in PROFILE_DIR.glob("*.toml")))


def load_profile(name: str) -> Profile:
    """Read the profile called `name`; a name that ends in .toml is the path of a file.

    The texts of `think2seg` and its variants are part of the interface of released checkpoints. They are
    quoted byte for byte, odd spaces and breaks included, from the data loader of the training (Think2Seg-RS,
    EarthReason_datasets.py, commit d7196b6, Apache-2.0; the variants stand there as comments). The image
    before the text, the 840 x 840 squash with the Lanczos filter and greedy replies of up to 2048 tokens are
    those of the released evaluation. The `[gate]` and `[verifier]` texts are ours.

    Raises:
        InputError: unknown name, unreadable file, or a key that is unknown, missing or of the wrong type.
    """
    path = Path(name) if name.endswith(".toml") else PROFILE_DIR / f"{name}.toml"
    if not name.endswith(".toml") and name not in known_profiles():
        raise InputError(
            "the profile names what a checkpoint is asked and how it answers",
            came=f"unknown profile {name!r}",
            remedy=f"use one of {', '.join(known_profiles())}, or the path of a .toml file",
        )
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        remedy = "check the path and the syntax"
        raise InputError(
            f"the profile {path} must be a readable TOML file", came=str(error), remedy=remedy
        ) from error
    return parse_table(Profile, raw, f"profile {path}")
