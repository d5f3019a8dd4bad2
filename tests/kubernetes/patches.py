"""How a patch changes an object: merge, JSON, strategic merge and apply; stores nothing."""

import copy

from tests.kubernetes import refusals

MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "ownerReferences": "uid",
    "conditions": "type",
}
"""Lists of built-in kinds whose items are merged by a key; all others are replaced whole."""


def merge_patch(target, patch):
    """Return the target after a JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def strategic_patch(target, patch):
    """Return the target after a strategic merge patch: lists with a merge key by that key."""
    if not isinstance(patch, dict):
        return patch
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, list) and key in MERGE_KEYS:
            merged[key] = _merged_list(merged.get(key) or [], value, MERGE_KEYS[key])
        else:
            merged[key] = strategic_patch(merged.get(key), value)
    return merged


def _merged_list(items, patches, key):
    merged = {item.get(key): item for item in items}
    for patch in patches:
        if patch.get("$patch") == "delete":
            merged.pop(patch.get(key), None)
        else:
            merged[patch.get(key)] = strategic_patch(merged.get(patch.get(key)), patch)
    return list(merged.values())


def json_patch(target, operations):
    """Return the target after a JSON patch (RFC 6902).

    Raises:
        ApiError: A path is not there or a test fails (422).
    """
    document = {"": copy.deepcopy(target)}
    for operation in operations:
        try:
            _apply_operation(document, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise refusals.ApiError(
                422,
                "Invalid",
                f"the server rejected our request due to an error in our request ({error})",
            ) from error
    return document[""]


def _parent(document, pointer):
    *keys, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]
    for key in keys:
        document = document[int(key)] if isinstance(document, list) else document[key]
    return document, last


def _value_at(document, pointer):
    parent, key = _parent(document, pointer)
    return parent[int(key)] if isinstance(parent, list) else parent[key]


def _apply_operation(document, operation):
    name, pointer = operation["op"], operation["path"]
    if name == "test":
        if _value_at(document, pointer) != operation["value"]:
            raise ValueError(f"testing value {pointer} failed")
        return
    if name in ("move", "copy"):
        value = copy.deepcopy(_value_at(document, operation["from"]))
        if name == "move":
            _apply_operation(document, {"op": "remove", "path": operation["from"]})
        _apply_operation(document, {"op": "add", "path": pointer, "value": value})
        return
    parent, key = _parent(document, pointer)
    if name in ("remove", "replace"):
        _value_at(document, pointer)
    if isinstance(parent, list):
        index = len(parent) if key == "-" else int(key)
        if name != "add":
            parent.pop(index)
        if name != "remove":
            parent.insert(index, operation["value"])
    elif name == "remove":
        del parent[key]
    else:
        parent[key] = operation["value"]


def leaves(value, path=()):
    """Return the values of an object by their paths; a list is one value."""
    if not isinstance(value, dict) or not value:
        return {path: value}
    return {
        leaf: inner
        for key, item in value.items()
        for leaf, inner in leaves(item, (*path, key)).items()
    }


def without(target, path):
    """Return the target without the value at a path."""
    if not isinstance(target, dict) or path[0] not in target:
        return target
    if len(path) == 1:
        return {key: value for key, value in target.items() if key != path[0]}
    return {**target, path[0]: without(target[path[0]], path[1:])}
