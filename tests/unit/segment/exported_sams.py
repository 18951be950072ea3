"""Small SAMs as ONNX files, with the names that the published export scripts give, made of tiny SAM2s."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from tiny_sam2 import TINY_CONFIG, write_checkpoint
from torch import Tensor, nn

from pipeline.segment.sam2_model import build_architecture, load_weights
from pipeline.segment.sam_export import DECODERS, Family

SIDE = 128
"""Of the image that the tiny SAM2 sees, in pixels."""
POINTS = {"point_coords": {1: "num_points"}, "point_labels": {1: "num_points"}}
MANY = {name: {0: "num_labels", 1: "num_points"} for name in POINTS} | {
    "mask_input": {0: "num_labels"},
    "has_mask_input": {0: "num_labels"},
}
"""Free sides, as samexporter declares them."""
ORDER = (
    "image_embed",
    "image_embeddings",
    "high_res_feats_0",
    "high_res_feats_1",
    "point_coords",
    "point_labels",
    "mask_input",
    "has_mask_input",
    "orig_im_size",
)


def network_of(family: Family, folder: Path) -> nn.Module:
    """A tiny network with random weights: SAM2 as it is, or without its fine levels, as SAM has none."""
    fine = "use_high_res_features_in_sam: true"
    config = TINY_CONFIG if family == "sam2" else TINY_CONFIG.replace(fine, fine.replace("true", "false"))
    (folder / "config.yaml").write_text(config)
    write_checkpoint(folder / "config.yaml", folder / "model.safetensors")
    network = build_architecture(folder / "config.yaml")
    load_weights(network, folder / "model.safetensors")
    return network.eval()


def write_export(network: nn.Module, family: Family, masks: int, folder: Path) -> Path:
    """Write encoder.onnx and decoder.onnx. `masks`: how many the decoder gives of a prompt, 1, 3 or 4."""
    folder.mkdir(parents=True)
    levels = ["high_res_feats_0", "high_res_feats_1", "image_embed"]
    outputs = levels if family == "sam2" else ["image_embeddings"]
    image = torch.zeros(1, 3, SIDE, SIDE)
    encoder = _Encoder(network, family)
    _export(encoder, {"image": image}, outputs, folder / "encoder.onnx", {})
    with torch.no_grad():
        features = dict(zip(outputs, encoder(image), strict=True))
    taken = features | {
        "point_coords": torch.rand(1, 5, 2) * SIDE,
        "point_labels": torch.ones(1, 5),
        "mask_input": torch.zeros(1, 1, SIDE // 4, SIDE // 4),
        "has_mask_input": torch.zeros(1),
        "orig_im_size": torch.tensor([float(SIDE), float(SIDE)]),
    }
    names = [name for name in ORDER if name in DECODERS[family][0]]
    gives = {
        "sam": ["masks", "iou_predictions", "low_res_masks"],
        "edge-sam": ["scores", "masks"],
        "sam2": ["masks", "iou_predictions"],
    }[family]
    free = MANY if family == "sam2" else POINTS
    decoder = _Decoder(network, family, masks)
    _export(decoder, {name: taken[name] for name in names}, gives, folder / "decoder.onnx", free)
    return folder


def _export(
    module: nn.Module,
    taken: dict[str, Tensor],
    gives: list[str],
    path: Path,
    free: dict[str, dict[int, str]],
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(taken.values()),
            str(path),
            input_names=list(taken),
            output_names=gives,
            dynamic_axes=free,
            opset_version=18,
            dynamo=False,
        )


class _Encoder(nn.Module):
    def __init__(self, network: nn.Module, family: Family) -> None:
        super().__init__()
        self.network = network
        self.family = family

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        network = self.network
        levels = network.forward_image(image)["backbone_fpn"][-network.num_feature_levels :]
        coarse = levels[-1] + network.no_mem_embed.view(1, -1, 1, 1)
        return (levels[0], levels[1], coarse) if self.family == "sam2" else (coarse,)


class _Decoder(nn.Module):
    """What the graph does beyond the network's own modules is what the published scripts let it do."""

    def __init__(self, network: nn.Module, family: Family, masks: int) -> None:
        super().__init__()
        self.network = network
        self.family = family
        self.chosen = {1: slice(0, 1), 3: slice(1, None), 4: slice(None)}[masks]

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        n_features = 3 if self.family == "sam2" else 1
        points, labels = given[n_features : n_features + 2]
        encoder = self.network.sam_prompt_encoder
        dense = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        if self.family == "sam2":
            mask_input, has_mask = given[-2:]
            dense = dense * (1 - has_mask) + 0 * mask_input[:, :, ::4, ::4]
        else:
            dense = dense.expand(1, -1, SIDE // 16, SIDE // 16)
        logits, scores, _, _ = self.network.sam_mask_decoder.predict_masks(
            image_embeddings=given[0],
            image_pe=encoder.get_dense_pe(),
            sparse_prompt_embeddings=self._sparse(points, labels),
            dense_prompt_embeddings=dense,
            repeat_image=False,
            high_res_features=list(given[1:n_features]) or None,
        )
        logits, scores = logits[:, self.chosen], scores[:, self.chosen]
        if self.family == "edge-sam":
            return scores, logits
        if self.family == "sam2":
            return logits, scores
        mask_input, has_mask, size = given[-3:]
        enlarged = nn.functional.interpolate(logits, (SIDE, SIDE), mode="bilinear")
        unused = 0 * (mask_input.sum() + has_mask.sum() + size.sum())
        return enlarged + unused, scores, logits

    def _sparse(self, points: Tensor, labels: Tensor) -> Tensor:
        encoder = self.network.sam_prompt_encoder
        if self.family == "sam2":
            nothing = torch.zeros_like(points[:, :1])
            points = torch.cat([points, nothing - 0.5], dim=1)
            labels = torch.cat([labels, nothing[:, :, 0] - 1], dim=1)
        embedded = encoder.pe_layer._pe_encoding((points + 0.5) / SIDE)
        labels = labels.unsqueeze(-1)
        embedded = embedded * (labels != -1) + encoder.not_a_point_embed.weight * (labels == -1)
        for label in range(4):
            embedded = embedded + encoder.point_embeddings[label].weight * (labels == label)
        return embedded
