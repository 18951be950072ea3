"""Draw what a judge looks at: the image, with both masks over it in GeoSeg's colours.

Source: GeoSeg, appendix A: true mask green, predicted mask red, both yellow; in its released code at half
strength (by reading).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GREEN = (0, 255, 0)
"""Target that the answer lacks."""
RED = (255, 0, 0)
"""Answer that is no target."""
YELLOW = (255, 255, 0)
"""Both."""
STRENGTH = 0.5
"""Share of the colour in a pixel."""


def judge_picture(
    rgb: NDArray[np.uint8], true: NDArray[np.bool_], predicted: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Lay both masks (H, W) over the image (H, W, 3). Pixels of neither stay as they are."""
    picture = rgb.astype(np.float64)
    for region, colour in ((true & ~predicted, GREEN), (predicted & ~true, RED), (true & predicted, YELLOW)):
        picture[region] = (1 - STRENGTH) * picture[region] + STRENGTH * np.array(colour, dtype=np.float64)
    return np.rint(picture).astype(np.uint8)
