"""Loads what `fanflare export` wrote; importing it makes transformers know exports by itself.

    import pipelines.transfer.export.exported
    transformers.pipeline("text-classification", model=DIR, tokenizer=DIR, truncation=True)

Knows nothing of trials, sweeps and stores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from pipelines.transfer.export.adapters import HEAD_CONFIG, HEAD_WEIGHTS
from pipelines.transfer.export.exported_model import PooledTextClassifier, PooledTextConfig

AutoConfig.register(PooledTextConfig.model_type, PooledTextConfig, exist_ok=True)
AutoModelForSequenceClassification.register(PooledTextConfig, PooledTextClassifier, exist_ok=True)


def load(folder: str | Path, *, base: str | Path | None = None) -> Any:
    """Return the `transformers.Pipeline` of an export; texts are cut as they were in training.

    Args:
        folder: What `fanflare export` wrote.
        base: The folder or name of the base model, for an export with `--no-merge`; by default
            the one that the adapter names.
    """
    folder = Path(folder)
    has_adapter = (folder / HEAD_CONFIG).is_file()
    return transformers.pipeline(
        "text-classification",
        model=_with_adapter(folder, base) if has_adapter else str(folder),
        tokenizer=str(folder),
        truncation=True,
    )


def _with_adapter(folder: Path, base: str | Path | None) -> PooledTextClassifier:
    from peft import PeftConfig, PeftModel  # noqa: PLC0415 - takes seconds

    adapter = PeftConfig.from_pretrained(str(folder))
    backbone = AutoModel.from_pretrained(
        base or adapter.base_model_name_or_path, revision=adapter.revision or "main"
    )
    model = PooledTextClassifier(PooledTextConfig.from_json_file(folder / HEAD_CONFIG))
    model.backbone = PeftModel.from_pretrained(backbone, str(folder)).merge_and_unload()
    model.head.load_state_dict(load_file(folder / HEAD_WEIGHTS))
    model.eval()
    return model
