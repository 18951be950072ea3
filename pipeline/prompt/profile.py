"""A profile: what one checkpoint family is asked, which image it sees, and what its numbers mean. Data, not
code.

1. `load_profile(name)` reads `profiles/<name>.toml`; `load_profile("/path/x.toml")` reads a user's own.
2. `parse_table` checks every key against the dataclasses below; unknown, missing and ill-typed keys are
   errors.
3. `Profile.user_text(query)` fills the query in; `Profile.frame_wh` says in which rectangle the numbers
   live.

The frame belongs to the checkpoint, never to the model family: Qwen2.5-VL checkpoints answer in pixels of the
image they were given, Qwen3-VL in thousandths of it, and an InternVL3 trained with reinforcement learning on
896-pixel images answers in those pixels although its family does not. Sending the wrong frame moves every
box, silently.

The texts of `think2seg` and its variants are part of the interface of released checkpoints and therefore
quoted byte for byte from the data loader they were trained with (Think2Seg-RS, EarthReason_datasets.py,
commit d7196b6, Apache-2.0; the variants stand there as comments): two spaces after a number of the list, a
space before the break that precedes the example, a fence opened with no break before `[`. So are the image
before the text, the 840 x 840 squash with the Lanczos filter, and replies of up to 2048 tokens, decoded
greedily, as in the released evaluation. The `[gate]` and `[verifier]` queries are ours.
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
    """How a reply is read. In the key lists the first entry is the contract, the others are tolerated slips."""

    box_keys: tuple[str, ...]
    """Names under which an item holds its box [x0, y0, x1, y1]."""
    points_keys: tuple[str, ...] = ()
    """Names under which an item holds its points [[x, y], ...]; empty: the contract has no points."""
    negative_keys: tuple[str, ...] = ()
    """Names under which an item holds points that lie beside the object; empty: the contract has none."""
    label_keys: tuple[str, ...] = ()
    """Names under which an item holds free text."""
    required: tuple[str, ...] = ()
    """Contract names (the first of each list) without which an item is dropped; a box or a point it needs in
    any case.
    """
    n_points: int = 2
    """Points the contract asks for; more are cut to it, fewer are kept."""
    n_negative: int = 2
    """Points beside the object the contract asks for, treated like `n_points`; without meaning when
    `negative_keys` is empty.
    """
    fence: Fence = "optional"
    """`required`: an answer outside a code fence is malformed, as in the authors' training reward."""
    nms_iou: float | None = None
    """Of two boxes whose IoU is above this the larger stays; None: only exact duplicates go."""
    max_items: int = 1000
    """Items read from one reply; the rest is counted as dropped. Far beyond what the token limit lets
    through.
    """

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
    user: str = ""
    """Text after the image, with `{query}` exactly once; empty: the profile's own."""
    lead: str = ""
    """How the reply begins; the next token is the decision. Empty: the decision is the first token of the
    reply.
    """
    lead_until: str = ""
    """For checkpoints that name their subject first: the reply to a grey picture up to and with this text is
    the lead, asked for once per query. Then `lead` is what that reply is made to begin with.
    """
    lead_tokens: int = 32
    """Longest such lead."""
    image_px: tuple[int, int] | None = None
    """(width, height) of the look; None: the profile's image. Fewer pixels, fewer visual tokens."""

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
    """One checkpoint family's side of the conversation."""

    name: str
    system: str
    """System message; empty: none is sent."""
    user: str
    """Text after the image, with `{query}` exactly once."""
    image_px: tuple[int, int]
    """(width, height) the tile is squashed to, aspect ratio not kept."""
    resampling: Resampling
    frame: Frame
    """`image_px`: numbers are pixel edges of the resized image. `thousand`: 0..1000 on both axes."""
    max_tokens: int
    """Longest reply."""
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
        """Width and height of the rectangle in which replies give coordinates; its corner is (0, 0)."""
        if self.frame == "thousand":
            return 1000.0, 1000.0
        return float(self.image_px[0]), float(self.image_px[1])

    def user_text(self, query: str, decision: Decision | None = None) -> str:
        """The user message for a query already checked by `check_query`; `decision`: of a one-token look."""
        return (decision.user if decision is not None and decision.user else self.user).replace(
            "{query}", query
        )


def known_profiles() -> tuple[str, ...]:
    """Names of the profiles that ship with the package, sorted."""
    return tuple(sorted(path.stem for path in PROFILE_DIR.glob("*.toml")))


def load_profile(name: str) -> Profile:
    """The profile called `name`, or the one in the TOML file at the path `name` (recognised by its ending).

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
