"""The JSON schema of a sweep file, the params of the built-in methods among it."""

from __future__ import annotations

from typing import Any

from orchestrator.planning.space import NARROWING_KEYS
from orchestrator.planning.sweep import Sweep
from pipelines.catalogue import MODELS, TASKS
from pipelines.registry import PIPELINES, load_pipeline

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def sweep_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a sweep file."""
    schema = Sweep.model_json_schema()
    schema["$schema"] = DRAFT
    schema["title"] = "fanflare sweep"
    properties = schema["properties"]
    for key, names in (("models", MODELS), ("tasks", TASKS)):
        properties[key]["examples"] = list(names)
    schema["allOf"] = [
        {
            "if": {
                "properties": {"pipeline": {"const": name}},
                "required": [] if name == Sweep.model_fields["pipeline"].default else ["pipeline"],
            },
            "then": {"properties": {"space": _space(name)}},
        }
        for name in PIPELINES
    ]
    return schema


def _space(pipeline: str) -> dict[str, Any]:
    """Return the schema of a pipeline's space: one mapping, or a list of them."""
    mapping: dict[str, Any] = {
        "type": "object",
        "properties": {key: {} for key in NARROWING_KEYS},
        "additionalProperties": False,
    }
    methods = load_pipeline(pipeline).methods()
    for method in methods.values():
        schema = method.model_json_schema()
        for name, param in schema["properties"].items():
            if name == "method":
                continue
            mapping["properties"].setdefault(name, _axis(param))
        if isinstance(of_any_name := schema.get("additionalProperties"), dict):
            mapping["additionalProperties"] = _axis(of_any_name)
    if "" in methods:
        mapping["required"] = methods[""].model_json_schema().get("required", [])
    else:
        mapping["properties"]["method"] = _axis(
            {"enum": list(methods), "description": "The method, or a list of methods."}
        )
        mapping["required"] = ["method"]
    return {"anyOf": [mapping, {"type": "array", "items": mapping, "minItems": 1}]}


def _axis(value: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a param: a fixed value, or an axis of values."""
    value = {key: content for key, content in value.items() if key != "default"}
    return {
        "description": value.get("description", ""),
        "anyOf": [value, {"type": "array", "items": value, "minItems": 1}],
    }
