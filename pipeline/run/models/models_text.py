"""What the plan says of the models: where they come from, what will be fetched, the licence, the memory."""

from __future__ import annotations

from pipeline.errors import InputError
from pipeline.prompt.vllm_engine import VllmOptions
from pipeline.run.config import Preset
from pipeline.run.models.device_memory import DeviceMemory
from pipeline.run.models.hub_pins import PinnedModel, weights_name
from pipeline.run.models.memory_needs import MemoryNeeds, in_gb, require_memory
from pipeline.run.models.model_checks import CheckedModels
from pipeline.run.models.published_models import published_models


def models_rows(preset: Preset, checked: CheckedModels) -> dict[str, str]:
    """Say it in rows, name -> text. Empty: no model comes from the hub."""
    rows = dict[str, str]()
    for one in checked.pinned:
        role = one.model.role
        rows[role] = f"{one.model.repo_id}, {commit_text(one)}"
        rows[f"{role} files"] = files_text(one)
        rows[f"{role} licence"] = licence_text(one.model.repo_id)
    if checked.pinned:
        rows["memory"] = memory_text(checked.needs, preset.prompter.vllm)
        rows["device"] = _device_text(checked.needs, preset, checked.device)
    return rows


def commit_text(one: PinnedModel) -> str:
    """Say which commit counts, and who says so."""
    repository = one.repository
    if repository.commit is None:
        return f"commit resolved at start: the hub does not answer now ({repository.away})"
    if one.kept:
        why = "as the run began"
    elif repository.is_pinned:
        why = "pinned"
    elif repository.away:
        why = f"{repository.asked or 'main'} of the cache; the hub does not answer: {repository.away}"
    else:
        why = f"{repository.asked or 'main'}, resolved now"
    return f"commit {repository.commit} ({why})"


def files_text(one: PinnedModel) -> str:
    """Say what will be downloaded, and what is here."""
    repository = one.repository
    if not repository.files:
        facts = published_models().get(one.model.repo_id)
        size = f"about {in_gb(facts.weights_bytes)} of weights, as published" if facts else "of unknown size"
        return f"to download: {_expected(one)}, {size}"
    here = [file for file in one.needed if repository.here(file.name)]
    rest = [file for file in one.needed if file not in here]
    if not rest:
        return f"all {len(here)} here, {in_gb(sum(file.size for file in here))}"
    largest = sorted(rest, key=lambda file: (-file.size, file.name))[:3]
    names = ", ".join(f"{file.name} {in_gb(file.size)}" for file in largest)
    more = f" and {len(rest) - 3} more" if len(rest) > 3 else ""
    known = f"; {len(here)} here" if here else ""
    return f"to download: {len(rest)}, {in_gb(sum(file.size for file in rest))} ({names}{more}){known}"


def _expected(one: PinnedModel) -> str:
    """Files of a repository whose list is not known."""
    if one.model.role != "prompter":
        return weights_name(one.model)
    return "weights, settings and tokenizer"


def licence_text(repo_id: str) -> str:
    """Say under which licence the weights are, and who says so."""
    facts = published_models().get(repo_id)
    if facts is None:
        return f"unknown here: see the card of {repo_id}"
    return f"{facts.licence} (source: {facts.source})"


def memory_text(needs: MemoryNeeds, vllm: VllmOptions) -> str:
    """Say what weights and caches take."""
    parts = []
    engine = needs.engine
    if engine is not None:
        weights = "unknown" if engine.weights is None else f"{in_gb(engine.weights)} ({engine.served})"
        parts.append(f"prompter: weights {weights}")
        if engine.cache_one is not None and engine.cache_all is not None:
            parts.append(
                f"cache {in_gb(engine.cache_one)} for a request of {vllm.max_model_len} tokens, "
                f"{in_gb(engine.cache_all)} for {vllm.max_num_seqs}"
            )
    if needs.segmenter is not None:
        parts.append(f"segmenter: weights {in_gb(needs.segmenter)}")
    return "; ".join([*parts, "activations come on top"])


def _device_text(needs: MemoryNeeds, preset: Preset, device: DeviceMemory | None) -> str:
    if device is None:
        return "of the cluster's nodes; not looked at from here"
    size = f"{device.name}, {in_gb(device.total)}"
    try:
        require_memory(needs, preset, device)
    except InputError as error:
        return f"{size}: too small. {error}"
    return f"{size}: enough for weights and the cache of one request" if _known(needs) else size


def _known(needs: MemoryNeeds) -> bool:
    return needs.engine is None or needs.engine.least is not None
