"""What the driver of a sent sweep is told, as a file of its bundle; knows no target."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

from cluster.job import Resources

REQUEST_FILE = "request.json"
"""Its place in the bundle."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """How to run the sweep there."""

    sweep: str
    """The sweep file, below the bundle's folder."""
    store: str
    """Where results are, seen from there; credentials come from the environment."""
    trials: str
    """The digest of the trials' ids, so that no other sweep is run in place of this one."""
    path: str = ""
    """Where the sweep file stands on the machine that it does not leave, on which it then finds
    what it names; empty where that travels with it."""
    tracking_uri: str | None = None
    """MLflow's tracking URI, `off` for none, None for what the sweep says."""
    joins: bool = True
    """Whether to join the Ray cluster around the driver; else it starts one of its own."""
    capacity: Resources | None = None
    """All that the cluster can grow to; None for what is there."""
    gpu_memory_gib: float = 0.0
    """Memory of one accelerator, in GiB; 0 where unknown."""
    idle_s: float | None = None
    """Seconds after which a worker without work is ended."""
    retry_failed: bool = True
    """Whether to try again what failed before."""

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read what :meth:`to_bytes` returned."""
        plain: dict[str, Any] = json.loads(content)
        capacity = plain.pop("capacity")
        return cls(**plain, capacity=Resources(**capacity) if capacity else None)
