"""The manifests of infra/kubernetes as a cluster would get them, and the schemas it would check them by."""

from __future__ import annotations

import copy
import gzip
import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "infra/kubernetes"
SCHEMAS = ROOT.parent / "shared/data/kuberay"
OWN_KUBECTL = ROOT / "build/ops/kubectl"
"""What `make test-ops` installs where there is none."""

Document = dict[str, Any]


@cache
def rendered(folder: str) -> tuple[Document, ...]:
    """The documents of a kustomization below infra/kubernetes."""
    kubectl = str(OWN_KUBECTL) if OWN_KUBECTL.is_file() else "kubectl"
    command = [kubectl, "kustomize", str(KUBERNETES / folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def one(folder: str, kind: str, name: str) -> Document:
    """The only document of this kind and name; a copy."""
    (found,) = [
        document
        for document in rendered(folder)
        if (document["kind"], document["metadata"]["name"]) == (kind, name)
    ]
    return copy.deepcopy(found)


def groups(spec: Mapping[str, Any]) -> dict[str, Document]:
    """The head and the worker groups of a RayCluster's spec, by name."""
    workers = {group["groupName"]: group for group in spec.get("workerGroupSpecs", [])}
    return {"head": spec["headGroupSpec"], **workers}


@cache
def crd_validator(plural: str) -> Draft202012Validator:
    """A validator of whole documents by the schema of a CRD, which allows no field that it does not know.
    Skips where the schemas are absent.
    """
    path = SCHEMAS / f"ray.io_{plural}.yaml.gz"
    if not path.is_file():
        pytest.skip(f"the schemas of KubeRay are not here: {path}")
    crd = yaml.safe_load(gzip.decompress(path.read_bytes()))
    (version,) = [one for one in crd["spec"]["versions"] if one["name"] == "v1"]
    return Draft202012Validator(_strict(version["schema"]["openAPIV3Schema"]))


def _strict(schema: Any) -> Any:
    """JSON Schema of a structural schema of Kubernetes."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    new = {key: _strict(value) for key, value in schema.items() if key != "properties"}
    if "properties" in schema:
        new["properties"] = {name: _strict(value) for name, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            new.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        new["type"] = ["integer", "string"]
    if schema.get("nullable") and isinstance(new.get("type"), str):
        new["type"] = [new["type"], "null"]
    return new


def schema_errors(document: Document) -> list[str]:
    """What the CRD's schema refuses in a RayCluster or RayJob."""
    validator = crd_validator({"RayCluster": "rayclusters", "RayJob": "rayjobs"}[document["kind"]])
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def pods(document: Document) -> Iterator[tuple[str, Document]]:
    """The pods that a RayCluster or RayJob asks for, as Pods, with the names of their groups."""
    spec = document["spec"].get("rayClusterSpec", document["spec"])
    for name, group in groups(spec).items():
        template = copy.deepcopy(group["template"])
        template.setdefault("metadata", {})["name"] = name
        yield name, {"apiVersion": "v1", "kind": "Pod", **template}


def load_script(name: str) -> ModuleType:
    """A script of the repository as a module."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, ROOT / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module
