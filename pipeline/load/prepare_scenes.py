"""What is settled once per scene before any worker reads: its stretch and its collar.

`prepare_scenes` turns the plan's scenes into `SceneSource`s, which travel to the workers by value. run.json
records `SceneSource.to_dict`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Literal

from pipeline.errors import InputError
from pipeline.load.stretch import Stretch, check_scale, fit_stretch
from pipeline.load.validity import Collar, find_collar
from pipeline.schema import Scene, Window

_SCENE_THREADS = 8
"""Scenes prepared at once: the work is mostly waiting for remote overviews."""


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How stored pixels become validity and 8-bit RGB."""

    scale: tuple[float, float] | None = None
    """Stored values that become 0 and 255, for all scenes and bands. None: 8-bit scenes stay as they are, and
    others are stretched between percentiles.
    """
    percentiles: tuple[float, float] = (2.0, 98.0)
    """Percentiles that become 0 and 255 when a stretch is fitted, per scene and band."""
    collar: Literal["auto", "off"] = "auto"
    """`auto`: near-black borders of 8-bit scenes that declare no validity count as nodata."""
    resampling: Literal["nearest", "bilinear", "cubic"] = "bilinear"
    """How scenes are warped that are not on the run grid's lattice."""
    open_files: int = 16
    """Datasets that a reader keeps open. Does not change the result."""

    def __post_init__(self) -> None:
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise InputError(
                "Stretch percentiles must rise within 0..100", came=f"{low}, {high}", remedy="2,98 is usual"
            )
        if self.scale is not None:
            check_scale(self.scale)
        if self.open_files < 1:
            raise InputError(
                "A reader must keep at least one file open", came=str(self.open_files), remedy="16 is usual"
            )

    def result_parameters(self) -> dict[str, object]:
        """Every option that can change a result, for a fingerprint."""
        return {key: value for key, value in asdict(self).items() if key != "open_files"}


@dataclass(frozen=True, kw_only=True)
class SceneSource:
    """One scene, and all that reading it needs."""

    scene: Scene
    offset_rc: tuple[int, int] | None
    """(row, col) of its first pixel on the run grid; None: it is warped onto the grid."""
    window: Window
    """The part of the run grid that it can fill; around its outline when it is warped."""
    stretch: Stretch
    collar: Collar | None = None
    """Its undeclared black border; None: it has none, or is not searched for one."""

    def to_dict(self) -> dict[str, object]:
        """What was decided about this scene's pixels, as plain values for run.json."""
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
    """Fit stretch and collar of every scene. Equal files give equal answers, also when a run is resumed.

    `offsets` and `windows` say per scene where the plan puts it on the run grid (`SceneSource.offset_rc`,
    `.window`). Raises InputError and SourceError as `open_raster` does.
    """

    def prepare(scene: Scene, offset: tuple[int, int] | None, window: Window) -> SceneSource:
        stretch = fit_stretch(scene, scale=options.scale, percentiles=options.percentiles)
        collar = find_collar(scene) if options.collar == "auto" else None
        return SceneSource(scene=scene, offset_rc=offset, window=window, stretch=stretch, collar=collar)

    if not len(scenes) == len(offsets) == len(windows):
        raise ValueError(
            f"one offset and one window per scene, got {len(scenes)} scenes, {len(offsets)} offsets, "
            f"{len(windows)} windows"
        )
    with ThreadPoolExecutor(max_workers=_SCENE_THREADS) as pool:
        return tuple(pool.map(prepare, scenes, offsets, windows))
