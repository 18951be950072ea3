"""Whether a checkpoint's directory has every file that an engine will ask for. No weights are loaded.

1. Weights: all files that the index names are there, and each is as long as its own header says. An
   interrupted download is noticed here, and not after minutes of loading.
2. Image settings and a tokenizer: without them no prompt can be written.
3. A chat template: without one every tile of a region would fail, one by one.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import InputError

INDEX = "model.safetensors.index.json"
IMAGE_SETTINGS = ("preprocessor_config.json", "processor_config.json")
TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))
"""Files of which a tokenizer can be made: one of these groups."""
TEMPLATES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json", "processor_config.json")
"""Files that may hold a chat template; the JSON ones under `chat_template`."""

NEEDED = (".safetensors", ".json", ".jinja", ".txt", ".model", ".md", "LICENSE")
"""Endings of the files of a repository that are fetched. `.md` and LICENSE say what one may do with them."""
UNNEEDED = "consolidated"
"""How files begin that hold the same weights once more, for another library."""

_LONGEST_HEADER = 100_000_000
"""In bytes; the safetensors library reads none that is longer."""


def check_files(folder: Path, *, weights: bool = True) -> None:
    """Check that a checkpoint's directory is complete. Raises InputError, which names what is missing.

    `weights`: whether they must be there already.
    """
    faults = [*(_faults_of_weights(folder) if weights else ()), *_faults_of_processor(folder)]
    if faults:
        more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise InputError(
            "the prompter's checkpoint must be complete",
            came=f"{folder}: {'; '.join(faults[:3])}{more}",
            remedy="complete the download, e.g. hf download OWNER/NAME --local-dir FOLDER",
        )


def is_complete(folder: Path) -> bool:
    """Whether a checkpoint's directory has every file that an engine will ask for."""
    try:
        check_files(folder)
    except InputError:
        return False
    return (folder / "config.json").is_file()


def chat_template(folder: Path) -> str | None:
    """Text of a checkpoint's chat template. None: there is none. Raises InputError for unreadable JSON."""
    for name in TEMPLATES:
        if not (folder / name).is_file():
            continue
        if name.endswith(".jinja"):
            return (folder / name).read_text(encoding="utf-8")
        text = read_json(folder / name).get("chat_template")
        if isinstance(text, str) and text:
            return text
        if isinstance(text, list):  # several, by name
            named = {one.get("name"): one.get("template") for one in text if isinstance(one, dict)}
            if isinstance(named.get("default"), str):
                return str(named["default"])
    return None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises InputError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError(f"{path} holds no object")
    except (OSError, ValueError) as error:
        raise InputError(
            f"a checkpoint needs a readable {path.name}", came=str(error), remedy="complete the download"
        ) from error
    return value


def _faults_of_weights(folder: Path) -> Iterator[str]:
    names = {path.name for path in folder.glob("*.safetensors")}
    if (folder / INDEX).is_file():
        wanted = set(read_json(folder / INDEX).get("weight_map", {}).values())
        missing = sorted(wanted - names)
        if missing:
            yield f"{len(missing)} of {len(wanted)} weights files are missing, the first is {missing[0]}"
        names &= wanted
    elif not names:
        yield "no weights (*.safetensors)"
    for name in sorted(names):
        has = (folder / name).stat().st_size
        wants = _whole_bytes(folder / name)
        if wants is None:
            yield f"{name} is no safetensors file"
        elif has != wants:
            yield f"{name} has {has:,} bytes of {wants:,}"


def _whole_bytes(path: Path) -> int | None:
    """Size of a safetensors file by its header. None: it has none.

    The file is 8 bytes with the header's length, the header, and tensors up to the highest of their offsets
    (format of the safetensors library).
    """
    with path.open("rb") as file:
        first = file.read(8)
        if len(first) < 8:
            return None
        (length,) = struct.unpack("<Q", first)
        if length > _LONGEST_HEADER:
            return None
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            return None
    return 8 + int(length) + int(max(ends, default=0))


def _faults_of_processor(folder: Path) -> Iterator[str]:
    if not any((folder / name).is_file() for name in IMAGE_SETTINGS):
        yield f"no image settings ({' or '.join(IMAGE_SETTINGS)})"
    if not any(all((folder / name).is_file() for name in group) for group in TOKENIZERS):
        yield f"no tokenizer ({' or '.join(' with '.join(group) for group in TOKENIZERS)})"
    if chat_template(folder) is None:
        yield f"no chat template (in one of {', '.join(TEMPLATES)})"


def is_needed(name: str) -> bool:
    """Whether an engine may ask for this file of a repository. Weights in other formats, and folders of a
    training, are left where they are.
    """
    return "/" not in name and name.endswith(NEEDED) and not name.startswith(UNNEEDED)
