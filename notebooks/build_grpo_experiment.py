"""Write grpo_experiment.ipynb: run its cells in this process and keep what they print and draw.

    python notebooks/build_grpo_experiment.py

The cells read notebooks/results/grpo-*.json, which tests/benchmarks/grpo_experiment.py wrote. Nothing is trained here.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

HERE = Path(__file__).parent

CELLS: list[tuple[str, str]] = [
    (
        "markdown",
        """# Does mask-only GRPO make the small prompter better?

The experiment of Think2Seg-RS (section 3.2, tables 5 and 6) in small: a vision-language model of 7.5 million parameters, a frozen
SAM2 of 2.9 million, procedural worlds. A supervised prompter answers a question with boxes and points; GRPO then pays sampled replies by
the format and by the overlap of the segmenter's masks with the true mask, nothing else. All figures are percent on worlds that no
training saw; brackets are 95 % bootstrap intervals over images, and differences are paired.

- **heldout**: the samples of the world benchmark of six seeds, in wordings no training saw.
- **seen**: other unseen worlds, in wordings of training.

- **seen-sampled**: the same as *seen*, but every reply is sampled at the temperature of the training instead of taken greedily.

**The answer: a little, from a poor start.** From a deliberately short supervised start gIoU and correct rejection rise, and nearly all replies
become readable; the goal of 5 points is not reached. From the full supervised prompter nothing measurable was gained. See the last cell.""",
    ),
    (
        "code",
        """import json
from pathlib import Path

RESULTS = Path("results") if Path("results").is_dir() else Path("notebooks/results")
documents = {path.stem.removeprefix("grpo-"): json.loads(path.read_text()) for path in sorted(RESULTS.glob("grpo-*.json"))}
for name, document in documents.items():
    print(name, "|", document["command"])
    print("   seed", document["seed"], "| worlds", document["world_seeds"], "| samples", document["samples"])
    for entry in document["prompters"]:
        print("   ", entry["name"], "| weights", entry["weights_sha256"][:12], "|", *entry["settings"])""",
    ),
    (
        "code",
        """def cell(values, sign=""):
    return f"{values[0]:{sign}.1f} [{values[1]:{sign}.1f}, {values[2]:{sign}.1f}]"

def table(name, figures=("giou", "giou_present", "ciou", "rejection", "false_rejection", "format")):
    document = documents[name]
    for where, count in document["samples"].items():
        print(f"{name}, {where} wordings, {count} samples")
        print(f"{'':58}" + "".join(f"{figure:>22}" for figure in figures))
        for entry in document["prompters"]:
            print(f"{entry['name']:58}" + "".join(f"{cell(entry['figures'][where][figure]):>22}" for figure in figures))
        for entry in document["prompters"]:
            for other, pairs in entry["differences"].items():
                label = f"  {entry['name']} minus {other}"
                print(f"{label[:57]:58}" + "".join(f"{cell(pairs[where][figure], '+'):>22}" for figure in figures))
        print()""",
    ),
    (
        "code",
        """import numpy as np
from matplotlib import pyplot as plt

def start_of(entry):
    \"\"\"Name of what a rewarded prompter started from, measured with the same segmenter.\"\"\"
    words = set(entry["name"].replace(",", "").split())
    return max((other for other in entry["differences"] if set(other.replace(",", "").split()) <= words), key=len)

def changes(name, figures=("giou", "rejection", "format")):
    \"\"\"Every rewarded prompter minus what it started from: paired differences in points with their intervals.\"\"\"
    document = documents[name]
    wheres = list(document["samples"])
    rewarded = [entry for entry in document["prompters"] if entry["stage"] == "grpo"]
    height = 1 + 0.28 * len(rewarded) * len(wheres)
    figure, axes = plt.subplots(1, len(figures), figsize=(11, height), sharey=True, layout="constrained")
    for axis, key in zip(axes, figures):
        for place, entry in enumerate(rewarded):
            for offset, where in enumerate(wheres):
                value, low, high = entry["differences"][start_of(entry)][where][key]
                y = -place - (offset + 0.5) / len(wheres) * 0.8
                axis.plot([low, high], [y, y], color=f"C{offset}", linewidth=2)
                axis.plot(value, y, "o", color=f"C{offset}", markersize=5, label=f"{where} wordings" if place == 0 else None)
        axis.axvline(0, color="0.5", linewidth=0.8)
        axis.set(title=f"change of {key}", xlabel="points, 95 % intervals")
    axes[0].set_yticks([-place - 0.4 for place in range(len(rewarded))], [entry["name"] for entry in rewarded])
    axes[0].legend(fontsize=7)""",
    ),
    ("markdown", "## The experiment: supervised against rewarded"),
    ("code", 'changes("start-vs-grpo")\ntable("start-vs-grpo")'),
    ("markdown", "Rewards of the sampled replies, on training worlds, while it trains:"),
    (
        "code",
        """def curves(name):
    figure, axes = plt.subplots(1, 3, figsize=(11, 3), layout="constrained")
    for entry in documents[name]["prompters"]:
        for axis, key in zip(axes, ("iou", "format", "rejection_of_absent")):
            values = np.array([row[key] for row in entry["curve"] if key in row])
            if len(values):
                mean = [values[max(0, i - 9) : i + 1].mean() for i in range(len(values))]
                (line,) = axis.plot(values, linewidth=0.5, alpha=0.35)
                axis.plot(mean, color=line.get_color(), label=entry["name"])
                axis.set(title=f"{key.replace('_', ' ')}, mean of 10 steps", xlabel="step")
    axes[0].legend(fontsize=7)

curves("start-vs-grpo")
for entry in documents["start-vs-grpo"]["prompters"]:
    curve = entry["curve"]
    if curve:
        half = len(curve) // 2
        first, last = (np.mean([row["iou"] for row in part]) for part in (curve[:half], curve[half:]))
        print(f"{entry['name']}: mean IoU reward {first:.3f} in the first half, {last:.3f} in the second")""",
    ),
]

SECTIONS: dict[str, list[tuple[str, str]]] = {
    "start-vs-grpo-hot": [
        (
            "markdown",
            """## Hotter sampling, a higher rate

The setting that was tried first: temperature 0.8, 300 steps at 3e-4 from the short start (150 at 1e-4 from the full one), targets of at most
4 pieces. The setting above (0.5, 200 steps at 1e-4, at most 8 pieces) was chosen after this one had failed, and is measured on the same
questions.""",
        ),
        ("code", 'changes("start-vs-grpo-hot")\ntable("start-vs-grpo-hot")\ncurves("start-vs-grpo-hot")'),
    ],
    "combinations": [
        (
            "markdown",
            """## Prompt combinations

Each is taught to the short start by the same number of supervised steps, then rewarded by the same short GRPO. `box+point` is the embedded
prompter's own and not in the paper.""",
        ),
        ("code", 'changes("combinations")\ntable("combinations")'),
        (
            "code",
            """document = documents["combinations"]
where = list(document["samples"])[-1]
print(f"{'rewarded, ' + where + ' wordings':40}{'gIoU':>22}{'cIoU':>22}   paper (table 6, test): gIoU, cIoU")
for entry in document["prompters"]:
    if entry["stage"] == "grpo":
        known, now = document["paper"].get(entry["combination"]), entry["figures"][where]
        print(f"{entry['combination']:40}{cell(now['giou']):>22}{cell(now['ciou']):>22}   {known or 'not in the paper'}")""",
        ),
    ],
    "segmenters": [
        (
            "markdown",
            """## Segmenters

GRPO and measurement with each. The paper (table 5, test split, gIoU / cIoU): SAM2 tiny 70.62 / 73.94, small 71.09 / 74.13, base-plus
70.78 / 72.84, large 70.43 / 72.39.""",
        ),
        ("code", 'changes("segmenters")\ntable("segmenters")'),
    ],
    "format-reward": [
        ("markdown", "## Reward with and without the format term"),
        ("code", 'changes("format-reward")\ntable("format-reward")\ncurves("format-reward")'),
    ],
    "redraw": [
        (
            "markdown",
            """## What the segmenter makes of the prompts (no training)

The replies of the full supervised prompter, drawn again from their boxes alone, from their points alone, and by the same segmenter at other
image sizes. In the paper (table 6), where a prompter was trained for each row, a box alone loses 2.8 points of gIoU against a box with two
points, and two points alone lose 15.1.""",
        ),
        ("code", 'table("redraw", ("giou", "giou_present", "ciou"))'),
    ],
}


def sections() -> list[tuple[str, str]]:
    """Cells of the ablations whose results are there."""
    return [cell for name, cells in SECTIONS.items() if (HERE / f"results/grpo-{name}.json").is_file() for cell in cells]


LAST = (
    "markdown",
    """## Where this agrees with the paper and where not

- **GRPO raises gIoU over a poor start**: confirmed in wordings of training (the intervals exclude 0, greedy and sampled), not in held-out
  ones. Smaller than the goal of 5 points. One seed, and one of two settings tried on the same questions: take the interval as too narrow.
- **GRPO over the full supervised prompter**: no difference that could be measured, in either direction, after 150 hotter
  steps (9,600 replies) or 100 of the setting above.
- **Correct rejection rises** over the short start in wordings of training, as in the paper, and not in held-out ones; false rejection rises
  with it. From the full start it rose in the hotter run and fell in the other, both intervals touching 0.
- **Readable replies**: from 90 % to 99 % and more.
- **The temperature matters**: at 0.8 what is sampled is much worse than the greedy reply (numbers were taught with soft targets, so sampling
  spreads them by pixels). The reward of sampled replies rose there too, and the greedy replies got worse: more rejections, fewer objects.
- **The format term** was compared in an earlier form of this experiment, on earlier prompters: no measurable difference (commit b89dc71).
- **Not run on these prompters**: training per prompt combination and with a second segmenter. The commands are in
  `tests/benchmarks/grpo_experiment.py`, a second segmenter in `tests/benchmarks/segmenters`.""",
)


def run(source: str, names: dict[str, object]) -> list[dict[str, object]]:
    """Outputs of one cell: printed text, and open figures as PNG."""
    from matplotlib import pyplot

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, "<cell>", "exec"), names)
    outputs: list[dict[str, object]] = []
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(keepends=True)})
    for number in pyplot.get_fignums():
        picture = io.BytesIO()
        pyplot.figure(number).savefig(picture, format="png", dpi=80)
        pyplot.close(number)
        shown = {"image/png": base64.b64encode(picture.getvalue()).decode()}
        outputs.append({"output_type": "display_data", "metadata": {}, "data": shown})
    return outputs


def main() -> None:
    """Run all cells in order and write the notebook."""
    names: dict[str, object] = {}
    cells: list[dict[str, object]] = []
    os.chdir(HERE)
    for number, (kind, source) in enumerate([*CELLS, *sections(), LAST]):
        cell: dict[str, object] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": source.splitlines(keepends=True)}
        if kind == "code":
            cell |= {"execution_count": 1 + sum(one["cell_type"] == "code" for one in cells), "outputs": run(source, names)}
        cells.append(cell)
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}, "language_info": {"name": "python"}}
    notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (HERE / "grpo_experiment.ipynb").write_text(json.dumps(notebook, indent=1) + "\n")


if __name__ == "__main__":
    main()
