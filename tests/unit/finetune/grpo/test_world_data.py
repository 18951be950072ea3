"""World tiles as training data: masks agree with a drawing of the same world, seeds stay apart, a finished
folder is left alone.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.finetune.grpo import world_data
from pipeline.finetune.grpo.grpo_data import TABLE, read_samples
from pipeline.finetune.prompter.samples import UNKNOWN_SUBJECT
from pipeline.schema.tiling import Window
from pipeline.world.classes import CLASSES
from pipeline.world.landscape import World
from pipeline.world.queries import HELD_OUT
from pipeline.world.render import Rendering, render

N = 12


@lru_cache
def patch_of(seed: int) -> Rendering:
    """The patch that a seed's tiles are cut from, drawn anew."""
    rng = np.random.default_rng([seed, 23])
    row0, col0 = (int(v) for v in rng.integers(-30_000, 30_000, 2))
    side = world_data.PATCH_PX
    return render(World.from_seed(seed), Window(row0=row0, col0=col0, row1=row0 + side, col1=col0 + side))


def corner_of(tile: np.ndarray, patch: np.ndarray) -> tuple[int, int]:
    """Row and column at which `tile` was cut out of `patch`; it must be found once."""
    firsts = np.argwhere((patch == tile[0, 0]).all(-1))
    room = firsts[(firsts <= len(patch) - 256).all(axis=1)]
    (found,) = [(int(r), int(c)) for r, c in room if np.array_equal(patch[r : r + 256, c : c + 256], tile)]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("worlds") / "data"
    world_data.render_worlds(out, n_tiles=N)
    return out


def test_every_mask_is_the_asked_class_in_a_drawing_of_that_world(folder: Path) -> None:
    samples = read_samples(folder)
    assert len(samples) == N
    for sample in samples:
        subject = sample.thought.removeprefix("The question is about ").split(".")[0]
        seed = int(sample.image.name.split("_")[0])
        patch = patch_of(seed)
        r, c = corner_of(sample.rgb(), patch.rgb)
        name = "" if subject == UNKNOWN_SUBJECT else subject.removesuffix("s").replace(" ", "_")
        ids = [k for k, item in enumerate(patch.objects, 1) if item.class_name == name]
        assert name in ("", *CLASSES)
        assert np.array_equal(sample.truth((256, 256)), np.isin(patch.labels[r : r + 256, c : c + 256], ids))


def test_present_and_absent_targets_occur_and_no_held_out_wording(folder: Path) -> None:
    samples = read_samples(folder)
    shares = [sample.truth((256, 256)).sum() for sample in samples]
    assert 0 < sum(share > 0 for share in shares) < N
    assert all(share == 0 or share >= world_data.MIN_TARGET_PX for share in shares)
    held = {query.query.casefold().rstrip("?.") for query in HELD_OUT}
    assert not held & {sample.query.casefold().rstrip("?.") for sample in samples}


def test_the_same_seed_gives_the_same_files_and_another_seed_others(folder: Path, tmp_path: Path) -> None:
    world_data.render_worlds(tmp_path / "again", n_tiles=4)
    assert (tmp_path / "again" / TABLE).read_text().splitlines() == (folder / TABLE).read_text().splitlines()[
        :4
    ]
    name = json.loads((folder / TABLE).read_text().splitlines()[0])["image"]
    assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_what_another_process_reads_is_never_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is drawn again over a finished one, cut off in the middle of its bytes, leaves the finished
    one as it was.
    """
    place = tmp_path / "drawn"
    world_data.render_worlds(place, n_tiles=1)
    before = {path: path.read_bytes() for path in place.rglob("*.png")}
    (place / TABLE).unlink()

    def half(_image: Image.Image, where: Path, **_: str) -> None:
        Path(where).write_bytes(before[next(iter(before))][:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(KeyboardInterrupt):
        world_data.render_worlds(place, n_tiles=1)
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_a_complete_folder_is_not_drawn_again(folder: Path) -> None:
    before = (folder / TABLE).stat().st_mtime_ns
    world_data.render_worlds(folder, n_tiles=10_000_000)
    assert (folder / TABLE).stat().st_mtime_ns == before


def test_training_never_draws_an_evaluation_world(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="below 1,000 belong to evaluation"):
        world_data.render_worlds(tmp_path, n_tiles=4, first_seed=7)
    with pytest.raises(InputError, match="at least one tile"):
        world_data.render_worlds(tmp_path, n_tiles=0)
    assert not list(tmp_path.iterdir())
