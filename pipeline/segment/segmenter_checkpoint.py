"""Check that a SAM2 checkpoint exists and belongs to its config, without loading it.

1. `read_shapes` reads the names of the tensors from a file's header; safetensors headers also give shapes.
2. `check_sam2` compares them with the YAML: the parts of a SAM2, width and depth of its encoder, and the
   tensors that only SAM2.1 has.

This takes milliseconds and imports neither torch nor sam2, so bad input fails early.
"""

from __future__ import annotations

import os
import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, ModelError
from pipeline.segment.sam2_model import hub_entry, is_hub_weights, resolve_config, resolve_path
from pipeline.segment.segmenter import Sam2Options

PARTS = ("image_encoder.trunk.", "sam_prompt_encoder.", "sam_mask_decoder.")
"""Prefixes that the weights of every SAM2 have."""

_FIRST_LAYER = "image_encoder.trunk.patch_embed.proj.weight"

SWITCHED = {
    "no_obj_embed_spatial": "no_obj_embed_spatial",
    "proj_tpos_enc_in_obj_ptrs": "obj_ptr_tpos_proj.weight",
}
"""Switch in the YAML's `model` -> tensor that only a model with that switch has. SAM2.1 sets both switches,
SAM2.0 neither; their encoders are alike.
"""


def check_sam2(options: Sam2Options) -> None:
    """Check that the checkpoint is there, readable and of the config's architecture. Raises InputError."""
    try:
        config = resolve_config(options.config, options.checkpoint)
        if is_hub_weights(options.checkpoint):
            _check_hub(options.checkpoint, options.revision)
            return
    except ModelError as error:
        raise InputError(
            "the segmenter must be a known SAM2",
            came=str(error),
            remedy="correct the config or the checkpoint",
        ) from error
    path = resolve_path(options.checkpoint)
    if not path.is_file():
        remedy = "name a .safetensors or .pt file, or a hub id such as facebook/sam2.1-hiera-small"
        raise InputError("the segmenter's checkpoint must exist", came=str(path), remedy=remedy)
    shapes = read_shapes(path)
    absent = [part for part in PARTS if not any(name.startswith(part) for name in shapes)]
    if absent:
        came = f"{path}, which has no tensors named {', '.join(absent)}"
        raise InputError("the segmenter's checkpoint must hold a SAM2", came=came, remedy="pass SAM2 weights")
    model = _model_node(config)
    _check_trunk(path, shapes, config, model)
    _check_version(path, shapes, config, model)


def _check_hub(hub_id: str, revision: str | None) -> None:
    _, weights = hub_entry(hub_id)
    if os.environ.get("HF_HUB_OFFLINE", "0") in ("", "0"):
        return
    from huggingface_hub import try_to_load_from_cache

    if not isinstance(try_to_load_from_cache(repo_id=hub_id, filename=weights, revision=revision), str):
        came = f"{hub_id} with HF_HUB_OFFLINE set and {weights} not in the local cache"
        raise InputError(
            "the segmenter's checkpoint must be at hand",
            came=came,
            remedy=f"fetch {weights} first and pass its path",
        )


def read_shapes(path: Path) -> dict[str, tuple[int, ...] | None]:
    """Read tensor name -> shape; None where the header does not say. Raises InputError for another file type.

    A .pt file is a zip with a pickle; `pickletools` lists its strings and runs nothing.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="numpy") as file:
                return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        with zipfile.ZipFile(path) as archive:
            member = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            opcodes = pickletools.genops(archive.read(member))
            return {argument: None for _, argument, _ in opcodes if isinstance(argument, str)}
    except Exception as error:
        came = f"{path} ({type(error).__name__}: {error})"
        raise InputError(
            "the segmenter's checkpoint must be a readable weights file", came=came, remedy="fetch it again"
        ) from error


def _check_trunk(
    path: Path, shapes: Mapping[str, tuple[int, ...] | None], config: Path, model: Mapping[str, Any]
) -> None:
    trunk = model["image_encoder"]["trunk"]
    width = int(trunk.get("embed_dim", 96))
    depth = sum(int(n) for n in trunk.get("stages", (2, 3, 16, 3)))
    blocks = {name.split(".")[3] for name in shapes if name.startswith("image_encoder.trunk.blocks.")}
    first = shapes.get(_FIRST_LAYER)
    if len(blocks) != depth or (first is not None and first[0] != width):
        has = f"{len(blocks)} encoder blocks" + (f" of width {first[0]}" if first is not None else "")
        raise _other_architecture(f"{path} has {has}, {config.name} describes {depth} of width {width}")


def _check_version(
    path: Path, shapes: Mapping[str, tuple[int, ...] | None], config: Path, model: Mapping[str, Any]
) -> None:
    for switch, tensor in SWITCHED.items():
        wanted = bool(model.get(switch, False))
        has = tensor in shapes
        if wanted != has:
            version = "SAM2.1" if has else "SAM2.0"
            says = f"sets {switch}" if wanted else f"does not set {switch}"
            raise _other_architecture(
                f"{path} has {'a' if has else 'no'} tensor {tensor}, as weights of {version} do, "
                f"but {config} {says}"
            )


def _other_architecture(came: str) -> InputError:
    return InputError(
        "the segmenter's checkpoint and config must be of one architecture",
        came=came,
        remedy="pass the config that belongs to the checkpoint",
    )


def _model_node(config: Path) -> Mapping[str, Any]:
    """Read the YAML's `model` and check that its `image_encoder.trunk` is a mapping. Raises InputError."""
    from omegaconf import OmegaConf

    try:
        model: Mapping[str, Any] = OmegaConf.to_container(OmegaConf.load(config))["model"]
        dict(model["image_encoder"]["trunk"])
    except Exception as error:
        came = f"{config} ({type(error).__name__}: {error})"
        raise InputError(
            "the segmenter's config must be a SAM2 YAML",
            came=came,
            remedy="pass a config of the sam2 package",
        ) from error
    return model
