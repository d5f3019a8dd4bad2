"""What this process used while it worked, and what it could still take; not what the work was.

Torch is asked only where somebody else has imported it and begun to use an accelerator.
"""

from __future__ import annotations

import gc
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_GIB = 2**30
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024
"""The unit of `ru_maxrss`: getrusage(2) of macOS and of Linux."""

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a piece of work used, besides time on the clock."""

    cpu_s: float
    """CPU seconds of the whole process, and of its children that ended."""
    peak_memory_gib: float
    """The most host memory that the process held at once, in GiB, with all that it keeps warm. If
    children ended, that of the largest one that the process ever had, where this is more."""
    peak_gpu_memory_gib: float | None = None
    """The most memory of the accelerator that tensors held at once, in GiB; None without one."""
    gpu_s: float | None = None
    """Seconds on the clock times the accelerators that were held, a part of one as a fraction; None
    without one."""
    energy_kwh: float | None = None
    """An estimate by whoever knows the machine's power; None where nobody made one."""


class Meter:
    """Measures what this process uses from now on; one at a time, as there is one peak.

    Where the system cannot forget an earlier peak (outside Linux), it stands for this one too.
    """

    def __init__(self) -> None:
        self._forgets = _forget_peak()
        if (cuda := _cuda()) is not None:
            cuda.reset_peak_memory_stats()
        self.resume()

    def resume(self) -> None:
        """Count CPU seconds anew; peaks stay."""
        self._own_cpu_s = _cpu_s(resource.getrusage(resource.RUSAGE_SELF))
        self._children_cpu_s = _cpu_s(resource.getrusage(resource.RUSAGE_CHILDREN))

    def read(self, num_parts: int = 1) -> Usage:
        """Return what was used so far.

        Args:
            num_parts: Among how many the CPU seconds are divided; peaks are not.
        """
        own = resource.getrusage(resource.RUSAGE_SELF)
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        children_cpu_s = _cpu_s(children) - self._children_cpu_s
        peak = _peak() if self._forgets else own.ru_maxrss * _MAXRSS_BYTES
        if children_cpu_s:
            peak = max(peak, children.ru_maxrss * _MAXRSS_BYTES)
        cuda = _cuda()
        return Usage(
            cpu_s=round((_cpu_s(own) - self._own_cpu_s + children_cpu_s) / num_parts, 6),
            peak_memory_gib=round(peak / _GIB, 4),
            peak_gpu_memory_gib=None
            if cuda is None
            else round(cuda.max_memory_allocated() / _GIB, 4),
        )


def free_memory_gib(device: str) -> float:
    """Return how much more memory there is to be had, in GiB.

    Of an accelerator it is what its driver has left, and what torch keeps of it without need; of
    the host, in a container what is left to the container.

    Source: `memory.max`, `memory.current` and `memory.stat` of Linux's control groups, version 2.

    Args:
        device: `cpu`, or the accelerator that this process uses.
    """
    if device != "cpu" and (cuda := _torch_cuda()) is not None and cuda.is_available():
        free, _ = cuda.mem_get_info()  # the first use of it, if there was none
        return float(free + cuda.memory_reserved() - cuda.memory_allocated()) / _GIB
    available = psutil.virtual_memory().available
    try:
        limit, used = (int((_CGROUP / f"memory.{of}").read_text()) for of in ("max", "current"))
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        cache = int(stat["inactive_file"])  # counts as used, and goes when memory is wanted
        available = min(available, limit - used + cache)
    except (OSError, ValueError, KeyError):  # no such group, or one without a limit
        pass
    return max(0.0, available / _GIB)


def release_memory() -> None:
    """Give back what is not in use: objects that hold each other, and torch's unused blocks."""
    gc.collect()
    if (cuda := _cuda()) is not None:
        cuda.empty_cache()


def is_accelerator_lost() -> bool:
    """Return whether the accelerator answers this process no more.

    After an error inside a kernel, as an index beyond its tensor, every later call fails too, in
    this process only: it has to be ended.

    Source: CUDA Runtime API, `cudaErrorAssert` and `cudaErrorIllegalAddress`.
    """
    if (cuda := _cuda()) is None:
        return False
    try:
        cuda.synchronize()
    except RuntimeError:
        return True
    return False


def _cpu_s(used: resource.struct_rusage) -> float:
    return used.ru_utime + used.ru_stime


def _forget_peak() -> bool:
    """Set the peak of resident memory back to what is resident now; return whether that worked.

    Source: proc_pid_clear_refs(5), value 5; Linux 4.0.
    """
    try:
        _CLEAR_REFS.write_bytes(b"5")
    except OSError:
        return False
    return b"VmHWM:" in _STATUS.read_bytes()


def _peak() -> int:
    """Return the peak of resident memory in bytes. Source: proc_pid_status(5), VmHWM."""
    _, _, rest = _STATUS.read_bytes().partition(b"VmHWM:")
    return int(rest.split(maxsplit=1)[0]) * 1024


def _cuda() -> Any:
    """Return `torch.cuda` where this process uses it, else None."""
    cuda = _torch_cuda()
    return cuda if cuda is not None and cuda.is_initialized() else None


def _torch_cuda() -> Any:
    """Return `torch.cuda` where somebody has imported it, else None."""
    return getattr(sys.modules.get("torch"), "cuda", None)
