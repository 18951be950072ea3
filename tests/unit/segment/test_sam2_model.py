"""Configs and weights: what loads, and what the error says when it does not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from tiny_sam2 import TINY_CONFIG

from pipeline.errors import ModelError
from pipeline.segment import sam2_model
from pipeline.segment.sam2_model import (
    EMBEDDED_DIR,
    build_architecture,
    find_weights,
    hub_entry,
    is_hub_weights,
    load_weights,
    package_config_dir,
    read_state,
    resolve_config,
    resolve_path,
)
from pipeline.segment.segmenter import Sam2Options
from pipeline.segment.segmenter_checkpoint import check_sam2, read_shapes


def test_configs_are_resolved(tiny_dir: Path) -> None:
    assert resolve_config("", "") == EMBEDDED_DIR / "config.yaml"
    assert resolve_config("", str(tiny_dir / "model.safetensors")) == tiny_dir / "config.yaml"
    assert resolve_config("", str(tiny_dir)) == tiny_dir / "config.yaml"
    assert (
        resolve_config("configs/sam2.1/sam2.1_hiera_s.yaml", "x.pt")
        == package_config_dir() / "configs/sam2.1/sam2.1_hiera_s.yaml"
    )
    assert resolve_config("", "facebook/sam2.1-hiera-base-plus").name == "sam2.1_hiera_b+.yaml"
    assert resolve_config("models/embedded-segmenter/config.yaml", "x.pt") == EMBEDDED_DIR / "config.yaml"
    with pytest.raises(ModelError, match=r"looked for absent\.yaml or "):
        resolve_config("absent.yaml", "")


def test_hub_ids_agree_with_the_package() -> None:
    from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES

    for hub_id, (config, weights) in HF_MODEL_ID_TO_FILENAMES.items():
        assert is_hub_weights(hub_id)
        assert hub_entry(hub_id) == (config, weights)
        assert (package_config_dir() / config).is_file()
    with pytest.raises(ModelError, match=r"facebook/sam2\.1-hiera-small"):
        hub_entry("facebook/sam9-hiera-small")
    assert not is_hub_weights("folder/weights.pt")
    assert not is_hub_weights("")


def test_hub_download_offline_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(*, repo_id: str, filename: str, revision: str | None) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError(f"{repo_id}/{filename} is not cached")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(
        ModelError,
        match=r"sam2\.1_hiera_small\.pt of facebook/sam2\.1-hiera-small could not be fetched.*"
        r"pass the file's path",
    ):
        find_weights("facebook/sam2.1-hiera-small")
    with pytest.raises(ModelError, match="does not exist; name a"):
        find_weights("absent/weights.safetensors")


GOLDEN = Path(__file__).parents[2] / "golden" / "segment" / "embedded_architecture.json"


def test_shipped_weights_have_the_golden_architecture() -> None:
    """Tensor names and shapes of the embedded segmenter are a format: a config that changes them orphans the
    weights.

    Regenerate (after retraining on purpose): python -c "import json; from
    pipeline.segment.segmenter_checkpoint import read_shapes; from pipeline.segment.sam2_model import
    EMBEDDED_DIR as d; s = read_shapes(d / 'model.safetensors'); print(json.dumps({k: list(v) for k, v in
    sorted(s.items())}, indent=0))" > tests/golden/segment/embedded_architecture.json
    """
    golden = json.loads(GOLDEN.read_text())
    shipped = {
        name: list(shape or ()) for name, shape in read_shapes(EMBEDDED_DIR / "model.safetensors").items()
    }
    built = {
        name: list(tensor.shape)
        for name, tensor in build_architecture(EMBEDDED_DIR / "config.yaml").state_dict().items()
    }
    assert shipped == golden
    assert built == golden


def test_weights_round_trip_in_half_precision(tiny_dir: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    state = read_state(tiny_dir / "model.safetensors")
    half = {name: tensor.half() for name, tensor in state.items()}
    save_file(half, tmp_path / "model.safetensors")
    model = build_architecture(tiny_dir / "config.yaml")
    load_weights(model, tmp_path / "model.safetensors")
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, half[name].float())


def test_wrong_architecture_names_the_keys(tiny_dir: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = read_state(tiny_dir / "model.safetensors")
    model = build_architecture(tiny_dir / "config.yaml")
    wrong = dict(state)
    del wrong["no_mem_embed"]
    wrong["extra.weight"] = state["no_mem_embed"].clone()
    wrong["image_encoder.trunk.patch_embed.proj.bias"] = state["no_mem_embed"].clone()
    save_file(wrong, tmp_path / "wrong.safetensors")
    with pytest.raises(ModelError) as caught:
        load_weights(model, tmp_path / "wrong.safetensors")
    text = str(caught.value)
    assert "1 missing (no_mem_embed)" in text
    assert "1 unexpected (extra.weight)" in text
    assert "patch_embed.proj.bias is (1, 1, 32), needs (8,)" in text
    with pytest.raises(ModelError, match="another architecture"):
        load_weights(build_architecture(EMBEDDED_DIR / "config.yaml"), tiny_dir / "model.safetensors")


def test_unreadable_weights(tmp_path: Path) -> None:
    import torch

    for name in ("a.safetensors", "a.pt"):
        (tmp_path / name).write_bytes(b"not weights")
        with pytest.raises(ModelError, match="could not be read as weights"):
            read_state(tmp_path / name)
    torch.save({"model": [1, 2]}, tmp_path / "list.pt")
    with pytest.raises(ModelError, match="no table of named tensors"):
        read_state(tmp_path / "list.pt")


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("a pickle ran",))


def test_pickles_are_not_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    torch.save({"model": _Bomb()}, tmp_path / "bomb.pt")
    with pytest.raises(ModelError, match="holds more than tensors") as caught:
        read_state(tmp_path / "bomb.pt")
    assert "weights_only" not in str(caught.value)
    assert "a pickle ran" not in capsys.readouterr().out


def test_configs_cannot_name_arbitrary_callables(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(TINY_CONFIG.replace("torch.nn.Identity", "os.getcwd"))
    with pytest.raises(ModelError, match=r"os\.getcwd"):
        build_architecture(path)
    path.write_text("network: 3")
    with pytest.raises(ModelError, match="'model' node"):
        build_architecture(path)
    path.write_text("model: {_target_: sam2.modeling.sam2_base.SAM2Base}")
    with pytest.raises(ModelError, match="does not build"):
        build_architecture(path)


def test_image_size_can_be_overridden(tiny_dir: Path) -> None:
    model = build_architecture(tiny_dir / "config.yaml", image_px=192)
    assert model.image_size == 192
    assert not model.training


def test_shipped_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_path("") == EMBEDDED_DIR / "model.safetensors"
    assert resolve_path("models/embedded-segmenter") == EMBEDDED_DIR / "model.safetensors"
    assert resolve_path("models/embedded-segmenter/model.safetensors") == EMBEDDED_DIR / "model.safetensors"
    assert sam2_model.find_weights("").stat().st_size < 10 * 2**20


STATES = Path(__file__).parents[2] / "golden/segment/sam2_state_hashes.json"


@pytest.mark.parametrize("hub_id", sorted(json.loads(STATES.read_text())))
def test_tensors_of_published_models_are_the_golden_ones(hub_id: str) -> None:
    """Names and shapes that a published file must have to load, as the package's own models have them.

    To make the golden file anew: for each id of SAM2.1 in HF_MODEL_ID_TO_FILENAMES the sorted lines
    "NAME [SHAPE]" of
    `build_sam2(CONFIG, device="cpu").state_dict()`, joined by line feeds, and their SHA-256.
    """
    config, _ = hub_entry(hub_id)
    state = build_architecture(package_config_dir() / config).state_dict()
    lines = sorted(f"{name} {list(tensor.shape)}" for name, tensor in state.items())
    assert json.loads(STATES.read_text())[hub_id] == {
        "tensors": len(lines),
        "numbers": sum(tensor.numel() for tensor in state.values()),
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }


def test_a_published_size_loads_from_both_formats(tmp_path: Path) -> None:
    """SAM2.1 tiny with random weights: .pt as it is published, and safetensors."""
    import torch
    from safetensors.torch import save_file

    config = package_config_dir() / "configs/sam2.1/sam2.1_hiera_t.yaml"
    torch.manual_seed(1)
    state = build_architecture(config).state_dict()
    torch.save({"model": state}, tmp_path / "sam2.1_hiera_tiny.pt")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "tiny.safetensors")
    for name in ("sam2.1_hiera_tiny.pt", "tiny.safetensors"):
        check_sam2(Sam2Options(config=str(config), checkpoint=str(tmp_path / name)))
        model = build_architecture(config)
        load_weights(model, tmp_path / name)
        loaded = model.state_dict()
        assert all(torch.equal(loaded[key], tensor) for key, tensor in state.items())
