"""What a checkpoint is shown, part by part."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pipeline.prompt.profile import load_profile
from pipeline.prompt.template import chat_messages, squash


def test_image_first_query_last_and_the_system_text_where_there_is_one() -> None:
    (user,) = chat_messages(load_profile("embedded"), "pools")
    assert user == {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Find: pools"}]}
    system, user = chat_messages(load_profile("think2seg"), "pools")
    assert system["role"] == "system"
    assert system["content"][0]["text"].startswith("You are a remote sensing analysis assistant.")
    assert user["content"][0] == {"type": "image"}
    assert user["content"][1]["text"].startswith('Please find "pools"')


def test_the_picture_has_the_profile_s_size_and_filter() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (300, 500, 3), dtype=np.uint8)
    picture = squash(rgb[:, ::-1], load_profile("think2seg"))
    wanted = Image.fromarray(np.ascontiguousarray(rgb[:, ::-1])).resize((840, 840), Image.Resampling.LANCZOS)
    assert picture.tobytes() == wanted.tobytes()
    same = squash(np.zeros((252, 252, 3), np.uint8), load_profile("embedded"))
    assert same.size == (252, 252)
