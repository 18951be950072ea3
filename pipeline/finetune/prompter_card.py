"""The card that ships with the embedded prompter: what it is, how it was trained, how good it is."""

from __future__ import annotations

from collections.abc import Mapping

_TEXT = """# Embedded prompter

**What it is.** A {millions:.1f} million parameter vision-language model of the Qwen2.5-VL architecture with its own small tokenizer
({vocabulary} tokens). It reads one 256 px tile, squashed to 252 x 252, and a question, and answers with points and boxes, or with `[]`.
It exists so that the whole pipeline runs, end to end and with the real libraries, on a machine without a model hub or an accelerator.

**What it is not.** It knows nothing but the procedural world of `pipeline.world`, whose classes are: {classes}.
On real imagery its answers are worthless.

## Contract

- One user message, image first, then `Find: {{query}}`. No system message. Greedy decoding.
- Reply: `<think>The question is about storage tanks. I see some.</think>` then
  `<answer>[{{"cell":"b2","positive_points":[[41,30]],"bbox_2d":[20,12,60,49]}}]</answer>`; absent: `<answer>[]</answer>`.
  Integers are pixel edges of the 252 px image; objects come in raster order of the 28 px cell of their point, and every object opens
  with that cell (columns a to i from the left, rows 1 to 9 from the top): the model first says where it looks, then measures.
- Objects whose visible part is under 8 px on a side or under 60 square px (of the 252 px image) are left out by design.

## How it was trained

From nothing, by `python jobs/train_embedded.py prompter`, on a CPU, seed {seed}. {recipe}

1. Vision tower on dense targets (class, box and peak of the object in each 28 px cell).
2. Language model on the frozen tower: replies rendered from exact truth, several questions per tile, soft targets on neighbouring numbers.
3. Both together, dense targets kept at half of their weight.

Training worlds have seeds 100,000 to 199,999 and pixels of 0.1 to 2 m (`prompter_world`), seen through drawn sensors (`sensor`: haze,
season, blur, 16 bit, JPEG and more), in the eight symmetries and slightly recoloured; 5 % of the tiles are partly black or plain
noise. Wordings come from `wordings.toml` and `pipeline.world.queries`; held-out ones were never seen.

## How good it is

{measured}
"""


def measured_table(tallies: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Markdown: one table per wording set; `tallies` as `prompter_eval.evaluate` gives them."""
    parts = []
    for wordings, rows in tallies.items():
        head = "| class | recall | precision | rejection | false rejection | objects | absent |"
        parts.append(f"### {wordings}\n\n{head}\n|---|---|---|---|---|---|---|")
        for name, row in rows.items():
            figures = " | ".join(f"{row[key]:.3f}" for key in ("recall", "precision", "rejection", "false_rejection"))
            parts.append(f"| {name} | {figures} | {row['objects']:.0f} | {row['absent']:.0f} |")
        malformed = sum(row["malformed"] for name, row in rows.items() if name == "all")
        parts.append(f"\nMalformed replies: {malformed:.0f}.\n")
    return "\n".join(parts)


def model_card(*, parameters: int, vocabulary: int, classes: str, seed: int, recipe: str, measured: str) -> str:
    """The card's Markdown."""
    return _TEXT.format(millions=parameters / 1e6, vocabulary=vocabulary, classes=classes, seed=seed, recipe=recipe, measured=measured)
