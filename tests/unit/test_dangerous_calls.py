"""No call in the tree runs code that came as data: an AST of every file, and the few places that may."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("pipeline", "jobs", "notebooks")
"""Tests and benchmarks pickle on purpose, to show that what they pickle survives."""

PICKLES = frozenset({"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"})
ALLOWED = {
    (
        "pipeline/evaluate/benchmark/readers/rrsisd.py",
        "import pickle",
    ): "an Unpickler that refuses every class",
    (
        "notebooks/grpo/build_grpo_experiment.py",
        "exec",
    ): "runs the notebook's own cells, which stand in that file",
}
"""(file, what) -> why it is safe there."""

RUN_TEXT = frozenset({"eval", "exec", "__import__"})
SHELLS = frozenset({"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"})
LOADERS = {
    "torch.load": "weights_only",
    "yaml.load": "",
    "yaml.unsafe_load": "",
    "yaml.full_load": "",
    "torch.export.load": "",
    "torch.jit.load": "",
    "torch.package.PackageImporter": "",
    "torch.hub.load": "",
    "pandas.read_pickle": "",
    "pd.read_pickle": "",
}
"""Calls that run what a file says -> the argument that must be True; empty: never."""


def dangers(source: str) -> Iterator[str]:
    """What a file does that may run code that came as data."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (f"import {a.name}" for a in node.names if a.name.partition(".")[0] in PICKLES)
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").partition(".")[0] in PICKLES:
                yield f"import {node.module}"
            yield from (
                f"import {node.module}.{a.name}" for a in node.names if f"{node.module}.{a.name}" in LOADERS
            )
        elif isinstance(node, ast.Call):
            yield from dangers_of_call(node)


def dangers_of_call(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    words = {word.arg: word.value for word in call.keywords}
    if name in RUN_TEXT:
        yield name
    if name in SHELLS or is_not(words.get("shell"), False):
        yield f"a shell: {name}"
    if is_not(words.get("trust_remote_code"), False):
        yield f"trust_remote_code: {name}"
    if name in ("np.load", "numpy.load") and is_not(words.get("allow_pickle"), False):
        yield f"allow_pickle: {name}"
    if name in LOADERS and (not LOADERS[name] or not is_constant(words.get(LOADERS[name]), True)):
        yield name
    if name.endswith(("from_pretrained", "AsyncEngineArgs", "EngineArgs")) and needs_no_code(name, words):
        yield f"remote code is not ruled out: {name}"


def needs_no_code(name: str, words: dict[str | None, ast.expr]) -> bool:
    """Whether a call of transformers' automatic classes, or an engine, leaves remote code to a default."""
    automatic = name.rpartition(".")[0].rpartition(".")[2].startswith("Auto") or name.endswith("EngineArgs")
    return automatic and not is_constant(words.get("trust_remote_code"), False)


def is_constant(value: ast.expr | None, wanted: object) -> bool:
    return isinstance(value, ast.Constant) and value.value is wanted


def is_not(value: ast.expr | None, wanted: object) -> bool:
    """Whether an argument is given and anything else."""
    return value is not None and not is_constant(value, wanted)


def files() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def test_no_file_runs_code_that_came_as_data() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), what) for path in files() for what in dangers(path.read_text())
    }
    assert found == set(ALLOWED)
    assert len(files()) > 200


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from cloudpickle import loads",
        "import torch\ntorch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "from torch import load",
        "torch.jit.load(path)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "transformers.AutoProcessor.from_pretrained(name)",
        "AsyncEngineArgs(model=name)",
        "subprocess.run(command, shell=True)",
        "os.system(command)",
        "yaml.load(text)",
        "eval(text)",
        "exec(text)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_the_check_sees_what_it_forbids(source: str) -> None:
    assert list(dangers(source))


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path, map_location='cpu', weights_only=True)",
        "model.eval()",
        "re.compile(pattern)",
        "AutoProcessor.from_pretrained(name, trust_remote_code=False)",
        "yaml.safe_load(text)",
        "subprocess.run(command, shell=False)",
        "import pickletools",
        "np.load(path)",
    ],
)
def test_the_check_lets_the_safe_ways_pass(source: str) -> None:
    assert list(dangers(source)) == []
