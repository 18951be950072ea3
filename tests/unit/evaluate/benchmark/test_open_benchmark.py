"""Every public layout, read from a tiny copy of it; and what is said about folders that look different."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from benchmark_layouts import (
    LAYOUTS,
    Filled,
    write_earthreason,
    write_layout,
    write_refsegrs,
    write_risbench,
    write_rrsisd,
)
from PIL import Image

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.benchmark import Benchmark, check_sizes, choose_samples
from pipeline.evaluate.benchmark.open_benchmark import BENCHMARKS, ReadOptions, open_benchmark
from pipeline.evaluate.benchmark.readers.rrsisd import load_plain_pickle


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Filled]:
    root = tmp_path_factory.mktemp("layouts")
    return {name: write_layout(name, root / name) for name in LAYOUTS}


def opened(filled: Filled, name: str, **options: str) -> Benchmark:
    return open_benchmark(f"{name}:{filled.root}", ReadOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_every_target_has_its_mask_its_image_and_its_queries(written: dict[str, Filled], name: str) -> None:
    filled = written[name]
    benchmark = opened(written[name], name)
    targets = {target.target_id: (image, target) for image in benchmark.images for target in image.targets}
    assert set(targets) == set(filled.masks)
    for target_id, (image, target) in targets.items():
        np.testing.assert_array_equal(target.mask.read(), filled.masks[target_id])
        assert target.mask.size_hw() == image.pixels.size_hw() == filled.masks[target_id].shape
        assert [wording.text for wording in target.wordings] == filled.wordings[target_id]
        assert image.pixels.read().shape == (*filled.masks[target_id].shape, 3)
        if target_id in filled.images:
            np.testing.assert_array_equal(image.pixels.read(), filled.images[target_id])
    assert check_sizes(choose_samples(benchmark, benchmark.queries), "refuse") == []


def test_the_papers_policies_and_strata(written: dict[str, Filled]) -> None:
    policies = {name: opened(written[name], name).queries for name in LAYOUTS}
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
        s: opened(written["rrsis-d"], "rrsis-d", sentence=s).images[0].targets[0].wordings[0].text
        for s in ("sent", "sent+dot", "raw")
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
    "earthreason": (
        "test/labels",
        r"must be laid out as <root>/\{train,val,test\}/\{images,labels,QAs\}.*no folder .*labels",
    ),
    "rrsis-d": (
        "rrsisd/refs(unc).p",
        r"rrsis-d must be laid out as .*no file .*refs\(unc\)\.p; .*holds instances\.json",
    ),
    "risbench": ("img_rgb", "risbench must be laid out as .*no folder .*img_rgb"),
    "refsegrs": (
        "output_phrase_test.txt",
        r"refsegrs must be laid out as .*no file .*output_phrase_test\.txt",
    ),
    "geoseg-bench": ("annotations", r"geoseg-bench must be laid out as .*no \*\.json in"),
    "lasers": ("train/images", "lasers must be laid out as .*no folder .*images"),
}


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_another_layout_is_told_what_was_expected_where(
    written: dict[str, Filled], tmp_path: Path, name: str
) -> None:
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
        (
            "earthreason",
            "test/images/00002.png",
            r"every entry needs a file in .*images\. Got: 1 of 4 without: 00002",
        ),
        ("rrsis-d", "images/rrsisd/JPEGImages/00001.jpg", r"1 of 3 without: 00001\.jpg"),
        ("risbench", "mask/0003.png", r"1 of 4 without: 0003\.png"),
        ("refsegrs", "images/0000.tif", "1 of 4 without: 0000"),
        (
            "geoseg-bench",
            "RS_ReasonSeg_Benchmark/masks/Urban/Level1/1.png",
            r"needs a mask .*1 of 4 without: \S*masks/Urban/Level1/1\.png",
        ),
        ("lasers", "train/images/2.png", r"1 of 4 without: 2\.png"),
    ],
)
def test_a_missing_file_is_named(
    written: dict[str, Filled], tmp_path: Path, name: str, part: str, message: str
) -> None:
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
        (
            "earthreason",
            "test/QAs/00000.json",
            lambda entry: {**entry, "questions": []},
            r"00000\.json has questions \[\]",
        ),
        (
            "earthreason",
            "test/QAs/00000.json",
            lambda entry: {"questions": entry["questions"]},
            "has answer None",
        ),
        (
            "rrsis-d",
            "rrsisd/instances.json",
            lambda entry: {"images": entry["images"]},
            "without the key 'annotations'",
        ),
        (
            "rrsis-d",
            "rrsisd/instances.json",
            lambda entry: {
                **entry,
                "annotations": [{**a, "segmentation": [[0, 0, 1, 1]]} for a in entry["annotations"]],
            },
            "annotation 70 of ref 900 .* must hold COCO run-length",
        ),
        (
            "geoseg-bench",
            "annotations/Urban.json",
            lambda entry: [{**entry[0], "height": 5}],
            "5 x 128 .* of 128 x 128",
        ),
        ("geoseg-bench", "annotations/Urban.json", lambda entry: [{"id": 1}], "without file_name, mask_path"),
        ("lasers", "train/annotations/train_ann.json", lambda entry: {}, "holds no list of entries"),
        (
            "lasers",
            "train/annotations/train_ann.json",
            lambda entry: [{"id": 4}],
            "without image_name, description",
        ),
        (
            "lasers",
            "train/annotations/train_ann.json",
            lambda entry: [{**entry[0], "split": "val"}, {**entry[1], "mask": None}],
            "Got: 1 of another split, 1 without the masks of their answer",
        ),
        (
            "lasers",
            "train/annotations/train_ann.json",
            lambda entry: [{**entry[3], "size": [0, 5]}],
            r"with size \[0, 5\]",
        ),
    ],
)
def test_annotations_of_another_form_are_named(
    written: dict[str, Filled],
    tmp_path: Path,
    name: str,
    part: str,
    change: Callable[[object], object],
    message: str,
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
    with pytest.raises(
        InputError, match="1 of 4 samples differ: 900#0: image 128 x 129 px, mask 128 x 128 px"
    ):
        check_sizes(images, "refuse")
    assert check_sizes(images, "squash") == ["900#0"]


def test_two_ids_of_one_picture_are_one_image(written: dict[str, Filled]) -> None:
    images = opened(written["rrsis-d"], "rrsis-d").images
    assert [image.image_id for image in images] == ["00000.jpg", "00001.jpg", "00002.jpg"]
    assert [[target.target_id for target in image.targets] for image in images] == [
        ["900"],
        ["901"],
        ["902", "904"],
    ]


def test_pictures_whose_names_differ_in_the_ending_alone(written: dict[str, Filled], tmp_path: Path) -> None:
    """Each keeps its own pixels and its own mask."""
    shutil.copytree(written["lasers"].root, tmp_path / "l")
    images = tmp_path / "l/train/images"
    Image.open(images / "1.png").save(images / "0.bmp")
    rename = {"q1": "0.bmp"}
    annotations = tmp_path / "l/train/annotations/train_ann.json"
    rewrite(
        annotations,
        lambda entries: [{**e, "image_name": rename.get(e["id"], e["image_name"])} for e in entries],
    )  # type: ignore[attr-defined]
    found = {image.image_id: image for image in opened(Filled(tmp_path / "l"), "lasers").images}
    assert list(found) == ["0.png", "0.bmp", "2.png", "3.png"]
    for image_id, target_id in (("0.png", "q0"), ("0.bmp", "q1")):
        np.testing.assert_array_equal(found[image_id].pixels.read(), written["lasers"].images[target_id])
        np.testing.assert_array_equal(
            found[image_id].targets[0].mask.read(), written["lasers"].masks[target_id]
        )

    filled = write_risbench(tmp_path / "r")
    for folder in ("img_rgb", "mask"):
        Image.open(tmp_path / "r" / folder / "0001.png").save(tmp_path / "r" / folder / "0000.bmp")
    with (tmp_path / "r/output_phrase_test.txt").open("a") as file:
        file.write("0000.bmp something else\n")
    targets = {
        target.target_id: target for image in opened(filled, "risbench").images for target in image.targets
    }
    assert len(targets) == 5
    np.testing.assert_array_equal(targets["0000.png"].mask.read(), filled.masks["0000.png"])
    np.testing.assert_array_equal(targets["0000.bmp"].mask.read(), filled.masks["0001.png"])


def test_masks_with_another_ending_than_their_images(tmp_path: Path) -> None:
    filled = write_risbench(tmp_path, (".jpg", ".png"))
    targets = [target for image in opened(filled, "risbench").images for target in image.targets]
    assert [target.target_id for target in targets] == list(filled.masks)
    for target in targets:
        np.testing.assert_array_equal(target.mask.read(), filled.masks[target.target_id])


@pytest.mark.parametrize("space", ["\t", "  ", " \t "])
def test_any_white_space_ends_an_id(tmp_path: Path, space: str) -> None:
    filled = write_refsegrs(tmp_path, space)
    assert {
        t.target_id: [w.text for w in t.wordings]
        for i in opened(filled, "refsegrs").images
        for t in i.targets
    } == filled.wordings


def test_an_id_with_and_without_its_ending_is_one_picture(tmp_path: Path) -> None:
    filled = write_refsegrs(tmp_path)
    (tmp_path / "output_phrase_test.txt").write_text("0001 ripe\n0002 tanks\n0001.tif unripe\n")
    images = opened(filled, "refsegrs").images
    texts = {image.image_id: [w.text for w in image.targets[0].wordings] for image in images}
    assert texts == {"0001.tif": ["ripe", "unripe"], "0002.tif": ["tanks"]}


def test_paths_of_another_machine_are_looked_for_under_the_root_first(
    written: dict[str, Filled], tmp_path: Path
) -> None:
    """A path that exists on this machine too: the copy that was asked for wins; without one, the path is
    taken as it stands.
    """
    root = tmp_path / "mine"
    elsewhere = tmp_path / "theirs" / "RS_ReasonSeg_Benchmark"
    shutil.copytree(written["geoseg-bench"].root, root)
    shutil.copytree(root / "RS_ReasonSeg_Benchmark", elsewhere)
    place = "images/Urban/Level1/1.png"
    Image.new("RGB", (128, 128)).save(elsewhere / place)
    rewrite(
        root / "annotations/Urban.json", lambda entries: [{**entries[0], "file_name": f"{elsewhere}/{place}"}]
    )  # type: ignore[index]

    def first_pixels() -> np.ndarray:
        images = {
            image.image_id: image for image in open_benchmark(f"geoseg-bench:{root}", ReadOptions()).images
        }
        return images["Urban/Level1/0"].pixels.read()

    np.testing.assert_array_equal(first_pixels(), written["geoseg-bench"].images["Urban/Level1/0"])
    (root / "RS_ReasonSeg_Benchmark" / place).unlink()
    assert not first_pixels().any()


def test_the_same_id_twice_on_one_level_is_refused(written: dict[str, Filled], tmp_path: Path) -> None:
    shutil.copytree(written["geoseg-bench"].root, tmp_path / "g")
    rewrite(tmp_path / "g/annotations/Urban.json", lambda entries: [entries[0], entries[0]])  # type: ignore[index]
    with pytest.raises(InputError, match="'Urban/Level1/0' more than once"):
        open_benchmark(f"geoseg-bench:{tmp_path / 'g'}", ReadOptions())


def test_entries_that_are_left_out_are_counted(written: dict[str, Filled], tmp_path: Path) -> None:
    """Nothing there: no masks and no [SEG] in the answer. A [SEG] without masks, or no answer at all: the
    truth is missing.
    """
    whole = opened(written["lasers"], "lasers")
    assert whole.notes == ("1 entries without masks, whose answer names no object, count as empty targets",)
    shutil.copytree(written["lasers"].root, tmp_path / "l")

    def change(entries: list[dict[str, object]]) -> list[dict[str, object]]:
        named = {**entries[0], "id": "named", "mask": []}
        silent = {key: value for key, value in entries[3].items() if key not in ("answer", "mask")} | {
            "id": "silent"
        }
        other = {**entries[0], "id": "other", "split": "test"}
        nameless = {key: value for key, value in entries[1].items() if key != "split"} | {"id": "no split"}
        return [*entries, named, silent, other, nameless]

    rewrite(tmp_path / "l/train/annotations/train_ann.json", change)  # type: ignore[arg-type]
    benchmark = opened(Filled(tmp_path / "l"), "lasers")
    assert {t.target_id for image in benchmark.images for t in image.targets} == {
        "q0",
        "q1",
        "q2",
        "q3",
        "no split",
    }
    assert benchmark.notes == (
        "1 entries of another split were left out",
        "2 entries without the masks of their answer were left out",
        "1 entries without masks, whose answer names no object, count as empty targets",
    )


class Harmful:
    """Its pickle would write a file when loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self._path,))


def test_a_pickle_with_code_in_it_is_refused_and_does_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "it ran"
    path = tmp_path / "refs(unc).p"
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
