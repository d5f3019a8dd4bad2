"""Takes secrets out of text before it is kept or shown; knows only this process's environment."""

from __future__ import annotations

import os
import re
from functools import lru_cache

_SECRET_NAME = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|CREDENTIAL)", re.I)
_URI_PASSWORD = re.compile(r"(\w+://[^/\s:@]*):[^/\s@]+@")
_MIN_SECRET_CHARS = 6
"""A shorter value would blot out ordinary words."""


def redact(text: str) -> str:
    """Return text without passwords in URIs and without the values of secret variables."""
    text = _URI_PASSWORD.sub(r"\1:***@", text)
    for secret in _secrets():
        text = text.replace(secret, "***")
    return text


@lru_cache(maxsize=1)
def _secrets() -> tuple[str, ...]:
    return tuple(
        value
        for name, value in os.environ.items()
        if _SECRET_NAME.search(name) and len(value) >= _MIN_SECRET_CHARS
    )
