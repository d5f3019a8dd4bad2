"""What an address says by itself: where it points, what it gives away; reaches nothing."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


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
    """Return whether a URI holds a secret: a password, or a token in the place of a user."""
    parts = urlsplit(uri)
    return bool(parts.password or (parts.username and parts.scheme.startswith("http")))
