"""Tells tags that mark entities (BIO and its kin) from others; scores nothing."""

from __future__ import annotations

import re
from collections.abc import Collection

ENTITY_TAG = re.compile(r"O|[BIES](-.*)?")
"""Outside, or the beginning, inside, end or all of an entity, with its type."""


def marks_entities(tags: Collection[str]) -> bool:
    """Return whether a set of tags marks entities, as `O`, `B-person`, `I-person` do."""
    return all(map(ENTITY_TAG.fullmatch, tags)) and any(tag[0] in "BI" for tag in tags)
