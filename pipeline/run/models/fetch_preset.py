"""Fetch the models of a preset into a folder, for machines that reach no hub.

1. The hub is asked once for the commits and the files of the preset's models.
2. Each file comes, whole and with the hash that the hub lists (`hub_download`), to
   `models--OWNER--NAME/snapshots/COMMIT/FILE`: where libraries look when HF_HUB_CACHE names the folder.
3. `refs/` says which commit a branch means, PRESET.manifest.json what came and with which hashes, and
   PRESET.toml is a `--config` whose models are these files.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.files.atomic_file import atomic_path
from pipeline.files.hub.hub_download import FetchedFile, fetch_file
from pipeline.files.hub.hub_repository import COMMIT, MAIN, repository_folder_name
from pipeline.run.config import Preset
from pipeline.run.models.hub_pins import PinnedModel, pin_models, require_weights
from pipeline.run.models.memory_needs import in_gb
from pipeline.run.models.models_text import commit_text, licence_text
from pipeline.segment.sam2_model import hub_entry

MANIFEST_VERSION = 1
"""Version of the manifest's layout."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchRequest:
    """Which models go where."""

    preset_name: str
    preset: Preset
    to: Path
    dry_run: bool = False


def fetch_preset(request: FetchRequest, *, say: Callable[[str], None] = print) -> int:
    """Fetch the models of a preset; returns the exit code. Raises InputError, ModelError, OSError."""
    _, models = pin_models(request.preset, {})
    if not models:
        return _nothing_of_the_hub(request, say)
    for one in models:
        _require_list(one)
        say(f"{one.model.role}: {one.model.repo_id}, {commit_text(one)}")
        say(f"  licence: {licence_text(one.model.repo_id)}")
        for file in one.needed:
            say(f"  {file.size:>14,} bytes  {file.name}")
    total = sum(file.size for one in models for file in one.needed)
    say(f"{sum(len(one.needed) for one in models)} files, {in_gb(total)}, to {request.to}")
    if request.dry_run:
        say("dry run: nothing was fetched")
        return 0
    _require_room(request.to, models)
    if not sys.stderr.isatty():
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
    came = {one.model.role: _fetch(one, request.to, say) for one in models}
    _write_json(request.to / f"{request.preset_name}.manifest.json", _manifest(request, models, came))
    config = request.to / f"{request.preset_name}.toml"
    _write_text(config, _config_text(request, models))
    fetched = sum(file.fetched for files in came.values() for file in files)
    say(f"all files are here, with the hashes that the hub lists; {in_gb(fetched)} came now")
    say(f"without a network:  HF_HUB_CACHE={request.to.resolve()} HF_HUB_OFFLINE=1, or --config {config}")
    return 0


def _nothing_of_the_hub(request: FetchRequest, say: Callable[[str], None]) -> int:
    name = request.preset_name
    if request.preset.segmenter.kind == "sam-onnx":
        raise InputError(
            "the models of the preset must come from the hub",
            came=f"{name}, whose weights come by npm or are yours ({request.preset.segmenter.checkpoint})",
            remedy=f"make mobile-sam MODELS={request.to}, and then point segmenter.checkpoint in --config "
            f"at {request.to / 'mobile-sam'}",
        )
    say(f"nothing to fetch: the models of {name} are files of this machine, or ship with the package")
    return 0


def _require_list(one: PinnedModel) -> None:
    repository = one.repository
    if repository.away:
        raise InputError(
            "the hub must answer",
            came=f"{repository.away}, for {one.model.repo_id}",
            remedy="start this where the hub answers (HF_ENDPOINT names a mirror, HTTPS_PROXY a proxy)",
        )
    require_weights(one)


def _require_room(to: Path, models: tuple[PinnedModel, ...]) -> None:
    to.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(to).free
    rest = 0
    for one in models:
        for file in one.needed:
            path = snapshot_folder(one, to) / file.name
            part = path.with_name(f"{path.name}.part")
            have = path if path.is_file() else part
            rest += max(0, file.size - (have.stat().st_size if have.is_file() else 0))
    if rest > free:
        raise InputError(
            "--to must have room for the models",
            came=f"{in_gb(free)} for {in_gb(rest)} in {to}",
            remedy="make room, or choose another folder",
        )


def snapshot_folder(one: PinnedModel, to: Path) -> Path:
    """Folder of a model's commit below `to`."""
    return to / repository_folder_name(one.model.repo_id) / "snapshots" / str(one.repository.commit)


def _fetch(one: PinnedModel, to: Path, say: Callable[[str], None]) -> list[FetchedFile]:
    folder = snapshot_folder(one, to)
    came = []
    for file in one.needed:
        came.append(fetch_file(one.repository, file, folder))
        say(f"{one.model.role}: {file.name} {'came' if came[-1].fetched else 'is here'}, hash is right")
    asked = one.repository.asked or MAIN
    if not COMMIT.fullmatch(asked):
        ref = to / repository_folder_name(one.model.repo_id) / "refs" / asked
        _write_text(ref, str(one.repository.commit))
    return came


def _manifest(
    request: FetchRequest, models: tuple[PinnedModel, ...], came: dict[Any, list[FetchedFile]]
) -> dict[str, Any]:
    return {
        "manifest_version": MANIFEST_VERSION,
        "preset": request.preset_name,
        "models": [
            {
                "role": one.model.role,
                "id": one.model.repo_id,
                "asked": one.model.revision,
                "commit": one.repository.commit,
                "licence": licence_text(one.model.repo_id),
                "folder": snapshot_folder(one, Path()).as_posix(),
                "files": [
                    {"name": file.name, "bytes": file.size, "sha256": file.sha256}
                    for file in came[one.model.role]
                ],
            }
            for one in models
        ],
    }


def _config_text(request: FetchRequest, models: tuple[PinnedModel, ...]) -> str:
    lines = [
        f"# Models of the preset {request.preset_name}, as they were fetched. For --config, beside --preset."
    ]
    dual = list[str]()
    for one in models:
        folder = snapshot_folder(one, request.to.resolve())
        if one.model.role in ("prompter", "grounding"):
            lines += ["[prompter]", f"model = {json.dumps(str(folder))}"]
        elif request.preset.segmenter.mask_model is not None:
            lines += ["[mask_model]", 'kind = "sam3-text"', f"checkpoint = {json.dumps(str(folder))}"]
        elif one.model.role != "segmenter":
            dual.append(f"{one.model.role} = {json.dumps(str(folder))}")
        else:
            config, weights = hub_entry(one.model.repo_id)
            lines += ["[segmenter]", f"checkpoint = {json.dumps(str(folder / weights))}"]
            lines += [f"config = {json.dumps(request.preset.segmenter.config or config)}"]
    lines += ["[segmenter.dual]", *dual] if dual else []
    return "\n".join(lines) + "\n"


def _write_json(path: Path, document: dict[str, Any]) -> None:
    _write_text(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
