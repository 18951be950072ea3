"""A split in EarthReason's layout becomes training data: one query per image, drawn from the seed, masks
where they lie.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from grpo_scenes import TARGET, mask_of, scene
from PIL import Image

from pipeline.errors import InputError
from pipeline.finetune.grpo.earthreason_data import write_table
from pipeline.finetune.grpo.grpo_data import read_samples

QUESTIONS = [f"wording {n}" for n in range(6)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part in ("images", "labels", "QAs"):
        (tmp_path / "set/train" / part).mkdir(parents=True)
    train = tmp_path / "set/train"
    for name, mask in (("a", mask_of(TARGET)), ("b", mask_of()), ("c", mask_of((0, 0, 9, 9)))):
        Image.fromarray(scene()).save(train / f"images/{name}.jpg")
        Image.fromarray(mask.astype(np.uint8) * 255).save(train / f"labels/{name}.png")
        (train / f"QAs/{name}.json").write_text(
            json.dumps({"questions": QUESTIONS, "answer": ["It is."] if mask.any() else []})
        )
    return tmp_path / "set"


def test_one_query_per_image_with_its_mask(root: Path, tmp_path: Path) -> None:
    samples = read_samples(write_table(root, tmp_path / "table", seed=1))
    assert [sample.image.name for sample in samples] == ["a.jpg", "b.jpg", "c.jpg"]
    assert all(sample.query in QUESTIONS for sample in samples)
    assert np.array_equal(samples[0].truth((256, 256)), mask_of(TARGET))
    assert not samples[1].truth((256, 256)).any()
    assert not list((tmp_path / "table").glob("*.png"))


def test_the_seed_alone_draws(root: Path, tmp_path: Path) -> None:
    drawn = {
        seed: [s.query for s in read_samples(write_table(root, tmp_path / str(seed), seed=seed))]
        for seed in range(8)
    }
    again = read_samples(write_table(root, tmp_path / "again", seed=3))
    assert [sample.query for sample in again] == drawn[3]
    assert len({tuple(queries) for queries in drawn.values()}) > 1


def test_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="earthreason must be a folder"):
        write_table(tmp_path / "none", tmp_path / "table", seed=0)
    with pytest.raises(InputError, match="labels"):
        write_table(tmp_path, tmp_path / "table", seed=0)
