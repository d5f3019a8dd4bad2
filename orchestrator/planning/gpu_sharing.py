"""Which part of an accelerator a trial needs, by the memory that was measured; knows no job."""

from __future__ import annotations

MAX_PER_GPU = 8
"""More processes would wait for each other's kernels, and for the cores."""

HEADROOM = 1.25
"""Times the measured peak: tensors are what is measured, and the caching allocator holds more. An
allowance to be checked on each new release of PyTorch, as is the next one."""

CONTEXT_GIB = 0.5
"""What each process takes besides: the CUDA context and the kernels that are loaded, which
PyTorch's counters leave out (its notes on CUDA semantics, "Memory management")."""


def gpu_share(peak_gib: float | None, gpu_memory_gib: float) -> float:
    """Return the part of one accelerator to reserve: 1, 1/2, 1/4 or 1/8.

    Halves of halves fill a device without a gap, in whatever order they come, and are exact as
    floating-point numbers and in Ray's fractions of 1/10,000.

    Args:
        peak_gib: The most memory that tensors were seen to take, in GiB; None where unknown.
        gpu_memory_gib: The memory of one accelerator, in GiB; 0 where unknown.
    """
    if peak_gib is None:
        return 1.0
    need_gib = peak_gib * HEADROOM + CONTEXT_GIB
    num_processes = 1
    while num_processes < MAX_PER_GPU and 2 * num_processes * need_gib <= gpu_memory_gib:
        num_processes *= 2
    return 1 / num_processes
