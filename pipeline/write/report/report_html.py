"""HTML that is escaped by construction: text becomes markup only by passing through `tag` or `raw`.

Queries, model replies, file names and error texts may all be hostile. `tag` escapes every attribute, and
every child that is not already `Html`, and takes out secrets and what is not shown. `raw` is for markup
written in this package alone.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

from pipeline.files.public_text import public_text

_VOID = frozenset({"meta", "img", "br", "col", "input"})


class Html(str):
    """Text that is known to be safe markup."""

    __slots__ = ()


def raw(markup: str) -> Html:
    """Trusted markup of our own; never call it with anything that came from outside."""
    return Html(markup)


def escaped(text: object) -> Html:
    """Any value as text, by the rule of `public_text`; `Html` passes unchanged."""
    return text if isinstance(text, Html) else Html(html.escape(public_text(str(text)), quote=True))


def joined(children: Iterable[object]) -> Html:
    """Children one after the other, each escaped unless it is `Html`."""
    return Html("".join(escaped(child) for child in children))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """`<name attr="...">children</name>`. `class_` stands for class; underscores in other attributes become
    hyphens.
    """
    parts = [name]
    for key, value in attributes.items():
        attribute = "class" if key == "class_" else key.replace("_", "-")
        parts.append(f'{attribute}="{escaped(value)}"')
    opening = f"<{' '.join(parts)}>"
    return Html(opening if name in _VOID else f"{opening}{joined(children)}</{name}>")


def table(header: Sequence[object], rows: Iterable[Sequence[object]], *, class_: str = "") -> Html:
    """A table; numbers (int, float) are right-aligned."""
    head = tag("tr", *(tag("th", cell) for cell in header))
    body = [
        tag(
            "tr",
            *(
                tag("td", cell, class_="num") if isinstance(cell, int | float) else tag("td", cell)
                for cell in row
            ),
        )
        for row in rows
    ]
    return tag("table", tag("thead", head), tag("tbody", *body), class_=class_)


def picture(data: bytes, *, alt: str, class_: str = "") -> Html:
    """A WebP picture inside the page."""
    return tag(
        "img",
        src=raw(f"data:image/webp;base64,{base64.b64encode(data).decode()}"),
        alt=alt,
        class_=class_,
        loading="lazy",
    )
