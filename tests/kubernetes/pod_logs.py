"""What containers have printed, line by line with its time; knows no pod's state."""

import threading
from datetime import UTC, datetime, timedelta


class PodLogs:
    """The lines of all containers; a test appends to them."""

    def __init__(self):
        self.changed = threading.Condition(threading.RLock())
        self._lines = {}
        self._ended = set()

    def append(self, namespace, pod, container, *lines, at=None):
        """Print lines, all at one time (by default now)."""
        with self.changed:
            stamp = at or datetime.now(UTC)
            printed = self._lines.setdefault((namespace, pod, container), [])
            printed.extend((stamp, line) for line in lines)
            self.changed.notify_all()

    def end(self, namespace, pod, container):
        """Say that the container prints no more."""
        with self.changed:
            self._ended.add((namespace, pod, container))
            self.changed.notify_all()

    def begin(self, namespace, pod, container):
        """Say that a container of this name prints afresh."""
        with self.changed:
            self._ended.discard((namespace, pod, container))
            self._lines[(namespace, pod, container)] = []

    def lines(self, key, query):
        """Yield the encoded lines a request asks for; with `follow` until the container ends."""
        with self.changed:
            printed = self._lines.setdefault(key, [])
            start = 0
            if query.get("tailLines"):
                start = max(0, len(printed) - int(query["tailLines"]))
        since = _since(query)
        follow, position = query.get("follow") == "true", start
        while True:
            with self.changed:
                goes_on = follow and key not in self._ended
                if goes_on and position >= len(printed):
                    self.changed.wait(timeout=0.2)
                fresh = printed[position:]
            if not fresh:
                if not goes_on:
                    return
                yield b""  # so that the server sees that it is to stop
            for stamp, line in fresh:
                if since is None or stamp >= since:
                    yield _encoded(stamp, line, query)
            position += len(fresh)
            if not follow:
                return


def _since(query):
    if query.get("sinceSeconds"):
        return datetime.now(UTC) - timedelta(seconds=int(query["sinceSeconds"]))
    if query.get("sinceTime"):
        # the real server passes whole seconds on, so lines of that second come again
        return datetime.fromisoformat(query["sinceTime"]).replace(microsecond=0)
    return None


def _encoded(stamp, line, query):
    prefix = ""
    if query.get("timestamps") == "true":
        prefix = stamp.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z "
    return f"{prefix}{line}\n".encode()
