"""Build a segmenter from its options, and check these before any model is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from pipeline.errors import InputError, ModelError
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.segment.oracle_segmenter import OracleSegmenter
from pipeline.segment.sam2_segmenter import Sam2Segmenter, find_device
from pipeline.segment.segmenter import Sam2Options, Segmenter
from pipeline.segment.segmenter_checkpoint import check_sam2
from pipeline.world.oracle import OracleTruth, check_aligned, parse_oracle


@dataclass(frozen=True, kw_only=True)
class SegmenterOptions(Sam2Options):
    """The `[segmenter]` table: what makes masks.

    For kind "oracle", `checkpoint` is oracle:labels.tif[?noise=mild|strong&seed=N]; all other options are
    ignored.
    """

    kind: Literal["sam2", "oracle"] = "sam2"

    @property
    def model_id(self) -> str:
        """Name of the model for tables of results, found without looking at its files."""
        if self.kind == "oracle":
            href, mark, noise = self.checkpoint.partition("?")
            return f"oracle:{PurePath(href.removeprefix('oracle:')).name}{mark}{noise}"
        if not self.checkpoint:
            return "embedded-segmenter"
        path = PurePath(self.checkpoint)
        local = path.suffix in (".pt", ".safetensors")
        return f"{path.parent.name}/{path.name}" if local else self.checkpoint

    @property
    def serves_any_grid(self) -> bool:
        """Whether one segmenter serves runs on any grid, with tiles of one size."""
        return self.kind == "sam2"

    def result_parameters(self) -> dict[str, object]:
        """Every option that can change a result, for a fingerprint. An oracle has only two of them."""
        if self.kind == "oracle":
            return {"kind": self.kind, "checkpoint": self.checkpoint}
        return super().result_parameters()


def check_segmenter(options: SegmenterOptions, grid: RunGrid) -> None:
    """Check the segmenter without loading a model. Raises InputError.

    A SAM2 checkpoint must exist and fit the config's architecture; an oracle's raster must lie on the grid.
    """
    if options.kind == "oracle":
        check_aligned(parse_oracle(options.checkpoint).labels_href, grid)
        return
    check_sam2_options(options)


def check_sam2_options(options: Sam2Options) -> None:
    """Check the device's name and, from file headers alone, checkpoint and config. Raises InputError."""
    if options.device not in ("auto", "cpu", "mps") and not options.device.startswith("cuda"):
        raise InputError(
            "the segmenter's device must be auto, cpu or cuda",
            came=repr(options.device),
            remedy="choose one of them",
        )
    check_sam2(options)


def check_device(options: SegmenterOptions) -> None:
    """Check that this machine has the segmenter's device. Raises InputError.

    Imports torch and loads no model. `auto` always passes: to look for a GPU would start CUDA here, and a
    process forked later could not start it again.
    """
    if options.kind == "oracle" or options.device == "auto":
        return
    try:
        find_device(options.device)
    except ModelError as error:
        raise InputError(str(error)) from error


def build_segmenter(options: SegmenterOptions, lattice: TileLattice | None = None) -> Segmenter:
    """Load the segmenter. Raises ModelError, InputError.

    `lattice` is that of the run. It gives the tile size, to which border tiles are padded, and the grid on
    which an oracle's raster lies. None: each image is padded to its own longer side.
    """
    if options.kind == "oracle":
        spec = parse_oracle(options.checkpoint)
        truth = (
            OracleTruth.on_grid(spec, lattice.grid)
            if lattice
            else OracleTruth(spec.labels_href, spec.noise, spec.seed)
        )
        return OracleSegmenter(truth, model_id=options.model_id)
    return Sam2Segmenter(options, tile_px=lattice.tile_px if lattice else 0)
