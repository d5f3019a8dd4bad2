"""What events say against a submission's pods, and what such a finding is; looks at no pod."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]

HEAD, WORKER, SUBMITTER, READER = "head", "worker", "submitter", "reader"


@dataclass(frozen=True)
class Finding:
    """One thing that keeps a pod from its work."""

    message: str
    action: str
    role: str
    """`head`, `worker`, `submitter` or `reader`."""
    blocks: bool = True
    """Whether it goes on until somebody does something."""


def at(value: Any, *keys: str) -> Any:
    """Return what lies at a path of mappings, None where the path ends early."""
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def refusals(events: Iterable[Object]) -> Iterator[Finding]:
    """Yield why pods were never made: quota, LimitRange, admission; the newest word of each.

    A pod that was made afterwards ends what was said before. Source: the events of
    `raycluster_controller.go`.
    """
    newest: dict[str, Finding] = {}
    for event in by_time(events):
        reason, said = str(event.get("reason") or ""), str(event.get("message") or "")
        role = WORKER if "Worker" in reason else HEAD
        if re.fullmatch(r"Created(Head|Worker)Pod", reason):
            newest.pop(role, None)
        elif reason == "AutoscalerServiceAccountNotFound":
            account = re.search(r"ServiceAccount (\S+) is not found", said)
            newest[role] = Finding(
                f"the head cannot be made: there is no ServiceAccount{_quoted(account)}",
                "create it in the namespace, or cancel, correct `service_account` in the profile, "
                "and submit again",
                role,
            )
        elif re.fullmatch(r"FailedCreate|FailedToCreate(Head|Worker)Pod", reason):
            newest[role] = _refusal(said, role)
    yield from newest.values()


def _refusal(said: str, role: str) -> Finding:
    who = "the head" if role == HEAD else "a worker"
    if match := re.search(r"exceeded quota: ([^,]+), (.*)", said):
        return Finding(
            f"{who} is refused: quota {match[1]!r} is spent ({match[2].strip()})",
            "wait until others end, or have the quota raised",
            role,
        )
    brief = said.rpartition("is forbidden: ")[2] or said
    return Finding(
        f"{who} cannot be made: {last_line(brief)}",
        "cancel, correct the profile, and submit again",
        role,
    )


def _quoted(match: re.Match[str] | None) -> str:
    return f" {match[1]!r}" if match else ""


def removals(events: Iterable[Object]) -> Iterator[Finding]:
    """Yield which pods ran out of memory and are removed already, as KubeRay removes failed ones.

    Source: the events of `raycluster_controller.go`, which tell how Ray's container ended.
    """
    for event in events:
        match = re.fullmatch(r"Deleted(Head|Worker)Pod", str(event.get("reason")))
        if match and "OOMKilled" in str(event.get("message")):
            role = match[1].lower()
            key = "`head.memory_gib`" if role == HEAD else "`memory_gib` of its worker group"
            yield Finding(
                f"{'the head' if role == HEAD else 'a worker'} ran out of memory and was killed",
                f"raise {key} in the profile, or ask for less at once, and submit again",
                role,
                blocks=role == HEAD,
            )


def by_time(events: Iterable[Object]) -> list[Object]:
    """Return events, the oldest first."""
    return sorted(events, key=_time_of)


def _time_of(event: Object) -> str:
    last = at(event, "series", "lastObservedTime")
    times = (event.get(key) for key in ("lastTimestamp", "eventTime", "firstTimestamp"))
    return next((str(time) for time in (last, *times) if time), "")


def last_line(text: str) -> str:
    """Return the last line that says something, cut to a sentence's length."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:400] if lines else ""
