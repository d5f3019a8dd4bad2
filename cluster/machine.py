"""What this machine has: cores, memory, accelerators, found without importing torch or ray."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psutil

from cluster.job import Resources


def local_resources() -> Resources:
    """Return the cores that this process may use, the NVIDIA devices, and the memory in GiB."""
    affinity = getattr(os, "sched_getaffinity", None)  # macOS has none
    num_cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    return Resources(
        num_cpus=num_cpus,
        num_gpus=_num_visible_gpus(),
        memory_gib=psutil.virtual_memory().total / 2**30,
    )


@functools.cache
def gpu_memory_gib() -> float:
    """Return the memory of the smallest NVIDIA device of this machine, in GiB; 0 where unknown.

    Unknown is also the memory of a part of a device (MIG), since `nvidia-smi` tells of the whole.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0.0
    query = ["--query-gpu=memory.total,mig.mode.current", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(  # noqa: S603 - a program of the driver, without any input
            [program, *query], capture_output=True, text=True, timeout=20, check=True
        )
        return smallest_gpu_gib(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return 0.0


def smallest_gpu_gib(listed: str) -> float:
    """Return the memory of the smallest device, in GiB; 0 where one is divided, or there is none.

    Args:
        listed: `MEBIBYTES, MIG MODE` of each device, a line each, as `nvidia-smi` prints them.

    Raises:
        ValueError: A device does not tell its memory.
    """
    devices = [line.split(",") for line in listed.splitlines() if line.strip()]
    if any(mode.strip() == "Enabled" for _, mode in devices):
        return 0.0
    return min((int(mebibytes) for mebibytes, _ in devices), default=0) / 1024


def machine_facts() -> dict[str, Any]:
    """Return what tells this machine from another one, as plain data: no name, no address."""
    found = local_resources()
    return {
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "num_cpus": int(found.num_cpus),
        "memory_gib": round(found.memory_gib, 1),
        "gpus": _gpu_models() if found.num_gpus else [],
    }


def _cpu_model() -> str:
    """Return the processor's model. Source: proc_cpuinfo(5); `platform` knows it outside Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _gpu_models() -> list[str]:
    """Return the models of the NVIDIA devices, as their driver tells them."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return [line.partition(":")[2].strip() for line in lines if line.startswith("Model")]


def _num_visible_gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    drivers = Path("/proc/driver/nvidia/gpus")
    return len(list(drivers.iterdir())) if drivers.is_dir() else 0
