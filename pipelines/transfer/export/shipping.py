"""Sends an architecture of ours along with an export, as transformers does not have it."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

from torch import nn

from pipelines.transfer.export import exported_model


def ship_architecture(backbone: nn.Module, folder: Path) -> None:
    """Copy the module of a backbone that transformers lacks beside the model's own class.

    This class imports it there, and by that it is registered; where fanflare is, it is known.
    """
    source = Path(inspect.getfile(type(backbone)))
    if type(backbone).__module__.startswith("transformers."):
        return
    shutil.copyfile(source, folder / source.name)
    shipped = folder / Path(exported_model.__file__).name
    with shipped.open("a", encoding="utf-8") as file:
        file.write(f"\n\nfrom .{source.stem} import {type(backbone).__name__}  # noqa\n")
