"""The stage `inspect`: fetches a model and reads what it says of itself; loads no weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.contract import Artifact, Context, InputError, Member, StageResult
from pipelines.models.files import model_files
from pipelines.sources.resolving import IMAGE_PROCESSOR

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_TOKENIZER = ("tokenizer files", ("tokenizer*", "vocab.*"))
_IMAGE_PROCESSOR = ("image processor", IMAGE_PROCESSOR)


def inspect(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Fetch the model and return its configuration.

    Raises:
        InputError: The folder is not a saved model: no configuration, weights or tokenizer; or,
            for a task of images, no image processor.
    """
    model = model_files(context, sources, inputs)
    folder = model.folder
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"model {model.name!r} has no readable config.json: {error}") from error
    if not any(path for pattern in _WEIGHTS for path in folder.glob(pattern)):
        raise InputError(f"model {model.name!r} has no weights ({' or '.join(_WEIGHTS)})")
    reads_images = any(member.get("reads") == "images" for member in members)
    noun, patterns = _IMAGE_PROCESSOR if reads_images else _TOKENIZER
    if not any(path for pattern in patterns for path in folder.glob(pattern)):
        raise InputError(f"model {model.name!r} has no {noun} ({' or '.join(patterns)})")
    value = {"model_type": config.get("model_type", ""), "config": config}
    return [StageResult(value=value) for _ in members]
