"""The names and labels by which a sweep's objects are found again, from any machine; pure text."""

from __future__ import annotations

import hashlib
import re

MAX_NAME = 47
"""Characters of a RayJob's name: KubeRay 1.7 refuses longer ones."""

MAX_LABEL = 63
"""Characters of a label's value."""

MANAGED_BY = "app.kubernetes.io/managed-by"
QUEUE = "kueue.x-k8s.io/queue-name"
SWEEP = "fanflare.dev/sweep"
SWEEP_ID = "fanflare.dev/sweep-id"
OWNER = "fanflare.dev/owner"
ROLE = "fanflare.dev/role"
SWEEP_NAME = "fanflare.dev/sweep-name"
STORE = "fanflare.dev/store"
BUNDLE = "fanflare.dev/bundle"

MANAGER = "fanflare"
"""The value of the label `managed-by`."""


def slug(text: str, max_length: int) -> str:
    """Return a text as a part of a DNS-1035 name: small letters, digits, `-`; a letter first.

    Two texts may have one slug; a name that must be unique carries a digest besides.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not plain[:1].isalpha():
        plain = f"s-{plain}"
    return plain[:max_length].rstrip("-")


def sweep_id(name: str, store: str) -> str:
    """Return 8 hex digits for a sweep of one name in one store."""
    return hashlib.sha256(f"{name}\n{store}".encode()).hexdigest()[:8]


def job_name(name: str, store: str, number: int) -> str:
    """Return the name of a sweep's n-th submission: `ff-<slug>-<sweep id>-<n>`."""
    tail = f"-{sweep_id(name, store)}-{number}"
    return f"ff-{slug(name, MAX_NAME - len('ff-') - len(tail))}{tail}"


def number_of(job_name: str) -> int:
    """Return the n of a submission's name.

    Raises:
        ValueError: It is no such name.
    """
    found = re.fullmatch(r"ff-[a-z][-a-z0-9]*-[0-9a-f]{8}-([1-9][0-9]*)", job_name)
    if not found:
        raise ValueError(f"{job_name!r} is no name of a submission, as ff-quickstart-1a2b3c4d-1")
    return int(found[1])


def label_value(text: str) -> str:
    """Return a text as the value of a label: letters, digits, `-`, `_`, `.`; no more than 63."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", text)[:MAX_LABEL]
    return re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$", "", plain)


def labels(name: str, store: str, owner: str) -> dict[str, str]:
    """Return the labels of all objects of a sweep."""
    return {
        MANAGED_BY: MANAGER,
        SWEEP: slug(name, MAX_LABEL),
        SWEEP_ID: sweep_id(name, store),
        OWNER: label_value(owner),
    }


def selector(name: str, store: str) -> str:
    """Return the label selector that finds all objects of a sweep, whoever sent it."""
    return f"{MANAGED_BY}={MANAGER},{SWEEP_ID}={sweep_id(name, store)}"
