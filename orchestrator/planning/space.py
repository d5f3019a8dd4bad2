"""Expands a space into its points, by scikit-learn's ParameterGrid convention; validates nothing.

A mapping whose lists are axes and whose scalars are fixed, or a list of such mappings, which
are united. Source: scikit-learn, `sklearn.model_selection.ParameterGrid`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.planning.sweep_file import KeyPath, is_sequence

NARROWING_KEYS = ("models", "tasks", "seeds")
"""Keys by which one mapping of the space keeps to a part of the sweep."""


@dataclass(frozen=True, kw_only=True)
class Subspace:
    """One mapping of the space, its narrowing set apart from its axes."""

    axes: Mapping[str, Any]
    narrowing: Mapping[str, Any]
    keys: KeyPath
    """Where it stands in the file."""

    def points(self) -> Iterator[dict[str, Any]]:
        """Yield the points of the grid; the last axis varies fastest.

        An empty axis is left out: it is a fault, and must not hide those of the other axes.
        """
        axes = {
            name: value if is_sequence(value) else [value]
            for name, value in self.axes.items()
            if not is_sequence(value) or value
        }
        for values in itertools.product(*axes.values()):
            yield dict(zip(axes, values, strict=True))


def subspaces(
    space: Mapping[str, Any] | Sequence[Mapping[str, Any]], keys: KeyPath = ("space",)
) -> list[Subspace]:
    """Return the mappings of a space, each with its place in the file.

    Args:
        space: One mapping, or a list of them.
        keys: Where the space stands.
    """
    mappings: list[tuple[KeyPath, Mapping[str, Any]]]
    if isinstance(space, Mapping):
        mappings = [(keys, space)]
    else:
        mappings = [((*keys, index), mapping) for index, mapping in enumerate(space)]
    return [
        Subspace(
            axes={key: value for key, value in mapping.items() if key not in NARROWING_KEYS},
            narrowing={key: value for key, value in mapping.items() if key in NARROWING_KEYS},
            keys=place,
        )
        for place, mapping in mappings
    ]


def repeated_values(axis: Sequence[Any]) -> list[Any]:
    """Return the values of an axis that stand in it more than once.

    1 and 1.0 are the same; 1 and true are not, as little as in a command.
    """
    seen: set[Any] = set()
    repeated = []
    for value in axis:
        is_nested = isinstance(value, Mapping) or is_sequence(value)
        plain = json.dumps(value, sort_keys=True, default=str) if is_nested else value
        key = (isinstance(value, bool), plain)
        if key in seen:
            repeated.append(value)
        seen.add(key)
    return repeated
