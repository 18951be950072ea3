"""Which architectures the installed vLLM serves, and which processors the installed transformers has.

Both libraries take many seconds to import. Their sources are read as text, and nothing of them runs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.errors import InputError

_TABLE = "_MULTIMODAL_MODELS"
"""Name of the table in vLLM's registry whose keys are the architectures that take images."""
_PROCESSOR = re.compile(r"^class (\w+)\(", re.MULTILINE)


@cache
def served_architectures() -> frozenset[str] | None:
    """Read the architectures with images that vLLM serves. None: vLLM is not here, or has another layout."""
    package = _package_folder("vllm")
    if package is None:
        return None
    try:
        tree = ast.parse((package / "model_executor/models/registry.py").read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return None
    tables = (node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict))
    for node in tables:
        if [ast.unparse(target) for target in node.targets] == [_TABLE]:
            return frozenset(ast.literal_eval(node.value))
    return None


@cache
def known_processors() -> frozenset[str] | None:
    """Read the processor classes that transformers has. None: it is not here, or has another layout."""
    package = _package_folder("transformers")
    files = list(package.glob("models/*/processing_*.py")) if package is not None else []
    if not files:
        return None
    return frozenset(name for file in files for name in _PROCESSOR.findall(file.read_text(encoding="utf-8")))


def _package_folder(name: str) -> Path | None:
    spec = find_spec(name)
    places = spec.submodule_search_locations if spec is not None else None
    return Path(places[0]) if places else None


def check_classes(place: str, config: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Check that a checkpoint can be served by what is installed, without running any code of its own.

    `config`: its config.json. `settings`: of its image processor. Raises InputError.
    """
    architectures = config.get("architectures")
    served = served_architectures()
    named = [str(name) for name in architectures] if isinstance(architectures, list) else []
    if served is not None and not served.intersection(named):
        raise InputError(
            "the architecture of the prompter's checkpoint must be one that the installed vLLM serves",
            came=f"{', '.join(named) or 'none'} in config.json of {place}",
            remedy="choose a checkpoint of another architecture, or install a vLLM that knows it",
        )
    processor = settings.get("processor_class")
    known = known_processors()
    if isinstance(processor, str) and known is not None and processor not in known:
        raise InputError(
            "the processor of the prompter's checkpoint must be one that the installed transformers has",
            came=f"{processor} of {place}",
            remedy="choose a revision in the format of transformers (often named NAME-hf): code that comes "
            "with a checkpoint is not run",
        )
