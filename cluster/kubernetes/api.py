"""The objects of one namespace of the Kubernetes API as plain data; not what they mean.

Every object is the JSON that the server sent. One table of kinds and one way of asking stand in for
the typed classes of the official client.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import urllib3

from cluster.kubernetes.command import Command
from cluster.kubernetes.transport import CutError, NotFoundError, Object, Transport
from cluster.profile import Profile

KINDS = {
    "configmaps": "api/v1",
    "events": "api/v1",
    "limitranges": "api/v1",
    "persistentvolumeclaims": "api/v1",
    "pods": "api/v1",
    "rayclusters": "apis/ray.io/v1",
    "rayjobs": "apis/ray.io/v1",
    "resourcequotas": "api/v1",
    "secrets": "api/v1",
    "serviceaccounts": "api/v1",
}
"""Namespaced kinds that are asked for -> the path of their group and version."""

_PAGE = 500


class Api:
    """The API server of one profile, in its namespace.

    Requests are tried again. That is safe for creation too, since every object has a name: if the
    answer to the first try was lost, the second is told that the name is taken.

    Args:
        profile: Says context and namespace; the kubeconfig is the usual one (`KUBECONFIG`,
            `~/.kube/config`), and inside a pod its service account.
        sleep: Waits for that many seconds.

    Raises:
        TargetError: There is no kubeconfig, or no such context.
    """

    def __init__(self, profile: Profile, sleep: Callable[[float], None] = time.sleep) -> None:
        self.namespace = profile.namespace
        self.sleep = sleep
        self.transport = Transport(profile.context, sleep)

    def get(self, kind: str, name: str) -> Object | None:
        """Return one object of the namespace, or None.

        Raises:
            TargetError: The server cannot be asked.
        """
        try:
            return self.transport.ask("GET", self._path(kind, name))
        except NotFoundError:
            return None

    def select(self, kind: str, *, selector: str = "", fields: str = "") -> list[Object]:
        """Return the objects of the namespace that carry the labels, page by page.

        Raises:
            NotFoundError: The cluster does not know the kind.
            TargetError: The server cannot be asked.
        """
        return self.select_at(self._path(kind), selector=selector, fields=fields)

    def select_at(self, path: str, *, selector: str = "", fields: str = "") -> list[Object]:
        """Return the objects at a path of the API, as :meth:`select` does."""
        query = {"labelSelector": selector, "fieldSelector": fields, "limit": str(_PAGE)}
        found: list[Object] = []
        while True:
            page = self.transport.ask(
                "GET", path, {key: value for key, value in query.items() if value}
            )
            found += page.get("items") or []
            query["continue"] = (page.get("metadata") or {}).get("continue") or ""
            if not query["continue"]:
                return found

    def create(self, kind: str, body: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Create an object, unknown fields refused; with `dry_run` the server only says whether.

        Raises:
            TakenError: There is one of the name, perhaps from a try whose answer was lost.
            InvalidError: The server does not accept it.
            TargetError: The server cannot be asked.
        """
        query = {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        return self.transport.ask("POST", self._path(kind), query, body)

    def patch(self, kind: str, name: str, change: Mapping[str, Any]) -> Object | None:
        """Merge a change into an object and return it, or None where it is gone."""
        try:
            return self.transport.ask("PATCH", self._path(kind, name), {}, change)
        except NotFoundError:
            return None

    def delete(
        self, kind: str, name: str, *, propagation: str = "Background", uid: str = ""
    ) -> bool:
        """Delete an object, what belongs to it afterwards; return whether it was there.

        Raises:
            TakenError: The name is that of another object than the one with this `uid`.
            TargetError: The server cannot be asked.
        """
        body: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        body |= {"propagationPolicy": propagation}
        body |= {"preconditions": {"uid": uid}} if uid else {}
        try:
            self.transport.ask("DELETE", self._path(kind, name), {}, body)
        except NotFoundError:
            return False
        return True

    def may(self, verb: str, resource: str, group: str = "", subresource: str = "") -> bool:
        """Return whether the user has a right in the namespace.

        Source: Kubernetes, "Checking API access", SelfSubjectAccessReview.
        """
        wanted = {"namespace": self.namespace, "verb": verb, "group": group, "resource": resource}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": wanted | {"subresource": subresource}},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return bool(self.transport.ask("POST", path, {}, review).get("status", {}).get("allowed"))

    def log(
        self, pod: str, container: str, *, since: str = "", follow: bool = False
    ) -> Iterator[bytes]:
        """Yield a container's log as it comes, each line with its time in front.

        Args:
            pod: Its name.
            container: Its name in the pod.
            since: RFC 3339; lines of that second and later.
            follow: Whether to wait for further lines.

        Raises:
            CutError: The connection broke; what came before stands.
            NotFoundError: The pod is gone.
            TargetError: The log cannot be opened.
        """
        query = {"container": container, "timestamps": "true"}
        query |= {"sinceTime": since} if since else {}
        query |= {"follow": "true"} if follow else {}
        response = self.transport.open("GET", f"{self._path('pods', pod)}/log", query)
        with closing(response.response) as stream:
            try:
                yield from stream.stream(2**16)
            except urllib3.exceptions.HTTPError as error:
                raise CutError(f"the log of {pod} broke off: {error}") from error

    def run(self, pod: str, container: str, command: Sequence[str], stdin: bytes) -> Command:
        """Run a command in a container and return its output as a file.

        Raises:
            NotFoundError: The pod is gone.
            TargetError: It cannot be run.
        """
        path = f"{self._path('pods', pod)}/exec"
        return Command(self.transport, path, container, command, stdin)

    def _path(self, kind: str, name: str = "") -> str:
        path = f"/{KINDS[kind]}/namespaces/{self.namespace}/{kind}"
        return f"{path}/{name}" if name else path
