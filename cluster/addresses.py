"""What an address says by itself: where it points, what it gives away; reaches nothing."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_USER = re.compile(r"(://[^/\s:@]*):[^/\s]*@")
_QUERY = re.compile(
    r"([?&;][\w.-]*(?:password|passwd|pwd|secret|token|access_key|secret_key|account_key)=)"
    r"[^&;\s'\"]+",
    re.IGNORECASE,
)
"""A secret among the options of a URI, as `?user=me&password=...` of libpq's."""


def is_this_machine(host: str | None) -> bool:
    """Return whether a host's name or address means whichever machine asks for it."""
    if not host:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def has_password(uri: str) -> bool:
    """Return whether a URI holds a secret.

    That is a password, a token in the place of a user, or either among the URI's options.
    """
    parts = urlsplit(uri)
    is_user_secret = parts.username and parts.scheme.startswith("http")
    return bool(parts.password or is_user_secret or _QUERY.search(uri))


def without_password(text: str) -> str:
    """Return a text with the passwords in its URIs replaced by `***`."""
    return _QUERY.sub(r"\1***", _USER.sub(r"\1:***@", text))
