"""Every public layout, read from a tiny copy of it; and what is said about folders that look different."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from benchmark_layouts import LAYOUTS, Filled, write_earthreason, write_layout, write_rrsisd
from PIL import Image

from pipeline.errors import InputError
from pipeline.evaluate.benchmark import Benchmark, check_sizes, choose_samples
from pipeline.evaluate.benchmark_open import BENCHMARKS, ReadOptions, open_benchmark
from pipeline.evaluate.benchmark_rrsisd import load_plain_pickle


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Filled]:
    root = tmp_path_factory.mktemp("layouts")
    return {name: write_layout(name, root / name) for name in LAYOUTS}


def opened(filled: Filled, name: str, **options: str) -> Benchmark:
    return open_benchmark(f"{name}:{filled.root}", ReadOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_every_target_has_its_mask_its_image_and_its_questions(written: dict[str, Filled], name: str) -> None:
    filled, benchmark = written[name], opened(written[name], name)
    targets = {target.target_id: (image, target) for image in benchmark.images for target in image.targets}
    assert set(targets) == set(filled.masks)
    for target_id, (image, target) in targets.items():
        np.testing.assert_array_equal(target.mask.read(), filled.masks[target_id])
        assert target.mask.size_hw() == image.pixels.size_hw() == filled.masks[target_id].shape
        assert [wording.text for wording in target.wordings] == filled.wordings[target_id]
        assert image.pixels.read().shape == (*filled.masks[target_id].shape, 3)
        if target_id in filled.images:
            np.testing.assert_array_equal(image.pixels.read(), filled.images[target_id])
    assert check_sizes(choose_samples(benchmark, benchmark.questions), "refuse") == []


def test_the_papers_policies_and_strata(written: dict[str, Filled]) -> None:
    policies = {name: opened(written[name], name).questions for name in LAYOUTS}
    assert policies == {
        "earthreason": "first",
        "rrsis-d": "first",
        "risbench": "all",
        "refsegrs": "all",
        "geoseg-bench": "all",
        "lasers": "all",
    }
    strata = {name: opened(written[name], name).images[0].targets[0].strata for name in LAYOUTS}
    assert strata["earthreason"] == {"answer": "given"}
    assert strata["rrsis-d"] == {"category": "even"}
    assert strata["geoseg-bench"] == {"domain": "Agriculture", "difficulty": "Level1"}
    assert strata["lasers"] == {"masks": "2"}
    assert opened(written["earthreason"], "earthreason").images[3].targets[0].strata == {"answer": "none"}


def test_which_text_of_an_expression_is_asked(written: dict[str, Filled]) -> None:
    texts = {
        s: opened(written["rrsis-d"], "rrsis-d", sentence=s).images[0].targets[0].wordings[0].text for s in ("sent", "sent+dot", "raw")
    }
    assert texts["sent+dot"] == texts["sent"] + "."
    assert texts["raw"] == "T" + texts["sent"][1:] + " ."


def test_a_split_of_its_own(written: dict[str, Filled]) -> None:
    assert len(opened(written["rrsis-d"], "rrsis-d").images) == 3
    assert len(opened(written["rrsis-d"], "rrsis-d", split="val").images) == 1
    with pytest.raises(InputError, match="use one of test, val"):
        opened(written["rrsis-d"], "rrsis-d", split="train")
    with pytest.raises(InputError, match="test masks are hidden"):
        opened(written["lasers"], "lasers", split="test")
    with pytest.raises(InputError, match="one split, 'test'"):
        opened(written["geoseg-bench"], "geoseg-bench", split="val")


MISSING = {
    "earthreason": ("test/labels", r"must be laid out as <root>/\{train,val,test\}/\{images,labels,QAs\}.*no folder .*labels"),
    "rrsis-d": ("rrsisd/refs(unc).p", r"rrsis-d must be laid out as .*no file .*refs\(unc\)\.p; .*holds instances\.json"),
    "risbench": ("img_rgb", "risbench must be laid out as .*no folder .*img_rgb"),
    "refsegrs": ("output_phrase_test.txt", r"refsegrs must be laid out as .*no file .*output_phrase_test\.txt"),
    "geoseg-bench": ("annotations", r"geoseg-bench must be laid out as .*no \*\.json in"),
    "lasers": ("train/images", "lasers must be laid out as .*no folder .*images"),
}


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_another_layout_is_told_what_was_expected_where(written: dict[str, Filled], tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    shutil.copytree(written[name].root, root)
    part, message = MISSING[name]
    if (root / part).is_dir():
        shutil.rmtree(root / part)
    else:
        (root / part).unlink()
    with pytest.raises(InputError, match=message):
        open_benchmark(f"{name}:{root}", ReadOptions())


@pytest.mark.parametrize(
    ("name", "part", "message"),
    [
        ("earthreason", "test/images/00002.png", r"every entry needs a file in .*images\. Got: 1 of 4 without: 00002"),
        ("rrsis-d", "images/rrsisd/JPEGImages/00001.jpg", r"1 of 3 without: 00001\.jpg"),
        ("risbench", "mask/0003.png", r"1 of 4 without: 0003\.jpg"),
        ("refsegrs", "images/0000.tif", "1 of 4 without: 0000"),
        ("geoseg-bench", "RS_ReasonSeg_Benchmark/masks/Urban/Level1/1.png", r"needs a mask .*1 of 4 without: Urban/Level1/1\.png"),
        ("lasers", "train/images/2.png", r"1 of 4 without: 2\.png"),
    ],
)
def test_a_missing_file_is_named(written: dict[str, Filled], tmp_path: Path, name: str, part: str, message: str) -> None:
    root = tmp_path / name
    shutil.copytree(written[name].root, root)
    (root / part).unlink()
    with pytest.raises(InputError, match=message):
        open_benchmark(f"{name}:{root}", ReadOptions())


def rewrite(path: Path, change: Callable[[object], object]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


@pytest.mark.parametrize(
    ("name", "part", "change", "message"),
    [
        ("earthreason", "test/QAs/00000.json", lambda entry: {**entry, "questions": []}, r"00000\.json has questions \[\]"),
        ("earthreason", "test/QAs/00000.json", lambda entry: {"questions": entry["questions"]}, "has answer None"),
        ("rrsis-d", "rrsisd/instances.json", lambda entry: {"images": entry["images"]}, "without the key 'annotations'"),
        (
            "rrsis-d",
            "rrsisd/instances.json",
            lambda entry: {**entry, "annotations": [{**a, "segmentation": [[0, 0, 1, 1]]} for a in entry["annotations"]]},
            "annotation 70 of ref 900 .* must hold COCO run-length",
        ),
        ("geoseg-bench", "annotations/Urban.json", lambda entry: [{**entry[0], "height": 5}], "5 x 128 .* of 128 x 128"),
        ("geoseg-bench", "annotations/Urban.json", lambda entry: [{"id": 1}], "without file_name, mask_path"),
        ("lasers", "train/annotations/train_ann.json", lambda entry: {}, "holds no list of entries"),
        ("lasers", "train/annotations/train_ann.json", lambda entry: [{"id": 4}], "without image_name, description"),
    ],
)
def test_annotations_of_another_form_are_named(
    written: dict[str, Filled], tmp_path: Path, name: str, part: str, change: Callable[[object], object], message: str
) -> None:
    root = tmp_path / name
    shutil.copytree(written[name].root, root)
    rewrite(root / part, change)
    with pytest.raises(InputError, match=message):
        open_benchmark(f"{name}:{root}", ReadOptions())


def test_a_line_without_a_phrase_and_an_empty_listing(written: dict[str, Filled], tmp_path: Path) -> None:
    root = tmp_path / "r"
    shutil.copytree(written["refsegrs"].root, root)
    (root / "output_phrase_test.txt").write_text("0000 tanks\n0001\n")
    with pytest.raises(InputError, match="line 2 of"):
        open_benchmark(f"refsegrs:{root}", ReadOptions())
    (root / "output_phrase_test.txt").write_text("\n\n")
    with pytest.raises(InputError, match="no line in"):
        open_benchmark(f"refsegrs:{root}", ReadOptions())


def test_images_and_masks_of_different_sizes(tmp_path: Path) -> None:
    """As in the published RRSIS-D: one image is a column wider than its mask."""
    write_rrsisd(tmp_path / "odd", odd_image=True)
    images = choose_samples(open_benchmark(f"rrsis-d:{tmp_path / 'odd'}", ReadOptions()), "first")
    with pytest.raises(InputError, match="1 of 3 samples differ: 900#0: image 128 x 129 px, mask 128 x 128 px"):
        check_sizes(images, "refuse")
    assert check_sizes(images, "squash") == ["900#0"]


class Harmful:
    """Its pickle would write a file when loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self._path,))


def test_a_pickle_with_code_in_it_is_refused_and_does_not_run(tmp_path: Path) -> None:
    trace, path = tmp_path / "it ran", tmp_path / "refs(unc).p"
    path.write_bytes(pickle.dumps([{"ref_id": Harmful(trace)}]))
    with pytest.raises(InputError, match="it asks for pathlib"):
        load_plain_pickle(path)
    assert not trace.exists()
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="must be a pickle of plain"):
        load_plain_pickle(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InputError, match="list of dictionaries"):
        load_plain_pickle(path)
    path.write_bytes(pickle.dumps([{"ref_id": 1, "sentences": [{"sent": "a"}]}], protocol=2))
    assert load_plain_pickle(path) == [{"ref_id": 1, "sentences": [{"sent": "a"}]}]


def test_the_identity_changes_with_the_annotations_and_not_with_the_pictures_dates(tmp_path: Path) -> None:
    filled = write_earthreason(tmp_path / "e")
    before = opened(filled, "earthreason").identity
    Image.open(tmp_path / "e/test/images/00000.png").save(tmp_path / "e/test/images/00000.png")
    assert opened(filled, "earthreason").identity == before
    rewrite(tmp_path / "e/test/QAs/00000.json", lambda entry: {**entry, "questions": ["something else"]})  # type: ignore[dict-item]
    assert opened(filled, "earthreason").identity != before


def test_names_and_places(tmp_path: Path) -> None:
    assert set(BENCHMARKS) == {*LAYOUTS, "world"}
    for text, message in (
        ("coco:/x", r"NAME is one of earthreason"),
        ("earthreason", "write earthreason:PATH"),
        (f"earthreason:{tmp_path / 'none'}", "which is none"),
        ("world:abc", r"world:SEED\[:SIZE\]"),
        ("world:7:", r"world:SEED\[:SIZE\]"),
        ("world:7:100", "one tile of the preset"),
    ):
        with pytest.raises(InputError, match=message):
            open_benchmark(text, ReadOptions())
    with pytest.raises(InputError, match="no splits"):
        open_benchmark("world:7", ReadOptions(split="test"))
