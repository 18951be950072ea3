"""Where pixels come from, and the pixels of a tile and a block. In every mask of validity `True` = valid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.tiling import AffineTuple, BlockSpec, TileSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class HrefGuard:
    """What the hrefs of a catalogue may reach, which a stranger wrote. A user's own have no guard."""

    hosts: tuple[str, ...] = ()
    """Host names, and `bucket.s3` for s3://bucket, that may be asked; `*.host` allows all below it."""
    roots: tuple[str, ...] = ()
    """Local folders, absolute and resolved, below which files may be read. Empty: no local file may be."""
    private: bool = False
    """Whether private, loopback and link-local addresses may be asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneFile:
    """One file of a scene that keeps its bands, or what is known of its quality, in several."""

    href: str
    """Path or URL as it may be shown; of a signed URL the part before `?`."""
    access: str = field(default="", repr=False)
    """What follows `?` in the URL. Needed to read, never stored or shown."""
    identity: Mapping[str, str] = field(default_factory=dict)
    """What pins the content, as in `Scene.identity`."""
    band: int = 1
    """1-based band of the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reflectance:
    """How stored values become reflectance: reflectance = value * scale + offset, once."""

    scale: float
    offset: float
    source: str
    """Who says so, for people: a rule of the table of collections, the item, the file's tags, or the user."""
    by_band: tuple[tuple[float, float], ...] = ()
    """Scale and offset of each band, in the order in which they are read, where they differ; `scale` and
    `offset` are the first's then. Empty: these hold for all bands."""

    @classmethod
    def joined(cls, bands: Sequence[Reflectance]) -> Reflectance:
        """Say for several bands at once what is known of each."""
        first = bands[0]
        numbers = tuple((band.scale, band.offset) for band in bands)
        if len(set(numbers)) == 1:
            return first
        sources = dict.fromkeys(band.source for band in bands)
        return cls(scale=first.scale, offset=first.offset, source=" and ".join(sources), by_band=numbers)

    def coefficients(self, n_bands: int) -> tuple[tuple[float, float], ...]:
        """List scale and offset of each of the bands that are read."""
        return self.by_band or ((self.scale, self.offset),) * n_bands

    def to_dict(self) -> dict[str, object]:
        """Plain values; `from_dict` reads them back. Bands that are alike are not listed."""
        by_band = {"by_band": [list(pair) for pair in self.by_band]} if self.by_band else {}
        return {"scale": self.scale, "offset": self.offset, "source": self.source, **by_band}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Reflectance:
        pairs = tuple((float(scale), float(offset)) for scale, offset in record.get("by_band", ()))
        return cls(**{**record, "by_band": pairs})

    def numbers(self) -> list[object]:
        """What pins it in a run: scale and offset, or those of every band."""
        return [list(pair) for pair in self.by_band] if self.by_band else [self.scale, self.offset]


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityMask:
    """A raster of a scene that says which of its pixels cannot be judged, such as clouds."""

    file: SceneFile
    rule: str
    """`values:3,8,9,10`: stored values that hide the ground. `bits:1,3,4`: bits of which one is enough.
    `above:50`: values above this one. `QualityRule` reads it."""
    source: str
    """Who says so, for people."""
    model: str = ""
    """Model that computes the mask from `bands` (`load.computed_mask`). Empty: `file` is the mask."""
    bands: tuple[SceneFile, ...] = ()
    """Blue, green, red and near infrared, and maybe two of short-wave infrared; `file` is the first."""
    reflectance: Reflectance | None = None
    """How the values of `bands` become reflectance."""

    @property
    def files(self) -> tuple[SceneFile, ...]:
        """All files that the mask is read or computed from."""
        return self.bands or (self.file,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """One source raster, or one item of a catalogue, described by its header or its metadata."""

    scene_id: str
    href: str
    """Path or URL as it may be shown; of a signed URL the part before `?`. With `band_files`, red's."""
    crs_wkt: str | None
    transform: AffineTuple
    width: int
    height: int
    count: int
    """Number of bands. 0: the file was not opened yet, and nobody says."""
    dtype: str
    """Numpy dtype name of the bands read. Empty: the file was not opened yet, and nobody says."""
    rgb_bands: tuple[int, int, int]
    """1-based indexes of the red, green and blue band; 1, 2, 3 with `band_files`. Zeros: the file was not
    opened yet, and its header has to say."""
    nodata: float | None
    identity: Mapping[str, str] = field(default_factory=dict)
    """What pins the content: size_bytes, mtime_ns, ctime_ns and sha256 of a file (sample_sha256 of a large
    one); size_bytes, etag and last_modified of an object. Empty: the file was not opened yet."""
    access: str = field(default="", repr=False)
    """What follows `?` in the URL, such as a token. Needed to read, never stored or shown."""
    datetime: str | None = None
    """Acquisition time, RFC 3339, when the file or the item says so."""
    bands: str = ""
    """Which bands red, green and blue are, by name, and who said so; for people."""
    band_files: tuple[SceneFile, ...] = ()
    """Files of red, green and blue, where each band has its own. Empty: `href` holds them all."""
    cloud_cover: float | None = None
    """Per cent of the scene under clouds, when the item says so."""
    collection: str = ""
    """Catalogue collection that the scene is of."""
    item_href: str = ""
    """Where the catalogue's item lies, without its query string."""
    reflectance: Reflectance | None = None
    """How stored values become reflectance. None: nobody says."""
    no_reflectance: str = ""
    """Why a catalogue does not tell how values become reflectance. Empty: it does, or none was asked."""
    quality: QualityMask | None = None
    """What hides the ground in places. None: nothing is known."""
    signer: str = ""
    """Who signs hrefs just before they are read (`files.signing`). Empty: nobody."""
    guard: HrefGuard | None = None
    """What its hrefs may reach. None: the user named them."""
    failure: str = ""
    """Why it cannot be read, found before the run began: tiles that need it fail. Empty: it can."""

    @property
    def files(self) -> tuple[SceneFile, ...]:
        """The files that hold its bands: `band_files`, or the one at `href`."""
        return self.band_files or (SceneFile(href=self.href, access=self.access, identity=self.identity),)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScenePixels:
    """Which scene gave each valid pixel of a window."""

    numbers: tuple[int, ...] = ()
    """Places in the run's list of scenes of those that gave a valid pixel, ascending. Empty: none did, or it
    is not known.
    """
    image: NDArray[np.uint16] | None = None
    """(H, W): 1 + index into `numbers`, 0 = no imagery. None: one scene gave all valid pixels."""

    def cut(self, slices: tuple[slice, slice], valid: NDArray[np.bool_]) -> ScenePixels:
        """Cut out a part of the window; scenes without a valid pixel in it are no longer listed.

        `slices`: numpy slices (rows, cols) of the part. `valid`: its validity (h, w).
        """
        if self.image is None:
            return self if valid.any() else ScenePixels()
        image = np.where(valid, self.image[slices], 0)
        places = np.unique(image[image > 0])
        numbers = tuple(self.numbers[place - 1] for place in places.tolist())
        if len(numbers) < 2:
            return ScenePixels(numbers=numbers)
        rank = np.zeros(len(self.numbers) + 1, dtype=np.uint16)
        rank[places] = np.arange(1, len(places) + 1)
        return ScenePixels(numbers=numbers, image=rank[image])


@dataclass(frozen=True, kw_only=True, slots=True)
class TileImage:
    """What the models see of one tile."""

    tile: TileSpec
    rgb: NDArray[np.uint8]
    """(H, W, 3) with (H, W) == tile.read.shape, channels red, green, blue; invalid pixels are 0."""
    valid: NDArray[np.bool_]
    """(H, W); True = imagery, False = nodata, outside every scene, or hidden."""
    hidden: NDArray[np.bool_] | None = None
    """(H, W); True = imagery that clouds hide in every scene. None: none is hidden."""

    @property
    def core_valid(self) -> NDArray[np.bool_]:
        """Validity over the tile's core, (h, w); True = valid."""
        rows, cols = self.tile.core.slices_in(self.tile.read)
        return self.valid[rows, cols]

    @property
    def core_hidden_px(self) -> int:
        """Pixels of the tile's core that clouds hide."""
        if self.hidden is None:
            return 0
        rows, cols = self.tile.core.slices_in(self.tile.read)
        return int(self.hidden[rows, cols].sum())


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockImage:
    """The pixels of one block, read once; tiles are slices of it."""

    block: BlockSpec
    rgb: NDArray[np.uint8]
    """(H, W, 3) over block.read."""
    valid: NDArray[np.bool_]
    """(H, W) over block.read; True = valid."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """tile_id -> error text, for tiles whose pixels could not be read."""
    unread_for: Mapping[str, str] = field(default_factory=dict)
    """tile_id -> value of `Reason`, for those of them that were set aside. Others are UNREADABLE."""
    scenes: ScenePixels = field(default_factory=ScenePixels)
    """Which scene gave each valid pixel of block.read."""
    hidden: NDArray[np.bool_] | None = None
    """(H, W) over block.read; True = imagery that clouds hide, and that no other scene shows. Such a pixel is
    not valid. None: none is hidden."""

    def tile_image(self, tile: TileSpec) -> TileImage:
        rows, cols = tile.read.slices_in(self.block.read)
        hidden = None if self.hidden is None else self.hidden[rows, cols]
        return TileImage(tile=tile, rgb=self.rgb[rows, cols], valid=self.valid[rows, cols], hidden=hidden)
