"""Write the results document as Markdown: the papers' tables with intervals, readable in a terminal too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.evaluate.benchmark.paired_answers import pairs_text
from pipeline.evaluate.benchmark.results import (
    STRATUM_FIGURES,
    Entry,
    FalseAlarms,
    Intervals,
    Results,
    Stratum,
)
from pipeline.evaluate.figures.metrics import THRESHOLDS
from pipeline.evaluate.figures.pixel_metrics import PIXEL_METRICS

_TITLES = {
    "giou": "gIoU",
    "giou_present": "gIoU, targets that are there",
    "ciou": "cIoU",
    **{f"p@{threshold}": f"P@{threshold}" for threshold in THRESHOLDS},
    "rejection": "rejection",
    "false_rejection": "false rejection",
    "failure": "no answer",
}

_PARSERS = {
    "robust": "what can be used of a reply counts",
    "think2seg": "Think2Seg-RS's released code: all of a reply or nothing",
}

_PIXEL_TITLES = ("IoU", "Dice", "Acc.", "Prec.", "Rec.", "Spec.", "BF")


def summary_text(results: Results) -> str:
    """Write what a job prints: headline figures, conventions, rejection, pixel metrics."""
    return "\n\n".join(
        [_heading(results), _figures(results), _conventions(results), _rejection(results), _pixels(results)]
    )


def results_markdown(results: Results) -> str:
    """Write the whole document: the summary, then every stratum, outcomes and notes."""
    parts = [
        summary_text(results),
        *(_stratum(name, table) for name, table in results["strata"].items() if table),
    ]
    parts.append(
        "## Outcomes\n\n"
        + markdown_table(["outcome", "samples"], [[name, str(n)] for name, n in results["outcomes"].items()])
    )
    if results["notes"]:
        parts.append("## Notes\n\n" + "\n".join(f"- {note}" for note in results["notes"]))
    return "\n\n".join(parts) + "\n"


def _heading(results: Results) -> str:
    benchmark = results["benchmark"]
    models = results["models"]
    protocol = results["protocol"]
    return "\n".join(
        [
            f"# {benchmark['name']}, {benchmark['split']}: {models['prompter']} + {models['segmenter']}",
            "",
            f"{results['n_samples']} queries about {results['n_images']} images; "
            f"wording: {protocol['questions']}; images {protocol['size']}; "
            f"convention `{protocol['convention']}` ({protocol['convention_source']}).",
            *filter(None, [replies_text(results), verifier_text(results), pairs_text(results.get("pairs"))]),
            f"In brackets: {interval_text(protocol['intervals'])}.",
        ]
    )


def interval_text(intervals: Intervals) -> str:
    """Name level and methods of the intervals."""
    drawn = f"{intervals['method']}, {intervals['draws']} draws, seed {intervals['seed']}"
    return f"{100 * intervals['level']:g} % intervals: {drawn}; {intervals['exceptions']}"


def percent_and_interval(entry: Entry) -> tuple[str, str]:
    """Write a figure in per cent (`-`: undefined) and its interval (empty: there is none)."""
    return "-" if entry["value"] is None else f"{100 * entry['value']:.1f} %", _interval(entry)


def replies_text(results: Results) -> str:
    """Say how replies were read and how many queries were asked again. Empty without a language model."""
    replies = results["replies"]
    if replies is None:
        return ""
    text = (
        f"Asked with the profile `{replies['profile']}`; "
        f"replies were read by the parser `{replies['parser']}` ({_PARSERS[replies['parser']]}); "
    )
    if not replies["retry"]:
        return text + "a malformed one was not asked for again."
    return (
        text
        + f"{replies['asked_again']} malformed ones were asked for again, "
        + f"{replies['then_read']} of them then had an answer."
    )


def verifier_text(results: Results) -> str:
    """Say which verifier looked at the masks and what it took away. Empty without one."""
    verifier = results.get("verifier")
    if verifier is None:
        return ""
    text = (
        f"The verifier `{verifier['mode']}` with threshold {verifier['threshold']:g} "
        f"took {verifier['taken_away']} of {verifier['masks']} masks away; "
        f"{verifier['emptied']} answers kept none and count as rejections."
    )
    if verifier["not_judged"]:
        text += f" It could not judge {verifier['not_judged']} masks, which were kept."
    return text


def _figures(results: Results) -> str:
    rows = [[title, *_percent_cells(results["figures"][name])] for name, title in _TITLES.items()]
    return markdown_table(["figure", "%", "interval", "n"], rows)


def _conventions(results: Results) -> str:
    names = ("giou", "ciou", "p@0.5")
    rows = [
        [name, *(_percent(values[figure]) for figure in names)]
        for name, values in results["conventions"].items()
    ]
    return "The same answers under every convention:\n\n" + markdown_table(
        ["convention", "gIoU", "cIoU", "P@0.5"], rows
    )


def _rejection(results: Results) -> str:
    table = results["rejection"]
    rows = [
        [
            f"not there ({table['n_empty']})",
            f"{table['true']} ({_plain(table['true_percent'])})",
            f"{table['false']} ({_plain(table['false_percent'])})",
        ],
        [
            f"there ({table['n_present']})",
            f"{table['falsely_rejected']} ({_plain(table['falsely_rejected_percent'])})",
            f"{table['n_present'] - table['falsely_rejected']}",
        ],
    ]
    text = "Rejection, n (%):\n\n" + markdown_table(["target", 'said "nothing here"', "did not"], rows)
    return f"{text}\n\n{_false_alarms(results['false_alarms'])}"


def _false_alarms(alarms: FalseAlarms | None) -> str:
    unknown = "False alarms per area of empty land: unknown, as"
    if alarms is None:
        return f"{unknown} this benchmark does not give the ground size of a pixel."
    if alarms["per_100_km2"] is None:
        return f"{unknown} no sample without a target was answered."
    rate = f"{alarms['per_100_km2']:g} per 100 km2 [{alarms['low']:g}, {alarms['high']:g}]"
    return f"False alarms on empty land: {alarms['masks']} masks on {alarms['empty_km2']:g} km2 = {rate}."


def _pixels(results: Results) -> str:
    entries = [results["pixel_metrics"][name] for name in PIXEL_METRICS]
    rows = [[_percent(entry["value"]) for entry in entries], [_interval(entry) for entry in entries]]
    tolerance = results["protocol"]["boundary_tolerance"]
    return (
        f"GeoSeg's pixel metrics, mean over samples (BF: outlines within {tolerance}):\n\n"
        + markdown_table(_PIXEL_TITLES, rows)
    )


def _stratum(name: str, table: Mapping[str, Stratum]) -> str:
    rows = []
    pixels = []
    for value, entry in table.items():
        rows.append([value, str(entry["n"]), *(_cell(entry[figure]) for figure in STRATUM_FIGURES)])
        pixels.append([value, *(_cell(entry["pixel_metrics"][metric]) for metric in PIXEL_METRICS)])
    figures = markdown_table([name, "n", *(_TITLES[figure] for figure in STRATUM_FIGURES)], rows)
    return f"## By {name}\n\n{figures}\n\n{markdown_table([name, *_PIXEL_TITLES], pixels)}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table whose columns line up. A bar within a cell is escaped."""
    lines = [list(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    rule = "| " + " | ".join("-" * width for width in widths) + " |"
    return "\n".join([text[0], rule, *text[1:]])


def _percent_cells(entry: Entry) -> list[str]:
    return [_percent(entry["value"]), _interval(entry), str(entry["n"])]


def _cell(entry: Entry) -> str:
    return f"{_percent(entry['value'])} {_interval(entry)}".strip()


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _interval(entry: Entry) -> str:
    return (
        ""
        if entry["low"] is None or entry["high"] is None
        else f"[{100 * entry['low']:.1f}, {100 * entry['high']:.1f}]"
    )


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
