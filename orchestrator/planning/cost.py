"""Estimates what stages cost in time and memory, from records; knows no clock and no store."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.contract import Node, digest_of

_MEMORY = "memory|"
_GPU_MEMORY = "gpu memory|"
_LEFT = "left|"

_MAX_POWER = 14
"""Cohorts of 2^14 members and more are not looked up."""


def kinds_of(nodes: Mapping[str, Node]) -> dict[str, str]:
    """Return for each node what it has in common with those that differ in nothing but seeds.

    Such nodes are expected to cost the same. Another number of rows is another kind.

    Args:
        nodes: By digest, inputs first.
    """
    kinds: dict[str, str] = {}
    same: dict[str, str] = {}  # one string for all nodes of a kind, of which there may be many
    for digest, node in nodes.items():
        own = {
            "stage": node.stage.name,
            "params": {name: value for name, value in node.params.items() if name != "seed"},
            "sources": {role: source.digest for role, source in node.sources.items()},
            "inputs": {role: kinds[earlier.digest] for role, earlier in node.inputs.items()},
        }
        kind = digest_of(own)[:12]
        kinds[digest] = same.setdefault(kind, kind)
    return kinds


def cost_keys(node: Node, kind: str, accelerator: str = "") -> tuple[str, ...]:
    """Return the names under which a node's timing is kept, the most telling one first.

    On another sort of device all of them are others.

    Args:
        node: The node.
        kind: Its kind, of :func:`kinds_of`.
        accelerator: What its worker has; empty for a worker without one.
    """
    stage = f"{node.stage.name}@{node.stage.version}"
    if accelerator and node.stage.needs_accelerator:
        stage += f" on {accelerator}"
    sources = "+".join(sorted(_source_names(node)))
    return (f"{stage}|{sources}|{kind}", f"{stage}|{sources}", stage)


def cohort_keys(keys: Iterable[str], num_members: int) -> tuple[str, ...]:
    """Return the names under which a node's timing in a cohort is kept, by the cohort's size."""
    size = 1 << (num_members.bit_length() - 1)  # the power of two below
    return tuple(f"cohort of {size}|{key}" for key in keys)


def cohort_sizes(num_members: int) -> list[int]:
    """Return the sizes of cohorts to be looked up for one of this size, the most telling first.

    A cohort is recorded by the size of its jobs, which are smaller where it was split.
    """
    own = num_members.bit_length() - 1
    return [1 << power for power in (*range(own, 0, -1), *range(own + 1, _MAX_POWER))]


def _source_names(node: Node) -> set[str]:
    names = {source.name for source in node.sources.values()}
    return names.union(*(_source_names(node) for node in node.inputs.values()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What one stage has cost, or shown of what its like will."""

    cost_keys: tuple[str, ...]
    duration_s: float | None = None
    """None where it was not computed to the end."""
    num_together: int = 1
    """With how many members of a cohort it was computed, itself among them."""
    is_left: bool = False
    """Whether its cohort left it to be computed alone."""
    fits: int | None = None
    """How many members of its cohort fit into memory, where it was too large."""
    peak_memory_gib: float | None = None
    peak_gpu_memory_gib: float | None = None

    @property
    def alone_gpu_memory_gib(self) -> float | None:
        """The peak of an accelerator, where it was computed alone."""
        return self.peak_gpu_memory_gib if self.num_together == 1 else None


@dataclass
class Timings:
    """What stages have cost by cost key, over all that this store has seen."""

    means: dict[str, tuple[int, float]] = field(default_factory=dict)
    """How often it was seen, and the mean duration in seconds; under keys with a prefix, 1 and the
    members of a cohort that fit into memory, or the peak of memory in GiB, or how many members were
    left alone."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Timings:
        """Read what :meth:`to_json` returned."""
        return cls({key: (int(count), float(mean)) for key, (count, mean) in content.items()})

    def to_json(self) -> dict[str, list[float]]:
        """Return plain data."""
        return {key: [count, round(mean, 6)] for key, (count, mean) in self.means.items()}

    def take(self, seen: Observation) -> None:
        """Take in all that was observed of a stage."""
        keys = seen.cost_keys
        if seen.fits is not None:
            self.observe_limit(keys, seen.fits)
        if seen.is_left:
            self.means[_LEFT + keys[0]] = (1, 1.0)
        if seen.num_together > 1:
            keys = cohort_keys(keys, seen.num_together)
        if seen.duration_s is not None:
            self.observe(keys, seen.duration_s)
        self.observe_memory(keys, seen.peak_memory_gib, seen.peak_gpu_memory_gib)

    def observe(self, keys: Iterable[str], duration_s: float) -> None:
        """Take in the duration of one finished stage."""
        for key in keys:
            count, mean = self.means.get(key, (0, 0.0))
            count = min(count, 99)  # so that a faster machine is believed before long
            self.means[key] = (count + 1, mean + (duration_s - mean) / (count + 1))

    def observe_limit(self, keys: Sequence[str], num_members: int) -> None:
        """Note that no more members of a cohort fit into memory at once."""
        key = _limit_key(keys)
        _, before = self.means.get(key, (0, float(num_members)))
        self.means[key] = (1, min(before, float(num_members)))

    def limit(self, keys: Sequence[str]) -> int | None:
        """Return how many members of a cohort fit into memory, or None where all did."""
        found = self.means.get(_limit_key(keys))
        return None if found is None else int(found[1])

    def is_left(self, keys: Sequence[str]) -> bool:
        """Return whether cohorts leave members of this very kind to be computed alone."""
        return _LEFT + keys[0] in self.means

    def observe_memory(
        self, keys: Sequence[str], memory_gib: float | None, gpu_memory_gib: float | None
    ) -> None:
        """Take in the peaks of one stage, as far as known; the largest ever seen are kept."""
        for prefix, peak_gib in ((_MEMORY, memory_gib), (_GPU_MEMORY, gpu_memory_gib)):
            if peak_gib is not None:
                for key in _telling(keys):
                    _, before = self.means.get(prefix + key, (0, 0.0))
                    self.means[prefix + key] = (1, max(before, peak_gib))

    def peak_memory_gib(self, keys: Sequence[str]) -> float | None:
        """Return the most host memory seen under the first key that was, in GiB, or None."""
        return self.estimate_s(_MEMORY + key for key in _telling(keys))

    def peak_gpu_memory_gib(self, keys: Sequence[str]) -> float | None:
        """Return the most memory of an accelerator that was seen, likewise."""
        return self.estimate_s(_GPU_MEMORY + key for key in _telling(keys))

    def estimate_s(self, keys: Iterable[str]) -> float | None:
        """Return the mean under the first key that was seen, or None."""
        return next((self.means[key][1] for key in keys if key in self.means), None)


def _telling(keys: Sequence[str]) -> Sequence[str]:
    """Return the keys that tell of memory: the stage alone, with any model, does not."""
    return keys[:-1] or keys


def _limit_key(keys: Sequence[str]) -> str:
    return f"limit|{keys[min(1, len(keys) - 1)]}"  # of the stage and its sources


def makespan_s(durations_s: Iterable[float], num_slots: int) -> float:
    """Return how long jobs take on equal slots when the longest go first.

    Source: R. L. Graham, Bounds on multiprocessing timing anomalies, 1969 (LPT rule).
    """
    slots = [0.0] * max(1, num_slots)
    for duration_s in sorted(durations_s, reverse=True):
        heapq.heapreplace(slots, slots[0] + duration_s)
    return max(slots)
