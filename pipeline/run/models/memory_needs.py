"""What the models of a preset need of a device's memory, and whether it is there.

1. `memory_needs` works it out from files that are here or that the hub lists, or else from what was
   published.
2. `require_memory` refuses what cannot fit. It counts weights and the cache of a single request, no more:
   what it refuses would not start, and of what it lets through vLLM may still say that it needs more.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.prompt.checkpoint_files import read_json
from pipeline.prompt.checkpoint_memory import EngineMemory, EngineShape, engine_memory, shape_of
from pipeline.prompt.prompter_checkpoint import checkpoint_folder, resolve_model
from pipeline.run.config import Preset
from pipeline.run.models.device_memory import DeviceMemory
from pipeline.run.models.hub_pins import PinnedModel
from pipeline.run.models.published_models import published_models
from pipeline.segment.sam2_model import hub_entry, is_hub_weights, resolve_path


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryNeeds:
    """Bytes that the models of a run need. None: there is no such model, or it is unknown."""

    engine: EngineMemory | None = None
    segmenter: int | None = None
    """Weights of the segmenter, in float32."""


def memory_needs(preset: Preset, models: tuple[PinnedModel, ...]) -> MemoryNeeds:
    """Work out what the models need. `models`: those of them that come from the hub."""
    pinned = {one.model.role: one for one in models}
    return MemoryNeeds(
        engine=_engine(preset, pinned.get("prompter")) if preset.prompter.kind == "vllm" else None,
        segmenter=_segmenter(preset, pinned.get("segmenter")) if preset.segmenter.kind == "sam2" else None,
    )


def _engine(preset: Preset, pinned: PinnedModel | None) -> EngineMemory:
    vllm = preset.prompter.vllm
    model = resolve_model(preset.prompter.model)
    published = published_models().get(model)
    folder = checkpoint_folder(model, vllm.revision)
    weights = None
    if pinned is not None:
        sizes = [file.size for file in pinned.needed if file.name.endswith(".safetensors")]
        weights = sum(sizes) or None
    elif folder is not None and folder.is_dir():
        weights = sum(path.stat().st_size for path in folder.glob("*.safetensors")) or None
    shape = EngineShape()
    if folder is not None and (folder / "config.json").is_file():
        shape = shape_of(read_json(folder / "config.json"))
    elif published is not None:
        shape = published.shape
    if weights is None and published is not None:
        weights = published.weights_bytes
    return engine_memory(shape, vllm, weights_bytes=weights)


def _segmenter(preset: Preset, pinned: PinnedModel | None) -> int | None:
    checkpoint = preset.segmenter.checkpoint
    if is_hub_weights(checkpoint):
        name = hub_entry(checkpoint)[1]
        listed = [file.size for file in pinned.needed if file.name == name] if pinned is not None else []
        published = published_models().get(checkpoint)
        return listed[0] if listed else published.weights_bytes if published is not None else None
    path = Path(resolve_path(checkpoint))
    return path.stat().st_size if path.is_file() else None


def require_memory(needs: MemoryNeeds, preset: Preset, device: DeviceMemory) -> None:
    """Refuse models that do not fit into the device. What is unknown passes. Raises InputError."""
    engine = needs.engine
    least = engine.least if engine is not None else 0
    segmenter = needs.segmenter or 0
    vllm = preset.prompter.vllm
    if least is None:
        return
    if device.is_gpu and engine is not None:
        share = vllm.gpu_memory_utilization
        if least > share * device.total:
            raise InputError(
                "weights and cache of the prompter must fit into its share of the device",
                came=f"{in_gb(least)} for {share:g} of {in_gb(device.total)} ({device.name})",
                remedy="take a larger GPU or a preset with a smaller model, lower max_model_len, or raise "
                "gpu_memory_utilization under [prompter.vllm] in --config",
            )
        if share * device.total + segmenter > device.total and preset.segmenter.device != "cpu":
            raise InputError(
                "the segmenter must find room beside the prompter",
                came=f"{in_gb(segmenter)} for what {share:g} leaves of {in_gb(device.total)} ({device.name})",
                remedy="lower gpu_memory_utilization under [prompter.vllm] in --config",
            )
    elif least + segmenter > device.total:
        raise InputError(
            "the models must fit into the memory of the device",
            came=f"{in_gb(least + segmenter)} of weights and cache for {in_gb(device.total)} ({device.name})",
            remedy="take a machine with more memory or a preset with smaller models, or lower max_model_len "
            "or kv_cache_gib under [prompter.vllm] in --config",
        )


def in_gb(count: int) -> str:
    """Write bytes in GB, or in MB below one."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
