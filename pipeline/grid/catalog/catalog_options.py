"""What a user asks of the catalogues among the sources, as the command line has it."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import InputError


@dataclass(frozen=True, kw_only=True)
class CatalogOptions:
    """What is asked of catalogues among the sources, and how their items are read."""

    datetime: str | None = None
    """`A/B`, as in `CatalogSearch`."""
    max_cloud: float | None = None
    """Per cent."""
    filter: str | None = None
    """CQL2, as text or JSON."""
    sort: str | None = None
    limit: int | None = None
    """Most items to take, in the order of `sort`."""
    assets: tuple[str, ...] | None = None
    """Keys of one file, or of red, green and blue. None: what the items say."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts that hrefs of items may name, beside the catalogue's own."""
    allow_roots: tuple[str, ...] = ()
    """Folders below which hrefs of items may name local files, beside the catalogue's own."""

    def require_unused(self) -> None:
        """Refuse options that would narrow a search where no source is a catalogue. Raises InputError."""
        flags = {
            "--datetime": self.datetime,
            "--max-cloud": self.max_cloud,
            "--stac-filter": self.filter,
            "--sort": self.sort,
            "--max-items": self.limit,
            "--assets": self.assets,
            "--allow-host": self.allow_hosts,
            "--allow-root": self.allow_roots,
        }
        given = [flag for flag, value in flags.items() if value not in (None, ())]
        if given:
            remedy = "add a --source such as stac:https://...#collection, or leave them out"
            if self.datetime is not None:
                remedy += "; --datetime-of says when rasters were taken"
            raise InputError(
                f"{', '.join(given)}: a catalogue must be among the sources",
                came="rasters alone",
                remedy=remedy,
            )
