"""EarthReason from a tiny copy of its layout, and copies that lack something."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmark_layouts import Filled, check_as_written, copied, remove, rewrite, targets_of, write_earthreason
from PIL import Image

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.readers.earthreason import read_earthreason


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    return write_earthreason(tmp_path_factory.mktemp("earthreason"))


def test_every_target_has_its_mask_its_image_and_its_queries(written: Filled) -> None:
    check_as_written(read_earthreason(written.root, "test"), written)


def test_the_papers_policy_and_the_stratum_of_the_answer(written: Filled) -> None:
    benchmark = read_earthreason(written.root, "test")
    assert (benchmark.name, benchmark.split, benchmark.queries) == ("earthreason", "test", "first")
    answers = {name: target.strata for name, target in targets_of(benchmark).items()}
    given = {"answer": "given"}
    assert answers == {"00000": given, "00001": given, "00002": given, "00003": {"answer": "none"}}


def test_another_split_lies_in_a_folder_of_its_own(tmp_path: Path) -> None:
    filled = write_earthreason(tmp_path, "val")
    check_as_written(read_earthreason(tmp_path, "val"), filled)
    with pytest.raises(InputError, match=r"no folder .*test.images; .* holds val\."):
        read_earthreason(tmp_path, "test")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            "test/labels",
            r"must be laid out as <root>/\{train,val,test\}/\{images,labels,QAs\}.*no folder .*labels",
        ),
        ("test/images/00002.png", r"every entry needs a file in .*images\. Got: 1 of 4 without: 00002"),
        ("test/labels/00001.png", r"every entry needs a file in .*labels\. Got: 1 of 4 without: 00001"),
    ],
)
def test_what_is_missing_is_named(written: Filled, tmp_path: Path, part: str, message: str) -> None:
    root = copied(written, tmp_path / "e")
    remove(root / part)
    with pytest.raises(InputError, match=message):
        read_earthreason(root, "test")


def test_a_folder_without_annotations_is_another_layout(written: Filled, tmp_path: Path) -> None:
    root = copied(written, tmp_path / "e")
    for path in (root / "test/QAs").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"must be laid out as .*no \*\.json in .*QAs"):
        read_earthreason(root, "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entry: {**entry, "questions": []}, r"00000\.json has questions \[\]"),
        (lambda entry: {**entry, "questions": ["where?", 3]}, r"00000\.json has questions \['where\?', 3\]"),
        (lambda entry: {"answer": entry["answer"]}, r"00000\.json has questions None"),
        (lambda entry: [entry], r"00000\.json has questions None"),
        (lambda entry: {"questions": entry["questions"]}, r"00000\.json has answer None"),
        (lambda entry: {**entry, "answer": "yes"}, r"00000\.json has answer 'yes'"),
    ],
)
def test_an_annotation_of_another_form_is_named(
    written: Filled, tmp_path: Path, change: Callable[[Any], Any], message: str
) -> None:
    root = copied(written, tmp_path / "e")
    rewrite(root / "test/QAs/00000.json", change)
    with pytest.raises(InputError, match=message):
        read_earthreason(root, "test")


def test_the_identity_changes_with_the_annotations_and_not_with_the_pictures_dates(tmp_path: Path) -> None:
    root = write_earthreason(tmp_path).root
    before = read_earthreason(root, "test").identity
    Image.open(root / "test/images/00000.png").save(root / "test/images/00000.png")
    assert read_earthreason(root, "test").identity == before
    rewrite(root / "test/QAs/00000.json", lambda entry: {**entry, "questions": ["something else"]})
    assert read_earthreason(root, "test").identity != before
