"""Write the card that ships with the embedded prompter: what it is, how it was trained, how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.finetune.prompter.carry_on import Begun

ROOT = Path(__file__).resolve().parents[3]

_TEXT = """# Embedded prompter

**What it is.** A {millions:.1f} million parameter vision-language model of the Qwen2.5-VL architecture with
its own small tokenizer ({vocabulary} tokens). It reads one 256 px tile, squashed to 252 x 252, and a
question, and answers with points and boxes, or with `[]`. It exists so that the whole pipeline runs, end to
end and with the real libraries, on a machine without a model hub or an accelerator.

**What it is not.** It knows nothing but the procedural world of `pipeline.world`, whose classes are:
{classes}. On real imagery its answers are worthless.

## Contract

- One user message, image first, then `Find: {{query}}`. No system message. Greedy decoding.
- Reply: `<think>The question is about storage tanks. I see some.</think>` then
  `<answer>[{{"cell":"b2","positive_points":[[41,30]],"bbox_2d":[20,12,60,49]}}]</answer>`; absent:
  `<answer>[]</answer>`. Integers are pixel edges of the 252 px image; objects come in raster order of the
  28 px cell of their point, and every object opens with that cell (columns a to i from the left, rows 1 to
  9 from the top): the model first says where it looks, then measures.
- Objects whose visible part is under 8 px on a side or under 60 square px (of the 252 px image) are left
  out by design.

## How it was trained

{recipe}

{lessons}

Training worlds have seeds 100,000 to 199,999 and pixels of 0.1 to 2 m (`training_worlds`), seen through
drawn sensors (`sensor`: haze, season, blur, 16 bit, JPEG and more), in the eight symmetries and slightly
recoloured; 5 % of the tiles are partly black or plain noise. Wordings come from `wordings.toml` and
`pipeline.world.queries`; held-out ones were never seen.

## How good it is

{measured}
"""


def measured_table(tallies: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Write one Markdown table per set of wordings. `tallies`: results of `prompter_eval.evaluate`."""
    parts = []
    for wordings, rows in tallies.items():
        head = "| class | recall | precision | rejection | false rejection | objects | absent |"
        parts.append(f"### {wordings}\n\n{head}\n|---|---|---|---|---|---|---|")
        for name, row in rows.items():
            figures = " | ".join(
                f"{row[key]:.3f}" for key in ("recall", "precision", "rejection", "false_rejection")
            )
            parts.append(f"| {name} | {figures} | {row['objects']:.0f} | {row['absent']:.0f} |")
        malformed = sum(row["malformed"] for name, row in rows.items() if name == "all")
        parts.append(f"\nMalformed replies: {malformed:.0f}.\n")
    return "\n".join(parts)


def measured_again(n_tiles: int) -> str:
    """Say when the figures were measured, and give the command that measures the export itself."""
    options = f"--measure-only --start DIR --measured-tiles {n_tiles} --work build/measured"
    return (
        "Measured at the end of the training job. The export, whose weights are rounded to bfloat16, is "
        "measured again by\n"
        f"`python jobs/train_embedded.py prompter {options}`, DIR being its folder."
    )


def model_card(
    *,
    parameters: int,
    vocabulary: int,
    classes: str,
    begun: Begun,
    stages: Mapping[str, tuple[int, int]],
    measured: str,
) -> str:
    """Write the card as Markdown. `stages`: result of `prompter_run.stages_of`."""
    facts = {"millions": parameters / 1e6, "vocabulary": vocabulary, "classes": classes, "measured": measured}
    return _TEXT.format(**facts, recipe=recipe_of(begun, stages), lessons=_lessons(begun, stages))


def recipe_of(begun: Begun, stages: Mapping[str, tuple[int, int]]) -> str:
    """Say from what, on what and how long the model was trained, as far as the working directory tells."""
    source = f"From the exported prompter `{_shown(Path(begun.start))}`" if begun.start else "From nothing"
    kinds = dict.fromkeys("a CPU" if device == "cpu" else "a GPU" for device in begun.devices)
    where = f", on {' and '.join(kinds)}" if kinds else ""
    seed = "" if begun.seed is None else f", seed {begun.seed}"
    tiles = f"{begun.tiles} rendered tiles; steps of tiles" if begun.tiles else "Steps of tiles"
    steps = ", ".join(f"{done} x {tiles_a_step} ({stage})" for stage, (done, tiles_a_step) in stages.items())
    return f"{source}, by `python jobs/train_embedded.py prompter`{where}{seed}. {tiles}: {steps}."


def _lessons(begun: Begun, stages: Mapping[str, tuple[int, int]]) -> str:
    """Write a numbered line for every stage that was trained."""
    learner = "Heads alone, on that prompter's frozen tower, learn" if begun.start else "Vision tower on"
    texts = {
        "vision": f"{learner} dense targets (class, box and peak of the object in each 28 px cell).",
        "language": "Language model on the frozen tower: replies rendered from exact truth, several "
        "questions per tile, soft targets on neighbouring numbers.",
        "joint": "Both together, dense targets kept at half of their weight.",
    }
    return "\n".join(f"{number}. {texts[stage]}" for number, stage in enumerate(stages, start=1))


def _shown(path: Path) -> Path:
    """Shorten a path inside the repository to start at its root, so that readers elsewhere can follow it."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
