"""Documents of a catalogue, and how far its links may lead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from odd_stac_server import odd_server

from pipeline.errors import InputError, SourceError
from pipeline.grid.catalog import catalog_reader
from pipeline.grid.catalog.catalog_reader import CatalogReader, checked_place
from pipeline.grid.catalog.found_items import CatalogSearch


def reader_of(place: str, **search: tuple[str, ...]) -> CatalogReader:
    return CatalogReader(place, CatalogSearch(source=place, **search))


def test_local_links_stay_in_the_folder(tmp_path: Path) -> None:
    inside = tmp_path / "catalog"
    (inside / "deep").mkdir(parents=True)
    (inside / "deep" / "a.json").write_text("1")
    (tmp_path / "secret.json").write_text("2")
    (inside / "link.json").symlink_to(tmp_path / "secret.json")
    reader = reader_of(str(inside / "catalog.json"))
    assert reader.hosts == ()
    assert reader.follow(str(inside / "deep" / "a.json")) == 1
    for place in (str(tmp_path / "secret.json"), f"{inside}/../secret.json", str(inside / "link.json")):
        with pytest.raises(SourceError, match="allow-root"):
            reader.follow(place)
    assert (
        reader_of(str(inside / "catalog.json"), allow_roots=(str(tmp_path),)).follow(
            str(tmp_path / "secret.json")
        )
        == 2
    )


@pytest.mark.parametrize(
    "place", ["https://h.example/a.json", "s3://bucket/a.json", "file:///etc/hosts", "ftp://h/a"]
)
def test_links_of_a_local_catalogue_stay_local(place: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="link of the catalogue"):
        reader_of(str(tmp_path / "catalog.json")).follow(place)


@pytest.mark.parametrize(
    "place", ["/etc/hosts", "file:///etc/hosts", "s3://bucket/a.json", "http://10.0.0.1/a"]
)
def test_links_of_a_server_stay_there(place: str) -> None:
    with pytest.raises(SourceError, match="link of the catalogue"):
        reader_of("https://api.example/").follow(place)


def test_the_catalogues_own_host() -> None:
    assert reader_of("https://api.example:8443/v1").hosts == ("api.example",)
    assert reader_of("s3://bucket/catalog.json").hosts == ("bucket.s3",)
    with pytest.raises(SourceError, match="another bucket"):
        reader_of("s3://bucket/catalog.json").follow("s3://other/a.json")


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff\xfe\x00", b"9" * 5000])
def test_what_is_no_json_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="must be JSON"):
        reader_of(str(path)).start()


def test_numbers_that_json_does_not_have_are_no_value(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": NaN, "b": [-Infinity]}', encoding="utf-8-sig")
    assert reader_of(str(path)).start() == {"a": None, "b": [None]}


def test_a_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_reader, "MOST_BYTES", 100)
    path = tmp_path / "a.json"
    path.write_text(json.dumps("x" * 200))
    with pytest.raises(InputError, match=r"at most 100 bytes.*parquet"):
        reader_of(str(path)).start()


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="readable file"):
        reader_of(str(tmp_path / "a.json")).start()
    with pytest.raises(InputError, match="folder"):
        reader_of(str(tmp_path)).start()
    with odd_server() as server, pytest.raises(InputError, match="404"):
        reader_of(f"{server.url}/a.json").start()


def test_trouble_is_reported() -> None:
    with odd_server(files={"/a.json": 1}, statuses=[503]) as server:
        reader = reader_of(f"{server.url}/a.json")
        assert reader.start() == 1
    assert reader.notes() == ("requests sent again after status 503: 1",)


@pytest.mark.parametrize(
    "place", ["", " ", "a\nb", "ftp://h/a", "https:///a", "https://h:0/a", "https://h:x/a", "https://u:p@h/a"]
)
def test_places_that_cannot_be_meant(place: str) -> None:
    with pytest.raises(InputError) as found:
        checked_place(place)
    assert "p@" not in str(found.value)
