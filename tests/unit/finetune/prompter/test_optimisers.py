"""Who optimises what, at which rate, and how gradients are clipped: by hand."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pipeline.finetune.prompter.optimisers import (  # noqa: E402
    Rates,
    apply_gradients,
    make_optimisers,
    set_rates,
)


def parameter(*shape: int, learns: bool = True) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.ones(shape), requires_grad=learns)


def test_matrices_inside_blocks_go_to_muon_and_everything_else_to_adamw() -> None:
    named = {
        "model.layers.0.q_proj.weight": parameter(2, 3),
        "blocks.1.mlp.weight": parameter(3, 2),
        "merger.mlp.weight": parameter(2, 2),
        "model.layers.0.q_proj.bias": parameter(3),
        "embed_tokens.weight": parameter(4, 2),
        "blocks.1.norm.weight": parameter(2),
        "patch_embed.proj.weight": parameter(2, 3, 1, 1, 1),
        "model.layers.1.frozen.weight": parameter(2, 2, learns=False),
    }
    optimisers = make_optimisers(named.items(), Rates(steps=10))
    held = {
        kind: {id(one) for group in optimiser.param_groups for one in group["params"]}
        for kind, optimiser in optimisers.items()
    }
    names = list(named)
    assert held["muon"] == {id(named[name]) for name in names[:3]}
    assert held["adamw"] == {id(named[name]) for name in names[3:7]}


@pytest.mark.parametrize(
    ("step", "share"),
    [(0, 0.1), (4, 0.5), (9, 1.0), (50, 1.0), (75, 0.5), (90, 0.2), (99, 0.05)],
)
def test_rates_rise_stay_and_fall_to_a_twentieth(step: int, share: float) -> None:
    """10 steps of warm-up; from the half on linearly down: 25 of 50 steps are left at step 75."""
    rates = Rates(steps=100, matrix_lr=0.4, other_lr=0.2, warmup=10, decay_from=0.5)
    optimisers = make_optimisers([("layers.0.weight", parameter(2, 2)), ("bias", parameter(2))], rates)
    assert set_rates(optimisers, rates, step) == pytest.approx(share)
    assert optimisers["muon"].param_groups[0]["lr"] == pytest.approx(0.4 * share)
    assert optimisers["adamw"].param_groups[0]["lr"] == pytest.approx(0.2 * share)


def test_gradients_are_clipped_to_one_applied_and_cleared() -> None:
    first = parameter(1)
    second = parameter(1)
    first.grad = torch.tensor([3.0])
    second.grad = torch.tensor([4.0])
    optimisers = {"a": torch.optim.SGD([first], lr=1.0), "b": torch.optim.SGD([second], lr=1.0)}
    assert apply_gradients(optimisers, [first, second]) == pytest.approx(5.0)
    assert float(first.detach()) == pytest.approx(1 - 3 / 5, abs=1e-5)
    assert float(second.detach()) == pytest.approx(1 - 4 / 5, abs=1e-5)
    assert first.grad is None
    assert second.grad is None
