"""Models that the sweep makes before it asks about them: one for each point of a space.

Which pipeline makes them is up to the entry; this module knows what none of them does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from orchestrator.errors import nearest_name
from orchestrator.planning.faults import Faults, shown
from orchestrator.planning.points import points_of
from orchestrator.planning.space import Subspace, repeated_values, subspaces
from orchestrator.planning.sweep_file import KeyPath, is_sequence
from pipelines.contract import InputError
from pipelines.models.made import MadeModel, ModelMaker
from pipelines.pipeline import TrialSettings
from pipelines.registry import PIPELINES, load_pipeline
from pipelines.sources.entries import MadeModelsEntry

MAX_SEEDS = 1000
"""Fresh starts of one variant; more is a slip of the pen."""


@dataclass(frozen=True, kw_only=True)
class _Variant:
    """One point of the space with one seed."""

    subspace: Subspace
    params: BaseModel
    seed: int

    @property
    def values(self) -> Mapping[str, Any]:
        """What may tell it from others, as plain data."""
        return {**self.params.model_dump(mode="json"), "seed": self.seed}


def made_models(entry: MadeModelsEntry, keys: KeyPath, faults: Faults) -> list[MadeModel]:
    """Return the models of an entry, in the order of its space.

    Each is named by the entry and by what varies among its models, as
    `tiny objective=masked num_hidden_layers=2`.

    Args:
        entry: What the file says.
        keys: Where it says so.
        faults: Takes in all that is wrong with it.
    """
    try:
        maker = load_pipeline(entry.maker)
    except InputError as error:
        faults.add(str(error), (*keys, "pipeline"), nearest_name(entry.maker, PIPELINES))
        return []
    if not isinstance(maker, ModelMaker):
        faults.add(f"pipeline {entry.maker!r} makes no models", (*keys, "pipeline"))
        return []
    variants = [
        _Variant(subspace=subspace, params=params, seed=seed)
        for subspace in subspaces(entry.points, (*keys, entry.space_key))
        for seeds in [_seeds(subspace, faults)]
        for params in points_of(subspace, maker, {}, faults)
        for seed in seeds
    ]
    group = entry.name or maker.name
    return [
        model
        for variant, name in zip(variants, _names(group, variants), strict=True)
        if (model := _model(maker, variant, group, name, faults)) is not None
    ]


def _model(
    maker: ModelMaker, variant: _Variant, group: str, name: str, faults: Faults
) -> MadeModel | None:
    settings = TrialSettings(
        model=None,
        task=None,
        params=variant.params,
        seed=variant.seed,
        folder=faults.file.folder,
    )
    try:
        return maker.made_model(settings, name=name, group=group)
    except InputError as error:
        faults.add_input(error, variant.subspace.keys)
        return None


def _seeds(subspace: Subspace, faults: Faults) -> Sequence[int]:
    """Return the seeds of a mapping; by default the one seed 0."""
    for key in subspace.narrowing.keys() - {"seeds"}:
        faults.add(f"a model that is made knows no {key!r}", (*subspace.keys, key))
    given = subspace.narrowing.get("seeds", 1)
    keys = (*subspace.keys, "seeds")
    if _is_count(given) and 1 <= given <= MAX_SEEDS:
        return range(given)
    if not is_sequence(given) or not given or not all(map(_is_count, given)):
        faults.add(f"a number of seeds or a list of seeds; given: {shown(given)}", keys)
        return ()
    for seed in repeated_values(given):
        faults.add(f"seed {seed} stands there twice", keys)
    return list(given)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32


def _names(group: str, variants: Sequence[_Variant]) -> Iterator[str]:
    """Yield a name for each variant: the entry's, and what is not the same in all of them."""
    written = [name for v in variants for name in v.subspace.axes]
    varying = [
        name
        for name in dict.fromkeys([*written, "seed"])
        if len({repr(v.values.get(name)) for v in variants}) > 1
    ]
    for variant in variants:
        parts = (f"{name}={_said(variant.values.get(name))}" for name in varying)
        yield " ".join([group, *parts])


def _said(value: Any) -> str:
    """Return a value as a name has it: of a mapping its own name, if it has one."""
    if isinstance(value, Mapping) and "name" in value:
        return str(value["name"])
    return f"{value:g}" if isinstance(value, float) else str(value)
