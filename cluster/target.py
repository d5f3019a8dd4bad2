"""The promise that every place keeps to which a whole sweep can be sent; no target's own code."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, cast

from cluster.bundle import Bundle
from cluster.job import Resources, State
from cluster.profile import Profile


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What is sent: a program with its files, and what its jobs will ask for."""

    name: str
    """The sweep's name; one submission of a name runs at a time."""
    bundle: Bundle
    """Code and files; on every node they lie under one folder, where the program is started."""
    module: str
    """The Python module that drives the sweep, run by `python -m MODULE` in the bundle's folder, or
    with that folder as its argument."""
    shapes: Sequence[Resources]
    """What the jobs ask for, each shape once."""
    owner: str
    """Who sends it."""
    store: str
    """Where results are, without credentials; two sweeps of one name in two stores are two."""
    tracking_uri: str | None = None
    """Where it writes to MLflow; None for nowhere."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that stands in the way, and what to do about it."""

    subject: str
    """What was looked at, as `namespace`, `image` or a key path of the profile."""
    message: str
    remedy: str

    def to_json(self) -> dict[str, str]:
        """Return plain data."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a submission stands at its target."""

    id: str
    """What the target calls it: a RayJob, a submission id, a process."""
    state: State
    message: str = ""
    """One sentence: what it waits for, or why it ended."""
    action: str = ""
    """What to do next, where there is something to do."""
    owner: str = ""
    bundle: str = ""
    """The digest of what was sent."""
    num_attempts: int = 0
    """How often it was started."""
    submitted_at: float | None = None
    """Unix time in seconds."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else the target tells, as plain data: pods by phase, the dashboard's address."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "state": str(self.state)}


class TargetError(Exception):
    """The target cannot be reached or refuses; the message says what to do."""


class Target(Protocol):
    """Where whole sweeps are sent.

    Every target promises:

    1. `problems` changes nothing and tells all that is wrong at once.
    2. `submit` returns when the submission is accepted, without waiting for its end; while one of
       its name runs or waits, it starts none and returns that one: two submitters at the same
       moment start one.
    3. What was submitted goes on when the submitter is gone.
    4. `standing` tells the newest submission of a name from any machine, None where there is none.
    5. `logs` yields every line that the driver prints, in order, each once, whatever breaks in
       between; with `follow` it ends when the submission does.
    6. `cancel` asks a submission to end in good order: finished trials stay; cancelling what has
       ended does nothing.
    7. After an end, and after `cancel` has returned, the same name can be submitted again.
    """

    def problems(self, submission: Submission) -> Sequence[Problem]:
        """Return what stands in the way of a submission; asks for no pod."""

    def submit(self, submission: Submission) -> Standing:
        """Start a submission, or return the one of its name that has not ended.

        Raises:
            TargetError: It was not accepted.
        """

    def standing(self, name: str, store: str) -> Standing | None:
        """Return how the newest submission of a sweep stands, or None.

        Raises:
            TargetError: The target cannot be asked.
        """

    def logs(self, name: str, store: str, *, follow: bool = False) -> Iterator[str]:
        """Yield the lines that the newest submission's driver has printed, without line ends.

        Raises:
            TargetError: The target cannot be asked, or knows none.
        """

    def cancel(self, name: str, store: str) -> None:
        """End the newest submission of a sweep, if it has not ended.

        Raises:
            TargetError: The target cannot be asked.
        """


TARGETS = {
    "local": "cluster.local_target:LocalTarget",
    "ray": "cluster.ray_jobs:RayJobsTarget",
    "kubernetes": "cluster.kubernetes.target:KubernetesTarget",
}
"""The targets by name -> `module:class`, each called with a :class:`Profile`."""


def open_target(profile: Profile) -> Target:
    """Return the target of a profile.

    Raises:
        TargetError: It cannot be reached.
    """
    module, _, attribute = TARGETS[profile.kind].partition(":")
    return cast(Target, getattr(importlib.import_module(module), attribute)(profile))
