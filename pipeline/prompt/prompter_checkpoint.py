"""Check whether a checkpoint can be prompted, with which image and which queries. No weights are loaded.

1. `check_checkpoint`: the directory holds a checkpoint that this stage knows.
2. `check_image_size`: the processor must not resize the profile's image: that would silently shift every box.
3. `check_context`: every query must fit into the context beside image and reply, or it would fail on every
   tile. The checkpoint's own tokenizer counts its tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError, ModelError
from pipeline.files.hub.hub_repository import cached_folder
from pipeline.prompt.checkpoint_files import (
    IMAGE_SETTINGS,
    NEEDED,
    UNNEEDED,
    chat_template,
    check_files,
    is_complete,
    read_json,
)
from pipeline.prompt.image_rules import ImageRule, local_image_rule, visual_tokens
from pipeline.prompt.known_classes import check_classes
from pipeline.prompt.profile import Profile
from pipeline.prompt.template import chat_messages

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import ProcessorMixin

SUPPORTED_MODEL_TYPES = ("qwen2_5_vl", "qwen2_vl", "qwen3_vl", "qwen3_vl_moe", "internvl", "llava")
"""Architectures (`model_type` in config.json) whose image processor and chat format this stage knows."""

IMAGE_TOKENS = ("<|image_pad|>", "<IMG_CONTEXT>", "<image>")
"""Placeholders in the chat templates of these architectures; the processor puts the visual tokens there."""

PACKAGE_DIR = Path(__file__).parents[1]


def resolve_model(model: str) -> str:
    """Turn a model path or hub id into what vLLM takes; `models/<name>` is a shipped checkpoint."""
    shipped = PACKAGE_DIR / model
    if model.startswith("models/") and not Path(model).exists() and shipped.exists():
        return str(shipped)
    return model


def is_hub_model(model: str) -> bool:
    """Whether a prompter's model is a hub id (`name` or `owner/name`) and no path.

    A text that could be either is a path when that path or its parent folder exists.
    """
    path = Path(model)
    looks_local = model.startswith((".", "/", "~", "models/")) or (
        len(path.parts) > 1 and path.parent.is_dir()
    )
    return not path.exists() and not looks_local and len(path.parts) <= 2


def checkpoint_folder(model: str, revision: str | None) -> Path | None:
    """Find a checkpoint's directory: for a hub id that of the revision in the hub's cache, which may lack
    weights. None: a hub id that is not in the cache.
    """
    return cached_folder(model, revision) if is_hub_model(model) else Path(model)


def check_checkpoint(model: str, revision: str | None = None) -> None:
    """Check a checkpoint without reading its weights; hub ids that are not in the cache pass.

    Raises:
        InputError: the directory or its config.json is missing or unreadable, its architecture is not one of
            `SUPPORTED_MODEL_TYPES` or not served by what is installed (`known_classes`), or a file is missing
            or cut off (`checkpoint_files`). Weights of a hub id may still have to come.
    """
    folder = checkpoint_folder(model, revision)
    if folder is None:
        return
    if not folder.is_dir():
        remedy = "give the directory of a checkpoint or a hub id such as owner/name"
        raise InputError(
            "the prompter's model must be a checkpoint directory",
            came=f"{model}, which is none",
            remedy=remedy,
        )
    config = read_json(folder / "config.json")
    model_type = config.get("model_type")
    if model_type not in SUPPORTED_MODEL_TYPES:
        raise InputError(
            f"the prompter's checkpoint must be of the architecture {', '.join(SUPPORTED_MODEL_TYPES)}",
            came=f"model_type {model_type!r} in {folder / 'config.json'}",
            remedy="choose a vision-language checkpoint of one of these families",
        )
    check_files(folder, weights=not is_hub_model(model))
    check_classes(str(folder), config, _processor_settings(folder))


def _processor_settings(folder: Path) -> Mapping[str, Any]:
    """Settings of the file that says which processor a checkpoint has."""
    found: dict[str, Any] = {}
    for name in (*IMAGE_SETTINGS, "tokenizer_config.json"):
        if (folder / name).is_file():
            found = {**read_json(folder / name), **found}
    return found


def bring_checkpoint(model: str, revision: str | None) -> str:
    """Find the directory to load a checkpoint from. Of a hub id, what the cache lacks is downloaded first.

    An engine that is given the hub's id would ask the hub again and again, also for what is here. Raises
    ModelError.
    """
    if not is_hub_model(model):
        return model
    folder = cached_folder(model, revision)
    if folder is not None and is_complete(folder):
        return str(folder)
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(
                model,
                revision=revision,
                allow_patterns=[f"*{ending}" for ending in NEEDED],
                ignore_patterns=["*/*", f"{UNNEEDED}*"],
            )
        )
        check_files(folder)
        return str(folder)
    except Exception as error:  # many types, of three libraries
        name = checkpoint_id(model, revision)
        raise ModelError(
            f"{name} could not be fetched ({type(error).__name__}: {error}). To fix: fetch it where the hub "
            "answers with jobs/fetch_models.py, and bring the folder here"
        ) from error


def checkpoint_id(model: str, revision: str | None) -> str:
    """Name of a checkpoint for messages and records: hub id and revision, or the directory's name."""
    return f"{model}@{revision or 'main'}" if is_hub_model(model) else Path(model).resolve().name


def load_processor(model: str, revision: str | None) -> ProcessorMixin:
    """Load the checkpoint's processor: tokenizer, chat template, image settings. Raises ModelError."""
    from transformers import AutoProcessor

    try:
        processor: ProcessorMixin = AutoProcessor.from_pretrained(
            model, revision=revision, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"the processor of {model} does not load: {error}") from error
    if not (getattr(processor, "chat_template", None) or processor.tokenizer.chat_template):
        raise ModelError(
            f"the processor of {model} has no chat template, so every tile would fail. To fix: name a "
            "revision that has one, or copy that of the model it was trained from into its folder."
        )
    return processor


def check_image_size(profile: Profile, rule: ImageRule, *, max_model_len: int, max_tokens: int) -> None:
    """Check that the processor keeps the profile's image as it is, and that there is room for the reply.

    Both sides must be whole multiples of patch x merge, and the area must lie within the processor's limits.

    Raises:
        InputError: the frame is pixels and the processor would resize the image, or visual tokens and reply
            do not fit into `max_model_len`.
    """
    width, height = profile.image_px
    factor = rule.factor_px
    fixed = (
        width % factor == 0
        and height % factor == 0
        and rule.min_area_px <= width * height <= rule.max_area_px
    )
    if profile.frame == "image_px" and not fixed:
        raise InputError(
            f"the image size of profile {profile.name!r} must pass the checkpoint's processor unchanged: "
            f"whole multiples of {factor} px with an area from {rule.min_area_px} to {rule.max_area_px} px",
            came=f"{width} x {height}",
            remedy="use the profile this checkpoint was trained with, or another checkpoint",
        )
    _require_room(max_model_len, n_visual=visual_tokens(profile, rule), max_tokens=max_tokens)


def _require_room(
    max_model_len: int, *, n_visual: int, max_tokens: int, prompt: tuple[str, int] | None = None
) -> None:
    """Raise InputError when image, prompt and the longest reply do not fit.

    `prompt`: a query, and the tokens of the whole prompt with it. None: no query is known, so that the prompt
    takes one token or more.
    """
    n_text = 1 if prompt is None else prompt[1]
    needed = n_visual + n_text + max_tokens
    if needed <= max_model_len:
        return
    text = "at least 1 of the prompt" if prompt is None else f"{n_text} of the prompt with the query"
    parts = f"{n_visual} of the image, {text} and up to {max_tokens} of the reply"
    came = f"{max_model_len} for {needed} tokens, {parts}"
    remedy = "raise max_model_len under [prompter.vllm] in --config"
    raise InputError(
        "max_model_len must hold the image, the query and the reply",
        came=came if prompt is None else f"{came}, for {_shortened(prompt[0])!r}",
        remedy=f"{remedy}, or lower max_tokens" if prompt is None else f"ask a shorter query, or {remedy}",
    )


def check_context(
    folder: Path, profile: Profile, queries: Sequence[str], *, max_model_len: int, max_tokens: int
) -> None:
    """Check that image, whole prompt and longest reply fit into `max_model_len` for every query.

    `folder`: directory of the checkpoint. Without a tokenizer.json and image settings nothing is checked: the
    engine refuses a prompt that is too long, and each tile records that failure.

    Raises:
        InputError: a query does not fit (the message counts its tokens) or holds a special token, or
            tokenizer.json cannot be read.
    """
    rule = local_image_rule(folder)
    file = folder / "tokenizer.json"
    if rule is None or not file.is_file():
        return
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing more special
        raise InputError(
            "a checkpoint needs a readable tokenizer.json",
            came=f"{file}: {error}",
            remedy="complete the download",
        ) from error
    n_visual = visual_tokens(profile, rule)
    _require_plain(tokenizer, queries)
    texts = [_without_image(prompt_text(folder, profile, query)) for query in queries]
    for query, encoded in zip(queries, tokenizer.encode_batch(texts), strict=True):
        prompt = (query, len(encoded.ids))
        _require_room(max_model_len, n_visual=n_visual, max_tokens=max_tokens, prompt=prompt)


def _require_plain(tokenizer: Tokenizer, queries: Sequence[str]) -> None:
    """Check that no query holds a special token of the checkpoint, such as InternVL's <IMG_CONTEXT>: the
    tokenizer would take it for one. `check_query` knows the forms of all families, and not all tokens of one.
    """
    special = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
    for query in queries:
        held = [text for text in special if text in query]
        if held:
            raise InputError(
                "a query may not hold special tokens of the model",
                came=f"{max(held, key=len)!r} in {_shortened(query)!r}",
                remedy="say it in other words",
            )


def _without_image(text: str) -> str:
    for token in IMAGE_TOKENS:
        text = text.replace(token, "")
    return text


def prompt_text(folder: Path, profile: Profile, query: str) -> str:
    """Render a checkpoint directory's chat template for a query.

    transformers renders it the same way, but takes seconds to import. If the directory has no template that
    works here, only the text is returned.
    """
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    messages = chat_messages(profile, query)
    text = chat_template(folder)
    if text is None:
        return profile.system + profile.user_text(query)
    try:
        template = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        return template.from_string(text).render(messages=messages, add_generation_prompt=True)
    except (TemplateError, TypeError, ValueError):
        # TypeError and ValueError come from within a template that expects other messages.
        return profile.system + profile.user_text(query)


def _shortened(query: str) -> str:
    return query if len(query) <= 60 else f"{query[:57]}..."
