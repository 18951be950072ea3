"""What a checkpoint is shown: the chat messages of one query, and the image in its profile's size.

Inference and training both call these two functions, so a prompter is trained on the prompt that it will be
asked with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import numpy as np
from numpy.typing import NDArray

from pipeline.prompt.profile import Decision, Profile

if TYPE_CHECKING:
    from PIL.Image import Image


class ChatMessage(TypedDict):
    """One message as chat templates take it."""

    role: str
    content: list[dict[str, str]]


def chat_messages(profile: Profile, query: str, decision: Decision | None = None) -> list[ChatMessage]:
    """The system message, if the profile has one, then the user's: image first, query last.

    The image itself is not inside. `decision`: a one-token look, whose text then replaces the prompter's.
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
