"""Build a mask model from its options, check these before anything is loaded, and say what pins it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, ModelError
from pipeline.files.provenance import path_identity
from pipeline.segment.dual_route.dual_options import check_folder
from pipeline.segment.mask_model.mask_model import MaskModel
from pipeline.segment.mask_model.mask_options import MaskModelOptions, shipped_adapters
from pipeline.segment.mask_model.process_model import Hello, ProcessMaskModel, say_hello
from pipeline.segment.mask_model.sam3_masks import Sam3Masks


def check_mask_model(options: MaskModelOptions) -> None:
    """Check everything that can be wrong before weights are loaded. Raises InputError.

    A SAM3's folder must hold one. The Python of another environment must start and say hello in this
    protocol; adapter, repository and every path among the adapter's options must exist.
    """
    if options.kind == "sam3-text":
        check_folder(options.checkpoint, options.revision, option="mask_model.checkpoint", model_type="sam3")
        return
    _check_places(options)
    try:
        hello = say_hello(options)
    except ModelError as error:
        raise InputError(
            "the mask model's own environment must start and say hello",
            came=str(error),
            remedy="correct what is said there: python, adapter or options under [mask_model]",
        ) from error
    for name, place in _places(hello).items():
        if not Path(place).exists() and not _may_be_on_a_hub(place):
            raise InputError(
                f"option {name} of {hello.name} must be a file, a folder or a hub id",
                came=place,
                remedy=f"correct {name} under [mask_model.options]; paths are absolute",
            )


def _check_places(options: MaskModelOptions) -> None:
    if shutil.which(options.python) is None:
        raise InputError(
            "mask_model.python must be the Python of the model's environment",
            came=f"{options.python}, which is no program on this machine",
            remedy="make that environment, or name its Python with its path",
        )
    if not options.adapter_file.is_file():
        raise InputError(
            "mask_model.adapter must be a shipped adapter or a Python file",
            came=f"{options.adapter}, and there is no file {options.adapter_file}",
            remedy=f"use one of {', '.join(shipped_adapters())}, or the path of your own, ending in .py",
        )
    if options.repo and not os.path.isdir(options.repo):
        raise InputError(
            "mask_model.repo must be the working tree of the model's repository",
            came=f"{options.repo}, which is no folder on this machine",
            remedy="clone it, and name the folder",
        )


def _places(hello: Hello) -> dict[str, str]:
    """Options that name files, folders or repositories of a hub, as far as they are given."""
    given = {name: str(hello.options[name]) for name in hello.paths}
    return {name: place for name, place in given.items() if place}


def _may_be_on_a_hub(place: str) -> bool:
    return not place.startswith((".", "/", "~")) and place.count("/") == 1


def mask_model_parameters(options: MaskModelOptions) -> dict[str, object]:
    """What can change a result, with the content of files in place of their names. Raises ModelError."""
    if options.kind == "sam3-text":
        return options.result_parameters() | {"checkpoint": path_identity(options.checkpoint)}
    hello = say_hello(options)
    named = {**hello.options, **{name: path_identity(place) for name, place in _places(hello).items()}}
    return options.result_parameters() | {
        "adapter": path_identity(str(options.adapter_file)),
        "options": named,
        "name": hello.name,
        "version": hello.version,
        "repository": hello.repository,
    }


def told_by(options: MaskModelOptions) -> dict[str, Any]:
    """What a model in its own environment says of itself, for run.json. Empty: it is in this process."""
    return say_hello(options).to_dict() if options.kind == "process" else {}


def mask_model_identity(options: MaskModelOptions) -> str:
    """Name of the model, with what pins its weights or, where these are not told, its adapter."""
    if options.kind == "sam3-text":
        return path_identity(options.checkpoint)
    hello = say_hello(options)
    for place in _places(hello).values():
        return path_identity(place)
    return path_identity(str(options.adapter_file))


def build_mask_model(options: MaskModelOptions) -> MaskModel:
    """Load the model. Raises ModelError."""
    return ProcessMaskModel(options) if options.kind == "process" else Sam3Masks(options)
