"""The GPU of this machine as the benchmarks see it: whether there is one, and how busy it is."""

from __future__ import annotations

import contextlib
import statistics
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cluster.machine import local_resources

HAS_GPU = local_resources().num_gpus > 0
"""Whether all sides compute on a GPU, or none does."""

DEVICE = "cuda" if HAS_GPU else "cpu"
"""torch's name of what the models run on."""

INTERVAL_S = 0.2
"""Between two samples. NVML's own period is a sixth of a second to a second."""

Sample = tuple[int, int]
"""Percent of the time that a kernel ran, and bytes in use."""


@dataclass(frozen=True, kw_only=True)
class Use:
    """What a GPU did for a while."""

    busy_percent: float
    """Mean share of the time in which a kernel ran, however little of the GPU that filled."""
    peak_gib: float
    """Most memory in use at once, by all processes and the driver."""

    def __str__(self) -> str:
        return f"GPU {self.busy_percent:.0f} % busy, {self.peak_gib:.1f} GiB"


def use_of(samples: Sequence[Sample]) -> Use | None:
    """Return what the samples say; None where there are none."""
    if not samples:
        return None
    busy_percent, num_bytes = zip(*samples, strict=True)
    return Use(busy_percent=statistics.fmean(busy_percent), peak_gib=max(num_bytes) / 2**30)


@contextlib.contextmanager
def watched() -> Iterator[Sequence[Sample]]:
    """Sample the GPU in a thread until the end of the block; none are taken without a GPU.

    It is the first device that NVML counts, so of several GPUs the first alone should be visible.
    """
    samples: list[Sample] = []
    if not HAS_GPU:
        yield samples
        return
    ended = threading.Event()
    thread = threading.Thread(target=_sample, args=(samples, ended), daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def _sample(samples: list[Sample], ended: threading.Event) -> None:
    """Append a sample each interval.

    Source: NVML API reference, nvmlDeviceGetUtilizationRates and nvmlDeviceGetMemoryInfo.
    """
    import pynvml  # noqa: PLC0415 - a part of what is timed, and of no use without a GPU

    try:
        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        while not ended.wait(INTERVAL_S):
            busy_percent = pynvml.nvmlDeviceGetUtilizationRates(device).gpu
            samples.append((busy_percent, pynvml.nvmlDeviceGetMemoryInfo(device).used))
        pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:  # as of a part of a device (MIG), which has no such rate
        print(f"  how busy the GPU was is not known: {error}", file=sys.stderr)
