"""Write one HTML page with samples worth a look: best, worst, rejected, false alarms, failed.

The page is self-contained and has no script.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import TerraqueryError
from pipeline.evaluate.benchmark.benchmark import Sample, SampleImage, read_image, read_mask
from pipeline.evaluate.benchmark.results import Entry, Results
from pipeline.evaluate.benchmark.results_text import (
    interval_text,
    percent_and_interval,
    replies_text,
    verifier_text,
)
from pipeline.evaluate.benchmark.sample_picture import COLOURS, draw_sample
from pipeline.evaluate.benchmark.sample_records import SampleRecord, counts_of, unpack_mask
from pipeline.evaluate.figures.metrics import CONVENTIONS, ConventionName, sample_scores
from pipeline.write.report.report_html import Html, joined, picture, raw, tag
from pipeline.write.report.report_style import CONTENT_SECURITY_POLICY, STYLE

PER_SECTION = 12
"""Samples shown per section."""

PICTURE_PX = 360
"""Longer side of a picture."""

_PAGE_STYLE = """
.chips { grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); }
article details { margin: 8px 12px 0; font-size: 12.5px; } \
article pre { white-space: pre-wrap; overflow-wrap: anywhere; }
.keys span { margin-right: 18px; } .keys i { border-radius: 3px; }
"""


Wanted = Callable[[SampleRecord], bool]
Order = Callable[[tuple[SampleRecord, float]], float | tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A group of samples on the page."""

    title: str
    why: str
    """What the samples have in common, and how many such samples there are."""
    records: tuple[tuple[SampleRecord, float], ...]
    """Samples with their scores, the most interesting first."""


def choose_sections(records: Sequence[SampleRecord], convention: ConventionName) -> list[Section]:
    """Choose the samples to show. Ties are broken by sample id, so that the page stays the same."""
    scores = sample_scores(counts_of(records), CONVENTIONS[convention])
    pairs = [(record, float(score)) for record, score in zip(records, scores, strict=True)]

    def section(title: str, what: str, wanted: Wanted, order: Order, most: int = PER_SECTION) -> Section:
        chosen = sorted(
            (pair for pair in pairs if wanted(pair[0])), key=lambda pair: (order(pair), pair[0].sample_id)
        )
        return Section(
            title=title, why=f"{what}: {len(chosen)} of {len(records)}", records=tuple(chosen[:most])
        )

    half = -(
        -sum(_answered(record) for record in records) // 2
    )  # of a few answers the worse half must be seen too
    best = section(
        "Best",
        "the target is there and was answered",
        _answered,
        lambda pair: -pair[1],
        min(half, PER_SECTION),
    )
    shown = {record.sample_id for record, _ in best.records}
    return [
        best,
        section(
            "Worst",
            "the target is there and was answered, those above left out",
            lambda r: _answered(r) and r.sample_id not in shown,
            lambda pair: (pair[1], -pair[0].true_px),
        ),
        section(
            "Wrongly rejected",
            "the target is there and the answer was that it is not",
            lambda r: r.true_px > 0 and r.abstained,
            lambda pair: -pair[0].true_px,
        ),
        section(
            "Rightly rejected",
            "nothing is there and the answer said so",
            lambda r: r.true_px == 0 and r.abstained,
            lambda _: 0,
        ),
        section(
            "False alarms",
            "nothing is there and something was drawn",
            lambda r: r.true_px == 0 and r.predicted_px > 0,
            lambda pair: -pair[0].predicted_px,
        ),
        section("Failed", "there is no answer", lambda r: r.failed, lambda _: 0),
    ]


def _answered(record: SampleRecord) -> bool:
    return record.true_px > 0 and not record.failed and not record.abstained


def samples_page(
    results: Results,
    records: Sequence[SampleRecord],
    images: Sequence[SampleImage],
    side_px: int | None,
) -> str:
    """Write the page. Images and true masks are read again; if that fails, a sample has no picture."""
    sources = {sample.sample_id: (image, sample) for image in images for sample in image.samples}
    benchmark = results["benchmark"]
    models = results["models"]
    protocol = results["protocol"]
    sections = choose_sections(records, protocol["convention"])
    title = f"{benchmark['name']}, {benchmark['split']}"
    headline = (("gIoU", "giou"), ("cIoU", "ciou"), ("P@0.5", "p@0.5"), ("rejection", "rejection"))
    keys = (
        joined([tag("i", style=f"background: rgb{colour}"), name, " "]) for name, colour in COLOURS.items()
    )
    body = [
        tag(
            "p",
            f"{models['prompter']} + {models['segmenter']}, {results['n_samples']} queries",
            class_="kicker",
        ),
        tag("ul", tag("li", title), class_="queries"),
        *(
            tag("p", text, class_="kicker")
            for text in [replies_text(results), verifier_text(results)]
            if text
        ),
        tag("div", *(_card(name, results["figures"][key]) for name, key in headline), class_="cards"),
        tag(
            "p",
            f"Convention {protocol['convention']} ({protocol['convention_source']}). "
            f"{interval_text(protocol['intervals'])}.",
            class_="kicker",
        ),
        tag("p", *keys, class_="kicker keys"),
    ]
    for section in sections:
        if section.records:
            articles = [
                _article(record, score, sources.get(record.sample_id), side_px)
                for record, score in section.records
            ]
            body += [
                tag("h2", section.title),
                tag("p", section.why, class_="kicker"),
                tag("div", *articles, class_="chips"),
            ]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=CONTENT_SECURITY_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", raw(STYLE + _PAGE_STYLE)),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', tag('main', *body)), lang='en')}\n"


def _card(name: str, entry: Entry) -> Html:
    """Write a figure with its interval."""
    value, interval = percent_and_interval(entry)
    return tag("div", tag("b", value), tag("span", f"{name} {interval}".strip()), class_="card")


def _article(
    record: SampleRecord, score: float, source: tuple[SampleImage, Sample] | None, side_px: int | None
) -> Html:
    marks = [
        f"score {score:.3f}",
        f"{len(record.mask_scores)} masks",
        record.sample_id,
        *record.strata.values(),
    ]
    parts = [
        _picture(record, source, side_px),
        tag("p", record.query, class_="name"),
        tag("p", " · ".join(marks), class_="marks"),
    ]
    if record.n_rejected:
        parts.append(tag("p", _taken_away(record), class_="why"))
    if record.error:
        parts.append(tag("p", record.error, class_="why"))
    if record.rationale:
        parts.append(tag("p", record.rationale, class_="why"))
    if record.reply:
        parts.append(tag("details", tag("summary", "reply"), tag("pre", record.reply)))
    return tag("article", *parts)


def _taken_away(record: SampleRecord) -> str:
    """Say what the verifier did to an answer; probabilities in the order of the prompts."""
    given = ", ".join(f"{p:.3f}" for p in record.verified if p is not None)
    return f"The verifier took {record.n_rejected} of {record.n_drawn} masks away; probabilities: {given}"


def _picture(record: SampleRecord, source: tuple[SampleImage, Sample] | None, side_px: int | None) -> Html:
    if source is None:
        return tag("p", "not part of this benchmark any more", class_="why")
    image, sample = source
    shape = (record.height, record.width)
    try:
        rgb = read_image(image.pixels, side_px)
        true = read_mask(sample.mask, shape)
    except TerraqueryError as error:
        return tag("p", f"no picture: {error}", class_="why")
    if rgb.shape[:2] != shape:
        rgb = np.zeros((*shape, 3), dtype=np.uint8)
    data = draw_sample(rgb, true, unpack_mask(record.mask_png, shape), record.prompts, side_px=PICTURE_PX)
    return picture(data, alt=record.query)
