"""Write and resume training checkpoints: weights as safetensors, with the optimiser's state beside them.

A checkpoint is a folder `step_NNNNNNN` that gets its name when it is complete. A restarted run continues from
the newest. Killing the process at any moment loses only the steps since then.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.optim import Optimizer

PREFIX = "step_"


def save_checkpoint(
    folder: Path,
    *,
    step: int,
    modules: Mapping[str, Module],
    optimisers: Mapping[str, Optimizer],
    keep: int = 2,
) -> Path:
    """Write modules and optimisers as the state after `step` steps; keep the newest `keep` checkpoints."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{PREFIX}{step:07d}"
    fresh = folder / f".{final.name}.{os.getpid()}"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for name, module in modules.items():
        state = {key: value.detach().contiguous().clone() for key, value in module.state_dict().items()}
        save_file(state, str(fresh / f"{name}.safetensors"))
    torch.save(
        {name: optimiser.state_dict() for name, optimiser in optimisers.items()}, fresh / "optimisers.pt"
    )
    (fresh / "step.json").write_text(json.dumps({"step": step}) + "\n")
    shutil.rmtree(final, ignore_errors=True)
    fresh.rename(final)
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def list_checkpoints(folder: Path) -> list[Path]:
    """List the complete checkpoints of a folder, oldest first."""
    return (
        sorted(path for path in folder.glob(f"{PREFIX}*") if (path / "step.json").is_file())
        if folder.is_dir()
        else []
    )


def step_of(checkpoint: Path) -> int:
    """Read the number of steps after which a checkpoint was written."""
    return int(json.loads((checkpoint / "step.json").read_text())["step"])


def load_modules(checkpoint: Path, modules: Mapping[str, Module]) -> None:
    """Load the weights of `modules` from one checkpoint, in place; every name and shape must match."""
    from safetensors.torch import load_file

    for name, module in modules.items():
        module.load_state_dict(load_file(str(checkpoint / f"{name}.safetensors")))


def resume(folder: Path, *, modules: Mapping[str, Module], optimisers: Mapping[str, Optimizer]) -> int:
    """Load the newest checkpoint in place and return its step; 0 when there is none.

    States are loaded to the CPU first, wherever they were computed. Each optimiser moves them to the device
    of its own parameters.
    """
    import torch

    found = list_checkpoints(folder)
    if not found:
        return 0
    load_modules(found[-1], modules)
    states = torch.load(found[-1] / "optimisers.pt", map_location="cpu", weights_only=True)
    for name, optimiser in optimisers.items():
        optimiser.load_state_dict(states[name])
    return step_of(found[-1])
