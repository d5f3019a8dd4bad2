"""Takes secrets out of text before it is kept or shown; knows only this process's environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from cluster.addresses import without_password

_SECRET_NAME = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|CREDENTIAL)", re.I)
_MIN_SECRET_CHARS = 6
"""A shorter value would blot out ordinary words."""


def redact(text: str) -> str:
    """Return text without passwords in URIs and without the values of secret variables."""
    text = without_password(text)
    for secret in sorted(_secrets(), key=len, reverse=True):  # one may be part of another
        text = text.replace(secret, "***")
    return text


def redact_json(value: Any) -> Any:
    """Return a JSON value with every text in it redacted; keys and numbers stay."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redact_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_json(item) for item in value]
    return value


def _secrets() -> Iterator[str]:
    for name, value in os.environ.items():
        if len(value) >= _MIN_SECRET_CHARS and _SECRET_NAME.search(name):
            yield value
