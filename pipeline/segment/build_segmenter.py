"""Build a segmenter from its options, and check these before any model is loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Literal

from pipeline.errors import InputError, ModelError
from pipeline.files.provenance import path_identity
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.segment.crop_segmenter import CropSegmenter
from pipeline.segment.dual_route.clip_surgery import ClipSurgery
from pipeline.segment.dual_route.dual_options import DualRouteOptions, check_dual
from pipeline.segment.dual_route.dual_route_segmenter import DualRouteSegmenter
from pipeline.segment.dual_route.sam3_text import Sam3Text
from pipeline.segment.mask_model.build_mask_model import (
    check_mask_model,
    mask_model_identity,
    mask_model_parameters,
)
from pipeline.segment.mask_model.mask_options import MaskModelOptions
from pipeline.segment.onnx_segmenter import OnnxSegmenter, export_folder, find_provider
from pipeline.segment.oracle_segmenter import OracleSegmenter
from pipeline.segment.sam2_model import resolve_config, resolve_path
from pipeline.segment.sam2_segmenter import Sam2Segmenter, find_device
from pipeline.segment.sam_export import find_export
from pipeline.segment.segmenter import Sam2Options, Segmenter
from pipeline.segment.segmenter_checkpoint import check_sam2
from pipeline.world.oracle import OracleTruth, check_aligned, parse_oracle


@dataclass(frozen=True, kw_only=True)
class SegmenterOptions(Sam2Options):
    """The `[segmenter]` table: what makes masks.

    For kind "sam-onnx", `checkpoint` is a folder with an encoder and a decoder (`sam_export`), which fix what
    `config`, `image_px` and `dtype` choose for SAM2. For kind "oracle" it is
    oracle:labels.tif[?noise=mild|strong&seed=N], and all other options are ignored. Kind "mask-model" is what
    the table [mask_model] stands for: there is no segmenter, and the model is asked by the query.
    """

    kind: Literal["sam2", "sam-onnx", "oracle", "mask-model"] = "sam2"
    mask_model: MaskModelOptions | None = None
    """For kind "mask-model" alone."""
    dual: DualRouteOptions | None = None
    """GeoSeg's two routes around the segmenter that the other options choose. None: it is prompted itself."""
    crop_share: float = 0.0
    """Above 0: each prompt with a box is drawn on a crop of its own, of whose side the box takes this share
    (`crop_segmenter`). 0: all prompts of a tile are drawn on the tile.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.mask_model is None) == (self.kind == "mask-model"):
            raise ValueError("a mask model is named by the table [mask_model], and by it alone")
        if self.mask_model is not None and (self.dual is not None or self.crop_share):
            raise ValueError("two routes and crops are for prompts, and a mask model takes none")
        if self.dual is not None and self.kind == "oracle":
            raise ValueError("two routes need a segmenter that looks at pictures, and the kind is 'oracle'")
        if not 0 <= self.crop_share <= 1:
            raise ValueError(f"crop_share is a share from 0 (off) to 1, got {self.crop_share}")
        if self.dual is not None and self.crop_share:
            raise ValueError("two routes cut their own crops, so crop_share is to be left out")

    @property
    def model_id(self) -> str:
        """Name of the model for tables of results, found without looking at its files."""
        if self.kind == "oracle":
            href, mark, noise = self.checkpoint.partition("?")
            return f"oracle:{PurePath(href.removeprefix('oracle:')).name}{mark}{noise}"
        if self.mask_model is not None:
            return self.mask_model.name
        if self.kind == "sam-onnx":
            return PurePath(self.checkpoint).name
        if not self.checkpoint:
            return "embedded-segmenter"
        path = PurePath(self.checkpoint)
        local = path.suffix in (".pt", ".safetensors")
        return f"{path.parent.name}/{path.name}" if local else self.checkpoint

    @property
    def serves_any_grid(self) -> bool:
        """Whether one segmenter serves runs on any grid, with tiles of one size."""
        return self.kind != "oracle"

    def splits(self, one_mask: bool) -> bool:
        """Whether connected parts of a mask model's masks are objects. `one_mask`: what it says of them."""
        return self.mask_model is not None and self.mask_model.splits(one_mask)

    def result_parameters(self) -> dict[str, object]:
        """Every option that can change a result, for a fingerprint. An oracle has only two of them."""
        if self.mask_model is not None:
            return {"kind": self.kind, "mask_model": self.mask_model.result_parameters()}
        every = super().result_parameters()
        del every["mask_model"]
        share = every.pop("crop_share")
        crops = {"crop_share": share} if share else {}
        counts = {"oracle": ("kind", "checkpoint"), "sam-onnx": ("kind", "checkpoint", "mask_threshold")}
        named = {name: every[name] for name in counts.get(self.kind, tuple(every)) if name != "dual"} | crops
        return named if self.dual is None else {**named, "dual": self.dual.result_parameters()}


def pinned_parameters(options: SegmenterOptions) -> dict[str, object]:
    """What can change a result, with the content of files in place of their names. Raises ModelError for an
    unknown SAM2, and for a mask model that does not say hello."""
    if options.mask_model is not None:
        return {
            "kind": options.kind,
            "mask_model": mask_model_parameters(options.mask_model),
            "checkpoint": mask_model_identity(options.mask_model),
        }
    if options.kind == "oracle":
        files = {"checkpoint": parse_oracle(options.checkpoint).labels_href}
    elif options.kind == "sam-onnx":
        files = {"checkpoint": str(export_folder(options.checkpoint))}
    else:
        files = {
            "checkpoint": str(resolve_path(options.checkpoint)),
            "config": str(resolve_config(options.config, options.checkpoint)),
        }
    pinned = options.result_parameters() | {name: path_identity(path) for name, path in files.items()}
    if options.dual is not None:
        models = {name: path_identity(place) for name, place in options.dual.models.items()}
        pinned["dual"] = options.dual.result_parameters() | models
    return pinned


def check_segmenter(options: SegmenterOptions, grid: RunGrid) -> None:
    """Check the segmenter without loading a model. Raises InputError.

    A SAM2 checkpoint must exist and fit the config's architecture. An export must hold an encoder and a
    decoder that belong together. An oracle's raster must lie on the grid. A mask model's
    process must say hello.
    """
    if options.mask_model is not None:
        check_mask_model(options.mask_model)
        return
    if options.dual is not None:
        check_dual(options.dual)
    if options.kind == "oracle":
        check_aligned(parse_oracle(options.checkpoint).labels_href, grid)
    elif options.kind == "sam-onnx":
        _check_onnx(options)
    else:
        check_sam2_options(options)


def _check_onnx(options: SegmenterOptions) -> None:
    _check_device_name(options.device)
    plain = Sam2Options()
    for name in ("config", "image_px", "dtype"):
        if (came := getattr(options, name)) != getattr(plain, name):
            raise InputError(
                f"segmenter.{name} is for SAM2, and an export in ONNX has it built in",
                came=f"{came!r} with kind sam-onnx",
                remedy="leave it out",
            )
    find_export(export_folder(options.checkpoint))


def check_sam2_options(options: Sam2Options) -> None:
    """Check the device's name and, from file headers alone, checkpoint and config. Raises InputError."""
    _check_device_name(options.device)
    check_sam2(options)


def _check_device_name(device: str) -> None:
    if device not in ("auto", "cpu", "mps") and not device.startswith("cuda"):
        raise InputError(
            "the segmenter's device must be auto, cpu or cuda",
            came=repr(device),
            remedy="choose one of them",
        )


def check_device(options: SegmenterOptions) -> None:
    """Check that this machine has the segmenter's device. Raises InputError.

    Imports torch or onnxruntime and loads no model. `auto` always passes: to look for a GPU would start CUDA
    here, and a process forked later could not start it again.
    """
    if options.kind in ("oracle", "mask-model") or options.device == "auto":
        return
    try:
        (find_provider if options.kind == "sam-onnx" else find_device)(options.device)
    except ModelError as error:
        raise InputError(str(error)) from error


def build_segmenter(options: SegmenterOptions, lattice: TileLattice | None = None) -> Segmenter:
    """Load the segmenter. Raises ModelError, InputError.

    `lattice` is that of the run. It gives the tile size, to which border tiles are padded, and the grid on
    which an oracle's raster lies. None: each image is padded to its own longer side.
    """
    if options.mask_model is not None:
        raise InputError(
            "masks of prompts need a segmenter, and a mask model takes none",
            came="[mask_model]",
            remedy="leave it out here",
        )
    if options.kind == "oracle":
        spec = parse_oracle(options.checkpoint)
        truth = (
            OracleTruth.on_grid(spec, lattice.grid)
            if lattice
            else OracleTruth(spec.labels_href, spec.noise, spec.seed)
        )
        return OracleSegmenter(truth, model_id=options.model_id)
    if options.dual is not None:
        return _build_dual(options, options.dual)
    tile_px = lattice.tile_px if lattice and not options.crop_share else 0
    segmenter: Segmenter = (
        OnnxSegmenter(options, tile_px=tile_px)
        if options.kind == "sam-onnx"
        else Sam2Segmenter(options, tile_px=tile_px)
    )
    return CropSegmenter(segmenter, options.crop_share) if options.crop_share else segmenter


def _build_dual(options: SegmenterOptions, dual: DualRouteOptions) -> DualRouteSegmenter:
    """Load the models of both routes. The inner segmenter sees boxes of any size, so it pads to no tile."""
    device = find_device(options.device)
    used = dual.models
    matcher = None
    finder = None
    if "clip" in used:
        matcher = ClipSurgery(used["clip"], revision=dual.clip_revision, device=device, image_px=dual.clip_px)
    if "sam3" in used:
        finder = Sam3Text(
            used["sam3"], revision=dual.sam3_revision, device=device, threshold=dual.text_threshold
        )
    return DualRouteSegmenter(
        build_segmenter(replace(options, dual=None)), dual, matcher=matcher, finder=finder
    )
