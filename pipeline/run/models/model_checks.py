"""Everything about the models of a run that is settled before one is loaded.

1. `commit_models` asks the hub which commits count, and brings here what is small enough to be checked.
2. `check_models` says whether they can be had, and whether they fit into the device.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.run.choose_runner import ChosenRunner, cluster_named
from pipeline.run.config import Preset
from pipeline.run.models.device_memory import DeviceMemory, find_device_memory
from pipeline.run.models.hub_pins import (
    PinnedModel,
    earlier_commits,
    fetch_small,
    hub_models,
    pin_models,
    require_models,
)
from pipeline.run.models.memory_needs import MemoryNeeds, memory_needs, require_memory
from pipeline.write.run_dir import RunDir


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedModels:
    """What is known of the models of a run."""

    pinned: tuple[PinnedModel, ...] = ()
    """Those that come from the hub."""
    needs: MemoryNeeds = field(default_factory=MemoryNeeds)
    device: DeviceMemory | None = None
    """Device of this machine. None: other machines load the models."""


def commit_models(preset: Preset, run_dir: RunDir | None) -> tuple[Preset, tuple[PinnedModel, ...]]:
    """Ask the hub once which commits its models mean, and put them into the options.

    `run_dir`: keeps the commits of the run that is there. None: nothing is kept. Raises InputError for a
    repository or a revision that cannot be had.
    """
    if not hub_models(preset):
        return preset, ()
    preset, models = pin_models(preset, {} if run_dir is None else earlier_commits(run_dir))
    fetch_small(models)
    return preset, models


def check_models(
    preset: Preset, pinned: tuple[PinnedModel, ...], runner: ChosenRunner, *, dry_run: bool
) -> CheckedModels:
    """Check that the models can be had and fit into this machine's device, as far as they are loaded here. A
    dry run only tells. Raises InputError.
    """
    needs = memory_needs(preset, pinned)
    elsewhere = runner.name == "ray" and cluster_named()
    device = None if elsewhere else find_device_memory()
    if not dry_run:
        require_models(pinned, elsewhere=elsewhere)
        if device is not None:
            require_memory(needs, preset, device)
    return CheckedModels(pinned=pinned, needs=needs, device=device)
