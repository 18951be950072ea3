"""Build SAM2 from names of a config and weights. Torch and sam2 are imported when a function is called.

1. `resolve_config` finds the YAML: inside the sam2 package, a local file, or beside the checkpoint.
2. `build_architecture` instantiates its `model` node through hydra, as the package's `build_sam2` does.
   Classes outside `SAFE_TARGETS` are refused.
3. `load_weights` reads .safetensors or .pt, and names the tensors that do not fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

EMBEDDED_DIR = Path(__file__).parents[1] / "models" / "embedded-segmenter"
"""config.yaml and model.safetensors of the segmenter that ships with the package."""

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
"""Form of a hub id, owner/name."""
SAFE_TARGETS = ("sam2.", "torch.nn.")
"""Prefixes of the classes that a config may name. A YAML that may name any callable can run any code."""

_STABILITY_OVERRIDES = {
    "dynamic_multimask_via_stability": True,
    "dynamic_multimask_stability_delta": 0.05,
    "dynamic_multimask_stability_thresh": 0.98,
}
"""Settings that `sam2.build_sam.build_sam2` passes to the mask decoder by default
(`apply_postprocessing=True`): an unstable single mask is replaced by the best of three. Only configs of the
package get them; a local config is taken as it is.
"""


def is_hub_weights(checkpoint: str) -> bool:
    """Whether a segmenter's checkpoint is a hub id (owner/name) and neither a path nor a weights file."""
    named = HUB_ID.fullmatch(checkpoint) is not None and not checkpoint.endswith((".pt", ".safetensors"))
    return named and not resolve_path(checkpoint).exists()


def resolve_path(checkpoint: str) -> Path:
    """Find the weights file of a checkpoint that is no hub id.

    Empty: the embedded weights. models/...: weights that ship with the package, unless the working directory
    has such a file. A folder: the model.safetensors in it.
    """
    if not checkpoint:
        return EMBEDDED_DIR / "model.safetensors"
    path = Path(checkpoint)
    if path.parts[:1] == ("models",) and not path.exists():
        path = EMBEDDED_DIR.parents[1] / path
    return path / "model.safetensors" if path.is_dir() else path


def package_config_dir() -> Path:
    """Directory that package config names are relative to, found without importing the package."""
    from importlib.util import find_spec

    spec = find_spec("sam2")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("the sam2 package is not installed; install the project's dependencies (make setup)")
    return Path(spec.submodule_search_locations[0])


def resolve_config(config: str, checkpoint: str) -> Path:
    """Find the YAML file to build from. Raises ModelError, which names the places that were tried."""
    if config:
        tried = [resolve_path(config), package_config_dir() / config]
    elif is_hub_weights(checkpoint):
        tried = [package_config_dir() / hub_entry(checkpoint)[0]]
    else:
        tried = [resolve_path(checkpoint).parent / "config.yaml"]
    for path in tried:
        if path.is_file():
            return path
    places = " or ".join(str(path) for path in tried)
    raise ModelError(
        f"no SAM2 config found: looked for {places}; name a config of the sam2 package or a local YAML file"
    )


def hub_entry(hub_id: str) -> tuple[str, str]:
    """Find the package config and the weights file of a published checkpoint.

    Raises ModelError for an unknown id.
    """
    known = _published()
    if hub_id not in known:
        raise ModelError(
            f"{hub_id!r} is not a published SAM2 checkpoint; known ids: {', '.join(sorted(known))}"
        )
    return known[hub_id]


def _published() -> dict[str, tuple[str, str]]:
    sizes = {"tiny": "t", "small": "s", "base-plus": "b+", "large": "l"}
    table = {}
    for version in ("sam2", "sam2.1"):
        for size, letter in sizes.items():
            weights = f"{version}_hiera_{size.replace('-', '_')}.pt"
            table[f"facebook/{version}-hiera-{size}"] = (
                f"configs/{version}/{version}_hiera_{letter}.yaml",
                weights,
            )
    return table


def build_architecture(config: Path, image_px: int | None = None) -> Module:
    """Build a randomly initialised SAM2Base in evaluation mode, on the CPU.

    `image_px`: side of the square image that it sees, in pixels. None: the config's own. Raises ModelError
    for a YAML that is no SAM2 config.
    """
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    try:
        node = OmegaConf.load(config)["model"]
    except Exception as error:
        raise ModelError(
            f"{config} is not a SAM2 config: it must be YAML with a 'model' node ({error})"
        ) from error
    unsafe = [
        target for target in _targets(OmegaConf.to_container(node)) if not target.startswith(SAFE_TARGETS)
    ]
    if unsafe:
        raise ModelError(
            f"{config} names classes outside {' and '.join(SAFE_TARGETS)}: {', '.join(unsafe)}; "
            "they are not loaded"
        )
    if package_config_dir() in config.resolve().parents:
        node = OmegaConf.merge(node, {"sam_mask_decoder_extra_args": _STABILITY_OVERRIDES})
    if image_px is not None:
        node = OmegaConf.merge(node, {"image_size": image_px})
    try:
        model = instantiate(node, _recursive_=True)
    except Exception as error:
        raise ModelError(f"{config} does not build a SAM2 model: {error}") from error
    return model.eval()


def _targets(node: object) -> Iterator[str]:
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def find_weights(checkpoint: str, revision: str | None = None) -> Path:
    """Find the local file of a checkpoint; a hub id is downloaded, at this revision. Raises ModelError."""
    path = resolve_path(checkpoint)
    if path.is_file():
        return path
    if not is_hub_weights(checkpoint):
        remedy = "name a .safetensors or .pt file, or a hub id such as facebook/sam2.1-hiera-small"
        raise ModelError(f"checkpoint {path} does not exist; {remedy}")
    return _download(checkpoint, revision)


def _download(hub_id: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    filename = hub_entry(hub_id)[1]
    try:
        return Path(hf_hub_download(repo_id=hub_id, filename=filename, revision=revision))
    except Exception as error:
        raise ModelError(
            f"{filename} of {hub_id} could not be fetched ({type(error).__name__}: {error}); "
            f"on a machine with network access download it once, then pass the file's path as checkpoint"
        ) from error


def load_weights(model: Module, path: Path) -> None:
    """Fill a model from a .safetensors or .pt file, in the model's dtype. Raises ModelError.

    The error names the tensors that do not fit.
    """
    state = read_state(path)
    own = model.state_dict()
    missing = sorted(own.keys() - state.keys())
    unexpected = sorted(state.keys() - own.keys())
    wrong = [
        f"{k} is {tuple(state[k].shape)}, needs {tuple(v.shape)}"
        for k, v in own.items()
        if k in state and state[k].shape != v.shape
    ]
    if missing or unexpected or wrong:
        parts = [
            _listed("missing", missing),
            _listed("unexpected", unexpected),
            _listed("of another shape", wrong),
        ]
        detail = "; ".join(part for part in parts if part)
        raise ModelError(
            f"{path} holds weights of another architecture than the config: {detail}; "
            "pass the config that belongs to it"
        )
    model.load_state_dict(state)


def _listed(kind: str, keys: list[str], limit: int = 4) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return f"{len(keys)} {kind} ({', '.join(keys[:limit])}{more})"


def read_state(path: Path) -> dict[str, Tensor]:
    """Read name -> tensor from a weights file, on the CPU. Raises ModelError.

    The file must be whole and hold tensors alone; one that would run code is refused, and nothing of it runs.
    """
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if "Unsupported global" in str(error):  # torch's own words advise to run the file's code
            raise ModelError(
                f"{path} holds more than tensors: to load it would run code that came with it, and it was "
                "not loaded. To fix: fetch the checkpoint from its publisher, best as .safetensors"
            ) from None
        raise ModelError(
            f"{path} could not be read as weights ({type(error).__name__}: {error}); fetch it again"
        ) from error
    state = loaded.get("model", loaded) if isinstance(loaded, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(f"{path} holds no table of named tensors; SAM2 checkpoints keep one under 'model'")
    return dict(state)
