"""What a submission's driver prints, each line once, whatever breaks in between.

The driver runs on the head; KubeRay's submitter pod prints its output (`ray job logs --follow`).
Every line comes with its time, so a stream that was cut is taken up again from the second of the
last line, less what was seen of that second. A new attempt has a new submitter.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from cluster.kubernetes.api import Api
from cluster.kubernetes.diagnosis import is_ended
from cluster.kubernetes.findings import at
from cluster.kubernetes.transport import CutError, InvalidError, NotFoundError, Object
from cluster.target import TargetError

POLL_S = 2.0
"""Pause in seconds between two looks at what has no more to say for now."""
_MAX_VAIN = 10
"""Looks in vain at a log that seems cut, as one is whose beginning was rotated away."""
_SUBMITTER_JOB = "batch.kubernetes.io/controller-uid"
_CLI = re.compile(r"^[\d-]+ [\d:,.]+\s+(INFO|SUCC) \w+\.py:\d+ -- ")
"""How Ray's command line speaks of itself, which is not the driver's output."""


def driver_lines(api: Api, name: str, *, follow: bool, poll_s: float = POLL_S) -> Iterator[str]:
    """Yield what the driver of a RayJob has printed, over all attempts whose pods are there.

    Args:
        api: The API server.
        name: The RayJob.
        follow: Whether to wait for more until the RayJob has ended.
        poll_s: Pause in seconds between two looks.

    Raises:
        TargetError: The server cannot be asked, or the driver's pod is gone.
    """
    printers: dict[str, _Printer] = {}
    vain = 0
    while vain < _MAX_VAIN:
        job = api.get("rayjobs", name)
        ended = job is None or is_ended(job)
        fresh = False
        for printer in _printers(api, name, printers):
            for line in printer.new_lines(follow=follow and not ended):
                fresh = True
                yield line
        if fresh:
            vain = 0
            continue
        if ended or not follow:
            if not any(printer.was_cut for printer in printers.values()):
                break
            vain += 1
        api.sleep(poll_s)
    if ended and not printers:
        raise TargetError(
            f"the pod that printed the driver's output of {name} is gone; "
            "what trials printed is in the store: `fanflare logs TRIAL`"
        )


def _printers(api: Api, name: str, known: dict[str, _Printer]) -> Iterator[_Printer]:
    """Yield the submitter pods, the oldest first; they are remembered in `known`."""
    pods = api.select("pods", selector=f"job-name={name}")
    for pod in sorted(pods, key=lambda pod: str(at(pod, "metadata", "creationTimestamp"))):
        uid = str(at(pod, "metadata", "uid"))
        if uid not in known:
            job = str(at(pod, "metadata", "labels", _SUBMITTER_JOB) or uid)
            before = (each.printed for each in known.values() if each.job == job)
            known[uid] = _Printer(api, pod, job, sum(before, Counter()))
        yield known[uid]


class _Printer:
    """The output of one submitter pod.

    Args:
        api: The API server.
        pod: The pod.
        job: The Job to which it belongs; a further pod of one prints all from the start again.
        repeated: What earlier pods of that Job have printed.
    """

    def __init__(self, api: Api, pod: Object, job: str, repeated: Counter[str]) -> None:
        self.job = job
        self.printed: Counter[str] = Counter()
        self.was_cut = False
        self._api = api
        self._name = str(at(pod, "metadata", "name"))
        self._container = str(pod["spec"]["containers"][0]["name"])
        self._repeated = repeated
        self._second: datetime | None = None
        self._seen: Counter[bytes] = Counter()

    def new_lines(self, *, follow: bool) -> Iterator[str]:
        """Yield what was not yielded before, until the log ends or breaks."""
        for raw in self._new_entries(follow=follow):
            line = raw.partition(b" ")[2].decode(errors="replace").rstrip("\r")
            if self._repeated[line]:
                self._repeated[line] -= 1
            elif not _CLI.match(line):
                self.printed[line] += 1
                yield line

    def _new_entries(self, *, follow: bool) -> Iterator[bytes]:
        since = self._second.strftime("%Y-%m-%dT%H:%M:%SZ") if self._second else ""
        seen = Counter(self._seen)
        self.was_cut = True
        try:
            chunks = self._api.log(self._name, self._container, since=since, follow=follow)
            for raw in _whole_lines(chunks):
                second = _second(raw)
                if second is None:
                    continue  # the kubelet's own words, as that a log cannot be read
                if seen[raw]:
                    seen[raw] -= 1
                    continue
                if self._second is None or second > self._second:
                    self._second, self._seen = second, Counter()
                if second == self._second:
                    self._seen[raw] += 1
                yield raw
            # A stream may break and look complete: then what was seen does not all come again.
            self.was_cut = any(seen.values())
        except CutError:
            return
        except (InvalidError, NotFoundError):
            self.was_cut = False  # not started yet, or gone in the meantime


def _whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines that are complete: of one that was cut the rest comes with the next try."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines


def _second(raw: bytes) -> datetime | None:
    """Return the second in front of a line, in UTC: nodes may print their own zone."""
    try:
        time = datetime.fromisoformat(raw.partition(b" ")[0].decode())
        return time.astimezone(UTC).replace(microsecond=0)
    except ValueError:
        return None
