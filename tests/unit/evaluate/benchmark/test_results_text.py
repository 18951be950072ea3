"""The tables say what the document says."""

from __future__ import annotations

from dataclasses import replace

from evaluate.benchmark.test_results import SCORING, SUBJECT, VERIFIED, records, verified_records

from pipeline.evaluate.benchmark.results import build_results
from pipeline.evaluate.benchmark.results_text import results_markdown, summary_text


def rows(text: str, first: str) -> list[list[str]]:
    """Cells of the table whose header starts with `first`."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} "))
    body = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        body.append([cell.strip() for cell in line.strip("|").split("|")])
    return body


def test_figures_conventions_rejection_and_pixels() -> None:
    results = build_results(records(), SCORING, SUBJECT)
    text = summary_text(results)
    assert text.startswith("# hand, test: p + s\n")
    assert "convention `paper`" in text
    table = {row[0]: row[1:] for row in rows(text, "figure")}
    assert table["gIoU"][0] == "38.89"  # (1 + 1/3 + 1) / 6
    assert table["cIoU"][0] == "93.97"  # 608 / 647
    assert table["P@0.5"][0] == "33.33"
    assert table["rejection"] == ["33.33", table["rejection"][1], "3"]
    assert rows(text, "convention")[3][:2] == ["vision-reasoner", "22.22"]
    assert rows(text, "target")[0] == ["not there (3)", "1 (33.3)", "2 (66.7)"]
    assert rows(text, "target")[1] == ["there (3)", "1 (33.3)", "2"]
    pixels = rows(text, "IoU")
    assert [len(row) for row in pixels] == [7, 7]
    assert all(cell.startswith("[") for cell in pixels[1])
    assert "95 % intervals: percentile bootstrap over images, 50 draws, seed 0; Wilson for rejection" in text
    assert table["rejection"][1] == "[6.1, 79.2]"
    assert "0.75 % of the image diagonal" in text
    alarms = results["false_alarms"]
    rate = f"{alarms['per_100_km2']:g} per 100 km2 [{alarms['low']:g}, {alarms['high']:g}]"
    assert f"2 masks on 0.1536 km2 = {rate}." in text


def test_why_there_are_no_false_alarms_per_area() -> None:
    """The first two samples hold a target."""
    text = results_markdown(build_results(records(), SCORING, replace(SUBJECT, pixel_m=None)))
    assert (
        "False alarms per area of empty land: unknown, "
        "as this benchmark does not give the ground size of a pixel." in text
    )
    text = results_markdown(build_results(records()[:2], SCORING, SUBJECT))
    assert "False alarms per area of empty land: unknown, as no sample without a target was answered." in text


def test_strata_outcomes_notes_and_no_column_out_of_line() -> None:
    text = results_markdown(build_results(records(), SCORING, SUBJECT))
    assert "## By kind" in text
    assert [row[:2] for row in rows(text, "kind")] == [["absent", "2"], ["explicit", "1"], ["implicit", "2"]]
    pixels = rows(text[text.index("## By kind") :].partition("\n\n")[2].partition("\n\n")[2], "kind")
    assert [(row[0], row[1].partition(" ")[0]) for row in pixels] == [
        ("absent", "50.00"),
        ("explicit", "100.00"),
        ("implicit", "16.67"),
    ]
    assert all(len(row) == 8 for row in pixels)
    assert rows(text, "outcome") == [["empty/prompter", "2"], ["failed/malformed", "1"], ["found", "3"]]
    assert "- a note\n" in text
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            block.append(line)
        elif block:
            assert len({len(row) for row in block}) == 1, block
            block = []


def test_the_heading_says_how_replies_were_read() -> None:
    items = [replace(item, n_calls=2) for item in records()]
    robust = summary_text(build_results(items, SCORING, replace(SUBJECT, parser="robust", retry=1)))
    assert (
        "read by the parser `robust` (what can be used of a reply counts); "
        "6 malformed ones were asked for again, 5 of" in robust
    )
    released = summary_text(build_results(records(), SCORING, replace(SUBJECT, parser="think2seg")))
    assert (
        "parser `think2seg` (Think2Seg-RS's released code: all of a reply or nothing); "
        "a malformed one was not asked for" in released
    )
    assert "parser" not in summary_text(build_results(records(), SCORING, SUBJECT))


def test_the_heading_names_the_verifier_and_what_it_took_away() -> None:
    said = (
        "\nThe verifier `crop` with threshold 0.9 took 2 of 5 masks away; "
        "1 answers kept none and count as rejections."
    )
    text = summary_text(build_results(verified_records(), SCORING, VERIFIED))
    assert said + " It could not judge 1 masks, which were kept.\n" in text
    judged = build_results(verified_records()[:-1], SCORING, VERIFIED)
    assert said.replace("of 5", "of 4") + "\n" in results_markdown(judged)
    assert "verifier" not in results_markdown(build_results(records(), SCORING, SUBJECT))


def test_a_bar_in_a_name_does_not_break_the_table() -> None:
    items = records()
    odd = [type(items[0])(**{**vars(items[0]), "strata": {"kind": "a|b"}})]
    assert "a\\|b" in results_markdown(build_results(odd, SCORING, SUBJECT))
