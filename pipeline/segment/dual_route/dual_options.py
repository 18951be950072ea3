"""The `[segmenter.dual]` table: which models the two routes use, and by which rules."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import InputError
from pipeline.files.hub.hub_repository import cached_folder

Routes = Literal["both", "a", "b"]
Rules = Literal["paper", "released"]
DualModel = Literal["clip", "sam3"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DualRouteOptions:
    """How boxes with a phrase become masks. The published settings are the defaults.

    Source: GeoSeg, section 3.3. `released` follows the authors' code where it differs (commit 0d45b5e, by
    reading): see `keypoints` and `fusion`.
    """

    clip: str = ""
    """Route A's CLIP: folder or hub id, such as openai/clip-vit-base-patch16."""
    sam3: str = ""
    """Route B's SAM3 for transformers: folder or hub id. Its weights are gated and have a licence of their
    own.
    """
    clip_revision: str | None = None
    """Branch, tag or commit of a hub id. A run puts the commit here."""
    sam3_revision: str | None = None
    routes: Routes = "both"
    """`a` or `b`: that route alone, as in the paper's ablation."""
    rules: Rules = "paper"
    top_k: int = 5
    """Most points of route A."""
    tau: float = 0.3
    """Least score of a point, of a map that reaches from 0 to 1."""
    gamma: float = 0.01
    """Least share of the box that a valid mask covers."""
    clip_px: int = 512
    """Side in pixels to which a crop is squashed for CLIP; the paper does not say, the released code has
    512.
    """
    text_threshold: float = 0.25
    """Least score of what SAM3 finds; the paper does not say, the released code has 0.25."""

    def __post_init__(self) -> None:
        shares = (self.tau, self.gamma, self.text_threshold)
        if self.top_k < 1 or self.clip_px < 32 or not all(0 <= share <= 1 for share in shares):
            raise ValueError(
                "top_k must be at least 1, clip_px at least 32, and tau, gamma and text_threshold shares, "
                f"got {self.top_k}, {self.clip_px} and {shares}"
            )
        for route, name in (("a", "clip"), ("b", "sam3")):
            if self.routes in ("both", route) and not getattr(self, name):
                raise ValueError(f"route {route} needs a model, and {name} is empty")

    @property
    def models(self) -> dict[str, str]:
        """Name the models that are used."""
        unused = {"a": ("sam3",), "b": ("clip",)}.get(self.routes, ())
        return {name: getattr(self, name) for name in ("clip", "sam3") if name not in unused}

    def revision_of(self, name: DualModel) -> str | None:
        """Revision of one of the models."""
        return self.clip_revision if name == "clip" else self.sam3_revision

    @property
    def hub_models(self) -> dict[DualModel, str]:
        """Name the models that are used and come from the hub."""
        names: tuple[DualModel, ...] = ("clip", "sam3")
        return {name: self.models[name] for name in names if is_hub_place(self.models.get(name, ""))}

    def result_parameters(self) -> dict[str, object]:
        """What can change a result, for a fingerprint."""
        given = asdict(self)
        return {key: value for key, value in given.items() if value is not None or "revision" not in key}


def is_hub_place(place: str) -> bool:
    """Whether a model's place is a hub id (owner/name) and no folder."""
    folder = Path(place)
    looks_local = place.startswith((".", "~")) or folder.is_absolute() or folder.parent.is_dir()
    return place.count("/") == 1 and not folder.exists() and not looks_local


def check_dual(options: DualRouteOptions) -> None:
    """Check that the folders of the models hold what they are named for. Raises InputError.

    Of a hub id the folder of its revision in the hub's cache counts; without one it passes.
    """
    for name, place in options.models.items():
        revision = options.clip_revision if name == "clip" else options.sam3_revision
        check_folder(place, revision, option=f"segmenter.dual.{name}", model_type=name)


def check_folder(place: str, revision: str | None, *, option: str, model_type: str) -> None:
    """Check that a folder holds a model of a type of transformers. Raises InputError.

    Of a hub id the folder of its revision in the hub's cache counts; without one it passes.
    """
    folder: Path | None = Path(place)
    if is_hub_place(place):
        folder = cached_folder(place, revision)
        if folder is None or not (folder / "config.json").is_file():
            return
    assert folder is not None, "a place that is no hub id is a folder"
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = config["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{option} must be the folder of a checkpoint or a hub id",
            came=f"{place}: {error!r}",
            remedy="name the folder that holds config.json and the weights",
        ) from error
    if kind != model_type:
        raise InputError(
            f"{option} must be a model of the type {model_type}",
            came=f"{place}, of the type {kind!r}",
            remedy="name another folder",
        )
