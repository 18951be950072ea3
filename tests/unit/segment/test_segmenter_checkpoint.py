"""What a weights file's header says about its architecture, against what the sam2 package itself builds."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_sam2 import TINY_CONFIG, write_checkpoint

from pipeline.errors import InputError, ModelError
from pipeline.segment.sam2_model import package_config_dir
from pipeline.segment.sam2_segmenter import Sam2Segmenter
from pipeline.segment.segmenter import Sam2Options
from pipeline.segment.segmenter_checkpoint import SWITCHED, check_sam2, read_shapes

SWITCHES = (
    "  no_obj_embed_spatial: true\n  add_tpos_enc_to_obj_ptrs: true\n  proj_tpos_enc_in_obj_ptrs: true\n"
)
"""What a SAM2.1 config says of `model` and a SAM2.0 config does not."""


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same small trunk twice: 2.0.yaml with 2.0.safetensors, 2.1.yaml with 2.1.safetensors and .pt."""
    import torch
    from safetensors.torch import load_file

    folder = tmp_path_factory.mktemp("versions")
    for version, switches in (("2.0", ""), ("2.1", SWITCHES)):
        (folder / f"{version}.yaml").write_text(TINY_CONFIG + switches)
        write_checkpoint(folder / f"{version}.yaml", folder / f"{version}.safetensors")
    torch.save({"model": load_file(folder / "2.1.safetensors")}, folder / "2.1.pt")
    return folder


def options(folder: Path, config: str, weights: str) -> Sam2Options:
    return Sam2Options(config=str(folder / config), checkpoint=str(folder / weights), device="cpu")


def test_the_switches_are_those_of_the_published_configs_and_of_the_package(versions: Path) -> None:
    from omegaconf import OmegaConf

    for version, has in (("sam2", False), ("sam2.1", True)):
        configs = sorted((package_config_dir() / "configs" / version).glob("*.yaml"))
        assert len(configs) == 4
        assert {
            bool(OmegaConf.load(path)["model"].get(switch, False)) for path in configs for switch in SWITCHED
        } == {has}
    built = {version: read_shapes(versions / f"{version}.safetensors").keys() for version in ("2.0", "2.1")}
    assert set(SWITCHED.values()) <= built["2.1"] - built["2.0"]
    assert built["2.0"] < built["2.1"]


@pytest.mark.parametrize("weights", ["2.0.safetensors", "2.1.safetensors", "2.1.pt"])
def test_weights_with_their_own_config_pass(versions: Path, weights: str) -> None:
    check_sam2(options(versions, f"{weights[:3]}.yaml", weights))


@pytest.mark.parametrize(
    ("config", "weights", "says"),
    [
        (
            "2.0.yaml",
            "2.1.safetensors",
            "has a tensor no_obj_embed_spatial, as weights of SAM2.1 do.*does not set no_obj_embed_spatial",
        ),
        (
            "2.0.yaml",
            "2.1.pt",
            "has a tensor no_obj_embed_spatial, as weights of SAM2.1 do.*does not set no_obj_embed_spatial",
        ),
        (
            "2.1.yaml",
            "2.0.safetensors",
            "has no tensor no_obj_embed_spatial, as weights of SAM2.0 do.*sets no_obj_embed_spatial",
        ),
    ],
)
def test_weights_of_the_other_version_are_refused_before_anything_is_loaded(
    versions: Path, config: str, weights: str, says: str
) -> None:
    """Width and depth of the trunk are the same, so only these tensors tell; loading would fail, after the
    engine is up.
    """
    with pytest.raises(InputError, match=says) as caught:
        check_sam2(options(versions, config, weights))
    assert caught.value.exit_code == 2
    with pytest.raises(ModelError, match="another architecture"):
        Sam2Segmenter(options(versions, config, weights))


def test_a_config_without_an_encoder_is_no_sam2(versions: Path, tmp_path: Path) -> None:
    (tmp_path / "none.yaml").write_text("model: {_target_: torch.nn.Identity}\n")
    with pytest.raises(InputError, match="must be a SAM2 YAML"):
        check_sam2(
            Sam2Options(config=str(tmp_path / "none.yaml"), checkpoint=str(versions / "2.0.safetensors"))
        )
