"""The language model's loss: packing changes nothing, and sure answers cost less than wrong ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pipeline.finetune.prompter.language import LanguageObjective, make_language_heads  # noqa: E402
from pipeline.finetune.prompter.packing import Pack, TokenTable, collate, segment_of  # noqa: E402
from pipeline.finetune.prompter.prompter_model import build_model  # noqa: E402
from pipeline.finetune.prompter.samples import GRID, TileObjects  # noqa: E402
from pipeline.finetune.prompter.tokenizer import train_tokenizer  # noqa: E402
from pipeline.finetune.prompter.training_queries import TrainingQuery  # noqa: E402
from tests.unit.finetune.prompter.test_prompter_train import TINY  # noqa: E402

TILE = TileObjects(
    class_ids=np.array([1, 0]),
    boxes_xyxy=np.array([[0, 0, 20, 20], [100, 0, 140, 30]], np.float32),
    points_xy=np.array([[10, 10], [120, 15]], np.float32),
    owner=np.full((GRID, GRID), -1, np.int64),
    coverage=np.zeros((GRID, GRID, 9), np.float32),
)


@pytest.fixture(scope="module")
def objective() -> LanguageObjective:
    """Of a tiny model without a weight that is 0."""
    torch.set_num_threads(1)
    tokenizer = train_tokenizer(["The question is about tanks. I see some. I see none."] * 20)
    model = build_model(TINY, tokenizer, seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return LanguageObjective(model, make_language_heads(TINY.text_width), TokenTable.of(tokenizer))


def packed(objective: LanguageObjective, *queries: TrainingQuery) -> Any:
    pack = Pack(ids=[], segment=[], position=[], weight=[], cell=[])
    for number, query in enumerate(queries, 1):
        ids, weights, cells = segment_of(objective.table, query, TILE)
        pack.ids.extend(ids)
        pack.weight.extend(weights)
        pack.cell.extend(cells)
        pack.segment.extend([number] * len(ids))
        pack.position.extend(range(len(ids)))
    return collate([pack], [TILE], pad=objective.table.pad)


def test_a_query_costs_packed_what_it_costs_alone(objective: LanguageObjective) -> None:
    """Both replies decide once and say six numbers, so the parts of the pack are plain means."""
    first = TrainingQuery(text="two tanks", class_id=0)
    second = TrainingQuery(text="one lake over there", class_id=1)
    tokens = torch.randn(1, 81, TINY.text_width, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        alone = [objective(tokens, packed(objective, query))[1] for query in (first, second)]
        together = objective(tokens, packed(objective, first, second))[1]
    for part in ("number", "px", "decide"):
        mean = (alone[0][part] + alone[1][part]) / 2
        assert together[part] == pytest.approx(mean, rel=2e-2), part
    assert alone[0]["number"] != pytest.approx(alone[1]["number"], rel=1e-3)


def test_every_head_gets_a_gradient_and_a_step_along_it_lowers_the_loss(objective: LanguageObjective) -> None:
    tokens = torch.randn(1, 81, TINY.text_width, generator=torch.Generator().manual_seed(3))
    batch = packed(objective, TrainingQuery(text="tanks", class_id=0))
    loss, parts = objective(tokens, batch)
    loss.backward()
    heads = list(objective.heads.parameters())
    assert all(parameter.grad is not None and bool(parameter.grad.abs().sum() > 0) for parameter in heads)
    with torch.no_grad():
        for parameter in heads:
            parameter -= 1e-2 * parameter.grad
    after, _ = objective(tokens, batch)
    assert float(after.detach()) < float(loss.detach())
    assert all(math.isfinite(value) for value in parts.values())
