"""What an object must hold whatever its kind says: its name, its labels, its size; stores none."""

import base64
import re

from tests.kubernetes import refusals

MAX_CONTENT = 1024 * 1024
"""Bytes that a ConfigMap or a Secret may hold."""
MAX_ANNOTATIONS = 256 * 1024
"""Bytes of all annotations of an object; `kubectl apply` adds one with all that was applied."""

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
"""With this label Kueue holds a RayJob until it admits it."""

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_LABEL_KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def check(kind, obj):
    """Refuse a bad name, bad labels and contents that are too large.

    Raises:
        ApiError: With all that is wrong (422).
    """
    metadata = obj["metadata"]
    causes = [*_name_causes(kind, metadata["name"]), *_label_causes(metadata.get("labels") or {})]
    if kind.name in ("ConfigMap", "Secret") and _size(kind, obj) > MAX_CONTENT:
        field = "[]" if kind.name == "ConfigMap" else "data"
        text = f"Too long: may not be more than {MAX_CONTENT} bytes"
        causes.append((field, "FieldValueTooLong", text))
    notes = metadata.get("annotations") or {}
    if sum(len(key.encode()) + len(text.encode()) for key, text in notes.items()) > MAX_ANNOTATIONS:
        text = f"Too long: may not be more than {MAX_ANNOTATIONS} bytes"
        causes.append(("metadata.annotations", "FieldValueTooLong", text))
    if kind.name == "Pod" and not obj.get("spec", {}).get("containers"):
        causes.append(("spec.containers", "FieldValueRequired", "Required value"))
    if causes:
        raise refusals.invalid(kind, metadata["name"], causes)


def _name_causes(kind, name):
    shown = f'Invalid value: "{name}": '
    if kind.name in ("Namespace", "Service"):
        if len(name) > 63 or not _LABEL.fullmatch(name):
            text = (
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters "
                "or '-', and must start and end with an alphanumeric character"
            )
            yield "metadata.name", "FieldValueInvalid", shown + text
    elif len(name) > 253:
        yield "metadata.name", "FieldValueInvalid", shown + "must be no more than 253 bytes"
    elif not _SUBDOMAIN.fullmatch(name):
        text = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
            "'-' or '.', and must start and end with an alphanumeric character"
        )
        yield "metadata.name", "FieldValueInvalid", shown + text


def _label_causes(labels):
    for key, value in labels.items():
        shown = f'Invalid value: "{value}": '
        if not _LABEL_KEY.fullmatch(key):
            text = f'Invalid value: "{key}": name part must consist of alphanumeric characters'
            yield "metadata.labels", "FieldValueInvalid", text
        if len(value) > 63:
            yield "metadata.labels", "FieldValueInvalid", shown + "must be no more than 63 bytes"
        elif not _LABEL_VALUE.fullmatch(value):
            text = (
                "a valid label must be an empty string or consist of alphanumeric characters, "
                "'-', '_' or '.', and must start and end with an alphanumeric character"
            )
            yield "metadata.labels", "FieldValueInvalid", shown + text


def _size(kind, obj):
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    plain = {} if kind.name == "Secret" else data
    encoded = data if kind.name == "Secret" else binary
    return sum(len(text.encode()) for text in plain.values()) + sum(
        len(base64.b64decode(text)) for text in encoded.values()
    )


def with_kind_defaults(kind, obj):
    """Return a new object as the server completes it."""
    obj = {**obj, "apiVersion": kind.api_version, "kind": kind.name}
    if kind.has_status:
        obj.pop("status", None)
    starts = {
        "Namespace": {"phase": "Active"},
        "Pod": {"phase": "Pending", "qosClass": "BestEffort"},
        "PersistentVolumeClaim": {"phase": "Pending"},
        "CustomResourceDefinition": {
            "conditions": [
                {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts"},
                {"type": "Established", "status": "True", "reason": "InitialNamesAccepted"},
            ]
        },
    }
    if kind.name in starts:
        obj["status"] = starts[kind.name]
    labels = obj["metadata"].get("labels") or {}
    if kind.name == "RayJob" and labels.get(QUEUE_LABEL):
        obj["spec"] = {**obj["spec"], "suspend": True}  # by Kueue's webhook
    if kind.name == "Job":
        selected = {"batch.kubernetes.io/controller-uid": obj["metadata"]["uid"]}
        obj["spec"] = {**obj["spec"], "selector": {"matchLabels": selected}}
    if kind.name == "ResourceQuota":
        hard = obj.get("spec", {}).get("hard") or {}
        obj["status"] = {"hard": hard, "used": dict.fromkeys(hard, "0")}
    if kind.name == "Secret":
        plain = obj.pop("stringData", None) or {}
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in plain.items()}
        obj["data"] = {**(obj.get("data") or {}), **encoded}
        obj.setdefault("type", "Opaque")
    return obj
