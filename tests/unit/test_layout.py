"""The folders are the architecture: the README shows them in flow order, and they sort that way."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
STAGES = ["grid", "load", "prompt", "segment", "stitch", "write"]


def test_stage_folders_sort_in_flow_order_and_exist() -> None:
    assert sorted(STAGES) == STAGES
    for stage in STAGES:
        assert (ROOT / "pipeline" / stage / "__init__.py").is_file()


def test_readme_names_every_folder_of_the_package() -> None:
    readme = (ROOT / "README.md").read_text()
    tree = re.search(r"```text\npipeline/.*?```", readme, flags=re.DOTALL)
    assert tree is not None, "the README shows the folder tree"
    folders = {path.parent.name for path in (ROOT / "pipeline").glob("*/__init__.py")} | {"presets", "models"}
    for folder in sorted(folders):
        assert f"{folder}/" in tree.group(), folder
    positions = [tree.group().index(f"{stage}/") for stage in STAGES]
    assert positions == sorted(positions)


def test_no_module_is_a_grab_bag_or_shadows_a_dependency() -> None:
    names = {path.stem for path in (ROOT / "pipeline").rglob("*.py")}
    assert names.isdisjoint({"utils", "common", "helpers", "misc", "zarr", "sam2", "vllm", "torch", "ray"})


def test_modules_stay_within_their_size() -> None:
    long = {
        str(path.relative_to(ROOT)): n
        for path in (ROOT / "pipeline").rglob("*.py")
        if (n := len(path.read_text().splitlines())) > 400
    }
    assert long == {}
