"""Lays a user's patch over a pod template; knows no more of Kubernetes than what names an item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_NAMES = ("name", "mountPath", "containerPort", "topologyKey")
"""What may name an item of a list, in the order in which it is looked for."""

_NAMED_BY_PATH = ("volumeMounts", "volumeDevices")
"""Lists whose items share names, so that the path tells them apart."""


def patched(value: Any, patch: Any) -> Any:
    """Return a value with a patch laid over it; neither is changed.

    Mappings are merged by key, lists of named things by name (mounts by path), with new items at
    the end; any other value takes the place of the old one. `null` removes a key, and so does an
    item `{name: NAME, $patch: delete}` in a list, the way of Kubernetes' strategic merge.
    """
    return _patched("", value, patch)


def _patched(key: str, value: Any, patch: Any) -> Any:
    if isinstance(value, Mapping) and isinstance(patch, Mapping):
        merged = {
            name: _patched(name, value[name], patch[name]) if name in patch else value[name]
            for name in value
            if name not in patch or patch[name] is not None
        }
        new = {name: part for name, part in patch.items() if name not in value}
        return merged | _without_nulls(new)
    if isinstance(value, list) and isinstance(patch, list):
        by = _name_key(key, [*value, *patch])
        return _merged_list(value, patch, by) if by else _without_nulls(patch)
    return _without_nulls(patch)


def _merged_list(items: Sequence[Any], patches: Sequence[Any], by: str) -> list[Any]:
    changes = {patch[by]: patch for patch in patches}
    known = {item[by] for item in items}
    together = [_patched("", item, changes.get(item[by], {})) for item in items]
    together += [_without_nulls(patch) for patch in patches if patch[by] not in known]
    gone = {name for name, patch in changes.items() if patch.get("$patch") == "delete"}
    return [item for item in together if item[by] not in gone]


def _name_key(key: str, items: Sequence[Any]) -> str | None:
    if not items or not all(isinstance(item, Mapping) for item in items):
        return None
    candidates = ("mountPath", "devicePath") if key in _NAMED_BY_PATH else _NAMES
    return next((by for by in candidates if all(by in item for item in items)), None)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_without_nulls(part) for part in value]
    return value
