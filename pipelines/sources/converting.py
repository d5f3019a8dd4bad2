"""Models that a package carries in another format than the hub's; knows no format itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from pipelines.contract import load_object
from pipelines.sources.base import Model
from pipelines.sources.cache import cache_folder, locked, partial
from pipelines.sources.fetching import fetch

CONVERTERS: Mapping[str, str] = {}
"""Name -> `module:function` of a :data:`Converter`; a changed one gets a new name."""

Converter = Callable[[Path, Path], None]
"""Takes what was fetched and an empty folder, and fills it as `save_pretrained` does."""


def fetch_model(model: Model) -> Path:
    """Bring a model to this machine, once, and return its folder in the hub's layout.

    Raises:
        InputError: The source is not there, or is not what its digest promises.
    """
    if not model.converter:
        return fetch(model.source)
    home = cache_folder() / "converted"
    folder = home / model.digest
    if not folder.exists():
        with locked(home):
            if not folder.exists():  # another process may have been faster
                _convert(model, home, folder)
    return folder


def _convert(model: Model, home: Path, folder: Path) -> None:
    convert = cast(Converter, load_object(CONVERTERS[model.converter]))
    with partial(home) as aside:
        convert(fetch(model.source), aside)
        aside.rename(folder)
