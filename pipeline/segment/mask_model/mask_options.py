"""The `[mask_model]` table: which model is asked for masks, and how it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

ADAPTERS = Path(__file__).parent / "child"

Option = str | int | float | bool
Parts = Literal["auto", "split", "keep"]

HOW_IT_IS_RUN = frozenset({"device", "python", "limit_s", "load_s", "repo", "adapter", "options"})
"""Options left out of a fingerprint; of repository, adapter and its options their content is in it."""


@dataclass(frozen=True, kw_only=True)
class MaskModelOptions:
    """A model that is asked by a query and gives masks itself, in place of [prompter] and [segmenter]."""

    kind: Literal["sam3-text", "process"]
    """sam3-text: SAM3 asked by words, in this process. process: any model, in a process and an environment of
    its own.
    """
    checkpoint: str = ""
    """For sam3-text: folder or hub id of a SAM3 for transformers."""
    revision: str | None = None
    """Branch, tag or commit of a hub id; ignored for folders. A run puts the commit here."""
    threshold: float = 0.5
    """For sam3-text: least score of an instance."""
    device: str = "auto"
    """For sam3-text: auto (cuda when there is one), cpu, cuda, cuda:1, ..."""
    python: str = ""
    """For process: Python of the model's environment, 3.9 or newer, with numpy."""
    adapter: str = ""
    """For process: a shipped adapter (lisa, pixellm, psalm, segearth-r1, segearth-r2), or a path."""
    repo: str = ""
    """For process: working tree of the model's repository. It comes first in its module path and is its
    working directory. Empty: it needs none.
    """
    options: Mapping[str, Option] = field(default_factory=dict)
    """For process: what the adapter takes."""
    limit_s: float = 120.0
    """For process: seconds for all queries about one tile."""
    load_s: float = 600.0
    """For process: seconds for its weights."""
    parts: Parts = "auto"
    """split: every connected part of a mask is an object. keep: a mask is an object. auto: split where the
    model draws all objects of a query as one mask.
    """

    def __post_init__(self) -> None:
        if self.kind == "sam3-text" and not self.checkpoint:
            raise ValueError("kind sam3-text needs checkpoint, the folder or hub id of a SAM3")
        for name in ("python", "adapter"):
            if self.kind == "process" and not getattr(self, name):
                raise ValueError(f"kind process needs {name}, too")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is a score from 0 to 1, got {self.threshold}")
        if not (0 < self.limit_s < float("inf") and 0 < self.load_s < float("inf")):
            raise ValueError(f"limit_s and load_s are seconds, got {self.limit_s} and {self.load_s}")

    @property
    def adapter_file(self) -> Path:
        """The adapter's file; a name without a suffix is a shipped one's."""
        if self.adapter.endswith(".py"):
            return Path(self.adapter).absolute()
        return ADAPTERS / f"{self.adapter.replace('-', '_')}_adapter.py"

    @property
    def name(self) -> str:
        """Short name, found without looking at files."""
        if self.kind == "process":
            return Path(self.adapter).stem
        return f"sam3-text {Path(self.checkpoint).name}"

    def splits(self, one_mask: bool) -> bool:
        """Whether connected parts are objects. `one_mask`: what the model says of its masks."""
        return one_mask if self.parts == "auto" else self.parts == "split"

    def result_parameters(self) -> dict[str, object]:
        """What can change a result, for a fingerprint, as far as this table tells."""
        every = {name: value for name, value in asdict(self).items() if name not in HOW_IT_IS_RUN}
        if self.kind == "process":
            return {"kind": self.kind, "parts": self.parts}
        if every["revision"] is None:
            del every["revision"]
        return every


def shipped_adapters() -> tuple[str, ...]:
    """Names of the adapters that come with the package."""
    suffix = "_adapter"
    names = (path.stem.removesuffix(suffix) for path in ADAPTERS.glob(f"*{suffix}.py"))
    return tuple(sorted(name.replace("_", "-") for name in names))
