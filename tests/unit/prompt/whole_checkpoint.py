"""Checkpoint directories without a model: every file that is looked at before loading, nearly empty."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ARCHITECTURES = ["Qwen2_5_VLForConditionalGeneration"]
SETTINGS = {"patch_size": 14, "merge_size": 2, "min_pixels": 3136, "max_pixels": 12_845_056}


def weights_bytes(n: int = 4) -> bytes:
    """A safetensors file with one tensor of n bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [n], "data_offsets": [0, n]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(n)


def write_whole_checkpoint(
    folder: Path, *, model_type: Any = "qwen2_5_vl", settings: Mapping[str, Any] = SETTINGS
) -> Path:
    """Write the files of a complete one."""
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps({"model_type": model_type, "architectures": ARCHITECTURES})
    )
    (folder / "model.safetensors").write_bytes(weights_bytes())
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    (folder / "vocab.json").write_text("{}")
    (folder / "merges.txt").write_text("")
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.role }}{% endfor %}")
    return folder
