"""A gate that knows the truth: whether any object of the label raster is visible in the tiles of a look.

Without noise the probability is 1 or 0. With noise its log-odds are normally distributed around +m or -m
(`MARGINS`). So the share of present looks that pass a threshold t is known, Phi(m - logit t), and a
calibration must measure exactly that.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from statistics import NormalDist

from pipeline.errors import SourceError
from pipeline.prompt.looks.gate import Look
from pipeline.schema.tiling import RunGrid
from pipeline.world.oracle import OracleSpec, OracleTruth, parse_oracle

MARGINS = {"mild": 3.0, "strong": 1.5}
"""Noise -> mean m of the log-odds where something is visible; -m elsewhere. Their standard deviation is 1."""


class OracleGate:
    """A `Gate` that reads an aligned label raster. The query decides nothing but the draw of the noise."""

    def __init__(self, model: str, grid: RunGrid) -> None:
        """`model` is `oracle:PATH[?noise=...&seed=...]`. Raises InputError as the oracle prompter does."""
        spec = parse_oracle(model)
        self._noise = spec.noise
        self._seed = spec.seed
        self._truth = OracleTruth.on_grid(OracleSpec(labels_href=spec.labels_href), grid)

    async def look(self, look: Look, queries: Sequence[str]) -> list[float | None]:
        """Judge by what is visible; all None when the raster cannot be read."""
        try:
            visible = any(self._truth.tile(tile).n_objects for tile in look.tiles)
        except SourceError:
            return [None] * len(queries)
        if self._noise is None:
            return [1.0 if visible else 0.0] * len(queries)
        mean = MARGINS[self._noise] if visible else -MARGINS[self._noise]
        return [
            1 / (1 + math.exp(-(mean + _normal(f"{self._seed}\0{look.key}\0{query}")))) for query in queries
        ]


def _normal(text: str) -> float:
    """Draw a standard normal number from the hash of a text."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return NormalDist().inv_cdf((int.from_bytes(digest, "big") + 0.5) / 2.0**64)
