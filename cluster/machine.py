"""What this machine has: cores, memory, accelerators, found without importing torch or ray."""

from __future__ import annotations

import os
from pathlib import Path

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


def _num_visible_gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    drivers = Path("/proc/driver/nvidia/gpus")
    return len(list(drivers.iterdir())) if drivers.is_dir() else 0
