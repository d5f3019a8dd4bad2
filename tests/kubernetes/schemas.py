"""What fields and types a kind may hold: from KubeRay's schemas and the official client's models.

KubeRay's schemas are looked for beside the repository, or where FANFLARE_KUBERAY_SCHEMAS says;
without them custom resources are taken as they come.
"""

import functools
import json
import os
import re
from pathlib import Path

import jsonschema
import pytest
from kubernetes import client

from tests.kubernetes import refusals

SCHEMAS = Path(
    os.environ.get("FANFLARE_KUBERAY_SCHEMAS")
    or Path(__file__).resolve().parents[3] / "shared" / "kuberay"
)
needs_schemas = pytest.mark.skipif(
    not SCHEMAS.is_dir() and not os.environ.get("FANFLARE_TEST_KUBECONFIG"),
    reason=f"KubeRay's schemas are not at {SCHEMAS}",
)
PRIMITIVES = {"str": "string", "bool": "boolean", "float": "number", "int": "integer"}
QUANTITIES = {"limits", "requests", "hard", "used", "capacity", "allocatable", "max", "min"} | {
    "default",
    "defaultRequest",
    "sizeLimit",
}
INT_OR_STRING = {"x-kubernetes-int-or-string": True, "type": ["integer", "string", "number"]}


@functools.cache
def schema_of(kind):
    """Return the OpenAPI schema of a kind, or None where none is known."""
    if kind.model:
        return _model_schema(kind.model)
    path = SCHEMAS / f"{kind.name.lower()}.{kind.version}.schema.json"
    return json.loads(path.read_text()) if kind.group == "ray.io" and path.exists() else None


@functools.cache
def _model_schema(name):
    model = getattr(client, name)
    properties = {}
    for attribute, key in model.attribute_map.items():
        schema = _type_schema(model.openapi_types[attribute])
        if key in QUANTITIES:
            quantity = dict(INT_OR_STRING)
            schema = {**schema, "additionalProperties": quantity} if "type" in schema else quantity
            schema = quantity if key == "sizeLimit" else schema
        properties[key] = schema
    required = [
        model.attribute_map[name]
        for name, field in model.model_fields.items()
        if field.is_required() and name in model.attribute_map
    ]
    return {"type": "object", "properties": properties, "required": required}


def _type_schema(text):
    text = text.removeprefix("Optional[").removesuffix("]") if "Optional[" in text else text
    if text in PRIMITIVES:
        return {"type": PRIMITIVES[text]}
    if text in ("datetime", "bytes"):
        return {"type": "string"}
    if match := re.fullmatch(r"List\[(.*)\]", text):
        return {"type": "array", "items": _type_schema(match[1])}
    if match := re.fullmatch(r"Dict\[str, (.*)\]", text):
        return {"type": "object", "additionalProperties": _type_schema(match[1])}
    return _model_schema(text) if hasattr(getattr(client, text, None), "attribute_map") else {}


def without_nulls(value):
    """Return an object as the server sees it, to which null is the same as absent."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def prune(schema, value, path, unknown):
    """Return a value without the fields that its schema does not know, whose paths are noted."""
    if not schema or schema.get("x-kubernetes-preserve-unknown-fields"):
        return value
    if isinstance(value, list):
        items = schema.get("items")
        return [prune(items, item, f"{path}[{i}]", unknown) for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    properties, others = schema.get("properties"), schema.get("additionalProperties")
    kept = {}
    for key, item in value.items():
        inner = f"{path}.{key}" if path else key
        if properties is not None and key in properties:
            kept[key] = prune(properties[key], item, inner, unknown)
        elif properties is None or others:
            kept[key] = prune(others if isinstance(others, dict) else None, item, inner, unknown)
        else:
            unknown.append(inner)
    return kept


def with_defaults(schema, value):
    """Return a custom resource with the defaults of its schema."""
    if isinstance(value, list):
        return [with_defaults(schema.get("items") or {}, item) for item in value]
    if not isinstance(value, dict):
        return value
    filled = dict(value)
    for key, inner in (schema.get("properties") or {}).items():
        if key not in filled and "default" in inner:
            filled[key] = inner["default"]
        if key in filled:
            filled[key] = with_defaults(inner, filled[key])
    return filled


def checked(kind, obj, field_validation):
    """Return an object as it would be stored, and warnings about fields that were dropped.

    Raises:
        ApiError: An unknown field under `Strict` (400), a wrong type or value (422; 400 in
            built-in kinds).
    """
    obj, schema, unknown = without_nulls(obj), schema_of(kind), []
    metadata = prune(_model_schema("V1ObjectMeta"), obj.get("metadata") or {}, "metadata", unknown)
    if schema is not None:
        if kind.custom:
            obj = with_defaults(schema, obj)
        obj = prune(schema, {**obj, "metadata": {}}, "", unknown)
    obj = {**obj, "metadata": metadata}
    warnings = [f'unknown field "{path}"' for path in sorted(unknown)]
    if warnings and field_validation == "Strict":
        raise refusals.unreadable(kind, "strict decoding error: " + ", ".join(warnings))
    causes = [_cause(error) for error in _errors(schema, obj)]
    if causes and kind.custom:
        raise refusals.invalid(kind, metadata.get("name", ""), causes)
    if wrong := [cause for cause in causes if cause[1] == "FieldValueTypeInvalid"]:
        field, _, text = wrong[0]
        raise refusals.unreadable(kind, f"json: cannot unmarshal into field {field}: {text}")
    if causes:
        raise refusals.invalid(kind, metadata.get("name", ""), causes)
    return obj, warnings if field_validation == "Warn" else []


def _errors(schema, obj):
    found = [(_model_schema("V1ObjectMeta"), obj["metadata"], ["metadata"])]
    if schema is not None:
        found.append((schema, {**obj, "metadata": {}}, []))
    for each, value, start in found:
        for error in jsonschema.Draft202012Validator(each).iter_errors(value):
            yield start + list(error.absolute_path), error


def _path_text(path):
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def _type_of(value):
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return names.get(type(value), "object")


def _cause(found):
    path, error = found
    field, shown = _path_text(path), json.dumps(error.instance)
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return _path_text([*path, missing]), "FieldValueRequired", "Required value"
    if error.validator in ("type", "anyOf"):
        wanted = error.validator_value
        if error.validator == "anyOf":
            wanted = [option.get("type", "?") for option in wanted]
        wanted = ",".join(wanted) if isinstance(wanted, list) else wanted
        kind = _type_of(error.instance)
        text = f'Invalid value: "{kind}": {field} in body must be of type {wanted}: "{kind}"'
        return field, "FieldValueTypeInvalid", text
    if error.validator == "enum":
        listed = ", ".join(json.dumps(option) for option in error.validator_value)
        return (
            field,
            "FieldValueNotSupported",
            f"Unsupported value: {shown}: supported values: {listed}",
        )
    phrases = {
        "pattern": f"should match '{error.validator_value}'",
        "minimum": f"should be greater than or equal to {error.validator_value}",
        "maxLength": f"should be at most {error.validator_value} chars long",
    }
    phrase = phrases.get(error.validator, error.message)
    return field, "FieldValueInvalid", f"Invalid value: {shown}: {field} in body {phrase}"
