"""Links of a page, followed as a browser does: by the address of the page, not by where its file lies."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "base"
        self.hrefs += [value or "" for name, value in attrs if name == "href"]


def hrefs_of(page: str) -> list[str]:
    """All links of a page as they are written."""
    links = _Links()
    links.feed(page)
    return links.hrefs


def resolved(page: str, address: str) -> list[str]:
    """All links of a page whose address is a URL, as URLs."""
    return [urljoin(address, href) for href in hrefs_of(page)]


def followed(path: Path) -> list[Path]:
    """All links of a page that is opened as a file of this path; symbolic links stay what they are called."""
    urls = resolved(path.read_text(), path.absolute().as_uri())
    return [Path(unquote(urlsplit(url).path)) for url in urls]
