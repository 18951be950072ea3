"""GeoSeg-Bench from a tiny copy of its layout: where paths are looked for, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_layouts import Filled, check_as_written, copied, remove, rewrite, targets_of, write_geoseg
from PIL import Image

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.readers.geoseg_bench import read_geoseg


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    return write_geoseg(tmp_path_factory.mktemp("geoseg"))


def test_every_target_has_its_mask_its_image_and_its_queries(written: Filled) -> None:
    check_as_written(read_geoseg(written.root), written)


def test_the_papers_policy_and_the_strata(written: Filled) -> None:
    benchmark = read_geoseg(written.root)
    assert (benchmark.name, benchmark.split, benchmark.queries) == ("geoseg-bench", "test", "all")
    targets = targets_of(benchmark)
    assert targets["Agriculture/Level1/0"].strata == {"domain": "Agriculture", "difficulty": "Level1"}
    assert targets["Urban/Level2/0"].strata == {"domain": "Urban", "difficulty": "Level2"}


def test_there_is_one_split(written: Filled) -> None:
    with pytest.raises(InputError, match="one split, 'test'"):
        read_geoseg(written.root, "val")


def test_the_inner_folder_may_be_the_root_and_hold_the_annotations(written: Filled, tmp_path: Path) -> None:
    inner = copied(written, tmp_path / "g") / "RS_ReasonSeg_Benchmark"
    check_as_written(read_geoseg(inner), written)
    (tmp_path / "g/annotations").rename(inner / "annotations")
    check_as_written(read_geoseg(inner), written)
    check_as_written(read_geoseg(tmp_path / "g"), written)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("annotations", r"geoseg-bench must be laid out as .*no \*\.json in"),
        ("RS_ReasonSeg_Benchmark/masks", r"geoseg-bench must be laid out as .*no folder .*masks"),
        (
            "RS_ReasonSeg_Benchmark/masks/Urban/Level1/1.png",
            r"needs a mask .*1 of 4 without: \S*masks/Urban/Level1/1\.png",
        ),
        (
            "RS_ReasonSeg_Benchmark/images/Agriculture/Level2/2.png",
            r"needs an image .*1 of 4 without: Agriculture/Level2/2\.png",
        ),
    ],
)
def test_what_is_missing_is_named(written: Filled, tmp_path: Path, part: str, message: str) -> None:
    root = copied(written, tmp_path / "g")
    remove(root / part)
    with pytest.raises(InputError, match=message):
        read_geoseg(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entries: [{**entries[0], "height": 5}], "5 x 128 .* of 128 x 128"),
        (lambda entries: [{"id": 1}], "without file_name, mask_path"),
        (lambda entries: ["text"], r"an entry of .*Urban\.json without id, file_name"),
        (lambda entries: {"entries": entries}, r"Urban\.json holds no list of entries"),
        (lambda entries: [], r"Urban\.json holds no list of entries"),
    ],
)
def test_annotations_of_another_form_are_named(
    written: Filled, tmp_path: Path, change: Callable[[Any], Any], message: str
) -> None:
    root = copied(written, tmp_path / "g")
    rewrite(root / "annotations/Urban.json", change)
    with pytest.raises(InputError, match=message):
        read_geoseg(root)


@pytest.mark.parametrize(
    "name",
    ["images/Urban/Level1/1.png", "RS_ReasonSeg_Benchmark/images/Urban/Level1/1.png", "Level1/1.png"],
)
def test_a_path_may_begin_at_the_root_or_at_any_folder_below(
    written: Filled, tmp_path: Path, name: str
) -> None:
    root = copied(written, tmp_path / "g")
    rewrite(
        root / "annotations/Urban.json", lambda entries: [{**entries[0], "file_name": name}, *entries[1:]]
    )
    check_as_written(read_geoseg(root), written)


def test_paths_of_another_machine_are_looked_for_under_the_root_first(
    written: Filled, tmp_path: Path
) -> None:
    """The path exists here too: the copy that was asked for wins; without one, the path is taken."""
    root = copied(written, tmp_path / "mine")
    elsewhere = tmp_path / "theirs" / "RS_ReasonSeg_Benchmark"
    shutil.copytree(root / "RS_ReasonSeg_Benchmark", elsewhere)
    place = "images/Urban/Level1/1.png"
    Image.new("RGB", (128, 128)).save(elsewhere / place)
    rewrite(
        root / "annotations/Urban.json", lambda entries: [{**entries[0], "file_name": f"{elsewhere}/{place}"}]
    )

    def first_pixels() -> np.ndarray:
        images = {image.image_id: image for image in read_geoseg(root).images}
        return images["Urban/Level1/0"].pixels.read()

    np.testing.assert_array_equal(first_pixels(), written.images["Urban/Level1/0"])
    (root / "RS_ReasonSeg_Benchmark" / place).unlink()
    assert not first_pixels().any()


def test_the_same_id_twice_on_one_level_is_refused(written: Filled, tmp_path: Path) -> None:
    root = copied(written, tmp_path / "g")
    rewrite(root / "annotations/Urban.json", lambda entries: [entries[0], entries[0]])
    with pytest.raises(InputError, match="'Urban/Level1/0' more than once"):
        read_geoseg(root)
