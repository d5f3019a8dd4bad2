"""Where a RayJob stands, in one sentence with the next action; pure, asks no server.

A RayJob whose image is missing or for which no accelerator is free stays `Initializing` without
end, so pods and events are read beside its status.
Source of states and reasons: KubeRay 1.7, `rayjob_types.go` and `rayjob_controller.go`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from cluster.job import State
from cluster.kubernetes.findings import HEAD, WORKER, Finding, at, by_time
from cluster.kubernetes.symptoms import findings, role_of, without_node
from cluster.naming import QUEUE

Object = Mapping[str, Any]

SLOW_OPERATOR_S = 60
"""A RayJob that KubeRay has not looked at for so long will hardly be looked at."""
_ENDED = {"Complete", "Failed", "ValidationFailed"}


class Diagnosis(NamedTuple):
    """How a submission stands."""

    state: State
    message: str
    """One sentence without a full stop."""
    action: str = ""
    """What to do next, where there is something to do."""


class _Case(NamedTuple):
    job: Object
    cluster: Object | None
    pods: Sequence[Object]
    found: Sequence[Finding]
    events: Sequence[Object]
    now: float


def diagnose(
    rayjob: Object,
    raycluster: Object | None,
    pods: Sequence[Object],
    events: Sequence[Object],
    now: float,
) -> Diagnosis:
    """Return how a RayJob stands, why, and what to do next.

    Args:
        rayjob: The RayJob.
        raycluster: Its RayCluster, if there is one.
        pods: Those of the cluster, and the submitter's.
        events: Those about any of these, and about Kueue's Workload.
        now: Unix time in seconds.
    """
    if at(rayjob, "metadata", "deletionTimestamp"):
        return Diagnosis(State.KILLED, "cancelled; its pods are given back")
    case = _Case(rayjob, raycluster, pods, findings(pods, events), events, now)
    status = at(rayjob, "status", "jobDeploymentStatus") or ""
    if at(rayjob, "spec", "suspend") and status not in _ENDED:
        return _suspended(case)
    return _BY_STATUS.get(status, _starting)(case)


def is_ended(rayjob: Object) -> bool:
    """Return whether nothing more will happen to a RayJob by itself."""
    return (
        at(rayjob, "status", "jobDeploymentStatus") in _ENDED
        or at(rayjob, "metadata", "deletionTimestamp") is not None
    )


def attempts(rayjob: Object) -> int:
    """Return how often KubeRay has started a RayJob."""
    if at(rayjob, "status", "startTime") is None:
        return 0
    failed, succeeded = (at(rayjob, "status", key) or 0 for key in ("failed", "succeeded"))
    return int(failed + succeeded + (not is_ended(rayjob)))


def unix_time(text: str | None) -> float | None:
    """Return an RFC 3339 time of the API in seconds."""
    return datetime.fromisoformat(text).timestamp() if text else None


def _complete(case: _Case) -> Diagnosis:
    if at(case.job, "status", "jobStatus") == "STOPPED":
        return Diagnosis(State.KILLED, "stopped", "submit again to go on")
    return Diagnosis(State.FINISHED, "the driver has ended in good order")


def _failed(case: _Case) -> Diagnosis:
    message, action = _why(case)
    number = at(case.job, "status", "failed") or 1
    after = f", after {number} attempts" if number > 1 else ""
    return Diagnosis(State.FAILED, message + after, action)


def _invalid(case: _Case) -> Diagnosis:
    said = at(case.job, "status", "message") or "no reason given"
    return Diagnosis(
        State.FAILED,
        f"KubeRay refuses the RayJob: {said}",
        "correct the profile (`pod_patch` first), and submit again",
    )


def _suspended(case: _Case) -> Diagnosis:
    queue = at(case.job, "metadata", "labels", QUEUE)
    if not queue:
        name = at(case.job, "metadata", "name")
        change = '\'{"spec":{"suspend":false}}\''
        return Diagnosis(
            State.SCHEDULED,
            "suspended by somebody; it holds no pods",
            f"go on by `kubectl patch rayjob {name} --type merge -p {change}`, or cancel",
        )
    said = [
        str(event.get("message"))
        for event in by_time(case.events)
        if at(event, "involvedObject", "kind") == "Workload" and event.get("reason") == "Pending"
    ]
    why = f": {said[-1]}" if said else ""
    return Diagnosis(
        State.SCHEDULED,
        f"waits for Kueue to admit it to queue {queue!r}{why}",
        "wait, or ask for less; `kubectl get workloads` shows who is before it",
    )


def _retrying(case: _Case) -> Diagnosis:
    message, _ = _why(case)
    number = at(case.job, "status", "failed") or 1
    return Diagnosis(
        State.SCHEDULED,
        f"attempt {number} of {_most(case)} has failed ({message}); a new cluster is made, "
        "finished trials are not repeated",
    )


def _starting(case: _Case) -> Diagnosis:
    began = unix_time(at(case.job, "metadata", "creationTimestamp")) or case.now
    waited = case.now - began
    if not at(case.job, "status", "jobDeploymentStatus") and waited > SLOW_OPERATOR_S:
        return Diagnosis(
            State.SCHEDULED,
            f"KubeRay's operator has not taken it up for {waited:.0f} s",
            "see that it runs and watches this namespace: "
            "`kubectl get pods -A -l app.kubernetes.io/name=kuberay-operator`",
        )
    grave = _gravest(case, (HEAD, WORKER))
    if grave:
        return Diagnosis(State.SCHEDULED, _attempt(case) + grave.message, grave.action)
    phases = {at(pod, "status", "phase") for pod in case.pods if role_of(pod) == HEAD}
    step = "the head starts" if phases else "the cluster is being made"
    if selected := at(case.job, "spec", "clusterSelector", "ray.io/cluster"):
        step = f"is handed to RayCluster {selected!r}"
    return Diagnosis(State.SCHEDULED, _attempt(case) + step)


def _running(case: _Case) -> Diagnosis:
    since = at(case.job, "status", "jobStatusCheckFailureStartTime")
    grave = _gravest(case, (HEAD, WORKER))
    if since:
        why = f" ({grave.message})" if grave and grave.role == HEAD else ""
        return Diagnosis(
            State.RUNNING,
            f"{_attempt(case)}the head has not answered since {since}{why}",
            "if it stays away, KubeRay ends the job; then retry: finished trials are not repeated",
        )
    workers = [pod for pod in case.pods if role_of(pod) == WORKER]
    ready = sum(at(pod, "status", "phase") == "Running" for pod in workers)
    counted = f"running, {ready} of {len(workers)} workers are there"
    if not workers:
        counted = "running without workers yet: Ray's autoscaler adds them as trials ask for them"
    if selected := at(case.job, "spec", "clusterSelector", "ray.io/cluster"):
        counted = f"running on RayCluster {selected!r}"
    if grave:
        return Diagnosis(State.RUNNING, f"{_attempt(case)}{counted}; {grave.message}", grave.action)
    return Diagnosis(State.RUNNING, _attempt(case) + counted)


_BY_STATUS: dict[str, Callable[[_Case], Diagnosis]] = {
    "Complete": _complete,
    "Failed": _failed,
    "ValidationFailed": _invalid,
    "Suspending": _suspended,
    "Suspended": _suspended,
    "Retrying": _retrying,
    "Running": _running,
}


def _why(case: _Case) -> tuple[str, str]:
    """Return why the last attempt failed, and what to do."""
    reason = at(case.job, "status", "reason") or ""
    said = str(at(case.job, "status", "message") or "")
    again = "retry: finished trials are not repeated"
    if reason == "DeadlineExceeded":
        limit = at(case.job, "spec", "activeDeadlineSeconds")
        return f"ended at its deadline of {limit} s", f"raise `deadline_s`, then {again}"
    if reason == "PreRunningDeadlineExceeded":
        return _not_begun(case)
    grave = _gravest(case, (HEAD,))
    if grave:
        return grave.message, grave.action or again
    # With the head goes the output that the submitter prints, before the job's status is known.
    cut = reason == "SubmissionFailed" and at(case.job, "status", "jobStatus") == "RUNNING"
    if cut or reason == "JobStatusCheckTimeoutExceeded":
        return (
            "the head was lost: it no longer answered",
            f"{again}; if it is lost again, raise `head.memory_gib`",
        )
    if reason == "SubmissionFailed":
        return f"the driver could not be handed to the cluster: {_short(said)}", again
    return _entrypoint(said, again)


def _not_begun(case: _Case) -> tuple[str, str]:
    limit = at(case.job, "spec", "preRunningDeadlineSeconds")
    cause = _gravest(case, (HEAD, WORKER)) or without_node(case.events)  # the pods may be gone
    why, action = (f": {cause.message}", cause.action) if cause else ("", "")
    default = "raise `start_deadline_s` in the profile and submit again"
    return f"did not begin within {limit} s{why}", action or default


def _entrypoint(said: str, again: str) -> tuple[str, str]:
    match = re.search(r"failed with exit code (-?\d+)", said)
    if not match:
        lost = re.search(r"not found|unexpectedly|died|unreachable|node .*dead", said)
        return (f"the head was lost ({_short(said)})" if lost else _short(said) or "failed"), again
    lines = [line.strip() for line in said.splitlines()[1:] if line.strip()]
    last = f": {lines[-1][:300]}" if lines else ""
    if int(match[1]) in (137, -9):
        return (
            f"the driver was killed (exit code {match[1]}), as when memory runs out{last}",
            "raise `head.memory_gib` in the profile and submit again",
        )
    return f"the driver ended with exit code {match[1]}{last}", f"look at the logs, then {again}"


def _gravest(case: _Case, roles: Sequence[str]) -> Finding | None:
    found = [each for each in case.found if each.role in roles]
    return min(found, key=lambda each: (roles.index(each.role), not each.blocks), default=None)


def _attempt(case: _Case) -> str:
    number = attempts(case.job)
    return f"attempt {number} of {_most(case)}: " if number > 1 else ""


def _most(case: _Case) -> int:
    return int(at(case.job, "spec", "backoffLimit") or 0) + 1


def _short(text: str) -> str:
    return " ".join(text.split())[:300]
