"""Which objects a label selector or a field selector means; knows no store."""

import re

from tests.kubernetes import refusals

_SET_TERM = re.compile(r"^(\S+)\s+(in|notin)\s*\(([^()]*)\)$")
FIELDS = {
    "Pod": {"status.phase", "spec.nodeName", "spec.serviceAccountName", "spec.restartPolicy"},
    "Event": {
        "involvedObject.kind",
        "involvedObject.name",
        "involvedObject.namespace",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    },
    "Secret": {"type"},
    "Namespace": {"status.phase"},
    "Job": {"status.successful"},
}
"""What the real server can select by, beside name and namespace."""


def at(obj, path):
    """Return the text at a dotted path, or an empty one."""
    for key in path.split("."):
        obj = obj.get(key) if isinstance(obj, dict) else None
    return "" if obj is None else str(obj)


def label_matcher(text):
    """Return a predicate over objects for a label selector.

    Raises:
        ApiError: The selector cannot be read (400).
    """
    terms = [_label_term(term.strip()) for term in re.split(r",(?![^()]*\))", text or "") if term]
    return lambda obj: all(term(obj.get("metadata", {}).get("labels") or {}) for term in terms)


def _label_term(term):
    if match := _SET_TERM.match(term):
        key, operator, listed = match.groups()
        values = {value.strip() for value in listed.split(",")}
        if operator == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    for operator, equal in (("!=", False), ("==", True), ("=", True)):
        if operator in term:
            key, value = (part.strip() for part in term.split(operator, 1))
            return lambda labels: (labels.get(key) == value) is equal
    if re.fullmatch(r"!?[A-Za-z0-9./_-]+", term):
        key = term.lstrip("!")
        return lambda labels: (key in labels) is not term.startswith("!")
    raise refusals.bad_request(f'unable to parse requirement: found "{term}"')


def field_matcher(kind, text):
    """Return a predicate over objects for a field selector.

    Raises:
        ApiError: The field is none of those that can be selected by (400).
    """
    terms = []
    for term in filter(None, (text or "").split(",")):
        operator = "!=" if "!=" in term else "==" if "==" in term else "="
        path, _, value = term.partition(operator)
        known = {"metadata.name", "metadata.namespace"} | FIELDS.get(kind.name, set())
        if path not in known:
            raise refusals.bad_request(_unknown_field(kind, path))
        terms.append((path, value, operator != "!="))
    return lambda obj: all((at(obj, path) == value) is equal for path, value, equal in terms)


def _unknown_field(kind, path):
    if kind.custom or kind.name in FIELDS or kind.name in ("Node", "Service"):
        return f"field label not supported: {path}"
    return f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"'
