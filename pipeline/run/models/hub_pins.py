"""Hub ids of a run become commits, once, when it is planned.

1. `hub_models` names the repositories that a preset's models come from.
2. `pin_models` finds their commits, and puts them into the options: so the fingerprint has them, run.json
   has them, and every worker loads them. A run that goes on keeps the commits that it began with, whatever a
   branch means by now (`earlier_commits`).
3. Where the hub does not answer, the cache on this machine counts. `require_models` says what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from pipeline.errors import InputError, ModelError
from pipeline.files.hub.hub_repository import HubFile, HubRepository, look_up, note_commit
from pipeline.files.store.store_path import StorePath
from pipeline.prompt.checkpoint_files import check_files, is_needed
from pipeline.prompt.prompter_checkpoint import is_hub_model, resolve_model
from pipeline.run.config import Preset
from pipeline.segment.dual_route.dual_options import is_hub_place
from pipeline.segment.sam2_model import hub_entry, is_hub_weights
from pipeline.write.run_dir import RunDir

ModelRole = Literal["prompter", "segmenter", "clip", "sam3", "grounding"]
"""`clip` and `sam3` are the models of the two routes under `[segmenter.dual]`; `sam3` is also that of
`[mask_model]`. `grounding` is a Grounding DINO under `[prompter]`.
"""

ROLES: tuple[ModelRole, ...] = ("prompter", "segmenter", "clip", "sam3", "grounding")

_DUAL_NEEDED = (".json", ".txt", ".model", ".md", "LICENSE")
"""Endings of the files beside the weights that CLIP and SAM3 need, or that say what one may do with them."""
_DUAL_WEIGHTS = "model.safetensors"

SMALL_BYTES = 32_000_000
"""Files up to this size are fetched when a run is planned: settings, templates, tokenizers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HubModel:
    """A model that a preset names by its hub id."""

    role: ModelRole
    repo_id: str
    revision: str | None
    """As the user gave it. None: the main branch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PinnedModel:
    """A model of the hub at its commit."""

    model: HubModel
    repository: HubRepository
    kept: bool = False
    """Whether the run began with this commit before."""

    @property
    def needed(self) -> tuple[HubFile, ...]:
        """Its files that are loaded or say what one may do with it."""
        return needed_files(self.model, self.repository)


def hub_models(preset: Preset) -> tuple[HubModel, ...]:
    """Name the models of a preset that come from the hub. Raises InputError for an unknown SAM2."""
    found = []
    prompter = preset.prompter
    if prompter.kind == "vllm" and is_hub_model(resolve_model(prompter.model)):
        found.append(HubModel(role="prompter", repo_id=prompter.model, revision=prompter.vllm.revision))
    segmenter = preset.segmenter
    if segmenter.kind == "sam2" and is_hub_weights(segmenter.checkpoint):
        try:
            hub_entry(segmenter.checkpoint)
        except ModelError as error:
            raise InputError(
                "the segmenter must be a known SAM2", came=str(error), remedy="correct the checkpoint"
            ) from error
        found.append(HubModel(role="segmenter", repo_id=segmenter.checkpoint, revision=segmenter.revision))
    if segmenter.dual is not None:
        found += [
            HubModel(role=name, repo_id=repo_id, revision=segmenter.dual.revision_of(name))
            for name, repo_id in segmenter.dual.hub_models.items()
        ]
    asked = segmenter.mask_model
    if asked is not None and asked.kind == "sam3-text" and is_hub_place(asked.checkpoint):
        found.append(HubModel(role="sam3", repo_id=asked.checkpoint, revision=asked.revision))
    if prompter.kind == "grounding-dino" and is_hub_place(prompter.model):
        revision = prompter.grounding.revision
        found.append(HubModel(role="grounding", repo_id=prompter.model, revision=revision))
    return tuple(found)


def needed_files(model: HubModel, repository: HubRepository) -> tuple[HubFile, ...]:
    """Choose the files of a repository that a model needs."""
    if model.role == "prompter":
        return tuple(file for file in repository.files if is_needed(file.name))
    weights = weights_name(model)
    if model.role != "segmenter":
        return tuple(
            file
            for file in repository.files
            if file.name == weights or ("/" not in file.name and file.name.endswith(_DUAL_NEEDED))
        )
    return tuple(file for file in repository.files if file.name in (weights, "README.md", "LICENSE"))


def weights_name(model: HubModel) -> str:
    """Name of the weights of a model that is no prompter."""
    return hub_entry(model.repo_id)[1] if model.role == "segmenter" else _DUAL_WEIGHTS


def pin_models(
    preset: Preset, earlier: Mapping[HubModel, str], roles: Collection[ModelRole] = ROLES
) -> tuple[Preset, tuple[PinnedModel, ...]]:
    """Find the commit of every model of these roles, and put it into the options.

    `earlier`: commits that the run began with. Raises InputError for a repository or a revision that the hub
    does not have or does not give.
    """
    pinned = [pinned_model(model, earlier.get(model)) for model in hub_models(preset) if model.role in roles]
    for one in pinned:
        commit = one.repository.commit
        if commit is None:
            continue
        preset = _at_commit(preset, one.model.role, commit)
    return preset, tuple(pinned)


def pinned_model(model: HubModel, kept: str | None) -> PinnedModel:
    """Find the commit of a model. `kept`: the one that counted before. Raises InputError."""
    repository = look_up(model.repo_id, kept or model.revision)
    return PinnedModel(
        model=model, repository=replace(repository, asked=model.revision), kept=kept is not None
    )


def _at_commit(preset: Preset, role: ModelRole, commit: str) -> Preset:
    """Put the commit of a model into the options."""
    if role == "prompter":
        vllm = replace(preset.prompter.vllm, revision=commit)
        return replace(preset, prompter=replace(preset.prompter, vllm=vllm))
    if role == "segmenter":
        return replace(preset, segmenter=replace(preset.segmenter, revision=commit))
    if role == "grounding":
        grounding = replace(preset.prompter.grounding, revision=commit)
        return replace(preset, prompter=replace(preset.prompter, grounding=grounding))
    if preset.segmenter.mask_model is not None:
        asked = replace(preset.segmenter.mask_model, revision=commit)
        return replace(preset, segmenter=replace(preset.segmenter, mask_model=asked))
    dual = preset.segmenter.dual
    assert dual is not None, "only two routes have these roles"
    dual = replace(dual, clip_revision=commit) if role == "clip" else replace(dual, sam3_revision=commit)
    return replace(preset, segmenter=replace(preset.segmenter, dual=dual))


def require_models(models: tuple[PinnedModel, ...], *, elsewhere: bool) -> None:
    """Check that every model can be had. Raises InputError.

    `elsewhere`: other machines load them, which may have weights that this one has not. Their commit must be
    known here all the same.
    """
    for one in models:
        repository = one.repository
        if not repository.away:
            require_weights(one)
            continue
        if repository.commit is None or repository.folder is None:
            raise _not_here(one, "nothing of it in the cache")
        if elsewhere:
            continue
        if one.model.role in ("clip", "sam3", "grounding") and not repository.here("config.json"):
            raise _not_here(one, "no config.json in the cache")
        if one.model.role == "prompter":
            try:
                check_files(repository.folder)
            except InputError as error:
                raise _not_here(one, f"in the cache {error.came}") from error
        elif not repository.here(weights := weights_name(one.model)):
            raise _not_here(one, f"no {weights} in the cache")


def require_weights(one: PinnedModel) -> None:
    """Check that the hub lists weights of a model in the format that is loaded. Raises InputError."""
    wanted = ".safetensors" if one.model.role == "prompter" else weights_name(one.model)
    if not any(file.name.endswith(wanted) for file in one.needed):
        raise InputError(
            f"the repository of the {one.model.role} must hold its weights",
            came=f"{one.model.repo_id} at {one.repository.commit}, which has no {wanted}",
            remedy="name another repository or revision in --config",
        )


def _not_here(one: PinnedModel, why: str) -> InputError:
    from huggingface_hub import constants

    return InputError(
        f"the {one.model.role} must be on the hub or in the cache {constants.HF_HUB_CACHE}",
        came=f"{one.model.repo_id}: the hub does not answer ({one.repository.away}), and {why}",
        remedy="fetch it where the hub answers with jobs/fetch_models.py, and bring the folder here; or set "
        "HF_ENDPOINT to a mirror",
    )


def fetch_small(models: tuple[PinnedModel, ...]) -> None:
    """Bring the small files of models into the cache, so that they can be checked. Raises InputError.

    A SAM2 of the hub has none: its settings ship with the package.
    """
    from huggingface_hub import hf_hub_download

    for one in models:
        repository = one.repository
        note_commit(repository)
        if one.model.role == "segmenter" or repository.away:
            continue
        for file in one.needed:
            if file.size > SMALL_BYTES or file.name.endswith(".safetensors") or repository.here(file.name):
                continue
            try:
                hf_hub_download(repository.repo_id, file.name, revision=repository.commit)
            except Exception as error:  # many types, of three libraries
                raise InputError(
                    "the files of a model must come from the hub",
                    came=f"{file.name} of {repository.repo_id}: {type(error).__name__}: {error}",
                    remedy="start the same command again",
                ) from error


def asked_revisions(models: tuple[PinnedModel, ...]) -> dict[str, dict[str, Any]]:
    """Say for run.json what was asked of the hub: role -> id, revision asked for, and commit."""
    return {
        one.model.role: {
            "id": one.model.repo_id,
            "asked": one.model.revision,
            "commit": one.repository.commit,
        }
        for one in models
    }


def earlier_commits(run_dir: RunDir) -> dict[HubModel, str]:
    """Read the commits that the run in a directory began with. Empty: there is none, or it asked no hub."""
    places = [run_dir.run_json, *_zones(run_dir)]
    found: dict[HubModel, str] = {}
    for place in places:
        try:
            for model, commit in commits_said(json.loads(place.read_bytes())["settings"]["hub"]).items():
                found.setdefault(model, commit)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue
    return found


def commits_said(said: Mapping[str, Mapping[str, Any]]) -> dict[HubModel, str]:
    """Undo `asked_revisions`, for those with a commit. Raises TypeError, KeyError, AttributeError."""
    return {
        HubModel(role=role, repo_id=str(one["id"]), revision=one["asked"]): str(one["commit"])
        for role in ROLES
        if (one := said.get(role)) is not None and one["commit"]
    }


def _zones(run_dir: RunDir) -> list[StorePath]:
    """run.json of every zone of a run of several."""
    try:
        zones = json.loads(run_dir.run_json.read_bytes()).get("zones", ())
        return [run_dir.path / str(zone["path"]) / "run.json" for zone in zones]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []
