"""The document: its policy allows the map's scripts by hash, and without a map none."""

from __future__ import annotations

import base64
import hashlib

import pytest

from pipeline.write.report.map.map_section import map_scripts
from pipeline.write.report.report_html import tag
from pipeline.write.report.report_page import report_page
from pipeline.write.report.report_style import CONTENT_SECURITY_POLICY


@pytest.mark.parametrize("mapped", [True, False])
def test_the_policy_allows_no_connection_and_no_other_script(mapped: bool) -> None:
    page = report_page(["<x>"], [tag("section", "body")], mapped=mapped).decode()
    policy = page.split('http-equiv="Content-Security-Policy" content="')[1].split('"')[0]
    assert policy.startswith(CONTENT_SECURITY_POLICY)
    assert "connect-src" not in policy  # default-src 'none' holds
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in map_scripts()]
    assert [text in policy for text in hashes] == [mapped] * len(hashes)
    assert ("script-src" in policy) is mapped
    assert ".mapframe" in page or not mapped
    assert "<title>Terraquery: &lt;x&gt;</title>" in page
