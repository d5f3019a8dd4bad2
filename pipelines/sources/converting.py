"""Models that a package carries in another format than the hub's; knows no format itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from pipelines.contract import load_object
from pipelines.sources.base import Model, Origin
from pipelines.sources.cache import cache_folder, locked, partial
from pipelines.sources.fetching import fetch
from pipelines.sources.hub import fetch_card

CONVERTERS: Mapping[str, str] = {
    "gguf": "pipelines.models.gguf:convert",
    "efficientnet-lite": "pipelines.models.efficientnet_lite:convert",
}
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


def fetch_configuration(model: Model) -> Path:
    """Return a folder with the `config.json` of a model; from the hub nothing large comes.

    Raises:
        InputError: As of :func:`fetch_model`.
    """
    if model.source.origin is Origin.HUB and not model.converter:
        return fetch_card(model.source.location, model.source.digest)
    return fetch_model(model)


def _convert(model: Model, home: Path, folder: Path) -> None:
    convert = cast(Converter, load_object(CONVERTERS[model.converter]))
    with partial(home) as aside:
        convert(fetch(model.source), aside)
        aside.rename(folder)
