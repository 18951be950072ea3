from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hub_server import serving_hub, use_hub
from whole_checkpoint import write_whole_checkpoint

from pipeline.errors import InputError, ModelError
from pipeline.prompt.image_rules import ImageRule
from pipeline.prompt.profile import load_profile
from pipeline.prompt.prompter_checkpoint import (
    bring_checkpoint,
    check_checkpoint,
    check_context,
    check_image_size,
    checkpoint_folder,
    checkpoint_id,
    is_hub_model,
    load_processor,
    prompt_text,
    resolve_model,
)

QWEN25 = ImageRule(factor_px=28, min_area_px=3136, max_area_px=12_845_056)
QWEN3 = ImageRule(factor_px=32, min_area_px=65_536, max_area_px=16_777_216)


def test_a_complete_checkpoint_passes(tmp_path: Path) -> None:
    check_checkpoint(str(write_whole_checkpoint(tmp_path / "ok")))


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    write_whole_checkpoint(tmp_path / "resnet", model_type="resnet")
    write_whole_checkpoint(tmp_path / "untyped", model_type=None)
    (write_whole_checkpoint(tmp_path / "bare") / "model.safetensors").unlink()
    write_whole_checkpoint(tmp_path / "broken")
    (tmp_path / "broken" / "config.json").write_text("{")
    write_whole_checkpoint(tmp_path / "list")
    (tmp_path / "list" / "config.json").write_text("[]")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "file").write_text("")
    cases = {
        "missing": "checkpoint directory",
        "file": "checkpoint directory",
        "resnet": "'resnet'",
        "untyped": "architecture",
        "bare": "no weights",
        "broken": "config.json",
        "list": "config.json",
        "nothing": "config.json",
    }
    for name, said in cases.items():
        with pytest.raises(InputError, match=said) as caught:
            check_checkpoint(str(tmp_path / name))
        assert "To fix:" in str(caught.value)


def test_hub_ids_pass_and_paths_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    assert is_hub_model("owner/some-model-3B")
    assert is_hub_model("some-model")
    for path in ("checkpoints/missing", "./missing", "/missing/model", "models/missing", "a/b/c", "~/model"):
        assert not is_hub_model(path), path
    check_checkpoint("owner/some-model-3B")
    with pytest.raises(InputError):
        check_checkpoint("models/missing")
    assert checkpoint_id("owner/some-model-3B", None) == "owner/some-model-3B@main"
    assert checkpoint_id("owner/some-model-3B", "abc") == "owner/some-model-3B@abc"
    assert checkpoint_id(str(tmp_path / "checkpoints"), None) == "checkpoints"


def test_shipped_models_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package"
    (package / "models" / "small").mkdir(parents=True)
    monkeypatch.setattr("pipeline.prompt.prompter_checkpoint.PACKAGE_DIR", package)
    monkeypatch.chdir(tmp_path)
    assert resolve_model("models/small") == str(package / "models" / "small")
    assert resolve_model("models/other") == "models/other"
    (tmp_path / "models" / "small").mkdir(parents=True)
    assert resolve_model("models/small") == "models/small"  # the user's own directory comes first


# Fixed points as published: 840 and 896 for factor 28; 840 becomes 832 for factor 32, 896 stays.
@pytest.mark.parametrize(
    ("rule", "side", "fits"),
    [(QWEN25, 840, True), (QWEN25, 896, True), (QWEN25, 1024, False), (QWEN25, 28, False)],
)
def test_fixed_points(tmp_path: Path, rule: ImageRule, side: int, fits: bool) -> None:
    profile = own_profile(tmp_path, f"[{side}, {side}]")
    if fits:
        check_image_size(profile, rule, max_model_len=4096, max_tokens=640)
    else:
        with pytest.raises(InputError, match="unchanged"):
            check_image_size(profile, rule, max_model_len=4096, max_tokens=640)


def own_profile(tmp_path: Path, size: str, frame: str = "image_px") -> Any:
    source = Path(__file__).parents[3] / "pipeline" / "prompt" / "profiles" / "embedded.toml"
    path = tmp_path / "own.toml"
    text = source.read_text(encoding="utf-8").replace("[252, 252]", size).replace('"image_px"', f'"{frame}"')
    path.write_text(text, encoding="utf-8")
    return load_profile(str(path))


def test_think2seg_does_not_fit_a_processor_of_another_family() -> None:
    check_image_size(load_profile("think2seg"), QWEN25, max_model_len=4096, max_tokens=1024)
    with pytest.raises(InputError, match=r"multiples of 32 px.*840 x 840"):
        check_image_size(load_profile("think2seg"), QWEN3, max_model_len=4096, max_tokens=1024)


def test_thousandths_do_not_depend_on_the_size(tmp_path: Path) -> None:
    check_image_size(
        own_profile(tmp_path, "[840, 840]", "thousand"), QWEN3, max_model_len=4096, max_tokens=640
    )


def test_reply_must_fit_beside_the_image() -> None:
    # 840 x 840 / 28^2 = 900 visual tokens
    check_image_size(load_profile("think2seg"), QWEN25, max_model_len=1925, max_tokens=1024)
    with pytest.raises(InputError, match="1924 for 1925 tokens, 900 of the image, at least 1"):
        check_image_size(load_profile("think2seg"), QWEN25, max_model_len=1924, max_tokens=1024)


SHIPPED = resolve_model("models/embedded-prompter")
LONG = {
    "cyrillic": "где стоят резервуары у реки " * 18,
    "chinese": "河边的储罐在哪里" * 44,
    "english": "where are the storage tanks near the river " * 11,
}


@pytest.mark.parametrize("query", LONG.values(), ids=LONG)
def test_a_query_fits_to_the_token(query: str) -> None:
    """Counted by the checkpoint's processor from transformers: image, chat format and query together."""
    from PIL import Image

    profile = load_profile("embedded")
    processor = load_processor(SHIPPED, None)
    chat = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": f"Find: {query.strip()}"}]}
    ]
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert prompt_text(Path(SHIPPED), profile, query.strip()) == text
    n = len(processor(text=[text], images=[Image.new("RGB", (252, 252))])["input_ids"][0])
    check_context(Path(SHIPPED), profile, ["tanks", query.strip()], max_model_len=n + 640, max_tokens=640)
    said = (
        rf"Got: {n + 639} for {n + 640} tokens, 81 of the image, {n - 81} of the prompt .* "
        rf"up to 640 of the reply, for '{query[:20]}"
    )
    with pytest.raises(InputError, match=said):
        check_context(Path(SHIPPED), profile, ["tanks", query.strip()], max_model_len=n + 639, max_tokens=640)


def test_queries_of_the_shipped_preset_s_length_limit() -> None:
    """512 characters are few tokens in the language of its training and too many in another script."""
    check_context(
        Path(SHIPPED), load_profile("embedded"), [LONG["english"][:512]], max_model_len=1024, max_tokens=640
    )
    for name in ("cyrillic", "chinese"):
        with pytest.raises(InputError, match="shorter query"):
            check_context(
                Path(SHIPPED),
                load_profile("embedded"),
                [LONG[name][:512]],
                max_model_len=1024,
                max_tokens=640,
            )


def test_the_template_is_found_in_any_of_its_files_or_done_without(tmp_path: Path) -> None:
    profile = load_profile("embedded")
    assert prompt_text(tmp_path, profile, "tanks") == "Find: tanks"
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"chat_template": "{% for m in messages %}C:{{ m.role }}{% endfor %}"})
    )
    assert prompt_text(tmp_path, profile, "tanks") == "C:user"
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "J:{{ messages[0].role }}"}))
    assert prompt_text(tmp_path, profile, "tanks") == "J:user"
    (tmp_path / "chat_template.jinja").write_text("{{ raise_exception('no') }}")
    assert prompt_text(tmp_path, profile, "tanks") == "Find: tanks"


def test_what_is_unknown_before_loading_is_left_to_the_engine(tmp_path: Path) -> None:
    room = {"max_model_len": 1, "max_tokens": 1}
    check_context(Path("owner/some-model-3B"), load_profile("embedded"), ["tanks"], **room)
    (tmp_path / "tokenizer.json").write_text("{")
    check_context(tmp_path, load_profile("embedded"), ["tanks"], **room)
    (tmp_path / "preprocessor_config.json").write_text('{"patch_size": 14, "merge_size": 2}')
    with pytest.raises(InputError, match=r"readable tokenizer\.json"):
        check_context(tmp_path, load_profile("embedded"), ["tanks"], **room)


def test_a_processor_without_a_template_is_no_prompter(tmp_path: Path) -> None:
    """The shipped one, less its template: it would load, and fail at the first tile."""
    folder = tmp_path / "mute"
    shutil.copytree(resolve_model("models/embedded-prompter"), folder)
    (folder / "chat_template.jinja").unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="no chat template"):
        check_checkpoint(str(folder))
    with pytest.raises(ModelError, match="no chat template, so every tile would fail"):
        load_processor(str(folder), None)


def test_a_checkpoint_of_the_hub_is_loaded_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is needed is fetched once; when all is there, no hub is asked."""
    folder = write_whole_checkpoint(tmp_path / "whole")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    with serving_hub() as hub:
        use_hub(monkeypatch, hub, tmp_path / "cache")
        commit = hub.add("owner/name", {**files, "optimizer.pt": b"x", "old/config.json": b"{}"})
        assert checkpoint_folder("owner/name", commit) is None
        check_checkpoint("owner/name", commit)
        found = Path(bring_checkpoint("owner/name", commit))
        assert {path.name for path in found.iterdir()} == set(files)
        assert checkpoint_folder("owner/name", commit) == found
    use_hub(monkeypatch, None, tmp_path / "cache")
    assert Path(bring_checkpoint("owner/name", commit)) == found
    assert bring_checkpoint(str(folder), None) == str(folder)
    (found / "model.safetensors").unlink()
    check_checkpoint("owner/name", commit)  # weights may still have to come
    with pytest.raises(ModelError, match=r"could not be fetched .*fetch_models"):
        bring_checkpoint("owner/name", commit)
    (found / "vocab.json").unlink()
    with pytest.raises(InputError, match="no tokenizer"):
        check_checkpoint("owner/name", commit)


def test_a_query_may_not_hold_a_token_of_the_checkpoint(tmp_path: Path) -> None:
    """<IMG_CONTEXT> is InternVL's; `check_query` refuses the forms <|...|> of all families."""
    from tokenizers import AddedToken, Tokenizer

    shutil.copytree(SHIPPED, tmp_path / "own")
    tokenizer = Tokenizer.from_file(str(tmp_path / "own/tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken("<IMG_CONTEXT>", special=True)])
    tokenizer.save(str(tmp_path / "own/tokenizer.json"))
    room = {"max_model_len": 4096, "max_tokens": 64}
    check_context(tmp_path / "own", load_profile("embedded"), ["tanks <IMG>"], **room)
    with pytest.raises(InputError, match=r"special tokens of the model.*'<IMG_CONTEXT>' in 'tanks <IMG_C"):
        check_context(tmp_path / "own", load_profile("embedded"), ["ok", "tanks <IMG_CONTEXT>"], **room)
