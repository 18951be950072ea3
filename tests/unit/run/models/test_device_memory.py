"""The device is found by nvidia-smi, or is the machine. The program is one of the test's own."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from pipeline.run.models import device_memory
from pipeline.run.models.device_memory import find_device_memory

GPUS = """0, GPU-11111111-aaaa, Tesla T4, 15360
1, GPU-22222222-bbbb, NVIDIA H200, 143771
2, GPU-33333333-cccc, [Unknown], [N/A]
"""


@pytest.fixture
def gpu_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{GPUS}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(device_memory, "_serves_on_cpu", lambda: False)


@pytest.mark.parametrize(
    ("visible", "name", "mib"),
    [
        (None, "GPU 0, Tesla T4", 15360),
        ("1,0", "GPU 1, NVIDIA H200", 143771),
        ("GPU-22222222", "GPU 1, NVIDIA H200", 143771),
    ],
)
def test_the_first_gpu_that_may_be_used(gpu_machine: None, visible: str | None, name: str, mib: int) -> None:
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    device = find_device_memory(environ)
    assert (device.name, device.total, device.is_gpu) == (name, mib * 2**20, True)


def test_without_a_gpu_it_is_the_machine(
    gpu_machine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(device_memory, "CGROUP_LIMIT", limit)
    hidden = find_device_memory({"CUDA_VISIBLE_DEVICES": ""})
    assert (hidden.name, hidden.total, hidden.is_gpu) == ("the CPU", psutil.virtual_memory().total, False)
    limit.write_text("1000000\n")
    assert find_device_memory({"CUDA_VISIBLE_DEVICES": ""}).total == 1_000_000
    limit.write_text("max\n")
    assert find_device_memory({"CUDA_VISIBLE_DEVICES": ""}).total == psutil.virtual_memory().total
    monkeypatch.setattr(device_memory, "_serves_on_cpu", lambda: True)
    assert not find_device_memory({}).is_gpu
