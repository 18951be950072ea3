"""A SAM2 of a few ten thousand parameters, tiles to feed it, and prompts of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Prompt
from pipeline.schema.tiling import TileSpec, Window
from pipeline.segment.sam2_model import build_architecture

TINY_CONFIG = """
model:
  _target_: sam2.modeling.sam2_base.SAM2Base
  image_encoder:
    _target_: sam2.modeling.backbones.image_encoder.ImageEncoder
    scalp: 0
    trunk:
      _target_: sam2.modeling.backbones.hieradet.Hiera
      embed_dim: 8
      num_heads: 1
      q_pool: 2
      stages: [1, 1, 2]
      window_spec: [4, 4, 4]
      global_att_blocks: [3]
      window_pos_embed_bkg_spatial_size: [3, 3]
    neck:
      _target_: sam2.modeling.backbones.image_encoder.FpnNeck
      position_encoding:
        _target_: sam2.modeling.position_encoding.PositionEmbeddingSine
        num_pos_feats: 32
        normalize: true
        scale: null
        temperature: 10000
      d_model: 32
      backbone_channel_list: [32, 16, 8]
      fpn_top_down_levels: [0, 1, 2]
      fpn_interp_model: nearest
  memory_attention: {_target_: torch.nn.Identity}
  memory_encoder: {_target_: torch.nn.Identity}
  num_maskmem: 1
  image_size: 128
  backbone_stride: 16
  directly_add_no_mem_embed: true
  use_high_res_features_in_sam: true
  iou_prediction_use_sigmoid: true
"""


def write_checkpoint(config: Path, out: Path) -> None:
    """Random weights, the mask head enlarged so that logits of both signs occur."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(3)
    model = build_architecture(config)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name in state:
        if "output_hypernetworks_mlps" in name and name.endswith("weight"):
            state[name] *= 3
    save_file(state, out)


def make_tile(height: int = 96, width: int = 96, *, seed: int = 0, invalid_cols: int = 0) -> TileImage:
    """Blobs of colour at the top left of a grid; the last `invalid_cols` columns are nodata."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    rgb = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width].copy()
    valid = np.ones((height, width), dtype=np.bool_)
    if invalid_cols:
        valid[:, -invalid_cols:] = False
        rgb[~valid] = 0
    window = Window(row0=0, col0=0, row1=height, col1=width)
    return TileImage(tile=TileSpec(tile_row=0, tile_col=0, core=window, read=window), rgb=rgb, valid=valid)


def mixed_prompts(n: int, side: int, seed: int = 1) -> list[Prompt]:
    """Boxes alone, boxes with one or two clicks of either label, clicks alone."""
    rng = np.random.default_rng(seed)
    prompts = []
    for i in range(n):
        x0, y0 = rng.uniform(0, side * 0.7, 2)
        w, h = rng.uniform(4, side * 0.3, 2)
        points = tuple((float(x0 + rng.uniform(0, w)), float(y0 + rng.uniform(0, h))) for _ in range(i % 3))
        labels = tuple(int(rng.random() < 0.7) for _ in points)
        box = (float(x0), float(y0), float(x0 + w), float(y0 + h))
        prompts.append(
            Prompt(box_xyxy=None if i % 4 == 3 and points else box, points_xy=points, point_labels=labels)
        )
    return prompts
