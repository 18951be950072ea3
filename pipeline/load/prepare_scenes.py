"""What is settled once per scene, on the driver, before any worker reads: its stretch and its collar.

`prepare_scenes` turns the plan's scenes into `SceneSource`s; these travel to the workers by value, and
`SceneSource.to_dict` is what run.json records of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline.errors import InputError
from pipeline.load.stretch import Stretch, fit_stretch
from pipeline.load.validity import Collar, find_collar
from pipeline.schema import Scene, Window

_SCENE_THREADS = 8
"""Scenes looked at together: the work is mostly waiting for remote overviews."""


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How stored pixels become validity and 8-bit RGB."""

    scale: tuple[float, float] | None = None
    """Stored values that become 0 and 255, for all scenes and bands; None = identity for uint8, else
    percentiles.
    """
    percentiles: tuple[float, float] = (2.0, 98.0)
    """Per scene and band, when the stretch is fitted."""
    collar: Literal["auto", "off"] = "auto"
    """auto: near-black borders of 8-bit scenes that declare no validity at all count as nodata."""
    resampling: Literal["nearest", "bilinear", "cubic"] = "bilinear"
    """For scenes that are not on the run grid's lattice."""
    open_files: int = 16
    """Datasets kept open per reader. Does not change the result."""

    def __post_init__(self) -> None:
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise InputError(
                "Stretch percentiles must rise within 0..100", came=f"{low}, {high}", remedy="2,98 is usual"
            )
        if self.scale is not None and not (
            all(map(math.isfinite, self.scale)) and self.scale[0] < self.scale[1]
        ):
            raise InputError(
                "--scale must be two finite numbers lo,hi with lo < hi",
                came=str(self.scale),
                remedy="e.g. --scale 0,3000",
            )
        if self.open_files < 1:
            raise InputError(
                "A reader must keep at least one file open", came=str(self.open_files), remedy="16 is usual"
            )

    def result_parameters(self) -> dict[str, Any]:
        """All of it that can change a result, for a fingerprint."""
        return {key: value for key, value in asdict(self).items() if key != "open_files"}


@dataclass(frozen=True, kw_only=True)
class SceneSource:
    """One scene with all that reading it needs."""

    scene: Scene
    offset_rc: tuple[int, int] | None
    """(row, col) of its first pixel on the run grid; None = warped onto it."""
    window: Window
    """The part of the run grid it can fill (bounding, when it is warped)."""
    stretch: Stretch
    collar: Collar | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for run.json: what was decided about this scene's pixels."""
        return {
            "scene_id": self.scene.scene_id,
            "offset_rc": None if self.offset_rc is None else list(self.offset_rc),
            "rgb_bands": list(self.scene.rgb_bands),
            "stretch": self.stretch.to_dict(),
            "collar_share": 0.0 if self.collar is None else self.collar.share,
        }


def prepare_scenes(
    scenes: Sequence[Scene],
    options: LoadOptions,
    *,
    offsets: Sequence[tuple[int, int] | None],
    windows: Sequence[Window],
) -> tuple[SceneSource, ...]:
    """Fit stretch and collar of every scene. Deterministic: a resumed run gets the same answer from the same
    files.

    `offsets`, `windows`: per scene, as the plan places it on the run grid (`SceneSource.offset_rc`,
    `.window`). Raises InputError and SourceError as `open_raster` does.
    """

    def prepare(scene: Scene, offset: tuple[int, int] | None, window: Window) -> SceneSource:
        stretch = fit_stretch(scene, scale=options.scale, percentiles=options.percentiles)
        collar = find_collar(scene) if options.collar == "auto" else None
        return SceneSource(scene=scene, offset_rc=offset, window=window, stretch=stretch, collar=collar)

    if not len(scenes) == len(offsets) == len(windows):
        raise ValueError(
            f"one offset and one window per scene, got {len(scenes)} scenes, {len(offsets)} offsets, {len(windows)} windows"
        )
    with ThreadPoolExecutor(max_workers=_SCENE_THREADS) as pool:
        return tuple(pool.map(prepare, scenes, offsets, windows))
