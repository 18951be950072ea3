"""The models of one process, each loaded once, however many runs are worked on.

The zones of a region are runs of their own with the same models. Models that judge pictures alone serve all
of them. An oracle, or known locations, lie on the grid of a run, so every grid has its own.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.prompt.build_prompter import build_looks, build_prompter
from pipeline.prompt.looks.verifier import LooksAt
from pipeline.prompt.prompter import Prompter
from pipeline.run.config import RunConfig
from pipeline.run.infer.attempts import Room
from pipeline.schema.tiling import TileLattice
from pipeline.segment.build_segmenter import build_segmenter
from pipeline.segment.kept_embeddings import with_cache
from pipeline.segment.mask_model.build_mask_model import build_mask_model
from pipeline.segment.mask_model.mask_model import MaskModel
from pipeline.segment.segmenter import Segmenter


class SharedModels:
    """Gives runs their models. One is loaded when it is first asked for."""

    def __init__(self) -> None:
        """Load nothing yet."""
        self.room = Room()
        """Who may ask the prompter now: its process dies for all runs together."""
        self._prompters: list[tuple[object, Prompter]] = []
        self._segmenters: list[tuple[object, Segmenter]] = []
        self._mask_models: list[tuple[object, MaskModel]] = []
        self._looks: list[tuple[object, LooksAt | None]] = []

    def prompter(self, config: RunConfig, lattice: TileLattice) -> Prompter:
        """Give the prompter of a run. Raises InputError, ModelError."""
        options = config.prompter
        key = (options, None if options.serves_any_grid else lattice.grid)
        return _once(self._prompters, key, lambda: build_prompter(options, lattice.grid))

    def segmenter(self, config: RunConfig, lattice: TileLattice) -> Segmenter:
        """Give the segmenter of a run. Raises InputError, ModelError."""
        options = config.segmenter
        key = (options, lattice.tile_px if options.serves_any_grid else lattice)
        cache = config.preset.cache
        return _once(self._segmenters, key, lambda: with_cache(build_segmenter(options, lattice), cache))

    def mask_model(self, config: RunConfig) -> MaskModel | None:
        """Give the mask model of a run. None: prompts are drawn by a segmenter. Raises ModelError."""
        options = config.segmenter.mask_model
        if options is None:
            return None
        return _once(self._mask_models, options, lambda: build_mask_model(options))

    def looks(self, config: RunConfig, lattice: TileLattice) -> LooksAt | None:
        """Give the verifier of a run in a process without a prompter. None: it is off. Raises InputError,
        ModelError.
        """
        options = config.prompter
        key = (config.verifier, options, None if options.serves_any_grid else lattice.grid)
        return _once(self._looks, key, lambda: build_looks(config.verifier, options, lattice.grid))

    def close(self) -> None:
        """Release the prompters and the mask models."""
        for _, mask_model in self._mask_models:
            mask_model.close()
        for _, prompter in self._prompters:
            prompter.close()


def _once[T](held: list[tuple[object, T]], key: object, build: Callable[[], T]) -> T:
    """What is held under an equal key; else it is built and held. Options are compared, as not all can be
    hashed.
    """
    for known, model in held:
        if known == key:
            return model
    model = build()
    held.append((key, model))
    return model
