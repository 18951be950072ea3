"""Options -> a prompter. The one place that knows all kinds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pipeline.errors import InputError
from pipeline.prompt.oracle import OraclePrompter
from pipeline.prompt.prompter import Prompter
from pipeline.prompt.vector_prompter import VectorPrompter
from pipeline.prompt.vllm_prompter import VllmOptions, VllmPrompter, check_model
from pipeline.schema import RunGrid

PrompterKind = Literal["vllm", "vector", "oracle"]


@dataclass(frozen=True, kw_only=True)
class PrompterOptions:
    """Who answers the questions."""

    kind: PrompterKind
    model: str
    """vllm: checkpoint directory, `models/<name>` for a shipped one, or hub id. vector: the file. oracle: `oracle:labels.tif`."""
    vllm: VllmOptions = field(default_factory=VllmOptions)
    """Read by kind `vllm` alone."""

    def __post_init__(self) -> None:
        if not self.model:
            raise ValueError("model must not be empty")


def check_prompter(options: PrompterOptions, grid: RunGrid) -> None:
    """Everything that can be found wrong without loading a model. Raises InputError.

    For `vector` this reads the file; for `oracle` the raster's header.
    """
    if options.kind == "vllm":
        check_model(options.model, options.vllm)
    else:
        build_prompter(options, grid).close()


def build_prompter(options: PrompterOptions, grid: RunGrid) -> Prompter:
    """The prompter of these options; a `vllm` one loads its engine now. Raises InputError, ModelError."""
    match options.kind:
        case "vllm":
            return VllmPrompter(options.model, options.vllm)
        case "vector":
            return VectorPrompter(options.model, grid)
        case "oracle":
            return OraclePrompter(options.model, grid)
    raise InputError("a prompter's kind must be vllm, vector or oracle", came=repr(options.kind), remedy="choose one of them")
