"""One run's parameters: presets, a user's TOML on top, the command line on top of that.

1. `load_preset` reads `presets/<name>.toml`; `merge_tables` lays the tables of `--config FILE` over it.
2. `build_config` lays the command line over both and returns a `RunConfig`: the stages' own option classes,
   composed. Unknown presets, keys and values are InputErrors; nothing here opens imagery or loads a model.
3. `result_parameters` is what enters the run's fingerprint: everything that can change the result, nothing
   that cannot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import InputError
from pipeline.geo.pixel_rules import check_tiling
from pipeline.grid.aoi import Aoi
from pipeline.grid.catalog.catalog_options import CatalogOptions
from pipeline.grid.mosaic_order import MosaicOrder
from pipeline.grid.source import SourceOptions
from pipeline.load.prepare_scenes import LoadOptions
from pipeline.options import parse_table, read_toml, unknown_key
from pipeline.prompt.build_prompter import PrompterOptions
from pipeline.prompt.looks.gate import GateOptions
from pipeline.prompt.looks.verifier import VerifierOptions
from pipeline.prompt.query import check_query
from pipeline.run.limit_options import LimitOptions
from pipeline.schema.tiling import RunGrid
from pipeline.segment.build_segmenter import SegmenterOptions
from pipeline.segment.kept_embeddings import CacheOptions
from pipeline.segment.mask_ranker import ExamplesOptions
from pipeline.segment.proposals import EverythingOptions
from pipeline.stitch.stitch_options import MergeOptions, StitchOptions
from pipeline.write.on_body import why_unknown

PRESET_DIR = Path(__file__).parents[1] / "presets"

_OF_PROMPTS = ("prompter", "segmenter", "gate", "verifier", "everything", "examples")
"""Tables that a mask model has no use for: there are no prompts, and nothing that could be asked again."""
_OF_MODELS = ("notice", "resources", "limits")
"""Tables of a preset that belong to its models."""

MergeMode = Literal["instances", "semantic"]
Runner = Literal["ray", "local"]
"""Who works: actors on Ray, or this process."""
Role = Literal["reader", "prompter", "segmenter"]
"""What the actors of a pool do."""
ROLES: tuple[Role, ...] = ("reader", "prompter", "segmenter")
"""In the order of the stages."""
RunnerChoice = Literal["auto", "ray", "local"]
"""What a user may ask for; `auto` is settled once the plan is known."""


@dataclass(frozen=True, kw_only=True)
class TileOptions:
    """How the run grid is cut."""

    px: int = 1024
    """Side of the read window."""
    halo_px: int = 64
    """Context on each side; must be smaller than half of `px`."""
    block_tiles: int = 4
    """K: a block is K x K tiles."""
    min_valid_share: float = 0.01
    """Tiles with a smaller share of valid pixels are EMPTY(nodata) without a model call."""
    max_cloud_share: float = 0.8
    """Tiles of whose imagery quality masks hide a larger share are EMPTY(cloud) without a model call. On real
    chips, nearly half of them under clouds, 0.8 saves 23 % of the calls and gives up 5 % of the clear ground
    (tests/benchmarks/README.md).
    """

    def __post_init__(self) -> None:
        check_tiling(self.px, self.halo_px, self.block_tiles)
        if not 0.0 <= self.min_valid_share <= 1.0:
            raise ValueError(f"min_valid_share is a share between 0 and 1, got {self.min_valid_share}")
        if not 0.0 <= self.max_cloud_share <= 1.0:
            raise ValueError(f"max_cloud_share is a share between 0 and 1, got {self.max_cloud_share}")


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A pool of actors and what each of them reserves."""

    actors: int | Literal["auto"] = 1
    """How many, fixed for a whole start. `auto`: as many as the cluster holds (`pool_sizes`)."""
    cpus: float = 1.0
    gpus: float = 0.0
    """Share of a GPU per actor. For a prompter and a segmenter on one GPU use e.g. 0.7 and 0.3: above one
    half, two prompters can never land on the same GPU.
    """

    def __post_init__(self) -> None:
        if (self.actors != "auto" and self.actors < 1) or self.cpus < 0 or self.gpus < 0:
            raise ValueError(f"a pool needs at least one actor and no negative shares, got {self}")


@dataclass(frozen=True, kw_only=True)
class ResourceOptions:
    """How the steps share the cluster. Does not change the result."""

    plan_cpus: float = 0.1
    """Reserved by the task that emits block specs."""
    reader: Pool = Pool(cpus=0.3)
    prompter: Pool = Pool(cpus=0.8)
    segmenter: Pool = Pool(cpus=0.5)

    def pool(self, role: Role) -> Pool:
        """The pool of one role."""
        return {"reader": self.reader, "prompter": self.prompter, "segmenter": self.segmenter}[role]

    def pools(self) -> dict[Role, Pool]:
        """All pools, in the order of the stages."""
        return {role: self.pool(role) for role in ROLES}


@dataclass(frozen=True, kw_only=True)
class AreaOptions:
    """Where to look: exactly one of aoi, bbox, whole_scene and place."""

    aoi: str | None = None
    bbox: tuple[float, float, float, float] | None = None
    """west, south, east, north in degrees; west > east crosses the antimeridian."""
    whole_scene: bool = False
    place: str | None = None
    """Name of a place, in the file that `gazetteer` names."""
    gazetteer: str | None = None

    def __post_init__(self) -> None:
        if (self.place is None) != (self.gazetteer is None):
            raise InputError(
                "--place names an area of the file --gazetteer",
                came="one of the two alone",
                remedy='give both, e.g. --place "Kampala" --gazetteer districts.gpkg',
            )


@dataclass(frozen=True, kw_only=True)
class GridChoice:
    """What the user says of the run grid. All None: the lattice that the scenes share, or a new one."""

    crs: str | None = None
    resolution: float | None = None
    gsd_m: float | None = None
    """Side of a pixel on the ground, in metres, in place of `resolution`."""
    area: str | Aoi | None = None
    """File of the region that the grid covers, or the region. None: as far as scenes show the AOI."""
    of_run: str | None = None
    """Run whose grid is taken over."""

    def __post_init__(self) -> None:
        sizes = {"--crs": self.crs, "--resolution": self.resolution, "--gsd": self.gsd_m}
        others = [name for name, value in {**sizes, "--grid-area": self.area}.items() if value is not None]
        if self.of_run is not None and others:
            raise InputError(
                "--grid-of takes over a grid as it is",
                came=f"--grid-of {self.of_run} and {others[0]}",
                remedy=f"leave out {others[0]} or --grid-of",
            )

    def parameters(self) -> dict[str, Any]:
        """The choice as it enters a run's fingerprint. The grid itself enters it in place of `area` and
        `of_run`.
        """
        asked = {"crs": self.crs, "resolution": self.resolution}
        return asked if self.gsd_m is None else {**asked, "gsd_m": self.gsd_m}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The tables of a preset file: models and how they like their tiles."""

    prompter: PrompterOptions
    segmenter: SegmenterOptions
    tiles: TileOptions = field(default_factory=TileOptions)
    load: LoadOptions = field(default_factory=LoadOptions)
    stitch: StitchOptions = field(default_factory=StitchOptions)
    merge: MergeOptions = field(default_factory=MergeOptions)
    resources: ResourceOptions = field(default_factory=ResourceOptions)
    gate: GateOptions = field(default_factory=GateOptions)
    verifier: VerifierOptions = field(default_factory=VerifierOptions)
    limits: LimitOptions = field(default_factory=LimitOptions)
    everything: EverythingOptions = field(default_factory=EverythingOptions)
    examples: ExamplesOptions = field(default_factory=ExamplesOptions)
    cache: CacheOptions = field(default_factory=CacheOptions)
    notice: str = ""
    """Printed loudly at the start of every run with this preset."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything a run is asked to do."""

    queries: tuple[str, ...]
    area: AreaOptions
    source: SourceOptions
    grid: GridChoice
    preset_name: str
    preset: Preset
    merge_mode: MergeMode = "instances"
    min_area_m2: float = 0.0
    catalogs: CatalogOptions = field(default_factory=CatalogOptions)
    mosaic: MosaicOrder = field(default_factory=MosaicOrder)
    """Which of several scenes of one place wins. It is pinned by the order of the scenes."""

    @property
    def tiles(self) -> TileOptions:
        return self.preset.tiles

    @property
    def load(self) -> LoadOptions:
        return self.preset.load

    @property
    def prompter(self) -> PrompterOptions:
        return self.preset.prompter

    @property
    def gate(self) -> GateOptions:
        return self.preset.gate

    @property
    def verifier(self) -> VerifierOptions:
        return self.preset.verifier

    @property
    def segmenter(self) -> SegmenterOptions:
        return self.preset.segmenter

    @property
    def stitch(self) -> StitchOptions:
        return self.preset.stitch

    @property
    def limits(self) -> LimitOptions:
        return self.preset.limits

    @property
    def resources(self) -> ResourceOptions:
        return self.preset.resources


def known_presets() -> tuple[str, ...]:
    """List the presets that ship with the package, sorted."""
    return tuple(sorted(path.stem for path in PRESET_DIR.glob("*.toml")))


def preset_tables(name: str, config: str | None = None) -> dict[str, Any]:
    """Read the tables of a shipped preset, and lay those of the file `config` over them.

    Raises InputError: an unknown name (the message lists the known ones), or an unreadable file.
    """
    if name not in known_presets():
        raise InputError(
            "--preset must name a shipped preset",
            came=repr(name),
            remedy=f"use one of {', '.join(known_presets())}",
        )
    tables = read_toml(PRESET_DIR / f"{name}.toml", "the preset")
    own = read_toml(Path(config), "--config") if config else {}
    return with_mask_model(tables, own) if "mask_model" in own else merge_tables(tables, own)


def with_mask_model(tables: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Put the model of `own`'s table [mask_model] in place of a preset's prompter and segmenter.

    What the preset says of its own models (notice, resources, limits, and how it looks at masks) goes with
    them. Raises InputError where `own` names a prompter or a segmenter as well.
    """
    for name in _OF_PROMPTS:
        if name in own:
            raise InputError(
                "[mask_model] stands in place of a prompter and a segmenter",
                came=f"[mask_model] and [{name}]",
                remedy=f"leave [{name}] out, or [mask_model]",
            )
    kept = {name: table for name, table in tables.items() if name not in (*_OF_PROMPTS, *_OF_MODELS)}
    rest = {name: table for name, table in own.items() if name != "mask_model"}
    return {
        **merge_tables(kept, rest),
        "prompter": {"kind": "whole", "model": ""},
        "segmenter": {"kind": "mask-model", "mask_model": own["mask_model"]},
    }


def merge_tables(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `top` over `base`, table by table."""
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = (
            merge_tables(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
        )
    return merged


def build_preset(tables: Mapping[str, Any]) -> Preset:
    """Make a `Preset` of tables. Model paths that start with `models/` are those shipped with the package."""
    for name in tables:
        if name not in Preset.__dataclass_fields__:
            raise unknown_key(name, [*Preset.__dataclass_fields__, "mask_model"], "the configuration")
    return parse_table(Preset, tables, "configuration")


def check_queries(queries: tuple[str, ...]) -> tuple[str, ...]:
    """Normalise every query. Raises InputError for one that may not be asked, and for duplicates."""
    if not queries:
        raise InputError(
            "a run needs at least one query", remedy='add --query "storage tanks"; --query may be repeated'
        )
    checked = tuple(check_query(query) for query in queries)
    for index, query in enumerate(checked):
        if query in checked[:index]:
            raise InputError(
                "every --query may be given once", came=repr(query), remedy="drop the repetition"
            )
    return checked


def check_gsd(gsd_m: float | None, resolution: float | None) -> float | None:
    """Check --gsd. Raises InputError for one that is no length, or that stands beside a resolution."""
    if gsd_m is None:
        return None
    if resolution is not None:
        raise InputError(
            "--gsd and --resolution both say how large a pixel is",
            came=f"--gsd {gsd_m:g} and --resolution {resolution:g}",
            remedy="give --gsd for metres on the ground, or --resolution in the unit of the run grid's CRS",
        )
    if not (math.isfinite(gsd_m) and gsd_m > 0):
        raise InputError(
            "--gsd must be a positive number of metres", came=str(gsd_m), remedy="give e.g. --gsd 0.5"
        )
    return gsd_m


def check_min_area(area_m2: float) -> float:
    """Check the area below which objects are dropped. Raises InputError for one that is negative or not
    finite.
    """
    if not math.isfinite(area_m2) or area_m2 < 0:
        raise InputError(
            "--min-area-m2 must be a finite number and not negative",
            came=str(area_m2),
            remedy="give 0 to keep everything",
        )
    return area_m2


def require_areas(min_area_m2: float, grid: RunGrid, *, remedy: str) -> None:
    """Refuse to drop objects by an area that the grid does not know. Raises InputError."""
    unknown = why_unknown(grid)
    if min_area_m2 > 0 and unknown:
        raise InputError("--min-area-m2 needs a run grid whose areas are known", came=unknown, remedy=remedy)


def result_parameters(config: RunConfig) -> dict[str, Any]:
    """Collect everything that can change the result, as plain values. Resources, limits, the runner, and
    looks that are off cannot. The limit for clouds can where scenes have masks (`prepare`).
    """
    second_looks = {"gate": asdict(config.gate)} if config.gate.on else {}
    if config.verifier.on:
        second_looks["verifier"] = config.verifier.result_parameters()
    if config.preset.examples.on:
        second_looks["examples"] = asdict(config.preset.examples)
    every = {"everything": asdict(config.preset.everything)} if config.prompter.kind == "grid" else {}
    times = {"datetime_of": list(config.source.datetimes)} if config.source.datetimes else {}
    return {
        "queries": list(config.queries),
        "area": asdict(config.area),
        "bands": config.source.bands,
        **times,
        "grid": config.grid.parameters(),
        "tiles": {key: value for key, value in asdict(config.tiles).items() if key != "max_cloud_share"},
        "load": config.load.result_parameters(),
        "prompter": config.prompter.result_parameters(),
        "segmenter": config.segmenter.result_parameters(),
        "stitch": asdict(config.stitch),
        "merge_mode": config.merge_mode,
        "min_area_m2": config.min_area_m2,
        **second_looks,
        **every,
    }
