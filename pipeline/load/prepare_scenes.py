"""What is settled once per scene before any worker reads: validity, collar and stretch.

`prepare_scenes` looks once at each scene of the plan (`first_look`) and makes a `SceneSource` of it, which
travels to the workers by value. run.json records `SceneSource.to_dict`: what was settled, how much of the
scene is not judged and why, and notes for people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError, SourceError
from pipeline.files.raster_access import open_raster, raster_environment
from pipeline.load.collar import Collar, dark_border_share, find_collar, is_constant
from pipeline.load.first_look import FirstLook, LookPart, NotAloneError, look_at
from pipeline.load.quality import quality_text
from pipeline.load.stretch import (
    IDENTITY,
    REFLECTANCE_RANGE,
    Stretch,
    check_reflectance_range,
    check_scale,
    fit_stretch,
    grey_doubt,
    reflectance_stretch,
)
from pipeline.load.unjudged import PlannedArea, percent, unjudged_shares
from pipeline.load.validity import ValidityRule, parse_nodata
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import Window

_SCENE_THREADS = 8
"""Scenes prepared at once: the work is mostly waiting for remote overviews."""

_Place = tuple[Scene, tuple[int, int] | None, Window]
"""A scene, and where the plan puts it: `SceneSource.offset_rc` and `.window`."""

_WORTH_A_WORD = 0.01
"""Share of pixels without a value in some band from which a note says so."""


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How stored pixels become validity and 8-bit RGB."""

    scale: tuple[float, float] | None = None
    """Stored values that become 0 and 255, for all scenes and bands. None: scenes of known reflectance have
    `reflectance_range`, other 8-bit scenes stay as they are, and the rest is stretched between percentiles.
    """
    reflectance_range: tuple[float, float] = REFLECTANCE_RANGE
    """Reflectance that becomes 0 and 255 in scenes of which it is known."""
    percentiles: tuple[float, float] = (2.0, 98.0)
    """Percentiles that become 0 and 255 when a stretch is fitted, per scene and band."""
    nodata: str = "file"
    """Stored value of pixels without imagery, as text: a number or `nan`, in place of what the files declare.
    `file`: what they declare. `none`: no value means that. Masks and alpha bands hold all the same.
    """
    collar: Literal["auto", "off", "black"] = "auto"
    """What becomes of black borders of scenes that declare no validity. `auto`: they are no imagery where
    that is certain. `off`: all of them are imagery. `black`: none of them is, dark water included.
    """
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
        check_reflectance_range(self.reflectance_range)
        if self.nodata != "file":
            parse_nodata(self.nodata)
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
    validity: ValidityRule
    """What of the file says which pixels are imagery."""
    collar: Collar | None = None
    """Its undeclared black border; None: it has none, or none that is certain."""
    unjudged: Mapping[str, float] = field(default_factory=dict)
    """Reason -> share of the scene that the models will not see, about (`unjudged.REASONS`)."""
    notes: tuple[str, ...] = ()
    """What a person should know of it."""

    def to_dict(self) -> dict[str, object]:
        """What was decided about this scene's pixels, as plain values for run.json."""
        return {
            "scene_id": self.scene.scene_id,
            "offset_rc": None if self.offset_rc is None else list(self.offset_rc),
            "window": [self.window.row0, self.window.col0, self.window.row1, self.window.col1],
            "rgb_bands": list(self.scene.rgb_bands),
            "bands": self.scene.bands,
            "stretch": self.stretch.to_dict(),
            "validity": self.validity.to_dict(),
            "collar_share": 0.0 if self.collar is None else self.collar.share,
            "unjudged": dict(self.unjudged),
            **({} if self.scene.quality is None else {"clouds": quality_text(self.scene.quality)}),
            "judged_share": max(0.0, 1.0 - sum(self.unjudged.values())),
            "notes": list(self.notes),
        }


def prepare_scenes(
    scenes: Sequence[Scene],
    options: LoadOptions,
    *,
    offsets: Sequence[tuple[int, int] | None],
    windows: Sequence[Window],
    area: PlannedArea | None = None,
) -> tuple[SceneSource, ...]:
    """Settle validity, collar and stretch of every scene, in the order of `scenes`.

    The answer depends on the files and the options alone, so a resumed run gets the same one. `offsets` and
    `windows` say per scene where the plan puts it on the run grid (`SceneSource.offset_rc`, `.window`).
    `area` says which tiles are looked at (None: all); it changes what is told of a scene, and no pixel.
    Raises InputError and SourceError as `open_raster` does.
    """

    if not len(scenes) == len(offsets) == len(windows):
        raise ValueError(
            f"one offset and one window per scene, got {len(scenes)} scenes, {len(offsets)} offsets, "
            f"{len(windows)} windows"
        )

    def among_others(place: _Place) -> SceneSource | None:
        try:
            return _prepared(place, options, area, alone=False)
        except NotAloneError:
            return None

    places = list(zip(scenes, offsets, windows, strict=True))
    with ThreadPoolExecutor(max_workers=_SCENE_THREADS) as pool:
        found = list(pool.map(among_others, places))
    return tuple(
        own or _prepared(place, options, area, alone=True) for own, place in zip(found, places, strict=True)
    )


def _prepared(place: _Place, options: LoadOptions, area: PlannedArea | None, *, alone: bool) -> SceneSource:
    """Prepare one scene. `alone`: as in `look_at`. Raises NotAloneError."""
    scene, offset, window = place
    if scene.failure:
        return unreadable_source(scene, offset, window)
    try:
        look = look_at(scene, nodata=options.nodata, alone=alone)
    except SourceError as error:
        if error.retryable or not of_catalog(scene):
            raise
        return unreadable_source(replace(scene, failure=str(error)), offset, window)
    collar, collar_notes = settle_collar(scene, look, options)
    samples = imagery_samples(look, collar)
    stretch, notes = settle_stretch(scene, samples, options)
    doubt = grey_doubt(samples, stretch)
    unjudged = unjudged_shares(look, scene, collar=collar, area=area)
    return SceneSource(
        scene=scene,
        offset_rc=offset,
        window=window,
        stretch=stretch,
        validity=look.rule,
        collar=collar,
        unjudged=unjudged,
        notes=(
            *look.notes,
            *collar_notes,
            *notes,
            *((doubt,) if doubt else ()),
            *partial_notes(look),
            *mask_notes(scene),
            *empty_notes(unjudged),
        ),
    )


def of_catalog(scene: Scene) -> bool:
    """Whether a catalogue lists the scene; then what is wrong with its files is its own failure alone."""
    return bool(scene.item_href or scene.collection)


def unreadable_source(scene: Scene, offset: tuple[int, int] | None, window: Window) -> SceneSource:
    """Make the source of a scene with a `failure`: nothing of it is opened, and tiles that need it fail."""
    return SceneSource(
        scene=scene,
        offset_rc=offset,
        window=window,
        stretch=IDENTITY,
        validity=ValidityRule(kind="none"),
        unjudged={"unreadable": 1.0},
        notes=(f"tiles that need it fail: {scene.failure}",),
    )


def settle_stretch(
    scene: Scene, samples: Sequence[NDArray[Any]], options: LoadOptions
) -> tuple[Stretch, tuple[str, ...]]:
    """Choose the stretch of a scene: the user's, that of its reflectance, or one fitted to `samples`.

    `samples`: per band (n,) stored values that are imagery. Returns it, and notes for people.
    """
    if scene.reflectance is not None and options.scale is None:
        return reflectance_stretch(scene.reflectance, options.reflectance_range), ()
    stretch, notes = fit_stretch(samples, scene.dtype, scale=options.scale, percentiles=options.percentiles)
    if scene.no_reflectance and stretch.kind == "percentile":
        notes = (
            *notes,
            "its grey levels are fitted to it alone, so the same ground may look different in other scenes: "
            f"{scene.no_reflectance}. --radiometry says what its values mean",
        )
    return stretch, notes


def settle_collar(
    scene: Scene, look: FirstLook, options: LoadOptions
) -> tuple[Collar | None, tuple[str, ...]]:
    """Find the collar of a scene whose file says nothing about validity, and notes about dark borders."""
    if look.rule.kind != "none" or options.collar == "off" or not look.parts:
        return None, ()
    if look.whole is None:
        return None, (
            "it is large and has no overviews, so it was not searched for a black border without imagery; "
            "--nodata names its value, `gdaladdo` makes overviews",
        )
    values = look.whole.values
    any_dark = options.collar == "black"
    collar = find_collar(values, cell_px=look.cell_px, lossy=look.lossy, any_dark=any_dark)
    if collar is not None and not any_dark and look.cell_px > 1 and not _constant_in_full(scene, collar):
        collar = None
    if collar is not None:
        return collar, (
            f"{percent(collar.share)} of it is a black border that nothing declares, and is taken for a "
            "collar without imagery. --collar off keeps it",
        )
    dark = dark_border_share(values)
    if not dark:
        return None, ()
    smallest = values[np.isfinite(values)].min()
    shade = "nearly black" if scene.dtype == "uint8" else f"{smallest:g}, its smallest value,"
    return None, (
        f"{percent(dark)} of it is {shade} and reaches its border. It is judged like all else. If that is a "
        f"black border without imagery (a collar), give --nodata {smallest:g} or --collar black",
    )


def _constant_in_full(scene: Scene, collar: Collar) -> bool:
    """Whether the collar is constant at full resolution too: overviews average noise away."""

    def read(window: Window) -> NDArray[Any]:
        place = ((window.row0, window.row1), (window.col0, window.col1))
        return np.asarray(dataset.read(list(scene.rgb_bands), window=place))

    with raster_environment(scene), open_raster(scene) as dataset:
        return is_constant(collar, scene, read)


def imagery_samples(look: FirstLook, collar: Collar | None) -> tuple[NDArray[Any], ...]:
    """Gather per band the stored values (n,) of a look that are imagery; n may differ between bands.

    Clouds are left out, because the brightest of them would settle the stretch.
    """

    def own(part: LookPart, band: int) -> NDArray[Any]:
        keep = part.band_valid[band] & part.shown
        if collar is not None:
            keep = keep & ~(collar.cells() & collar.has_value(part.values))
        return np.asarray(part.values[band][keep])

    return tuple(
        np.concatenate([own(part, band) for part in look.parts]) if look.parts else np.empty(0)
        for band in range(3)
    )


def partial_notes(look: FirstLook) -> tuple[str, ...]:
    """Say how many judged pixels lack a value in one or two of their bands."""
    valid = sum(int(part.valid.sum()) for part in look.parts)
    lacking = sum(int((part.valid & ~part.band_valid.all(axis=0)).sum()) for part in look.parts)
    if not valid or lacking < _WORTH_A_WORD * valid:
        return ()
    return (
        f"{percent(lacking / valid)} of its imagery has no value in one or two of the bands, and is judged",
    )


def mask_notes(scene: Scene) -> tuple[str, ...]:
    """Say where the share of clouds is told, when it is not known before the scene is read."""
    if scene.quality is None or not scene.quality.model:
        return ()
    return (
        "its clouds are computed while it is read: no share of them is known before, the stretch may see "
        "them, and cloud_share in coverage.parquet tells what they hide",
    )


def empty_notes(unjudged: Mapping[str, float]) -> tuple[str, ...]:
    """Say that a scene has no imagery at all where it is looked at."""
    outside = unjudged.get("outside", 0.0)
    if outside < 1 and sum(unjudged.values()) > 1 - 1e-9:
        hidden = ", or clouds hide it" if unjudged.get("cloud") else ""
        return (f"nothing of it is judged: where it is looked at, it has no imagery{hidden}",)
    return ()
