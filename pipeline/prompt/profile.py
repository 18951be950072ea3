"""A profile: what a checkpoint family is asked, which image it sees, and what its numbers mean.

1. `load_profile` reads `profiles/<name>.toml` or a user's own file, and checks every key against the
   dataclasses below.
2. `Profile.user_text` fills the query in.
3. `Profile.frame_wh` is the rectangle in which replies give coordinates. It belongs to the checkpoint, not to
   the model family, and a wrong one silently moves every box.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import InputError
from pipeline.options import parse_table, read_toml

Frame = Literal["image_px", "thousand", "unit"]
Resampling = Literal["nearest", "bilinear", "bicubic", "lanczos", "box"]
Fence = Literal["required", "optional"]
PointsForm = Literal["list", "one_each"]
ReplyForm = Literal["json", "ref_box"]

PROFILE_DIR = Path(__file__).parent / "profiles"

_LATER = {"lower_case": False, "strip_query": ""}
_LATER_PARSER = {"points_form": "list", "reply_form": "json"}
"""Keys that earlier versions did not have, with the values that mean the same as their absence."""

MAX_IMAGE_SIDE_PX = 4096
"""Longest image side that a profile may ask for. A larger image makes more than 20,000 visual tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParserSettings:
    """How a reply is read. The first name in a list is the one asked for; the others are tolerated slips."""

    box_keys: tuple[str, ...]
    """Names under which an item holds its box [x0, y0, x1, y1]."""
    points_keys: tuple[str, ...] = ()
    """Names under which an item holds its points [[x, y], ...]; empty: the contract has no points."""
    negative_keys: tuple[str, ...] = ()
    """Names under which an item holds points beside the object; empty: the contract has none."""
    label_keys: tuple[str, ...] = ()
    """Names under which an item holds free text."""
    required: tuple[str, ...] = ()
    """Names without which an item is dropped, each the first of its list; it always needs a box or point."""
    n_points: int = 2
    """Points that an item should have; surplus ones are cut off, fewer are accepted."""
    n_negative: int = 2
    """Points beside the object that an item should have, treated like `n_points`. Ignored when
    `negative_keys` is empty.
    """
    points_form: PointsForm = "list"
    """`list`: the first of `points_keys` that an item has holds all of its points. `one_each`: each of them
    holds one point [x, y].
    """
    reply_form: ReplyForm = "json"
    """`ref_box`: a reply may also say `<ref>text</ref><box>[[x0, y0, x1, y1], ...]</box>`; InternVL's."""
    fence: Fence = "optional"
    """`required`: an answer outside a code fence is malformed, as in the authors' training reward."""
    nms_iou: float | None = None
    """IoU of two boxes above which only the larger stays. None: only exact duplicates are dropped."""
    max_items: int = 1000
    """Most items read from one reply; the rest counts as dropped. The token limit allows far fewer."""

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
    """Texts that say that the target is there; each must be ONE token of the checkpoint."""
    no: tuple[str, ...]
    """Texts that say that it is not there; each must be one token."""
    user: str = ""
    """Text after the image, with `{query}` exactly once; empty: the profile's."""
    lead: str = ""
    """Text that the reply begins with; the next token is the decision. Empty: the first token is."""
    lead_until: str = ""
    """For checkpoints that name their subject first. Their lead is a reply to a grey picture, up to and
    including this text, decoded once per query. It is made to begin with `lead`.
    """
    lead_tokens: int = 32
    """Longest lead that is decoded for `lead_until`, in tokens."""
    image_px: tuple[int, int] | None = None
    """(width, height) in pixels of the picture that is shown; None: the profile's. Fewer pixels mean fewer
    visual tokens.
    """

    def __post_init__(self) -> None:
        if not self.yes or not self.no or set(self.yes) & set(self.no):
            raise ValueError(
                f"yes and no need one text each that the other does not have, got {self.yes} and {self.no}"
            )
        if self.user:
            _check_user(self.user)
        if self.lead_tokens < 1:
            raise ValueError(f"lead_tokens must be above 0, got {self.lead_tokens}")
        if self.image_px is not None:
            _check_image_px(self.image_px)


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """What one checkpoint family is asked, sees and answers."""

    name: str
    system: str
    """System message. Empty: none is sent."""
    user: str
    """Text after the image, with `{query}` exactly once."""
    image_px: tuple[int, int]
    """(width, height) in pixels that the tile is squashed to; the aspect ratio is not kept."""
    resampling: Resampling
    frame: Frame
    """`image_px`: numbers are pixel edges of the resized image. `thousand`: 0..1000 on both axes. `unit`:
    0..1 on both axes.

    Qwen2.5-VL answers in pixels of its image, Qwen3-VL in thousandths of it, LLaVA-1.5 in shares of it. An
    InternVL3 that was trained with reinforcement learning on 896-pixel images answers in those pixels,
    although its family does not.
    """
    max_tokens: int
    """Longest reply in tokens."""
    parser: ParserSettings
    lower_case: bool = False
    """Whether the query is put into lower case, as some checkpoints were trained to see it."""
    strip_query: str = ""
    """Characters that are taken off both ends of the query. One that would lose everything stays whole."""
    gate: Decision | None = None
    """One-token look before the prompter; None: this family has none."""
    verifier: Decision | None = None
    """One-token look at the crop around a mask; None: this family has none."""

    def __post_init__(self) -> None:
        _check_user(self.user)
        _check_image_px(self.image_px)
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be above 0, got {self.max_tokens}")

    @property
    def frame_wh(self) -> tuple[float, float]:
        """Give (width, height) of the rectangle in which replies give coordinates; its corner is (0, 0)."""
        if self.frame == "thousand":
            return 1000.0, 1000.0
        if self.frame == "unit":
            return 1.0, 1.0
        return float(self.image_px[0]), float(self.image_px[1])

    @property
    def frame_step(self) -> float:
        """Give the step between two numbers of a reply: 1, or 0.01 where they are shares of the image."""
        return 0.01 if self.frame == "unit" else 1.0

    @property
    def largest_image_px(self) -> tuple[int, int]:
        """(width, height) that holds every image which is sent, those of gate and verifier too."""
        looks = [look.image_px for look in (self.gate, self.verifier) if look is not None]
        sizes = [self.image_px, *(size for size in looks if size is not None)]
        return max(width for width, _ in sizes), max(height for _, height in sizes)

    def user_text(self, query: str, decision: Decision | None = None) -> str:
        """Write the user message for a query that `check_query` passed.

        `decision`: a one-token look; its text replaces the profile's, when it has one.
        """
        if decision is not None and decision.user:
            return decision.user.replace("{query}", query)
        said = query.lower() if self.lower_case else query
        return self.user.replace("{query}", said.strip(self.strip_query) or said)

    def result_parameters(self) -> dict[str, Any]:
        """List what can change a reply or its reading, for a fingerprint, without gate and verifier.

        Keys that came later are left out while they have no effect, so that earlier runs stay the same runs.
        """
        content = asdict(self)
        for table, later in ((content, _LATER), (content["parser"], _LATER_PARSER)):
            for key, value in later.items():
                if table[key] == value:
                    del table[key]
        return {key: value for key, value in content.items() if key not in ("gate", "verifier")}


def _check_user(text: str) -> None:
    if text.count("{query}") != 1:
        raise ValueError(f"user must hold {{query}} exactly once, got {text!r}")


def _check_image_px(size_wh: tuple[int, int]) -> None:
    if not all(1 <= side <= MAX_IMAGE_SIDE_PX for side in size_wh):
        raise ValueError(
            f"image_px must be [width, height] from 1 to {MAX_IMAGE_SIDE_PX}, got {list(size_wh)}"
        )


def known_profiles() -> tuple[str, ...]:
    """Names of the profiles that ship with the package, sorted."""
    return tuple(sorted(path.stem for path in PROFILE_DIR.glob("*.toml")))


def load_profile(name: str) -> Profile:
    """Read the profile called `name`; a name that ends in .toml is the path of a file.

    The texts of `think2seg` and its variants belong to the interface of released checkpoints. They are quoted
    byte for byte, with odd spaces and breaks, from the data loader of their training (Think2Seg-RS,
    EarthReason_datasets.py, commit d7196b6, Apache-2.0; there the variants are comments). As in the released
    evaluation, the image comes before the text, it is squashed to 840 x 840 by the Lanczos filter, and
    replies are greedy, of up to 2048 tokens. The `[gate]` and `[verifier]` texts are ours.

    Of `seg-zero`, `vision-reasoner`, `remote-reasoner` and `geoseg` the interface is the authors': image size
    and filter, frame, names and shapes of the answer, how the query is put, and the sentence that holds it.
    What stands around that sentence is our wording. `qwen3-vl`, `internvl3` and `llava-1.5` ask base models
    in the form of their families, in our words. Who has a checkpoint's own text puts it into a file.

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
    raw = read_toml(path, "the profile")
    return parse_table(Profile, raw, f"profile {path}")
