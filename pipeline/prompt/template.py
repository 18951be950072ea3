"""What a checkpoint is shown: the chat messages of one query, and the image in its profile's size.

Inference and training both call these two functions, so a prompter is trained on the very prompts that it
will get.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import numpy as np
from numpy.typing import NDArray

from pipeline.prompt.profile import Decision, Profile

if TYPE_CHECKING:
    from PIL.Image import Image


class ChatMessage(TypedDict):
    """A message in the form that chat templates expect."""

    role: str
    content: list[dict[str, str]]


def chat_messages(profile: Profile, query: str, decision: Decision | None = None) -> list[ChatMessage]:
    """Write the system message, if the profile has one, and the user's: image first, query last.

    The image is only a placeholder here. `decision`: a one-token look, whose text replaces the prompter's.
    """
    text = {"type": "text", "text": profile.user_text(query, decision)}
    user = ChatMessage(role="user", content=[{"type": "image"}, text])
    if not profile.system:
        return [user]
    return [ChatMessage(role="system", content=[{"type": "text", "text": profile.system}]), user]


def squash(rgb: NDArray[np.uint8], profile: Profile, image_px: tuple[int, int] | None = None) -> Image:
    """Resize (H, W, 3) pixels with the profile's filter; the aspect ratio is not kept.

    `image_px`: (width, height). None: the profile's.
    """
    from PIL import Image

    whole = Image.fromarray(np.ascontiguousarray(rgb))
    return whole.resize(image_px or profile.image_px, Image.Resampling[profile.resampling.upper()])
