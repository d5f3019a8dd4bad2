"""How the API server tells what it serves: groups, resources, version and OpenAPI; no objects."""

from tests.kubernetes import refusals
from tests.kubernetes.schemas import schema_of

VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0",
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "2026-04-15T00:00:00Z",
    "goVersion": "go1.26.0",
    "compiler": "gc",
    "platform": "linux/amd64",
}


def answer(path, kinds):
    """Return the document at a path of discovery, or None where the path is about objects.

    Raises:
        ApiError: There is no such group (404).
    """
    match [part for part in path.split("/") if part]:
        case ["version"]:
            return VERSION
        case ["healthz" | "livez" | "readyz"]:
            return "ok"
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        case ["api", version]:
            return _resources("", version, kinds)
        case ["apis"]:
            return _groups(kinds)
        case ["apis", group]:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, kinds)}
        case ["apis", group, version]:
            return _resources(group, version, kinds)
        case ["openapi", *rest]:
            return _openapi(rest, kinds)
    return None


def _groups(kinds):
    groups = sorted({kind.group for kind in kinds if kind.group})
    listed = [_group(group, kinds) for group in groups]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}


def _path(kind):
    return f"apis/{kind.api_version}" if kind.group else f"api/{kind.version}"


def _group(group, kinds):
    versions = sorted({kind.version for kind in kinds if kind.group == group})
    if not versions:
        raise refusals.no_such_path()
    listed = [{"groupVersion": f"{group}/{each}", "version": each} for each in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def _resources(group, version, kinds):
    served = [kind for kind in kinds if (kind.group, kind.version) == (group, version)]
    if not served:
        raise refusals.no_such_path()
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": served[0].api_version,
        "resources": [resource for kind in served for resource in _resource(kind)],
    }


def _resource(kind):
    common = {"singularName": "", "namespaced": kind.namespaced, "kind": kind.name}
    review = kind.group == "authorization.k8s.io"
    yield {
        **common,
        "name": kind.plural,
        "singularName": kind.name.lower(),
        "shortNames": list(kind.short_names),
        "verbs": ["create"] if review else VERBS,
    }
    if kind.has_status:
        yield {**common, "name": f"{kind.plural}/status", "verbs": ["get", "patch", "update"]}
    if kind.name == "Pod":
        yield {**common, "name": "pods/log", "verbs": ["get"]}
        yield {**common, "name": "pods/exec", "verbs": ["create", "get"]}


def _openapi(rest, kinds):
    if rest == ["v3"]:
        paths = sorted({_path(kind) for kind in kinds})
        return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}"} for path in paths}}
    kinds = [kind for kind in kinds if rest == ["v3", *_path(kind).split("/")]]
    if not kinds:
        raise refusals.no_such_path()
    parameter = {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}
    paths, schemas = {}, {}
    for kind in kinds:
        about = {"group": kind.group, "version": kind.version, "kind": kind.name}
        place = "/namespaces/{namespace}" if kind.namespaced else ""
        patch = {"x-kubernetes-group-version-kind": about, "parameters": [parameter]}
        patch["responses"] = {"200": {"description": "OK"}}
        paths[f"/{_path(kind)}{place}/{kind.plural}/{{name}}"] = {"patch": patch}
        schema = dict(schema_of(kind) or {"type": "object"})
        schemas[kind.qualified] = {**schema, "x-kubernetes-group-version-kind": [about]}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION["gitVersion"]},
        "paths": paths,
        "components": {"schemas": schemas},
    }
