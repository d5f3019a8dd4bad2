"""A request to the API server: whom it is about and what it wants; answers none."""

import json
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.kubernetes import refusals
from tests.kubernetes.kinds import Kind

VERBS = {
    ("GET", True): "get",
    ("GET", False): "list",
    ("POST", False): "create",
    ("PUT", True): "update",
    ("PATCH", True): "patch",
    ("DELETE", True): "delete",
    ("DELETE", False): "deletecollection",
}


@dataclass
class Request:
    """One request, read."""

    method: str
    path: str
    query: dict[str, str]
    content_type: str
    content: bytes
    kind: Kind | None = None
    namespace: str | None = None
    name: str | None = None
    subresource: str | None = None
    verb: str = ""
    warnings: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    """The program and its arguments, for `exec`."""

    @property
    def resource(self):
        """The resource as rights name it, as `pods/log`."""
        plural = self.kind.plural if self.kind else self.path
        return f"{plural}/{self.subresource}" if self.subresource else plural

    @property
    def dry_run(self):
        return self.query.get("dryRun") == "All"

    def route(self, kinds):
        """Find out which kind and object the path names.

        Raises:
            ApiError: No such path (404) or no such method there (405).
        """
        parts = [part for part in self.path.split("/") if part]
        match parts:
            case ["api", version, *rest]:
                group = ""
            case ["apis", group, version, *rest]:
                pass
            case _:
                raise refusals.no_such_path()
        if rest[:1] == ["namespaces"] and len(rest) > 2 and rest[2] != "status":
            self.namespace, rest = rest[1], rest[2:]
        found = [
            kind
            for kind in kinds
            if rest and (kind.group, kind.version, kind.plural) == (group, version, rest[0])
        ]
        if not found or len(rest) > 3:
            raise refusals.no_such_path()
        self.kind = found[0]
        self.name, self.subresource = ([*rest[1:], None, None])[:2]
        known = {None} | ({"status"} if self.kind.has_status else set())
        if self.subresource not in known | ({"log", "exec"} if self.kind.name == "Pod" else set()):
            raise refusals.no_such_path()
        self.verb = VERBS.get((self.method, self.name is not None), "")
        about_all = self.verb in ("list", "deletecollection")
        if not self.verb or (self.kind.namespaced and not self.namespace and not about_all):
            raise refusals.method_not_allowed()
        if self.verb == "list" and self.query.get("watch") in ("true", "1"):
            self.verb = "watch"

    def body(self) -> Any:
        """Return the body's data.

        Raises:
            ApiError: It is neither JSON nor YAML (400).
        """
        if not self.content:
            return {}
        if "protobuf" in self.content_type:
            raise refusals.unsupported_media_type(["application/json", "application/yaml"])
        try:
            if "yaml" in self.content_type:
                return yaml.safe_load(self.content)
            return json.loads(self.content)
        except (ValueError, yaml.YAMLError) as error:
            raise refusals.bad_request(f"error decoding request body: {error}") from error


@dataclass
class Answer:
    """What a request is answered: data, text or a stream of bytes."""

    body: Any
    code: int = 200
    content_type: str = "application/json"
