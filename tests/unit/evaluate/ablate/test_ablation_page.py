"""The page: the picture is first, in scale, and names from outside are text."""

from __future__ import annotations

import re

from evaluate.ablate.test_ablation_text import made_document

from pipeline.evaluate.ablate.ablation_page import ROW_PX, ablation_page, differences_svg


def test_dots_and_intervals_are_in_scale() -> None:
    document = made_document()
    row = document["tables"][0]["rows"][1]
    row["differences"]["giou_present"] = {"value": 0.05, "low": 0.0, "high": 0.1, "changed": 3}
    svg = differences_svg(document)
    dots = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', svg)]
    assert len(dots) == 2
    (low, high) = next(
        (float(a), float(b))
        for a, b, colour in re.findall(r'x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)".*?stroke="(#\w+)"', svg)
        if colour == "#2563eb"
    )
    assert low == dots[0]
    assert abs((low + high) / 2 - dots[1]) < 0.11
    assert f'viewBox="0 0 920 {3 * ROW_PX}"' in svg


def test_the_picture_is_first_and_names_are_text() -> None:
    page = ablation_page(made_document())
    assert page.index("<svg") < page.index("<table")
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert "Content-Security-Policy" in page
    assert "<script" not in page
