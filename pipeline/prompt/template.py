"""What a checkpoint is shown: the chat messages of one query and the image in the size its profile
promises.

Inference and training call these two functions and nothing else, so a prompter is never trained on another
prompt than the one it will be asked with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.prompt.profile import Decision, Profile

if TYPE_CHECKING:
    from PIL.Image import Image


def chat_messages(profile: Profile, query: str, decision: Decision | None = None) -> list[dict[str, Any]]:
    """System message (if the profile has one), then the user's: image first, query last. The image itself
    is not inside.

    `decision`: the query of a one-token look instead of the prompter's.
    """
    user = {
        "role": "user",
        "content": [{"type": "image"}, {"type": "text", "text": profile.user_text(query, decision)}],
    }
    system = (
        [{"role": "system", "content": [{"type": "text", "text": profile.system}]}] if profile.system else []
    )
    return [*system, user]


def squash(rgb: NDArray[np.uint8], profile: Profile, image_px: tuple[int, int] | None = None) -> Image:
    """(H, W, 3) -> a picture of `image_px` (width, height; None: the profile's), aspect ratio not kept, with
    the profile's filter.
    """
    from PIL import Image

    whole = Image.fromarray(np.ascontiguousarray(rgb))
    return whole.resize(image_px or profile.image_px, Image.Resampling[profile.resampling.upper()])
