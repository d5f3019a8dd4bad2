"""The API server's answers to get, list, watch and log; changes nothing."""

import base64
import json
import time

from tests.kubernetes import refusals
from tests.kubernetes.requests import Answer
from tests.kubernetes.selectors import field_matcher, label_matcher


class Reading:
    """Reads the objects and logs of one server."""

    def __init__(self, objects, logs, stopped):
        self._objects = objects
        self._logs = logs
        self._stopped = stopped

    def get(self, request):
        """Answer with one object, or with a pod's log."""
        if request.subresource == "log":
            return self._log(request)
        self._check_version(request)
        return Answer(self._objects.get(request.kind, request.namespace, request.name))

    def _check_version(self, request):
        asked, current = request.query.get("resourceVersion") or "0", self._objects.version
        if asked.isdigit() and int(asked) > current:
            raise refusals.too_large_version(int(asked), current)

    def list(self, request):
        """Answer with the objects that the selectors mean, a page at a time."""
        self._check_version(request)
        with self._objects.changed:
            matches = _matcher(request)
            found = [
                obj for obj in self._objects.list(request.kind, request.namespace) if matches(obj)
            ]
            version = self._objects.version
        metadata = {"resourceVersion": str(version)}
        start = 0
        if token := request.query.get("continue"):
            start = self._continued(token)
        limit = int(request.query.get("limit") or 0)
        if limit and start + limit < len(found):
            state = json.dumps({"start": start + limit, "version": version})
            metadata["continue"] = base64.b64encode(state.encode()).decode()
            if not (request.query.get("labelSelector") or request.query.get("fieldSelector")):
                metadata["remainingItemCount"] = len(found) - start - limit
        items = found[start : start + limit] if limit else found[start:]
        kind = request.kind
        if not kind.custom:  # the real server leaves these out of lists of built-in kinds
            hidden = ("apiVersion", "kind")
            items = [{k: v for k, v in item.items() if k not in hidden} for item in items]
        body = {
            "kind": f"{kind.name}List",
            "apiVersion": kind.api_version,
            "metadata": metadata,
            "items": items,
        }
        return Answer(body)

    def _continued(self, token):
        try:
            state = json.loads(base64.b64decode(token))
        except ValueError as error:
            raise refusals.bad_request("continue key is not valid") from error
        if state["version"] < self._objects.forgotten:
            raise refusals.expired(
                "The provided continue parameter is too old to display a consistent list result."
                " You can start a new list without the continue parameter."
            )
        return state["start"]

    def watch(self, request):
        """Answer with a stream of changes, one JSON document a line."""
        if request.query.get("sendInitialEvents") == "true":
            text = "Forbidden: sendInitialEvents is forbidden for watch unless WatchList is on"
            cause = ("sendInitialEvents", "FieldValueForbidden", text)
            raise refusals.invalid(request.kind, "", [cause])
        self._check_version(request)
        if request.name:
            request.query["fieldSelector"] = f"metadata.name={request.name}"
        return Answer(self._changes(request, _matcher(request)))

    def _changes(self, request, matches):
        asked = int(request.query.get("resourceVersion") or 0)
        with self._objects.changed:
            forgotten, last = self._objects.forgotten, asked or self._objects.version
            there = [] if asked else self._objects.list(request.kind, request.namespace)
        if asked and asked < forgotten:
            error = refusals.expired(f"too old resource version: {asked} ({forgotten})")
            yield _line("ERROR", error.status)
            return
        for obj in filter(matches, there):
            yield _line("ADDED", obj)
        deadline = time.monotonic() + float(request.query.get("timeoutSeconds") or 1800)
        while time.monotonic() < deadline and not self._stopped.is_set():
            with self._objects.changed:
                fresh = self._after(last, request)
                if not fresh:
                    self._objects.changed.wait(min(0.2, max(0, deadline - time.monotonic())))
                    fresh = self._after(last, request)
            for change in fresh:
                last = change.version
                if line := _seen(change, matches):
                    yield line
            if not fresh:
                yield b""
        if request.query.get("allowWatchBookmarks") == "true":
            yield _line("BOOKMARK", _bookmark(request.kind, max(last, self._objects.version)))

    def _after(self, version, request):
        return [
            change
            for change in self._objects.changes
            if change.version > version
            and change.key[0] == request.kind.plural
            and request.namespace in (None, change.key[1])
        ]

    def _log(self, request):
        pod = self._objects.get(request.kind, request.namespace, request.name)
        container = _container(pod, request.query.get("container"))
        state = next(
            (
                status.get("state") or {}
                for key in ("initContainerStatuses", "containerStatuses")
                for status in (pod.get("status") or {}).get(key) or []
                if status["name"] == container
            ),
            {},
        )
        if "running" not in state and "terminated" not in state:
            waiting = (state.get("waiting") or {}).get("reason", "ContainerCreating")
            why = "trying and failing to pull image" if "Pull" in waiting else waiting
            raise refusals.bad_request(
                f'container "{container}" in pod "{request.name}" is waiting to start: {why}'
            )
        key = (request.namespace, request.name, container)
        lines = _limited(self._logs.lines(key, request.query), request.query)
        return Answer(self._until_stopped(lines), content_type="text/plain")

    def _until_stopped(self, lines):
        for line in lines:
            if self._stopped.is_set():
                return
            yield line


def _matcher(request):
    labels = label_matcher(request.query.get("labelSelector"))
    fields = field_matcher(request.kind, request.query.get("fieldSelector"))
    return lambda obj: labels(obj) and fields(obj)


def _line(change, obj):
    return (json.dumps({"type": change, "object": obj}) + "\n").encode()


def _seen(change, matches):
    """Return a change as a watcher with a selector sees it: objects enter and leave its view."""
    before = change.before is not None and matches(change.before)
    now = change.type != "DELETED" and matches(change.obj)
    if now:
        return _line("MODIFIED" if before else "ADDED", change.obj)
    return _line("DELETED", change.obj) if before else None


def _bookmark(kind, version):
    metadata = {"resourceVersion": str(version), "creationTimestamp": None}
    return {"kind": kind.name, "apiVersion": kind.api_version, "metadata": metadata}


def _container(pod, asked):
    spec, name = pod["spec"], pod["metadata"]["name"]
    main = [container["name"] for container in spec.get("containers") or []]
    known = [*main, *(container["name"] for container in spec.get("initContainers") or [])]
    annotations = pod["metadata"].get("annotations") or {}
    asked = asked or annotations.get("kubectl.kubernetes.io/default-container")
    if asked is None and len(main) > 1:
        listed = " ".join(main)
        raise refusals.bad_request(
            f"a container name must be specified for pod {name}, choose one of: [{listed}]"
        )
    if asked is not None and asked not in known:
        raise refusals.bad_request(f"container {asked} is not valid for pod {name}")
    return asked or main[0]


def _limited(lines, query):
    if not query.get("limitBytes"):
        yield from lines
        return
    left = int(query["limitBytes"])
    for line in lines:
        yield line[:left]
        left -= len(line)
        if left <= 0:
            return
