"""The results document, computed from records whose figures are known beforehand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from evaluate.sample_worlds import SHAPE, record, rectangle

from pipeline.evaluate.benchmark.results import (
    MAX_STRATUM_VALUES,
    Scoring,
    Subject,
    build_results,
    image_groups,
    size_stratum,
)
from pipeline.evaluate.benchmark.sample_records import SampleRecord
from pipeline.evaluate.figures.intervals import BootstrapOptions
from pipeline.evaluate.figures.metrics import CONVENTIONS
from pipeline.prompt.looks.verifier import VerifierOptions
from pipeline.schema.tile_answers import Reason, TileStatus

NOTHING = rectangle(0, 0, 0, 0)
SUBJECT = Subject(
    benchmark={"name": "hand", "split": "test"},
    models={"prompter": "p", "segmenter": "s"},
    protocol={
        "questions": "first",
        "size": "at their own size",
        "boundary_tolerance": "0.75 % of the image diagonal",
    },
    pixel_m=10.0,
    notes=("a note",),
)
SCORING = Scoring(intervals=BootstrapOptions(draws=50))


def records() -> list[SampleRecord]:
    """IoU 1, 1/3, wrongly rejected, rightly rejected, false alarm, malformed on an empty target."""
    implicit = {"kind": "implicit"}
    return [
        record("a", rectangle(0, 0, 20, 30), rectangle(0, 0, 20, 30), image_id="one"),
        record("b", rectangle(0, 0, 4, 4), rectangle(0, 2, 4, 6), image_id="one", strata=implicit),
        record("c", rectangle(0, 0, 1, 7), NOTHING, strata=implicit),
        record("d", NOTHING, NOTHING, strata={"kind": "absent"}),
        record("e", NOTHING, rectangle(5, 5, 9, 9), strata={"kind": "absent"}, mask_scores=(0.5, 0.5)),
        record("f", NOTHING, NOTHING, status=TileStatus.FAILED, reason=Reason.MALFORMED, strata={}),
    ]


def test_the_figures_of_the_document() -> None:
    results = build_results(records(), SCORING, SUBJECT)
    values = {name: entry["value"] for name, entry in results["figures"].items()}
    assert values["giou"] == pytest.approx((1 + 1 / 3 + 0 + 1 + 0 + 0) / 6, abs=1e-6)
    assert values["giou_present"] == pytest.approx((1 + 1 / 3) / 3, abs=1e-6)
    assert values["ciou"] == pytest.approx((600 + 8) / (600 + 24 + 7 + 16), abs=1e-6)
    assert values["p@0.5"] == pytest.approx(2 / 6, abs=1e-6)
    assert (values["rejection"], values["false_rejection"], values["failure"]) == pytest.approx(
        (1 / 3, 1 / 3, 1 / 6), abs=1e-6
    )
    assert results["n_samples"] == 6
    assert results["n_images"] == 5
    assert results["outcomes"] == {"empty/prompter": 2, "failed/malformed": 1, "found": 3}
    table = results["rejection"]
    assert (table["n_empty"], table["true"], table["false"], table["failed_on_empty"]) == (3, 1, 2, 1)
    assert (table["true_percent"], table["false_percent"], table["falsely_rejected"]) == (33.3, 66.7, 1)
    assert set(results["conventions"]) == set(CONVENTIONS)
    assert results["conventions"]["vision-reasoner"]["giou"] == pytest.approx((1 + 1 / 3) / 6, abs=1e-6)


def test_how_replies_were_read_and_how_many_were_asked_for_again() -> None:
    items = [
        replace(item, n_calls=n) for item, n in zip(records(), (1, 2, 2, 1, 1, 3), strict=True)
    ]  # the last one failed
    asked = replace(SUBJECT, parser="robust", profile="geoseg", retry=2)
    replies = build_results(items, SCORING, asked)["replies"]
    assert replies == {
        "profile": "geoseg",
        "parser": "robust",
        "retry": 2,
        "asked_again": 3,
        "then_read": 2,
    }
    once = build_results(records(), SCORING, replace(SUBJECT, parser="think2seg"))["replies"]
    assert once == {"profile": "", "parser": "think2seg", "retry": 0, "asked_again": 0, "then_read": 0}
    assert build_results(records(), SCORING, SUBJECT)["replies"] is None


VERIFIED = replace(SUBJECT, verifier=VerifierOptions(mode="crop", threshold=0.9, gpu_memory_utilization=0.2))


def verified_records() -> list[SampleRecord]:
    """`records` after a verifier: b lost its only mask, e one of two, f's look failed."""
    a, b, c, d, e, _ = records()
    gone = record(
        "b",
        rectangle(0, 0, 4, 4),
        NOTHING,
        image_id="one",
        strata=b.strata,
        status=TileStatus.EMPTY,
        reason=Reason.VERIFIER,
    )
    return [
        replace(a, verified=(0.95,)),
        replace(gone, prompts=b.prompts, verified=(0.2,), n_rejected=1),
        c,
        d,
        replace(e, mask_scores=(0.5,), verified=(0.3, 0.9), n_rejected=1),
        record("f", NOTHING, rectangle(5, 5, 9, 9), strata={}, verified=(None,)),
    ]


def test_what_the_verifier_did_and_what_it_changed() -> None:
    results = build_results(verified_records(), SCORING, VERIFIED)
    assert results["verifier"] == {
        "mode": "crop",
        "threshold": 0.9,
        "pad": 0.5,
        "min_side": 0.5,
        "masks": 5,
        "taken_away": 2,
        "not_judged": 1,
        "emptied": 1,
    }
    values = {name: entry["value"] for name, entry in results["figures"].items()}
    assert values["giou"] == pytest.approx((1 + 0 + 0 + 1 + 0 + 0) / 6, abs=1e-6)
    assert values["false_rejection"] == pytest.approx(2 / 3, abs=1e-6)  # c by its reply, b by the verifier
    assert values["rejection"] == pytest.approx(1 / 3, abs=1e-6)
    assert results["outcomes"] == {"empty/prompter": 2, "empty/verifier": 1, "found": 3}
    assert results["false_alarms"]["masks"] == 2  # of e and f one each is left


def test_a_false_alarm_that_the_verifier_took_away_is_a_rejection_under_every_convention() -> None:
    e = records()[4]
    gone = record(
        "e", NOTHING, NOTHING, prompts=e.prompts, reason=Reason.VERIFIER, verified=(0.1,), n_rejected=1
    )
    results = build_results([gone], SCORING, VERIFIED)
    assert {name: values["giou"] for name, values in results["conventions"].items()} == {
        "paper": 1.0,
        "think2seg": 1.0,
        "segearth-r1": 1.0,
        "vision-reasoner": 0.0,
    }
    assert (results["rejection"]["true"], results["false_alarms"]["masks"]) == (1, 0)


def test_without_a_verifier_the_document_does_not_speak_of_one() -> None:
    assert "verifier" not in build_results(records(), SCORING, SUBJECT)


def test_false_alarms_per_area() -> None:
    """Two samples without a target were answered, one of them with two masks; a third failed and counts as no
    land.
    """
    alarms = build_results(records(), SCORING, SUBJECT)["false_alarms"]
    km2 = 2 * SHAPE[0] * SHAPE[1] * 100 / 1e6
    low, high = (
        round(100 * count / km2, 1) for count in (0.24220928, 7.22468767)
    )  # Garwood's table: 2 events, 95 %
    assert alarms == {
        "masks": 2,
        "empty_km2": round(km2, 4),
        "per_100_km2": round(200 / km2, 1),
        "low": low,
        "high": high,
    }
    no_land = build_results(records()[:2], SCORING, SUBJECT)["false_alarms"]
    assert no_land == {"masks": 0, "empty_km2": 0.0, "per_100_km2": None, "low": None, "high": None}
    assert build_results(records(), SCORING, replace(SUBJECT, pixel_m=None))["false_alarms"] is None


def test_strata_are_the_figures_of_their_samples_alone() -> None:
    results = build_results(records(), SCORING, SUBJECT)
    kinds = results["strata"]["kind"]
    assert {name: entry["n"] for name, entry in kinds.items()} == {"absent": 2, "explicit": 1, "implicit": 2}
    implicit = build_results([r for r in records() if r.strata == {"kind": "implicit"}], SCORING, SUBJECT)
    for figure in ("giou", "ciou", "p@0.5", "rejection", "false_rejection"):
        assert kinds["implicit"][figure] == implicit["figures"][figure], figure
    assert kinds["implicit"]["pixel_metrics"] == implicit["pixel_metrics"]
    assert kinds["implicit"]["pixel_metrics"]["iou"]["value"] == pytest.approx(
        1 / 6, abs=1e-6
    )  # 1/3 and a rejection
    assert kinds["implicit"]["rejection"]["value"] is None
    sizes = results["strata"]["target size"]
    assert list(sizes) == ["empty", "below 1 %", "1 to 10 %", "10 % and more"]
    assert [entry["n"] for entry in sizes.values()] == [3, 1, 1, 1]
    assert size_stratum(records()[1]) == "1 to 10 %"  # 16 of 768 px


def test_a_property_with_a_value_per_sample_is_no_stratum() -> None:
    many = [record(f"r{k}", NOTHING, NOTHING, strata={"id": str(k)}) for k in range(MAX_STRATUM_VALUES + 1)]
    assert list(build_results(many, SCORING, SUBJECT)["strata"]) == ["target size"]
    assert "id" in build_results(many[:-1], SCORING, SUBJECT)["strata"]


def test_the_document_is_json_without_nan_and_the_same_every_time() -> None:
    text = json.dumps(build_results(records(), SCORING, SUBJECT), allow_nan=False)
    assert text == json.dumps(build_results(records(), SCORING, SUBJECT), allow_nan=False)
    present_only = build_results(records()[:2], SCORING, SUBJECT)
    json.dumps(present_only, allow_nan=False)
    assert present_only["figures"]["rejection"] == {"value": None, "low": None, "high": None, "n": 0}
    assert present_only["rejection"]["true_percent"] is None


def test_the_chosen_convention_is_the_one_with_intervals() -> None:
    results = build_results(
        records(), Scoring(convention="vision-reasoner", intervals=BootstrapOptions(draws=50)), SUBJECT
    )
    assert results["protocol"]["convention"] == "vision-reasoner"
    assert results["figures"]["giou"]["value"] == results["conventions"]["vision-reasoner"]["giou"]
    assert (
        results["figures"]["giou"]["low"]
        <= results["figures"]["giou"]["value"]
        <= results["figures"]["giou"]["high"]
    )


def test_rejection_rates_have_the_interval_of_a_share() -> None:
    """1 of 3 empty targets was rejected: Wilson's interval, by scipy: 6.15 to 79.23 %."""
    results = build_results(records(), SCORING, SUBJECT)
    assert results["figures"]["rejection"] == {"value": 0.333333, "low": 0.061492, "high": 0.792340, "n": 3}
    assert results["strata"]["target size"]["empty"]["rejection"] == results["figures"]["rejection"]
    all_right = [record(f"r{k}", NOTHING, NOTHING) for k in range(13)]
    certain = build_results(all_right, SCORING, SUBJECT)["figures"]
    assert certain["rejection"]["value"] == certain["rejection"]["high"] == 1.0
    assert certain["rejection"]["low"] == pytest.approx(13 / (13 + 1.959964**2), abs=1e-5)
    assert certain["failure"]["high"] == pytest.approx(1 - 13 / (13 + 1.959964**2), abs=1e-5)
    assert (certain["giou"]["low"], certain["giou"]["high"]) == (
        1.0,
        1.0,
    )  # a mean of scores has no such form: bootstrap


def test_samples_of_one_image_are_one_group() -> None:
    np.testing.assert_array_equal(image_groups(records()), [0, 0, 1, 2, 3, 4])
