"""The tables say what the document says."""

from __future__ import annotations

from evaluate.test_results import SCORING, SUBJECT, records

from pipeline.evaluate.results import build_results
from pipeline.evaluate.results_text import results_markdown, summary_text


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
    assert len(rows(text, "IoU")[0]) == 7
    assert "0.75 % of the image diagonal" in text
    assert "2 masks on" in text


def test_strata_outcomes_notes_and_no_column_out_of_line() -> None:
    text = results_markdown(build_results(records(), SCORING, SUBJECT))
    assert "## By kind" in text
    assert [row[:2] for row in rows(text, "kind")] == [["absent", "2"], ["explicit", "1"], ["implicit", "2"]]
    assert rows(text, "outcome") == [["empty/prompter", "2"], ["failed/malformed", "1"], ["found", "3"]]
    assert "- a note\n" in text
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            block.append(line)
        elif block:
            assert len({len(row) for row in block}) == 1, block
            block = []


def test_a_bar_in_a_name_does_not_break_the_table() -> None:
    items = records()
    odd = [type(items[0])(**{**vars(items[0]), "strata": {"kind": "a|b"}})]
    assert "a\\|b" in results_markdown(build_results(odd, SCORING, SUBJECT))
