"""Who is asked behind a gate: fakes that assert their protocols on both sides."""

from __future__ import annotations

import asyncio

from fakes_gate import FakeGate
from fakes_prompt import FakePrompter
from prompt_tiles import grid, lattice, tile_image

from pipeline.prompt.looks.gate import GateOptions, in_audit
from pipeline.prompt.looks.gatekeeper import Gatekeeper
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Prompt, Reason, TilePrompts, TileStatus

QUERIES = ("tanks", "lakes", "pools")
BOX = Prompt(box_xyxy=(2.0, 3.0, 8.0, 9.0))


def image() -> TileImage:
    return tile_image(lattice(grid(), tile_px=60, halo_px=10))


def examine(gate: FakeGate, prompter: FakePrompter, options: GateOptions) -> list[TilePrompts]:
    return asyncio.run(Gatekeeper(gate, options, QUERIES).examine(prompter, image(), None))


def test_only_what_passes_is_asked_and_answers_keep_their_place() -> None:
    tile_id = image().tile.tile_id
    gate = FakeGate({(tile_id, "tanks"): 0.04, (tile_id, "lakes"): 0.05, (tile_id, "pools"): 0.9})
    prompter = FakePrompter({(tile_id, "pools"): (BOX,)})
    tanks, lakes, pools = examine(gate, prompter, GateOptions(mode="tile", threshold=0.05, audit_share=0.0))
    assert prompter.asked == [(tile_id, ("lakes", "pools"))]
    assert (tanks.status, tanks.reason, tanks.gate_p, tanks.n_calls, tanks.query_index) == (
        TileStatus.EMPTY,
        Reason.GATE,
        0.04,
        0,
        0,
    )
    assert (lakes.status, lakes.reason, lakes.gate_p, lakes.query_index) == (
        TileStatus.EMPTY,
        Reason.PROMPTER,
        0.05,
        1,
    )
    assert (pools.status, pools.prompts, pools.gate_p, pools.query_index) == (
        TileStatus.FOUND,
        (BOX,),
        0.9,
        2,
    )
    assert not any(answer.audited for answer in (tanks, lakes, pools))


def test_a_tile_rejected_for_every_query_costs_no_prompter_call() -> None:
    prompter = FakePrompter({})
    answers = examine(
        FakeGate({}, default=0.0), prompter, GateOptions(mode="tile", threshold=0.5, audit_share=0.0)
    )
    assert prompter.asked == []
    assert [answer.query_index for answer in answers] == [0, 1, 2]
    assert {answer.reason for answer in answers} == {Reason.GATE}


def test_the_audits_sample_is_asked_although_rejected_and_counts_as_any_result() -> None:
    tile_id = image().tile.tile_id
    seed = next(
        s
        for s in range(1000)
        if [in_audit(tile_id, q, GateOptions(audit_share=0.4, seed=s)) for q in QUERIES] == [0, 1, 0]
    )
    prompter = FakePrompter({(tile_id, "lakes"): (BOX,)})
    options = GateOptions(mode="tile", threshold=0.5, audit_share=0.4, seed=seed)
    tanks, lakes, pools = examine(FakeGate({}, default=0.1), prompter, options)
    assert prompter.asked == [(tile_id, ("lakes",))]
    assert (lakes.status, lakes.prompts, lakes.audited, lakes.gate_p) == (TileStatus.FOUND, (BOX,), True, 0.1)
    assert (tanks.audited, pools.audited) == (False, False)


def test_a_look_that_failed_rejects_nothing() -> None:
    prompter = FakePrompter({})
    answers = examine(FakeGate({}, default=None), prompter, GateOptions(mode="tile", threshold=1.0))
    assert prompter.asked == [(image().tile.tile_id, QUERIES)]
    assert {answer.gate_p for answer in answers} == {None}
    assert {answer.reason for answer in answers} == {Reason.PROMPTER}


def test_a_shared_look_is_not_taken_again() -> None:
    gate = FakeGate({})
    prompter = FakePrompter({})
    keeper = Gatekeeper(gate, GateOptions(mode="parent", threshold=0.5, audit_share=0.0), QUERIES)
    answers = asyncio.run(keeper.examine(prompter, image(), [0.1, 0.7, 0.2]))
    assert gate.looks == []
    assert [answer.reason for answer in answers] == [Reason.GATE, Reason.PROMPTER, Reason.GATE]
