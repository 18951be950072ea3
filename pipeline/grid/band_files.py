"""A source whose red, green and blue are files of their own: `red=B04.tif,green=B03.tif,blue=B02.tif`.

`band_hrefs` takes such a source apart and `band_source` writes it. `scene_of_bands` joins what the headers of
the three files say to one scene, named by what the names of the files have in common.
"""

from __future__ import annotations

import re
import shlex
import urllib.parse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from pipeline.errors import InputError
from pipeline.files.hrefs import public_href
from pipeline.files.raster_access import open_stacked, raster_environment
from pipeline.files.stacked_bands import COLOURS
from pipeline.schema.imagery import Reflectance, Scene, SceneFile

_PART = re.compile(r"(?:^|,)\s*(red|green|blue)\s*=\s*", re.IGNORECASE)

FORM = "red=B04.tif,green=B03.tif,blue=B02.tif"


def band_hrefs(source: str) -> tuple[str, str, str] | None:
    """Read red, green and blue of a source that names a file for each. None: it is one href.

    Raises InputError for a source that names some of them, or one twice.
    """
    if not _PART.match(source):
        return None
    _, *rest = _PART.split(source)
    found = [(colour.lower(), href.strip()) for colour, href in zip(rest[::2], rest[1::2], strict=True)]
    hrefs = dict(found)
    if len(found) != len(COLOURS) or len(hrefs) != len(COLOURS) or not all(hrefs.values()):
        raise InputError(
            "A --source of band files must name red, green and blue, each once",
            came=public_href(source),
            remedy=f"write it as {FORM}",
        )
    return hrefs["red"], hrefs["green"], hrefs["blue"]


def band_source(hrefs: Sequence[str]) -> str:
    """Write red, green and blue as one source, the inverse of `band_hrefs`."""
    return ",".join(f"{colour}={href}" for colour, href in zip(COLOURS, hrefs, strict=True))


def band_option(hrefs: Sequence[str]) -> str:
    """Write the option that names red, green and blue as one source, quoted for a shell."""
    return f"--source {shlex.quote(band_source(hrefs))}"


def scene_of_bands(scenes: Sequence[Scene]) -> Scene:
    """Join red, green and blue, each described as a scene of its own, to one scene with `band_files`.

    Opens the three together. Raises InputError for a file of several bands, and for files that are not bands
    of one picture.
    """
    for scene in scenes:
        if scene.count != 1:
            raise InputError(
                f"A file that is red, green or blue of a scene must have one band: {scene.href}",
                came=str(scene.count),
                remedy="take the band out with `gdal_translate -b N in.tif out.tif`, or give the file alone "
                "with --bands",
            )
    files = tuple(
        SceneFile(href=scene.href, access=scene.access, identity=scene.identity) for scene in scenes
    )
    red = scenes[0]
    stems = [scene.scene_id for scene in scenes]
    named = [f"{colour} = {stem}" for colour, stem in zip(COLOURS, stems, strict=True)]
    joint = replace(
        red,
        scene_id=common_name([scene.href for scene in scenes], stems),
        count=len(files),
        rgb_bands=(1, 2, 3),
        bands=f"{', '.join(named)}, by --source",
        band_files=files,
        datetime=next((scene.datetime for scene in scenes if scene.datetime), None),
        reflectance=_joint_reflectance(scenes),
    )
    with raster_environment(joint):
        open_stacked(files)[0].close()
    return joint


def _joint_reflectance(scenes: Sequence[Scene]) -> Reflectance | None:
    """Say how values of each file become reflectance. None: it is not known of all."""
    known = [scene.reflectance for scene in scenes if scene.reflectance is not None]
    return Reflectance.joined(known) if len(known) == len(scenes) else None


def common_name(hrefs: Sequence[str], stems: Sequence[str]) -> str:
    """Name a scene by what the `stems` of its files have in common: L8-B4-VA and L8-B3-VA are of L8-VA.

    Where they share no word, the folder names it if it is one, else the first file.
    """
    words = [re.split(r"([-_. ]+)", stem) for stem in stems]
    if len({len(found) for found in words}) == 1:
        kept = [
            (before, own)
            for before, own, *others in zip(
                ["", *words[0][1::2]], *(found[::2] for found in words), strict=True
            )
            if all(other == own for other in others)
        ]
        name = "".join(before + own for before, own in kept).strip("-_. ")
        if name:
            return name
    folders = {PurePosixPath(href.replace("\\", "/")).parent.name for href in hrefs}
    folder = urllib.parse.unquote(folders.pop()) if len(folders) == 1 else ""
    return folder or stems[0]
