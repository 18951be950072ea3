"""The style sheet: nothing from elsewhere, nothing left open, nothing undefined."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.write.report.report_style import CONTENT_SECURITY_POLICY, STYLE

REPORT = Path(__file__).parents[4] / "pipeline" / "write" / "report"
PAGE = "".join((REPORT / name).read_text() for name in ("report.py", "report_sections.py"))


def test_the_policy_allows_pictures_of_the_page_and_its_style_alone() -> None:
    rules = dict(rule.strip().split(" ", 1) for rule in CONTENT_SECURITY_POLICY.split(";"))
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": "'unsafe-inline'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_the_sheet_fetches_nothing_and_cannot_end_its_element() -> None:
    assert not re.search(r"url\(|@import|@font-face|expression\(|//|<", STYLE)


def test_brackets_close_and_every_variable_is_defined_for_light_and_dark() -> None:
    depth = 0
    for char in STYLE:
        depth += {"{": 1, "}": -1}.get(char, 0)
        assert 0 <= depth <= 2
    assert depth == 0
    light, dark = (
        set(re.findall(r"(--\w+):", block)) for block in re.findall(r":root \{(.*?)\}", STYLE, re.S)
    )
    used = set(re.findall(r"var\((--\w+)\)", STYLE))
    assert used == light == dark


def test_every_class_of_the_page_has_a_rule() -> None:
    classes = set(re.findall(r'class_="([a-z]+)"', PAGE))
    assert len(classes) > 8
    assert not {name for name in classes if f".{name}" not in STYLE}
