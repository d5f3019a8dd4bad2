"""The faults that a test asks the API server for: refusals, lost rights, cut streams."""

import threading
from dataclasses import dataclass

from tests.kubernetes import refusals


@dataclass
class _Failure:
    code: int
    times: int
    verb: str | None
    resource: str | None
    retry_after: float


class Faults:
    """What goes wrong next; nothing by itself."""

    def __init__(self):
        self._lock = threading.Lock()
        self._failures = []
        self._denied = set()
        self._cuts = []

    def fail(self, code, times=1, *, verb=None, resource=None, retry_after=0):
        """Answer the next requests by 401, 429, 500, 503 or 504 "Too large resource version".

        Args:
            code: The status code, or 0 to close the connection without an answer.
            times: How many requests.
            verb: Only requests of this verb, as `create`, `get`, `list`, `watch`.
            resource: Only requests for this resource, as `rayjobs` or `pods/log`.
            retry_after: Seconds in the header `Retry-After` of a 429.
        """
        with self._lock:
            self._failures.append(_Failure(code, times, verb, resource, retry_after))

    def clear(self):
        """Let no request fail from now on, and cut no stream; denied rights stay denied."""
        with self._lock:
            self._failures, self._cuts = [], []

    def deny(self, verb, resource):
        """Take a right away, as `deny("create", "rayjobs")`; access reviews tell it."""
        self._denied.add((verb, resource))

    def allow(self, verb, resource):
        """Give a right back."""
        self._denied.discard((verb, resource))

    def denies(self, verb, resource):
        """Return whether a right is missing."""
        return (verb, resource) in self._denied

    def cut_logs(self, after_lines, times=1, *, clean=False):
        """Cut the next log streams after some lines; `clean` looks like an end of the log."""
        with self._lock:
            self._cuts.extend([(after_lines, clean)] * times)

    def next_cut(self):
        """Return where this log stream is cut and how, or None."""
        with self._lock:
            return self._cuts.pop(0) if self._cuts else None

    def next_failure(self, verb, resource, version):
        """Return the refusal of this request, or None."""
        with self._lock:
            for failure in self._failures:
                if failure.verb in (None, verb) and failure.resource in (None, resource):
                    failure.times -= 1
                    if not failure.times:
                        self._failures.remove(failure)
                    return _refusal(failure, version)
        return None


def _refusal(failure, version):
    match failure.code:
        case 401:
            return refusals.unauthorized()
        case 429:
            return refusals.too_many_requests(failure.retry_after)
        case 504:
            return refusals.too_large_version(version + 7, version)
        case 0:
            return refusals.ApiError(0, "Cut", "")
    message = "an error on the server has prevented the request from succeeding"
    return refusals.ApiError(failure.code, "InternalError", f"Internal error occurred: {message}")
