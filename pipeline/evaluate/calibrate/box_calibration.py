"""Calibrate a checkpoint's boxes on a labelled set: ask, pair, estimate, and write what a run can use.

1. `calibrate_boxes` runs the benchmark as jobs/evaluate.py does; the replies are kept, so it can be repeated.
2. The replies are read in every frame (`box_pairs`), and margins and frames are compared (`box_estimates`).
3. boxes.json holds the margins for --refine-boxes and all figures, boxes.md the same as tables.

In a wrong frame boxes are shifted and grown by a factor, and margins would hide that. So margins are written
only for the profile's own frame, and only if no other frame fits better.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.benchmark import Sample
from pipeline.evaluate.benchmark.prepare_benchmark import (
    EvaluationRequest,
    PlannedEvaluation,
    model_ids,
    plan_evaluation,
)
from pipeline.evaluate.benchmark.run_benchmark import run_evaluation
from pipeline.evaluate.benchmark.sample_records import SampleRecord, read_part
from pipeline.evaluate.calibrate.box_estimates import (
    MIN_PAIRS,
    BoxFigure,
    FrameScore,
    Gain,
    best_frame,
    checked_gain,
    estimated_margins,
    frame_scores,
    margin_estimates,
)
from pipeline.evaluate.calibrate.box_pairs import BoxPairs, collect_pairs
from pipeline.files.atomic_file import write_bytes_atomic
from pipeline.files.output_folder import require_folder, writing_to
from pipeline.prompt.box_margins import SIDES, BoxMargins, margins_document
from pipeline.prompt.profile import Frame, Profile, load_profile
from pipeline.run.models.hub_pins import asked_revisions

FRAMES: tuple[Frame, ...] = ("image_px", "thousand", "unit")


@dataclass(frozen=True, kw_only=True)
class BoxFindings:
    """What the replies of one evaluation say about their boxes."""

    profile: Profile
    scores: Sequence[FrameScore]
    best: Frame
    margins: dict[Frame, dict[str, BoxFigure]]
    """Per frame that has pairs, what `margin_estimates` says."""
    gains: Sequence[Gain]
    proposed: BoxMargins | None
    """Margins for --refine-boxes. None: another frame fits better, or there are too few pairs."""


def calibrate_boxes(request: EvaluationRequest, *, say: Callable[[str], None] = print) -> int:
    """Run, measure and write. `request.out` is the calibration's folder; returns the evaluation's exit code.

    Raises TerraqueryError, and InputError before anything is loaded.
    """
    out = Path(request.out)
    require_folder(out)
    asked = replace(request, out=str(out / "evaluation"), margins=BoxMargins())
    code = run_evaluation(asked, say=say)
    planned = plan_evaluation(asked, say=say)
    found = find_faults(list(_answers(planned)), load_profile(planned.preset.prompter.vllm.profile))
    document = calibration_document(found, planned)
    page = boxes_markdown(found, document)
    with writing_to(out):
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_bytes_atomic(out / "boxes.json", text.encode())
        write_bytes_atomic(out / "boxes.md", page.encode())
    say(page)
    say(f"boxes.json and boxes.md are in {out}")
    return code


def _answers(planned: PlannedEvaluation) -> Iterator[tuple[int, Sample, SampleRecord]]:
    """Give number of the picture, query and record of every answer. Raises RecordError."""
    context = planned.context
    for part in range(context.n_parts):
        records = iter(read_part(context.part_path(part), context.fingerprint))
        for number in context.numbers_of(part):
            for sample in context.images[number].samples:
                yield number, sample, next(records)


def find_faults(answers: Sequence[tuple[int, Sample, SampleRecord]], profile: Profile) -> BoxFindings:
    """BoxFigure frame and margins from answers (number of the picture, query, record).

    Raises InputError when no picture holds a target with a box.
    """
    by_frame = [collect_pairs(answers, profile, frame) for frame in FRAMES]
    if not sum(len(answer.true) for answer in by_frame[0].answers):
        raise InputError(
            "boxes are calibrated on targets that are there",
            came="none of at least 4 px a side",
            remedy="choose another split, or leave --limit out",
        )
    scores = frame_scores(by_frame, profile.frame)
    best = best_frame(scores, profile.frame)
    own: BoxPairs = next(pairs for pairs in by_frame if pairs.frame == profile.frame)
    return BoxFindings(
        profile=profile,
        scores=scores,
        best=best,
        margins={pairs.frame: margin_estimates(pairs) for pairs in by_frame if len(pairs.said)},
        gains=checked_gain(own) if len(own.said) else [],
        proposed=_without_noise(estimated_margins(own, profile.name), margin_estimates(own))
        if best == profile.frame
        else None,
    )


def _without_noise(margins: BoxMargins | None, figures: dict[str, BoxFigure]) -> BoxMargins | None:
    """Put margins to zero whose interval holds zero."""
    if margins is None:
        return None
    off = {side: not figures[side].low <= 0 <= figures[side].high for side in SIDES}
    return BoxMargins(
        **{side: getattr(margins, side) if off[side] else 0.0 for side in SIDES}, profile=margins.profile
    )


def calibration_document(found: BoxFindings, planned: PlannedEvaluation) -> dict[str, Any]:
    """Build the content of boxes.json. Without a proposal it has no `box_margins`, and no run takes it."""
    return {
        **({"profile": found.profile.name} if found.proposed is None else margins_document(found.proposed)),
        "prompter": model_ids(planned)["prompter"],
        **({"hub": asked_revisions(planned.models)} if planned.models else {}),
        "benchmark": dict(planned.parameters["benchmark"]),
        "frame": found.profile.frame,
        "best_frame": found.best,
        "frames": [_plain(asdict(score)) for score in found.scores],
        "margins": {
            frame: {name: _plain(asdict(estimate)) for name, estimate in sides.items()}
            for frame, sides in found.margins.items()
        },
        "gains": [_plain(asdict(gain)) for gain in found.gains],
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Round floats, and write NaN as None."""
    return {
        key: _plain(value)
        if isinstance(value, dict)
        else (None if math.isnan(value) else round(value, 4))
        if isinstance(value, float)
        else value
        for key, value in values.items()
    }


def boxes_markdown(found: BoxFindings, document: dict[str, Any]) -> str:
    """Write the tables of boxes.md."""
    own = found.profile.frame
    lines = [
        f"# Boxes of {document['prompter']}, profile `{found.profile.name}`",
        "",
        "Frames that the numbers could be in. A wrong one shifts and scales every box.",
        "",
        "| frame | true boxes found at IoU 0.5 | pairs | finds more than the profile's, of resamples |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {score.frame}{' (the profile)' if score.frame == own else ''} | {_share(score.recall)} "
            f"| {score.n_pairs} | {'' if score.frame == own else f'{100 * score.better:.0f} %'} |"
            for score in found.scores
        ),
        "",
        "Margins: how far each true side lies outside the predicted one, in per cent of the predicted width "
        "or height (median over pairs; 95 % intervals over pictures). "
        "GeoSeg published alpha 20 and beta 10.",
        "",
        "| frame | " + " | ".join((*SIDES, "alpha (left, top)", "beta (right, bottom)")) + " |",
        "| --- |" + " ---: |" * 6,
        *(
            f"| {frame} | " + " | ".join(_share(sides[name]) for name in (*SIDES, "alpha", "beta")) + " |"
            for frame, sides in found.margins.items()
        ),
        "",
        *_gain_lines(found.gains),
        *_verdict(found),
    ]
    return "\n".join(lines) + "\n"


def _gain_lines(gains: Sequence[Gain]) -> list[str]:
    if not gains:
        return []
    return [
        "What margins do in the profile's frame; `measured` judges each half of the pictures by the other:",
        "",
        "| margins | box IoU of pairs | true boxes found at IoU 0.5 |",
        "| --- | ---: | ---: |",
        *(f"| {gain.name} | {_share(gain.iou)} | {_share(gain.recall)} |" for gain in gains),
        "",
    ]


def _verdict(found: BoxFindings) -> list[str]:
    own = found.profile.frame
    if found.best != own:
        return [
            f"**The replies fit the frame `{found.best}` better than the profile's `{own}`.** Use a profile "
            "with that frame and calibrate again. No margins are proposed: they would hide the fault."
        ]
    if found.proposed is None:
        return [f"No margins are proposed: every side needs {MIN_PAIRS} pairs. Ask more queries."]
    if not found.proposed.on:
        return ["No side is off: every interval holds zero, and the margins in boxes.json are all zero."]
    sides = ", ".join(f"{side} {getattr(found.proposed, side):g}" for side in SIDES)
    return [
        f"Proposed margins: {sides} (zero where the interval holds zero). Use them with `--refine-boxes` and "
        "the path of boxes.json. Judge them by masks as well: a segmenter may like its boxes loose."
    ]


def _share(estimate: BoxFigure) -> str:
    if math.isnan(estimate.value):
        return "-"
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"
