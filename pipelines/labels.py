"""What an artifact says of itself besides its result (fidelity, extras); computes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any


class Fidelity(StrEnum):
    """How a result relates to the one that the trial would give alone, strongest first."""

    EXACT = "exact"
    """Bitwise the same."""
    EQUAL = "equal"
    """The same mathematics in another order of floating-point sums."""
    STATISTICAL = "statistical"
    """The same distribution from another random stream."""
    ADAPTIVE = "adaptive"
    """Evidence was cut short, as by early stopping."""


KEPT = "kept"
"""The key of a result's value that lists its extras; missing where there are none."""


def extras_of(value: Mapping[str, Any]) -> frozenset[str]:
    """Return the extras that an artifact of this value has."""
    return frozenset(value.get(KEPT, ()))


FIDELITY = "fidelity"
"""The key of a result's value that holds its label; missing where it is `exact`."""


def fidelity_of(value: Mapping[str, Any]) -> Fidelity:
    """Return the label of an artifact of this value."""
    return Fidelity(value.get(FIDELITY, Fidelity.EXACT))


def weakest(labels: Iterable[Fidelity]) -> Fidelity:
    """Return the label of what rests on results of these labels."""
    order = list(Fidelity)
    return max(labels, key=order.index, default=Fidelity.EXACT)
