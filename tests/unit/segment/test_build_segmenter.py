"""Options to segmenters, and what is refused before any model is loaded."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from exported_sams import network_of, write_export
from rasterio.transform import from_origin

from pipeline.errors import InputError
from pipeline.options import parse_table
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.segment.build_segmenter import (
    SegmenterOptions,
    build_segmenter,
    check_device,
    check_segmenter,
    pinned_parameters,
)
from pipeline.segment.mask_model.mask_options import MaskModelOptions
from pipeline.segment.onnx_segmenter import OnnxSegmenter
from pipeline.segment.oracle_segmenter import OracleSegmenter
from pipeline.segment.sam2_segmenter import Sam2Segmenter

TRANSFORM = from_origin(100.0, 200.0, 1.0, 1.0)
GRID = RunGrid(crs_wkt=None, transform=tuple(TRANSFORM)[:6], width=40, height=30)  # type: ignore[arg-type]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=30, width=40, count=1, dtype="uint16", transform=TRANSFORM
    ) as dataset:
        dataset.write(np.ones((30, 40), np.uint16), 1)
    return path


def test_kinds(tiny_dir: Path, labels: Path) -> None:
    lattice = TileLattice(grid=GRID, tile_px=16, halo_px=2, block_tiles=2)
    sam2 = parse_table(SegmenterOptions, {"checkpoint": str(tiny_dir), "device": "cpu"}, "segmenter")
    check_segmenter(sam2, GRID)
    assert isinstance(build_segmenter(sam2, lattice), Sam2Segmenter)
    oracle = SegmenterOptions(kind="oracle", checkpoint=f"oracle:{labels}?noise=mild")
    check_segmenter(oracle, GRID)
    built = build_segmenter(oracle, lattice)
    assert isinstance(built, OracleSegmenter)
    assert built.model_id == oracle.model_id == "oracle:labels.tif?noise=mild"
    assert isinstance(build_segmenter(oracle), OracleSegmenter)


def test_an_export_is_checked_and_pinned_by_its_content(tmp_path: Path) -> None:
    folder = write_export(network_of("sam", tmp_path), "sam", 1, tmp_path / "tiny-sam")
    options = SegmenterOptions(kind="sam-onnx", checkpoint=str(folder), device="cpu")
    check_segmenter(options, GRID)
    check_device(options)
    assert options.model_id == "tiny-sam"
    assert isinstance(build_segmenter(options), OnnxSegmenter)
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    pinned = pinned_parameters(options)
    assert pinned == {"kind": "sam-onnx", "checkpoint": pinned["checkpoint"], "mask_threshold": 0.0}
    assert str(pinned["checkpoint"]).startswith("sha256:")
    assert pinned_parameters(replace(options, checkpoint=str(moved))) == pinned
    (moved / "decoder.onnx").write_bytes((moved / "decoder.onnx").read_bytes() + b" ")
    assert pinned_parameters(replace(options, checkpoint=str(moved))) != pinned
    with pytest.raises(InputError, match="needs a GPU"):
        check_device(replace(options, device="cuda"))
    for name, value in {"config": "a.yaml", "image_px": 512, "dtype": "bfloat16"}.items():
        with pytest.raises(InputError, match=f"segmenter.{name} is for SAM2"):
            check_segmenter(replace(options, **{name: value}), GRID)
    with pytest.raises(InputError, match="make mobile-sam"):
        check_segmenter(replace(options, checkpoint=str(tmp_path / "nowhere")), GRID)


def test_embedded_passes_its_own_check() -> None:
    check_segmenter(SegmenterOptions(), GRID)
    check_segmenter(SegmenterOptions(checkpoint="facebook/sam2.1-hiera-small"), GRID)


@pytest.mark.parametrize(
    ("options", "model_id"),
    [
        (SegmenterOptions(), "embedded-segmenter"),
        (SegmenterOptions(checkpoint="facebook/sam2.1-hiera-tiny"), "facebook/sam2.1-hiera-tiny"),
        (SegmenterOptions(checkpoint="/secret/place/mine/model.safetensors"), "mine/model.safetensors"),
    ],
)
def test_model_ids_hold_no_paths(options: SegmenterOptions, model_id: str) -> None:
    assert options.model_id == model_id


def test_bad_checkpoints_are_refused(tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    def refuse(says: str, **fields: str) -> None:
        with pytest.raises(InputError, match=says):
            check_segmenter(SegmenterOptions(**fields), GRID)  # type: ignore[arg-type]

    refuse("looked for absent", config="absent.yaml")
    refuse("must exist", checkpoint=str(tmp_path / "absent.pt"), config=str(tiny_dir / "config.yaml"))
    refuse("device", device="abacus")
    save_file({"a.b": torch.zeros(1)}, tmp_path / "other.safetensors")
    refuse(
        "must hold a SAM2",
        checkpoint=str(tmp_path / "other.safetensors"),
        config=str(tiny_dir / "config.yaml"),
    )
    refuse(
        "one of width|of one architecture",
        checkpoint=str(tiny_dir / "model.safetensors"),
        config="configs/sam2.1/sam2.1_hiera_t.yaml",
    )
    (tmp_path / "cut.safetensors").write_bytes((tiny_dir / "model.safetensors").read_bytes()[:1000])
    refuse(
        "readable weights file",
        checkpoint=str(tmp_path / "cut.safetensors"),
        config=str(tiny_dir / "config.yaml"),
    )
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    refuse("must be at hand", checkpoint="facebook/sam2-hiera-large")
    refuse("known SAM2", checkpoint="somebody/else")
    torch.save({"model": load_file(tiny_dir / "model.safetensors")}, tmp_path / "good.pt")
    check_segmenter(
        SegmenterOptions(checkpoint=str(tmp_path / "good.pt"), config=str(tiny_dir / "config.yaml")), GRID
    )
    torch.save({"model": {"x": torch.zeros(1)}}, tmp_path / "bad.pt")
    refuse("must hold a SAM2", checkpoint=str(tmp_path / "bad.pt"), config=str(tiny_dir / "config.yaml"))


def test_the_device_of_this_machine_is_looked_at_where_the_model_will_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("this starts CUDA"))
    for options in (SegmenterOptions(), SegmenterOptions(device="cpu"), SegmenterOptions(device="cuda")):
        check_device(options)
    with pytest.raises(InputError, match="'cuda:1' needs that GPU") as caught:
        check_device(SegmenterOptions(device="cuda:1"))
    assert caught.value.exit_code == 2
    check_device(SegmenterOptions(kind="oracle", checkpoint="oracle:labels.tif", device="cuda:1"))


def test_checking_loads_no_model_library() -> None:
    code = (
        "import sys; from pipeline.segment.build_segmenter import *\n"
        "from pipeline.schema.tiling import RunGrid\n"
        "grid = RunGrid(crs_wkt=None, transform=(1, 0, 0, 0, -1, 0), width=1, height=1);"
        "check_segmenter(SegmenterOptions(), grid);"
        "print(sorted({'torch', 'sam2', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.strip() == "[]"


def test_what_enters_a_fingerprint_is_what_changes_a_result() -> None:
    plain = SegmenterOptions().result_parameters()
    assert SegmenterOptions(prompt_batch=4, device="cpu").result_parameters() == plain
    assert plain == {
        "kind": "sam2",
        "config": "",
        "checkpoint": "",
        "image_px": None,
        "mask_threshold": 0.0,
        "dtype": "float32",
    }
    for changed in (
        SegmenterOptions(dtype="bfloat16"),
        SegmenterOptions(image_px=512),
        SegmenterOptions(mask_threshold=0.5),
    ):
        assert changed.result_parameters() != plain
    oracle = SegmenterOptions(kind="oracle", checkpoint="oracle:labels.tif", image_px=512)
    assert oracle.result_parameters() == {"kind": "oracle", "checkpoint": "oracle:labels.tif"}


def test_a_mask_model_is_no_segmenter_and_takes_no_crops() -> None:
    model = MaskModelOptions(kind="sam3-text", checkpoint="facebook/sam3")
    options = SegmenterOptions(kind="mask-model", mask_model=model)
    assert options.model_id == "sam3-text sam3"
    assert options.serves_any_grid
    assert not options.splits(False)
    assert options.splits(True)
    with pytest.raises(InputError, match="a mask model takes none"):
        build_segmenter(options)
    with pytest.raises(ValueError, match="two routes and crops"):
        SegmenterOptions(kind="mask-model", mask_model=model, crop_share=0.5)
