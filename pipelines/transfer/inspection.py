"""The stage `inspect`: fetches a model and reads what it says of itself; loads no weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.contract import Artifact, Context, InputError, Member, StageResult
from pipelines.models.files import model_files

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def inspect(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Fetch the model and return its configuration.

    Raises:
        InputError: The folder is not a saved model: no configuration, weights or tokenizer.
    """
    model = model_files(context, sources, inputs)
    folder = model.folder
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"model {model.name!r} has no readable config.json: {error}") from error
    if not any(path for pattern in _WEIGHTS for path in folder.glob(pattern)):
        raise InputError(f"model {model.name!r} has no weights ({' or '.join(_WEIGHTS)})")
    if not any(folder.glob("tokenizer*")) and not any(folder.glob("vocab.*")):
        raise InputError(f"model {model.name!r} has no tokenizer files")
    value = {"model_type": config.get("model_type", ""), "config": config}
    return [StageResult(value=value) for _ in members]
