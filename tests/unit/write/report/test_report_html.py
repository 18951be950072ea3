from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.files.public_text import public_text
from pipeline.write.report.report_html import Html, escaped, joined, picture, raw, table, tag


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(markup: str) -> Seen:
    seen = Seen()
    seen.feed(markup)
    seen.close()
    return seen


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cc"])).map(public_text),
    st.text(st.characters(exclude_categories=["Cc"])).map(public_text),
)
def test_no_text_and_no_attribute_can_become_markup(text: str, attribute: str) -> None:
    seen = parsed(tag("p", text, title=attribute))
    assert seen.tags == [("p", {"title": attribute})]
    assert seen.text == text


def test_markup_passes_once_and_only_as_html() -> None:
    assert tag("p", tag("b", "<"), "<i>") == "<p><b>&lt;</b>&lt;i&gt;</p>"
    assert escaped(raw("<b>")) == "<b>"
    assert escaped(5) == "5"
    assert isinstance(joined(["a", tag("br")]), Html)
    assert tag("p", class_="x", aria_label='"') == '<p class="x" aria-label="&quot;"></p>'


def test_tables_align_numbers_and_pictures_are_inline() -> None:
    assert '<td class="num">3</td>' in table(("a", "b"), [("<x>", 3)])
    assert "<td>&lt;x&gt;</td>" in table(("a", "b"), [("<x>", 3)])
    assert picture(b"abc", alt='"').startswith('<img src="data:image/webp;base64,YWJj" alt="&quot;"')


def test_what_is_shown_holds_no_secret_and_nothing_hidden() -> None:
    assert tag("p", "\x1b[1m\u202e<b> sig=s3cr3tvalue", title="\x00token=s3cr3tvalue") == (
        '<p title="token=***">&lt;b&gt; sig=***</p>'
    )
