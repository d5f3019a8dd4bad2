"""A model as the folder that `save_pretrained` writes, pinned or made by a stage; loads nothing."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from safetensors.numpy import load_file, save_file

from pipelines.contract import Artifact, Context, Json, StageResult, digest_of
from pipelines.sources import fetch_model

WEIGHTS = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """A model in the hub's layout, on this machine."""

    name: str
    digest: str
    """The identity of everything in the folder."""
    folder: Path
    _holder: Any = field(default=None, repr=False)
    """Removes a temporary folder when nobody needs it any more."""


def model_files(
    context: Context, sources: Mapping[str, Any], inputs: Mapping[str, Artifact]
) -> ModelFiles:
    """Return the folder of the model that a stage was given: a source, or what a stage made.

    Raises:
        InputError: The source cannot be had.
    """
    if "model" not in inputs:
        model = sources["model"]
        return ModelFiles(name=model.name, digest=model.digest, folder=fetch_model(model))
    made = inputs["model"]
    key = f"files/{made.value['digest']}"
    return cast(ModelFiles, context.cached(key, lambda: _written(made)))


def made_model(folder: Path, name: str, value: Mapping[str, Json]) -> StageResult:
    """Return a model as what a stage leaves behind, for :func:`model_files` to find.

    Args:
        folder: What `save_pretrained` of model and tokenizer wrote.
        name: By which messages call the model.
        value: What else is to be known of it.
    """
    arrays: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob("*.safetensors")):
        arrays |= load_file(path)
    files = {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.is_file() and path.suffix != ".safetensors"
    }
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    digests |= {
        f"{WEIGHTS}/{name}": hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
        for name, array in arrays.items()
    }
    table = pa.table({"name": list(files), "content": pa.array(files.values(), pa.binary())})
    return StageResult(
        value={**value, "name": name, "digest": digest_of(digests)},
        tables={"files": table},
        arrays=arrays,
    )


def _written(made: Artifact) -> ModelFiles:
    holder = tempfile.TemporaryDirectory(prefix="fanflare-model-")
    write_model(made, Path(holder.name))
    return ModelFiles(
        name=made.value["name"],
        digest=made.value["digest"],
        folder=Path(holder.name),
        _holder=holder,
    )


def write_model(made: Artifact, folder: Path) -> None:
    """Write a model that a stage made into an empty folder, in the hub's layout."""
    for row in made.table("files").to_pylist():
        (folder / row["name"]).write_bytes(row["content"])
    if made.arrays:  # a tokenizer alone has none
        save_file(dict(made.arrays), folder / WEIGHTS, metadata={"format": "pt"})
