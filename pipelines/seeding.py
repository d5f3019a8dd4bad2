"""Independent random streams from one seed, by purpose; imports no torch."""

from __future__ import annotations

import hashlib


def stream_seed(seed: int, purpose: str) -> int:
    """Return the seed of one stream, so that drawing more from one leaves the others unchanged.

    Args:
        seed: The trial's seed.
        purpose: What the stream is for, as `head` or `order`.

    Returns:
        A number below 2**63, for `torch.Generator.manual_seed` and `numpy.random.default_rng`.
    """
    content = f"{seed}/{purpose}".encode()
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") >> 1
