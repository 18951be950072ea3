"""Read the truth of a world: the object of every pixel, and the objects that answer a query.

`read_truth` opens what `jobs/make_world.py` wrote, and `read_labels` reads windows of its label raster.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import rasterio.windows
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.schema.tiling import Window
from pipeline.world.truth import other_wordings


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The exact answer to every query about one world."""

    labels_path: Path
    class_of: dict[int, str]
    """Instance id -> class."""
    queries: tuple[dict[str, str], ...]
    """Items of queries.json: query, class, kind."""
    other_wordings: tuple[dict[str, str], ...] = ()
    """The same for all other wordings of queries about this world."""

    def class_for(self, query: str) -> str:
        """Find the class that a query asks for; "" when no object of any world answers it.

        Raises InputError for an unknown query.
        """
        for item in (*self.queries, *self.other_wordings):
            if item["query"] == query:
                return item["class"]
        raise InputError(
            "the run's queries must come from the world's queries.json or pipeline/world/queries.py, "
            "so that their true class is known",
            came=repr(query),
            remedy="run jobs/segment_region.py with --queries-from WORLD/queries.json, "
            "or add the query and its class to that file",
        )

    def ids_of(self, class_name: str) -> NDArray[np.int64]:
        return np.array(sorted(i for i, c in self.class_of.items() if c == class_name), dtype=np.int64)


def read_truth(world_dir: Path) -> Truth:
    """Read the truth of a world directory. Raises InputError when a file of `jobs/make_world.py` is missing.

    world.json must be there too, although nothing is read from it: without it the drawing was interrupted,
    and the other files may belong to two scenes.
    """
    for name in ("labels.tif", "truth.parquet", "queries.json", "world.json"):
        if not (world_dir / name).is_file():
            remedy = (
                "make one with python jobs/make_world.py --seed 7 --size 4096 --out DIR, "
                "or finish one with its own command"
            )
            raise InputError(f"a world directory needs {name}", came=str(world_dir), remedy=remedy)
    frame = gpd.read_parquet(world_dir / "truth.parquet")
    class_of = {int(i): str(c) for i, c in zip(frame["instance_id"], frame["class"], strict=True)}
    queries = tuple(json.loads((world_dir / "queries.json").read_text()))
    return Truth(
        labels_path=world_dir / "labels.tif",
        class_of=class_of,
        queries=queries,
        other_wordings=tuple(other_wordings(queries, frozenset(class_of.values()))),
    )


def read_labels(labels: rasterio.DatasetReader, window: Window, offset: tuple[int, int]) -> NDArray[np.int64]:
    """Read the instance ids (H, W) of a window of the run grid; 0 = background, also beyond the raster.

    `offset`: `pipeline.world.oracle.grid_offset`.
    """
    moved = window.shifted(*offset)
    out: NDArray[np.int64] = labels.read(
        1,
        window=rasterio.windows.Window(moved.col0, moved.row0, moved.width, moved.height),
        boundless=True,
        fill_value=0,
    ).astype(np.int64)
    return out
