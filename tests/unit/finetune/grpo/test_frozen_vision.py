"""The memory over a frozen vision tower, against the same tower without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from grpo_scenes import write_tiny_prompter

from pipeline.finetune.grpo.frozen_vision import remember_images
from pipeline.finetune.grpo.grpo_model import load_weights

torch = pytest.importorskip("torch")

PATCHES = 16
"""Of an image of 56 x 56 pixels: 4 x 4 patches, 2 x 2 tokens."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_prompter(tmp_path_factory.mktemp("vision") / "tiny")


@pytest.fixture
def tower(checkpoint: Path) -> Any:
    return load_weights(str(checkpoint), torch.float32).model.visual.eval().requires_grad_(False)


def images(*seeds: int) -> tuple[Any, Any]:
    """Patches of one image per seed, one below the other, and their grids."""
    drawn = [
        torch.randn(PATCHES, 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(seed)) for seed in seeds
    ]
    return torch.cat(drawn), torch.tensor([[1, 4, 4]] * len(seeds))


def counted(tower: Any) -> list[int]:
    """Images of every call of the tower's own forward, from now on."""
    calls = []
    plain = tower.forward

    def forward(hidden_states: Any, grid_thw: Any, **given: Any) -> Any:
        calls.append(len(grid_thw))
        return plain(hidden_states, grid_thw=grid_thw, **given)

    tower.forward = forward
    return calls


def test_features_are_those_of_the_tower_in_the_order_asked(tower: Any) -> None:
    patches, grids = images(1, 2, 1, 3, 2)
    with torch.no_grad():
        expected = tower(patches, grid_thw=grids).pooler_output
        remember_images(tower)
        first = tower(patches, grid_thw=grids).pooler_output
        later = tower(*images(3, 1)).pooler_output
    assert torch.allclose(first, expected, atol=1e-5)
    assert torch.equal(later, torch.cat([first[12:16], first[0:4]]))


def test_an_image_is_computed_once(tower: Any) -> None:
    calls = counted(tower)
    remember_images(tower)
    tower(*images(1, 1, 1, 2))
    tower(*images(2, 1))
    tower(*images(3, 1))
    assert calls == [2, 1]


def image_bytes(tower: Any) -> int:
    """What one image's features take: 2 x 2 tokens of float32."""
    return 4 * int(tower.config.out_hidden_size) * 4


def test_the_oldest_image_is_forgotten_and_computed_again(tower: Any) -> None:
    calls = counted(tower)
    remember_images(tower, limit_bytes=3 * image_bytes(tower) - 1)  # room for two
    for seed in (1, 2, 3, 2, 1):
        tower(*images(seed))
    assert calls == [1, 1, 1, 1]


def test_a_call_of_more_images_than_there_is_room_for_is_kept_until_the_next(tower: Any) -> None:
    calls = counted(tower)
    remember_images(tower, limit_bytes=image_bytes(tower))
    tower(*images(1, 2, 3))
    tower(*images(3, 2, 1))
    tower(*images(4))
    tower(*images(4, 3))
    assert calls == [3, 1, 1]


def test_forgotten_images_free_their_memory(tower: Any) -> None:
    remember_images(tower, limit_bytes=image_bytes(tower))
    tower(*images(1, 2, 3))
    tower(*images(4))
    cells = [cell.cell_contents for cell in tower.forward.__closure__]
    (known,) = [cell for cell in cells if isinstance(cell, dict)]
    assert [tensor.untyped_storage().nbytes() for tensor in known.values()] == [image_bytes(tower)]


def test_equal_pixels_in_another_grid_are_another_image(tower: Any) -> None:
    calls = counted(tower)
    remember_images(tower)
    patches, _ = images(1)
    tower(patches, torch.tensor([[1, 4, 4]]))
    tower(patches, torch.tensor([[1, 2, 8]]))
    assert calls == [1, 1]


def test_a_tower_that_learns_is_refused(tower: Any) -> None:
    next(iter(tower.parameters())).requires_grad_(True)
    with pytest.raises(ValueError, match="learns"):
        remember_images(tower)


def test_names_of_the_weights_stay(tower: Any) -> None:
    before = list(tower.state_dict())
    remember_images(tower)
    assert list(tower.state_dict()) == before
