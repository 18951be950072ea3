"""The results of a GRPO experiment: JSON, Markdown tables beside the paper's, and a picture of the rewards.

Differences are paired: both prompters are measured on the same resampled images
(`grpo_experiment_score.difference`). A prompter is compared with what its training started from, and in
`start-vs-grpo` also with the given one.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grpo_experiment_score import FEWEST_WORLDS, FIGURES, by_format, difference, figures
from grpo_experiment_steps import (
    Place,
    Step,
    checkpoint_of,
    folder_of,
    measure,
    segmenter_hash,
    weights_hash,
)

from pipeline.evaluate.figures.intervals import BootstrapOptions
from pipeline.files.atomic_file import atomic_path, write_bytes_atomic

INTERVALS = BootstrapOptions(draws=2000, seed=0, level=0.95)

PAPER: dict[str, dict[str, tuple[float, float]]] = {
    "combinations": {
        "box": (68.27, 70.95),
        "points2": (56.01, 53.78),
        "box+points2": (71.09, 74.13),
        "box+points4": (69.18, 72.45),
        "box+points2+negatives2": (68.21, 72.16),
    },
    "segmenters": {
        "tiny": (70.62, 73.94),
        "small": (71.09, 74.13),
        "base-plus": (70.78, 72.84),
        "large": (70.43, 72.39),
    },
}
"""Think2Seg-RS, tables 6 and 5: gIoU and cIoU on the test split of EarthReason, Qwen2.5-VL-3B."""

TITLES = {
    "giou": "gIoU",
    "giou_present": "gIoU present",
    "ciou": "cIoU",
    "rejection": "rejection",
    "false_rejection": "false rejection",
    "format": "format",
}


def write_report(
    place: Place, experiment: str, steps: Sequence[Step], measured: Sequence[str], command: str
) -> dict[str, Any]:
    """Write OUT/<experiment>.json, .md and .png from the answers of trained steps; returns the document."""
    document = {
        "experiment": experiment,
        "command": command,
        "seed": place.seed,
        "world_seeds": list(place.world_seeds),
        "intervals": f"95 %, percentile bootstrap over worlds (over tiles where there are fewer than "
        f"{FEWEST_WORLDS}), 2000 draws, seed 0; differences paired",
        "samples": {where: len(measure(place, steps[0], where)) for where in measured},
        "segmenter_sha256": segmenter_hash(),
        "prompters": [_entry(place, step, steps, measured) for step in steps],
        "paper": PAPER.get(experiment, {}),
    }
    place.out.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(place.out / f"{experiment}.json", (json.dumps(document, indent=1) + "\n").encode())
    write_bytes_atomic(place.out / f"{experiment}.md", markdown(document).encode())
    _draw(document, place.out / f"{experiment}.png")
    return document


def _entry(place: Place, step: Step, steps: Sequence[Step], measured: Sequence[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": step.name,
        "stage": step.stage,
        "cost": _cost(folder_of(place, step) / "cost.json"),
        "combination": step.combination,
        "settings": [*step.settings, *step.segmenter, *([f"parts={step.parts}"] if step.parts else [])],
        "weights_sha256": weights_hash(checkpoint_of(place, step)),
        "figures": {where: figures(measure(place, step, where), INTERVALS) for where in measured},
        "differences": {},
        "by_format": {},
        "curve": _curve(folder_of(place, step) / "curves.csv") if step.stage == "grpo" else [],
    }
    plain = [other for other in steps if other.stage == "given" and not other.parts and not other.segmenter]
    others = [other for other in steps if other is not step and (_is_start(other, step) or other in plain)]
    for other in others if step not in plain else []:
        pairs = {
            where: difference(measure(place, other, where), measure(place, step, where), INTERVALS)
            for where in measured
        }
        entry["differences"][other.name] = pairs
        if _is_start(other, step):
            entry["by_format"] = {
                where: by_format(measure(place, other, where), measure(place, step, where))
                for where in measured
            }
    return entry


def _cost(path: Path) -> dict[str, float]:
    """CPU seconds of the training, where it was not interrupted."""
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def _is_start(other: Step, step: Step) -> bool:
    """Whether `step` was trained from `other` and is measured with the same segmenter."""
    start = step.start
    return start is not None and (
        other.given,
        other.stage,
        other.combination,
        other.settings,
        other.segmenter,
    ) == (
        start.given,
        start.stage,
        start.combination,
        start.settings,
        step.segmenter,
    )


def _curve(path: Path) -> list[dict[str, float]]:
    """Step, reward, IoU, format and rejection of every training step."""
    kept = (
        "step",
        "reward",
        "iou",
        "format",
        "iou_present",
        "rejection_of_absent",
        "equal_groups",
        "reply_tokens",
    )
    with path.open() as file:
        return [
            {name: round(float(row[name]), 4) for name in kept if row.get(name)}
            for row in csv.DictReader(file)
        ]


def markdown(document: dict[str, Any]) -> str:
    """The tables of a document: figures with intervals, then paired differences, per set of queries."""
    lines = [f"# {document['experiment']}", "", f"`{document['command']}`", ""]
    lines += [f"Seed {document['seed']}. {document['intervals']}.", ""]
    paper = document["paper"]
    for where, count in document["samples"].items():
        lines += [f"## {where} wordings, unseen worlds, {count} samples (percent)", ""]
        head = [
            "prompter",
            *TITLES.values(),
            *(["paper gIoU / cIoU"] if document["experiment"] == "combinations" else []),
        ]
        lines += ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        for entry in document["prompters"]:
            cells = [entry["name"], *(_cell(entry["figures"][where][name]) for name in FIGURES)]
            if document["experiment"] == "combinations":
                known = paper.get(entry["combination"]) if entry["stage"] == "grpo" else None
                cells.append(f"{known[0]} / {known[1]}" if known else "")
            lines.append("| " + " | ".join(cells) + " |")
        if document["experiment"] == "segmenters":
            known = "; ".join(f"SAM2 {name} {giou} / {ciou}" for name, (giou, ciou) in paper.items())
            lines += ["", f"The paper, gIoU / cIoU (table 5, test): {known}."]
        lines += [
            "",
            "Differences in points, paired:",
            "",
            "| prompter | minus | " + " | ".join(TITLES.values()) + " |",
        ]
        lines.append("|" + " --- |" * (len(FIGURES) + 2))
        for entry in document["prompters"]:
            for other, pairs in entry["differences"].items():
                lines.append(
                    f"| {entry['name']} | {other} | "
                    + " | ".join(_cell(pairs[where][name], "+") for name in FIGURES)
                    + " |"
                )
        lines.append("")
    return "\n".join(lines)


def _cell(interval: Sequence[float], sign: str = "") -> str:
    value, low, high = interval
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def _draw(document: dict[str, Any], path: Path) -> None:
    """Mean reward of every training step, thin, and its running mean over ten steps."""
    import numpy as np
    from matplotlib.figure import Figure

    curves = [(entry["name"], entry["curve"]) for entry in document["prompters"] if entry["curve"]]
    if not curves:
        return
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    for name, curve in curves:
        steps, reward = (np.asarray([row[key] for row in curve]) for key in ("step", "iou"))
        mean = np.asarray([reward[max(0, i - 9) : i + 1].mean() for i in range(len(reward))])
        (line,) = axis.plot(steps, reward, linewidth=0.6, alpha=0.35)
        axis.plot(steps, mean, linewidth=1.8, color=line.get_color(), label=name)
    axis.set(xlabel="optimiser step", ylabel="IoU reward of sampled replies, training worlds")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
