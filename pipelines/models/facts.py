"""What a plan must know of a model to tell which methods apply to it; imports no torch.

A model of the catalogue brings its facts along. Those of any other pinned model are found once,
from its configuration alone (`pipelines.models.examination`, where torch arrives), and noted in
the cache; a plan reads the note.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import cast

from pipelines.contract import InputError, load_object
from pipelines.models.made import MadeModel
from pipelines.sources import Model, fetch_configuration
from pipelines.sources.cache import cache_folder
from pipelines.sources.facts import ModelFacts

VERSION = 1
"""Raised whenever an examination would find other facts of the same configuration."""


def facts_of(model: Model | MadeModel) -> ModelFacts | None:
    """Return the facts of a model; None where they are not known before it is made.

    Raises:
        InputError: The configuration cannot be had, or transformers does not know its
            architecture.
    """
    if model.facts is not None or isinstance(model, MadeModel):
        return model.facts
    note = cache_folder() / "facts" / f"{model.digest}.{VERSION}.json"
    try:
        return _noted(note)
    except FileNotFoundError:
        _write(note, _examined(model))
        return _noted(note)


@lru_cache(maxsize=1024)
def _noted(note: Path) -> ModelFacts:
    """Return the facts of a note; kept, because every trial of a sweep asks."""
    return ModelFacts(**json.loads(note.read_text(encoding="utf-8")))


def _examined(model: Model) -> ModelFacts:
    examine = cast(
        Callable[[Path], ModelFacts], load_object("pipelines.models.examination:examine")
    )
    try:
        return examine(fetch_configuration(model))
    except InputError as error:
        raise InputError(f"model {model.name!r}: {error}", key="models") from error


def _write(note: Path, facts: ModelFacts) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    aside = note.with_name(f"{note.name}.{os.getpid()}")
    aside.write_text(json.dumps(asdict(facts), indent=1), encoding="utf-8")
    aside.replace(note)


def num_frozen(frozen_layers: float, num_layers: int) -> int:
    """Return how many of the layers are frozen: a count as it is, a fraction rounded.

    Args:
        frozen_layers: A count (1, 2, ...) or a fraction (below 1).
        num_layers: How many layers the model has.

    Raises:
        InputError: More are to be frozen than there are.
    """
    count = round(frozen_layers * num_layers) if frozen_layers < 1 else int(frozen_layers)
    if count > num_layers:
        raise InputError(
            f"{count} layers cannot be frozen: the model has {num_layers}",
            key="frozen_layers",
            nearest=str(num_layers),
        )
    return count
