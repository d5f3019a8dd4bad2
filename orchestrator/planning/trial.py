"""The nouns of a sweep's grid: trial and its result; not how either is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cluster.job import Failure, State
from pipelines.contract import digest_of
from pipelines.labels import Fidelity


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One model on one task with one point of the space and one seed."""

    id: str
    """The first 16 hex digits of the digest of its last stage: content is identity."""
    model: str
    task: str
    params: Mapping[str, Any]
    """The point of the space after coercion by the pipeline's schema, defaults included."""
    seed: int
    metric: str
    """The metric that ranks it."""
    mode: str
    """`max` or `min`."""
    result_digest: str
    """The digest of the trial's last stage."""
    stages: tuple[str, ...]
    """The digests of all its stages, inputs first."""

    @property
    def method(self) -> str:
        """The transfer method, or an empty string where the pipeline has none."""
        return str(self.params.get("method", ""))

    @cached_property
    def config_id(self) -> str:
        """The identity of the trial without its seed, 16 hex digits."""
        return digest_of([self.model, self.task, dict(self.params)])[:16]


def ids_digest(trials: Iterable[Trial]) -> str:
    """Return what tells whether two openings of a sweep found the same trials."""
    return digest_of(sorted(trial.id for trial in trials))


@dataclass(frozen=True, kw_only=True)
class TrialUsage:
    """What the own stages of a trial used, as far as it was measured; peaks are of all stages."""

    cpu_s: float | None = None
    gpu_s: float | None = None
    """Seconds of accelerators, a part of one as a fraction."""
    peak_memory_gib: float | None = None
    """The most host memory that a worker held in one of its stages, in GiB."""
    peak_gpu_memory_gib: float | None = None
    """The most memory of an accelerator, likewise."""
    energy_kwh: float | None = None
    """An estimate."""
    emissions_kg: float | None = None
    """CO2 equivalent, an estimate; None where the sweep names no region."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """How one trial ended and what it gave."""

    trial: Trial
    state: State
    fidelity: Fidelity = Fidelity.EXACT
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Final numbers by `split/metric`."""
    curve: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    """Points `{"step": int, name: number, ...}` of the training curve."""
    datasets: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    """`{"name", "digest", "split", "num_rows", "source"}` for each split that it used."""
    started_at: float = 0.0
    """Unix time in seconds at which its own first stage began."""
    ended_at: float = 0.0
    """Unix time in seconds at which its last stage ended."""
    duration_s: float = 0.0
    """Seconds of its own stages, without those that it shares with other trials."""
    usage: TrialUsage | None = None
    """None where nothing was measured."""
    failure: Failure | None = None

    @property
    def label(self) -> str | None:
        """The fidelity of what it gave; None where it has not finished."""
        return str(self.fidelity) if self.state is State.FINISHED else None

    def score(self, split: str) -> float | None:
        """Return the ranking metric on a split, or None where there is none."""
        return self.metrics.get(f"{split}/{self.trial.metric}")
