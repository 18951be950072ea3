"""Checkpoints of a training: what is kept, and that a state computed on a GPU is gone on from without one."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from pipeline.finetune.prompter import checkpoints  # noqa: E402


def stepped(seed: int):  # type: ignore[no-untyped-def]
    """A layer and its optimiser after one step."""
    torch.manual_seed(seed)
    layer = torch.nn.Linear(2, 1)
    optimiser = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    return layer, optimiser


def test_the_newest_are_kept_and_know_their_step(tmp_path: Path) -> None:
    layer, optimiser = stepped(0)
    for step in (5, 90, 100):
        checkpoints.save_checkpoint(
            tmp_path, step=step, modules={"layer": layer}, optimisers={"adamw": optimiser}
        )
    found = checkpoints.list_checkpoints(tmp_path)
    assert [path.name for path in found] == ["step_0000090", "step_0000100"]
    assert [checkpoints.step_of(path) for path in found] == [90, 100]


def test_a_state_from_a_gpu_resumes_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file names the device of its tensors; here it is written as on a GPU, which this machine need not
    have.
    """
    layer, optimiser = stepped(0)
    with monkeypatch.context() as as_on_a_gpu:
        as_on_a_gpu.setattr(torch.serialization, "location_tag", lambda _storage: "cuda:0")
        saved = checkpoints.save_checkpoint(
            tmp_path, step=7, modules={"layer": layer}, optimisers={"adamw": optimiser}
        )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(saved / "optimisers.pt", weights_only=True)
    fresh, theirs = stepped(1)
    assert checkpoints.resume(tmp_path, modules={"layer": fresh}, optimisers={"adamw": theirs}) == 7
    assert torch.equal(fresh.weight, layer.weight)
    moments = [state["exp_avg"] for state in theirs.state_dict()["state"].values()]
    expected = [state["exp_avg"] for state in optimiser.state_dict()["state"].values()]
    assert all(torch.equal(ours, given) for ours, given in zip(moments, expected, strict=True))


def test_nothing_there_begins_at_step_0(tmp_path: Path) -> None:
    assert checkpoints.resume(tmp_path / "none", modules={}, optimisers={}) == 0
