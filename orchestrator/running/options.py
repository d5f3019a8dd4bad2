"""How to run a sweep, as opposed to what the sweep is."""

from __future__ import annotations

from dataclasses import dataclass, field

from cluster.job import Resources
from orchestrator.running.progress import Observer, SilentObserver


@dataclass(frozen=True, kw_only=True)
class RayCluster:
    """A Ray cluster that is there already, and what may be used of it."""

    address: str = "auto"
    """As `ray.init` takes it; `auto` is the one of this machine, or of `RAY_ADDRESS`."""
    capacity: Resources | None = None
    """All that it can grow to; by default what is there now."""
    gpu_memory_gib: float = 0.0
    """Memory of one accelerator, in GiB; 0 where unknown."""
    idle_s: float | None = None
    """Seconds after which a worker without work is ended, so that its node can be given back."""
    wait_s: float = 0.0
    """Seconds to wait for another driver of the sweep that may be lost."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run a sweep, as opposed to what the sweep is."""

    backend: str = "ray"
    """A backend by its name in `cluster.backend.BACKENDS`."""
    store: str | None = None
    """Where results are kept, in place of what the sweep says."""
    tracking_uri: str | None = None
    """MLflow's tracking URI, in place of what the sweep says; `off` for none."""
    cluster: RayCluster | None = None
    """The Ray cluster to join; by default the backend starts one on this machine."""
    fresh: bool = False
    """Whether to compute everything anew, whatever the store has."""
    retry_failed: bool = True
    """Whether to try again what failed in an earlier run."""
    observer: Observer = field(default_factory=SilentObserver)
    """Who watches."""
