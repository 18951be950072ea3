"""What a run asked of servers (`files.traffic`), in words: a row each for imagery, open files, the bucket."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.files.traffic import CACHES, SOURCES, STORE_REQUESTS

_CACHE_WORDS = {
    "files": "open files served {share:.0f} % of {n:,} windows",
    "chunks": "kept pieces of them {share:.0f} % of {n:,} small reads",
}


def traffic_rows(counts: Mapping[str, int]) -> dict[str, str]:
    """Make the rows of a table, without those that have nothing to tell."""
    rows = {"imagery": _sources(counts), "files": _caches(counts), "bucket": _store(counts)}
    return {name: text for name, text in rows.items() if text}


def _sources(counts: Mapping[str, int]) -> str:
    parts = []
    for source in SOURCES:
        if n := counts.get(f"{source}_requests", 0):
            where = "of the catalogue" if source == "catalogue" else f"over {source}"
            size = size_text(counts.get(f"{source}_bytes", 0))
            parts.append(f"{n:,} request{_s(n)} {where}, {size}{_again(counts, source)}")
    return "; ".join(parts)


def _caches(counts: Mapping[str, int]) -> str:
    parts = []
    for cache in CACHES:
        hits = counts.get(f"{cache}_hits", 0)
        looked = hits + counts.get(f"{cache}_misses", 0)
        if looked:
            parts.append(_CACHE_WORDS[cache].format(share=100 * hits / looked, n=looked))
    return ", ".join(parts)


def _store(counts: Mapping[str, int]) -> str:
    kinds = {kind: counts.get(f"store_{kind}", 0) for kind in STORE_REQUESTS}
    n = sum(kinds.values())
    if not n:
        return ""
    each = ", ".join(f"{n:,} {kind if n != 1 else kind[:-1]}" for kind, n in kinds.items() if n)
    written = size_text(counts.get("store_written_bytes", 0))
    read = size_text(counts.get("store_read_bytes", 0))
    return f"{n:,} request{_s(n)} ({each}), {written} written, {read} read{_again(counts, 'store')}"


def _again(counts: Mapping[str, int], source: str) -> str:
    n = counts.get(f"{source}_retries", 0)
    return f" ({n:,} sent again)" if n else ""


def size_text(n_bytes: int) -> str:
    """Tell a number of bytes: 812 bytes, 34.5 kB, 1.2 GB."""
    size = float(n_bytes)
    if size < 1000:
        return f"{n_bytes} byte{_s(n_bytes)}"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:,.1f} TB"


def _s(n: int) -> str:
    return "" if n == 1 else "s"
