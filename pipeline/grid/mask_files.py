"""Masks of clouds that lie beside the rasters a user names: one file per scene, found by a pattern.

`with_mask_files` fills in `{stem}`, the name of the scene's file without its ending, and opens every mask, so
that a missing one is noticed at once and all are pinned. `load.quality` checks that each fits its scene.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pipeline.errors import InputError
from pipeline.files.hrefs import encoded_url, join_access, split_access
from pipeline.files.raster_access import href_kind, open_identified, raster_environment, terms_of
from pipeline.grid.catalog.quality_table import EXAMPLES, LEVELS, OFF, known_mask, mask_choice
from pipeline.schema.imagery import QualityMask, Scene, SceneFile

EXAMPLE = '--mask-file "{stem}_SCL.tif"'

_THREADS = 16
"""Masks opened at once, where they are remote."""


def with_mask_files(scenes: Sequence[Scene], pattern: str, rule: str | None) -> tuple[Scene, ...]:
    """Give each scene the mask that `pattern` names.

    `pattern`: what follows --mask-file: a path or URL, beside the scene unless it is absolute. `rule`: what
    follows --mask; None: masks whose names are known need none. Raises InputError for a pattern or rule that
    cannot be meant, and for a mask that is missing or is no GeoTIFF; SourceError (retryable) when a server
    does not answer.
    """
    word = (rule or "").strip().lower()
    if word == OFF:
        return tuple(scenes)
    if word in LEVELS:
        raise InputError(
            "--mask-file names masks, and --mask csmask computes them",
            came="both",
            remedy="leave one of them out",
        )
    unknown = set(re.findall(r"\{[^}]*\}?", pattern)) - {"{stem}"}
    if unknown or not pattern.strip():
        raise InputError(
            "--mask-file must be a name with {stem} for that of the scene",
            came=repr(pattern),
            remedy=f"write {EXAMPLE}",
        )
    if len(scenes) > 1 and "{stem}" not in pattern:
        raise InputError(
            f"--mask-file must name a mask for each of {len(scenes)} scenes",
            came=repr(pattern),
            remedy=f"write {{stem}} where the names of the scenes differ, as in {EXAMPLE}",
        )
    if all(href_kind(scene.href) == "local" for scene in scenes):
        return tuple(_masked(scene, pattern, rule) for scene in scenes)
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        return tuple(pool.map(lambda scene: _masked(scene, pattern, rule), scenes))


def require_mask_used(rule: str | None, pattern: str | None) -> None:
    """Refuse --mask where no source is a catalogue and no --mask-file is named. Raises InputError."""
    if rule is not None and pattern is None and rule.strip().lower() not in (OFF, *LEVELS):
        raise InputError(
            "--mask needs masks: those of a catalogue's items, or --mask-file",
            came=f"--mask {rule!r} and rasters alone",
            remedy=f"name the file beside each raster, as in {EXAMPLE}",
        )


def pinned_mask(scene: Scene) -> Scene:
    """Open the files of a scene's mask, and note what pins their content. Without a mask the scene stays.

    Raises InputError and SourceError as `open_identified` does.
    """
    quality = scene.quality
    if quality is None:
        return scene
    files = []
    for file in quality.files:
        address = join_access(file.href, file.access)
        with raster_environment(address):
            dataset, identity = open_identified(address, terms_of(scene))
            dataset.close()
        files.append(replace(file, identity=identity))
    bands = tuple(files) if quality.bands else ()
    return replace(scene, quality=replace(quality, file=files[0], bands=bands))


def mask_href(scene: Scene, pattern: str) -> tuple[str, str]:
    """Fill in the pattern for one scene; returns the mask's href and its query string.

    A mask beside a scene with a query string is asked for with the same, because a token of a container holds
    for both.
    """
    remote = href_kind(scene.href) != "local"
    folder, _, name = scene.href.rpartition("/") if remote else ("", "", Path(scene.href).name)
    stem = PurePosixPath(name).stem
    if "://" in pattern:
        return split_access(encoded_url(pattern.replace("{stem}", urllib.parse.unquote(stem))))
    filled = pattern.replace("{stem}", stem)
    if remote:
        return f"{folder}/{filled}", scene.access
    return str(Path(scene.href).parent / filled), ""


def _masked(scene: Scene, pattern: str, rule: str | None) -> Scene:
    href, access = mask_href(scene, pattern)
    band, stored, source = _rule_for(PurePosixPath(href.replace("\\", "/")).name, rule)
    file = SceneFile(href=href, access=access, band=band)
    try:
        return pinned_mask(replace(scene, quality=QualityMask(file=file, rule=stored, source=source)))
    except InputError as error:
        raise InputError(
            f"Every scene needs the mask that --mask-file names; scene {scene.scene_id} has none",
            came=f"{href}: {error}",
            remedy="correct the pattern, add the file, or leave --mask-file out",
        ) from error


def _rule_for(name: str, rule: str | None) -> tuple[int, str, str]:
    """Band, stored rule, and who says so, for a mask file of this name."""
    if rule is not None:
        choice = mask_choice(rule)
        return choice.band, str(choice.rule), f"--mask, file {name}"
    known = known_mask(name)
    if known is None:
        raise InputError(
            "--mask-file needs --mask, unless the name says which mask it is (SCL, QA_PIXEL, Fmask, BQA)",
            came=repr(name),
            remedy=f"say what of it hides the ground: --mask {EXAMPLES}",
        )
    return 1, known.rule, f"{known.source}, file {name}"
