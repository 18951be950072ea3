"""Tiny copies of every public benchmark's folder layout, filled with tiles of a procedural world.

`write_layout(name, root)` writes the data set `name` with four images of 128 x 128 px. The world itself gives
the truth: `Filled.masks` maps the target ids that a reader makes to the masks that were written.
`check_as_written` compares what a reader found with it. `copied` and `rewrite` make damaged copies.

    python tests/benchmark_layouts.py DIR        writes all of them under DIR, to try jobs/evaluate.py by hand
"""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco

from pipeline.evaluate.benchmark.benchmark import Benchmark, Target, check_sizes, choose_samples
from pipeline.schema.tiling import Window
from pipeline.world.landscape import World
from pipeline.world.render import render

SIDE = 128
SEED = 41


@dataclass
class Filled:
    """A written data set and its truth."""

    root: Path
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    """target_id -> (H, W) bool."""
    images: dict[str, np.ndarray] = field(default_factory=dict)
    """target_id -> (H, W, 3) uint8, where the format is lossless."""
    wordings: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """One tile of the world and the pixels of its target."""

    rgb: np.ndarray
    mask: np.ndarray
    class_name: str


@cache
def cuts(n: int = 4) -> tuple[Cut, ...]:
    """`n` tiles with a target each: the class with the most pixels."""
    found: list[Cut] = []
    for place in range(200):
        window = Window(row0=0, col0=place * 7 * SIDE, row1=SIDE, col1=(place * 7 + 1) * SIDE)
        drawn = render(World.from_seed(SEED), window)
        areas: dict[str, np.ndarray] = {}
        for index, item in enumerate(drawn.objects, start=1):
            mask = drawn.labels == index
            areas[item.class_name] = areas.get(item.class_name, np.zeros_like(mask)) | mask
        if areas:
            name = max(areas, key=lambda key: int(areas[key].sum()))
            if areas[name].sum() >= 100:
                found.append(Cut(rgb=drawn.rgb, mask=areas[name], class_name=name))
        if len(found) == n:
            return tuple(found)
    raise AssertionError("this world has too few objects")


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def rle_text(mask: np.ndarray) -> dict[str, Any]:
    """COCO's own encoder, as JSON."""
    encoded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode()}


def plain(name: str) -> str:
    return name.replace("_", " ") + "s"


def write_earthreason(root: Path, split: str = "test") -> Filled:
    filled = Filled(root)
    for index, cut in enumerate(cuts()):
        name = f"{index:05d}"
        empty = index == 3
        mask = np.zeros_like(cut.mask) if empty else cut.mask
        queries = (
            [f"ships {index}", "wind turbines"]
            if empty
            else [f"find every {plain(cut.class_name)[:-1]}", plain(cut.class_name), "?!"]
        )
        save(root / split / "images" / f"{name}.{'jpg' if index == 1 else 'png'}", cut.rgb)
        save(root / split / "labels" / f"{name}.png", mask.astype(np.uint8) * 255)
        text = json.dumps({"questions": queries, "answer": [] if empty else ["It is there."]})
        (root / split / "QAs").mkdir(exist_ok=True)
        (root / split / "QAs" / f"{name}.json").write_text(text)
        filled.masks[name], filled.wordings[name] = mask, queries
        if index != 1:
            filled.images[name] = cut.rgb
    return filled


def write_rrsisd(root: Path, *, odd_image: bool = False) -> Filled:
    """Three images of the split test; the last has two image ids, so its two refs name one file.

    `odd_image`: the first picture gets one column more than its mask has, as in the published files.
    """
    filled = Filled(root)
    refs = []
    annotations = []
    images = []
    four = cuts()
    for index, (cut, file, split) in enumerate(
        zip([*four, four[2]], [0, 1, 2, 3, 2], ["test"] * 3 + ["val", "test"], strict=True)
    ):
        rgb = np.pad(cut.rgb, ((0, 0), (0, 1), (0, 0)), mode="edge") if odd_image and index == 0 else cut.rgb
        save(root / "images" / "rrsisd" / "JPEGImages" / f"{file:05d}.jpg", rgb)
        images.append({"id": index, "file_name": f"{file:05d}.jpg", "height": SIDE, "width": SIDE})
        entry = {
            "id": 70 + index,
            "image_id": index,
            "category_id": index % 2,
            "segmentation": [rle_text(cut.mask)],
            "area": 1,
            "bbox": [],
        }
        annotations.append(entry)
        sentence = {
            "sent": f"the {plain(cut.class_name)}",
            "raw": f"The {plain(cut.class_name)} .",
            "tokens": [],
            "sent_id": index,
        }
        refs.append(
            {
                "ref_id": 900 + index,
                "ann_id": 70 + index,
                "image_id": index,
                "split": split,
                "category_id": index % 2,
                "file_name": f"{file:05d}.jpg",
                "sentences": [sentence, {**sentence, "sent": "another wording"}],
            }
        )
        if split == "test":
            filled.masks[str(900 + index)] = cut.mask
            filled.wordings[str(900 + index)] = [sentence["sent"], "another wording"]
    (root / "rrsisd").mkdir(parents=True)
    (root / "rrsisd" / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    categories = [{"id": 0, "name": "even"}, {"id": 1, "name": "odd"}]
    (root / "rrsisd" / "instances.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return filled


def write_phrases(root: Path, folders: tuple[str, str], suffixes: tuple[str, str], line: str) -> Filled:
    """`suffixes`: of images and masks. `line`: of the listing, with {name}, {suffix} and {phrase}."""
    filled = Filled(root)
    lines = []
    for index, cut in enumerate(cuts()):
        name = f"{index:04d}"
        save(root / folders[0] / f"{name}{suffixes[0]}", cut.rgb)
        save(root / folders[1] / f"{name}{suffixes[1]}", np.repeat(cut.mask[..., None] * np.uint8(255), 3, 2))
        phrases = (
            [plain(cut.class_name), f"the {plain(cut.class_name)} in the middle"]
            if index == 0
            else [plain(cut.class_name)]
        )
        lines += [line.format(name=name, suffix=suffixes[0], phrase=phrase) for phrase in phrases]
        target = f"{name}{suffixes[0]}"
        filled.masks[target], filled.wordings[target] = cut.mask, phrases
        if suffixes[0] != ".jpg":
            filled.images[target] = cut.rgb
    (root / "output_phrase_test.txt").write_text("\n".join(lines) + "\n\n")
    return filled


def write_risbench(root: Path, suffixes: tuple[str, str] = (".png", ".png")) -> Filled:
    """Image and mask of one name, as the released readers open them. Other `suffixes`: only stems agree."""
    return write_phrases(root, ("img_rgb", "mask"), suffixes, "{name}{suffix} {phrase}")


def write_refsegrs(root: Path, space: str = " ") -> Filled:
    """`space`: what separates id and phrase."""
    return write_phrases(root, ("images", "masks"), (".tif", ".tif"), "{name}" + space + "{phrase}")


def write_geoseg(root: Path) -> Filled:
    """Ids begin again on every level of a domain; the domain Urban has the paths of its authors' machine."""
    filled = Filled(root)
    entries: dict[str, list[dict[str, Any]]] = {"Agriculture": [], "Urban": []}
    for index, cut in enumerate(cuts()):
        domain = ("Agriculture", "Urban")[index % 2]
        level = f"Level{index // 2 + 1}"
        place = f"{domain}/{level}/{index}.png"
        save(root / "RS_ReasonSeg_Benchmark" / "images" / place, cut.rgb)
        save(root / "RS_ReasonSeg_Benchmark" / "masks" / place, cut.mask.astype(np.uint8) * 255)
        paths = {"file_name": place, "mask_path": f"masks/{place}"}
        if domain == "Urban":
            authors = "/home/authors/RS_ReasonSeg_Benchmark"
            paths = {"file_name": f"{authors}/images/{place}", "mask_path": f"{authors}/masks/{place}"}
        query = f"where are {plain(cut.class_name)}?"
        entry = {"id": 0, **paths, "height": SIDE, "width": SIDE, "difficulty": level, "question": query}
        entries[domain].append(entry)
        name = f"{domain}/{level}/0"
        filled.masks[name], filled.images[name], filled.wordings[name] = cut.mask, cut.rgb, [query]
    (root / "annotations").mkdir()
    for domain, listed in entries.items():
        (root / "annotations" / f"{domain}.json").write_text(json.dumps(listed))
    return filled


def write_lasers(root: Path) -> Filled:
    """The third description is longer than a run's query may be. The fourth picture holds nothing.

    The second and the fourth entry state no size.
    """
    filled = Filled(root)
    entries = []
    for index, cut in enumerate(cuts()):
        save(root / "train" / "images" / f"{index}.png", cut.rgb)
        left = cut.mask & (np.arange(SIDE) < SIDE // 2)  # two masks whose union is the target
        empty = index == 3
        masks = [] if empty else [rle_text(left), rle_text(cut.mask & ~left)]
        text = f"Please find all the {plain(cut.class_name)} in this picture,\nwherever they are."
        if index == 2:
            text += " They may be small." * 40
        answer = "There is nothing of the kind." if empty else "[SEG] and [SEG]"
        entry = {
            "id": f"q{index}",
            "image_name": f"{index}.png",
            "description": text,
            "answer": answer,
            "mask": masks,
        }
        entries.append(
            {**entry, "split": "train"} if index % 2 else {**entry, "size": [SIDE, SIDE], "split": "train"}
        )
        filled.masks[f"q{index}"] = np.zeros_like(cut.mask) if empty else cut.mask
        filled.images[f"q{index}"], filled.wordings[f"q{index}"] = cut.rgb, [text]
    (root / "train" / "annotations").mkdir()
    (root / "train" / "annotations" / "train_ann.json").write_text(json.dumps(entries))
    return filled


LAYOUTS: dict[str, Callable[[Path], Filled]] = {
    "earthreason": write_earthreason,
    "rrsis-d": write_rrsisd,
    "risbench": write_risbench,
    "refsegrs": write_refsegrs,
    "geoseg-bench": write_geoseg,
    "lasers": write_lasers,
}


def write_layout(name: str, root: Path) -> Filled:
    """The data set `name` under `root`."""
    return LAYOUTS[name](root)


def copied(filled: Filled, root: Path) -> Path:
    """Copy a written data set to `root`, to be damaged there. Returns `root`."""
    shutil.copytree(filled.root, root)
    return root


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    """Replace a JSON file by what `change` makes of it."""
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that it holds."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def targets_of(benchmark: Benchmark) -> dict[str, Target]:
    """target_id -> target, over all images."""
    return {target.target_id: target for image in benchmark.images for target in image.targets}


def check_as_written(benchmark: Benchmark, filled: Filled) -> None:
    """Every target has the mask, the image and the queries that were written, and their sizes agree."""
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


if __name__ == "__main__":
    for layout in LAYOUTS:
        print(f"--benchmark {layout}:{write_layout(layout, Path(sys.argv[1]) / layout).root}")
