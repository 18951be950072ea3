"""Which images a checkpoint's processor leaves as they are, and how many tokens they become.

Three kinds of processors are known, by their settings alone:

1. Qwen-VL: any size whose sides are whole multiples of patch x merge; a token per such square.
2. InternVL: tiles of 448 px with 256 tokens each, and where there are several one more of the whole image,
   which is drawn small.
3. LLaVA-1.5: one square of 336 px with 576 tokens; everything else is resized to it and cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.prompt.checkpoint_files import IMAGE_SETTINGS, read_json
from pipeline.prompt.profile import Profile


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRule:
    """Sizes of images that a processor does not resize."""

    factor_px: int
    """Both sides are whole multiples of this number: patch x merge, or the side of a tile."""
    min_area_px: int
    max_area_px: int
    cell_tokens: int = 1
    """Tokens of a square of `factor_px`."""
    overview: bool = False
    """Whether an image of several squares is shown once more, whole, as one square."""


def visual_tokens(profile: Profile, rule: ImageRule) -> int:
    """Count the tokens that the profile's image becomes."""
    width, height = profile.image_px
    n_cells = -(-width // rule.factor_px) * -(-height // rule.factor_px)
    return (n_cells + (rule.overview and n_cells > 1)) * rule.cell_tokens


def image_rule(settings: Mapping[str, Any]) -> ImageRule | None:
    """Read the rule from an image processor's settings. None: they are of no kind that is known.

    Of Qwen-VL it reads `patch_size`, `merge_size`, and either `size` or `min_pixels` and `max_pixels`; of
    InternVL `crop_to_patches`, `max_patches` and the sides of `size`; of LLaVA `crop_size` and `patch_size`.
    """
    size = settings.get("size") or {}
    if "patch_size" in settings and "merge_size" in settings:
        low = settings.get("min_pixels") or size.get("shortest_edge") or 1
        high = settings.get("max_pixels") or size.get("longest_edge") or 2**31
        return ImageRule(
            factor_px=int(settings["patch_size"]) * int(settings["merge_size"]),
            min_area_px=int(low),
            max_area_px=int(high),
        )
    if settings.get("crop_to_patches") and "height" in size:
        side = int(size["height"])
        return ImageRule(
            factor_px=side,
            min_area_px=side * side,
            max_area_px=side * side * int(settings.get("max_patches") or 1),
            cell_tokens=int(settings.get("image_seq_length") or 256),
            overview=True,
        )
    crop = settings.get("crop_size")
    if isinstance(crop, Mapping) and "height" in crop and "patch_size" in settings:
        side = int(crop["height"])
        return ImageRule(
            factor_px=side,
            min_area_px=side * side,
            max_area_px=side * side,
            cell_tokens=(side // int(settings["patch_size"])) ** 2,
        )
    return None


def local_image_rule(folder: Path) -> ImageRule | None:
    """Read the rule from a checkpoint directory. None: only the loaded processor knows it, if any."""
    found: dict[str, Any] = {}
    for name in reversed(IMAGE_SETTINGS):
        if (folder / name).is_file():
            settings = read_json(folder / name)
            inner = settings.get("image_processor")
            found |= {**settings, **(inner if isinstance(inner, Mapping) else {})}
    return image_rule(found)
