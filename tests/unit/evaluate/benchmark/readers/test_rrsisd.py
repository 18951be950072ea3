"""RRSIS-D from a tiny copy of its layout: sentences, splits, and pickles that are refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmark_layouts import Filled, check_as_written, copied, remove, rewrite, targets_of, write_rrsisd

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.benchmark import check_sizes, choose_samples
from pipeline.evaluate.benchmark.readers.rrsisd import load_plain_pickle, read_rrsisd

REFS = "rrsisd/refs(unc).p"
INSTANCES = "rrsisd/instances.json"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    return write_rrsisd(tmp_path_factory.mktemp("rrsisd"))


def change_refs(root: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Let `change` alter the refs in place."""
    refs = pickle.loads((root / REFS).read_bytes())
    change(refs)
    (root / REFS).write_bytes(pickle.dumps(refs, protocol=2))


def test_every_target_has_its_mask_its_image_and_its_queries(written: Filled) -> None:
    check_as_written(read_rrsisd(written.root, "test"), written)


def test_the_papers_policy_and_the_stratum_of_the_category(written: Filled) -> None:
    benchmark = read_rrsisd(written.root, "test")
    assert (benchmark.name, benchmark.split, benchmark.queries) == ("rrsis-d", "test", "first")
    assert {name: target.strata["category"] for name, target in targets_of(benchmark).items()} == {
        "900": "even",
        "901": "odd",
        "902": "even",
        "904": "even",
    }


def test_without_categories_there_is_no_stratum(written: Filled, tmp_path: Path) -> None:
    root = copied(written, tmp_path / "r")
    rewrite(root / INSTANCES, lambda entry: {key: entry[key] for key in ("images", "annotations")})
    assert [dict(target.strata) for target in targets_of(read_rrsisd(root, "test")).values()] == [{}] * 4


def test_which_text_of_an_expression_is_asked(written: Filled) -> None:
    first = {
        s: targets_of(read_rrsisd(written.root, "test", s))["900"].wordings[0].text
        for s in ("sent", "sent+dot", "raw")
    }
    assert first["sent"] == written.wordings["900"][0]
    assert first["sent+dot"] == first["sent"] + "."
    assert first["raw"] == "T" + first["sent"][1:] + " ."


@pytest.mark.parametrize("sent", ["a red roof", "a red roof.", "a red roof .", "a red roof . "])
def test_a_text_gets_one_full_stop(written: Filled, tmp_path: Path, sent: str) -> None:
    root = copied(written, tmp_path / "r")
    change_refs(root, lambda refs: refs[0]["sentences"][0].update(sent=sent))
    wordings = targets_of(read_rrsisd(root, "test", "sent+dot"))["900"].wordings
    assert [wording.text for wording in wordings] == ["a red roof.", "another wording."]


def test_a_split_of_its_own(written: Filled) -> None:
    assert len(read_rrsisd(written.root, "test").images) == 3
    assert list(targets_of(read_rrsisd(written.root, "val"))) == ["903"]
    with pytest.raises(InputError, match="use one of test, val"):
        read_rrsisd(written.root, "train")


def test_the_identity_says_which_text_is_asked(written: Filled) -> None:
    identities = [read_rrsisd(written.root, "test", s).identity for s in ("sent", "raw")]
    assert [identity["sentence"] for identity in identities] == ["sent", "raw"]
    assert identities[0]["annotations"] == identities[1]["annotations"]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (REFS, r"rrsis-d must be laid out as .*no file .*refs\(unc\)\.p; .*holds instances\.json"),
        (INSTANCES, r"rrsis-d must be laid out as .*no file .*instances\.json"),
        ("images", r"rrsis-d must be laid out as .*no folder .*JPEGImages"),
        ("images/rrsisd/JPEGImages/00001.jpg", r"1 of 3 without: 00001\.jpg"),
    ],
)
def test_what_is_missing_is_named(written: Filled, tmp_path: Path, part: str, message: str) -> None:
    root = copied(written, tmp_path / "r")
    remove(root / part)
    with pytest.raises(InputError, match=message):
        read_rrsisd(root, "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entry: {"images": entry["images"]}, "without the key 'annotations'"),
        (lambda entry: [entry], r"refs\(unc\)\.p or instances\.json without the key"),
        (
            lambda entry: {
                **entry,
                "annotations": [{**a, "segmentation": [[0, 0, 1, 1]]} for a in entry["annotations"]],
            },
            "annotation 70 of ref 900 .* must hold COCO run-length",
        ),
        (
            lambda entry: {**entry, "annotations": entry["annotations"][1:]},
            "annotation 70 of ref 900 in instances.json without the key 70",
        ),
    ],
)
def test_instances_of_another_form_are_named(
    written: Filled, tmp_path: Path, change: Callable[[Any], Any], message: str
) -> None:
    root = copied(written, tmp_path / "r")
    rewrite(root / INSTANCES, change)
    with pytest.raises(InputError, match=message):
        read_rrsisd(root, "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda refs: refs[0].pop("split"), r"refs\(unc\)\.p or instances\.json without the key 'split'"),
        (lambda refs: refs[0].pop("ann_id"), "annotation None of ref 900 .* without the key 'ann_id'"),
        (lambda refs: refs[1]["sentences"][1].pop("sent"), "ref 901 .* without the key 'sent'"),
        (lambda refs: refs[1]["sentences"].clear(), "ref 901 without sentences"),
    ],
)
def test_refs_of_another_form_are_named(
    written: Filled, tmp_path: Path, change: Callable[[Any], object], message: str
) -> None:
    root = copied(written, tmp_path / "r")
    change_refs(root, change)
    with pytest.raises(InputError, match=message):
        read_rrsisd(root, "test")


def test_images_and_masks_of_different_sizes(tmp_path: Path) -> None:
    """As in the published files: one image is a column wider than its mask."""
    write_rrsisd(tmp_path, odd_image=True)
    images = choose_samples(read_rrsisd(tmp_path, "test"), "first")
    with pytest.raises(
        InputError, match="1 of 4 samples differ: 900#0: image 128 x 129 px, mask 128 x 128 px"
    ):
        check_sizes(images, "refuse")
    assert check_sizes(images, "squash") == ["900#0"]


def test_two_ids_of_one_picture_are_one_image(written: Filled) -> None:
    images = read_rrsisd(written.root, "test").images
    assert [image.image_id for image in images] == ["00000.jpg", "00001.jpg", "00002.jpg"]
    assert [[target.target_id for target in image.targets] for image in images] == [
        ["900"],
        ["901"],
        ["902", "904"],
    ]


class Harmful:
    """Its pickle would write a file when loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self._path,))


class StoredElsewhere(pickle.Pickler):
    """Writes a reference in place of every text."""

    def persistent_id(self, value: object) -> str | None:
        return "elsewhere" if isinstance(value, str) else None


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


def test_a_pickle_that_refers_to_another_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "refs(unc).p"
    with path.open("wb") as file:
        StoredElsewhere(file).dump([{"ref_id": "a"}])
    with pytest.raises(InputError, match="it asks for an object stored elsewhere"):
        load_plain_pickle(path)
