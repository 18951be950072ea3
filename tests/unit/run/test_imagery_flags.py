"""Options about imagery, parsed and read."""

from __future__ import annotations

import argparse

import pytest

from pipeline.errors import InputError
from pipeline.grid.catalog.catalog_options import CatalogOptions
from pipeline.grid.source import SourceOptions
from pipeline.run.imagery_flags import add_imagery_options, catalog_options, source_options, with_falling_sort
from pipeline.run.job_options import job_parser


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_imagery_options(parser)
    return parser.parse_args(with_falling_sort(words))


def test_nothing_is_asked_by_default() -> None:
    args = parsed()
    assert catalog_options(args) == CatalogOptions()
    assert source_options(args) == SourceOptions(hrefs=())
    assert args.mosaic == "first"


def test_a_search_is_read_as_it_is_written() -> None:
    args = parsed(
        *("--source", "stac:https://h/v1#naip", "--source", "a.tif", "--datetime", "2024/.."),
        *(
            "--max-cloud",
            "20",
            "--stac-filter",
            "gsd <= 1",
            "--sort",
            "-datetime",
            "--assets",
            "B04, B03,B02",
        ),
        *("--allow-host", "h", "--allow-host", "*.g", "--allow-root", "/data", "--bands", "3,nir,1"),
        *("--mask", "SCL in (3)", "--radiometry", "stored"),
    )
    assert catalog_options(args) == CatalogOptions(
        datetime="2024/..",
        max_cloud=20.0,
        filter="gsd <= 1",
        sort="-datetime",
        assets=("B04", "B03", "B02"),
        allow_hosts=("h", "*.g"),
        allow_roots=("/data",),
    )
    source = source_options(args)
    assert source.hrefs == ("stac:https://h/v1#naip", "a.tif")
    assert (source.bands, source.mask, source.radiometry) == ((3, "nir", 1), "SCL in (3)", "stored")


def test_the_help_of_catalogues_has_an_example() -> None:
    parser = job_parser("x.py", "", "")
    add_imagery_options(parser)
    assert "stac:https://earth-search" in parser.format_help()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--assets", "a,b"), "--assets must name"),
        (("--mask", "SCL less than 3"), "--mask"),
        (("--radiometry", "bright"), "--radiometry must be"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: tuple[str, str], named: str) -> None:
    args = parsed(*words)
    with pytest.raises(InputError, match=named):
        (source_options(args), catalog_options(args))


def test_other_words_stay() -> None:
    for words in (["--sort"], ["--sort", "--out", "x"], ["--sort", "a"], ["a", "-b"]):
        assert with_falling_sort(words) == words
