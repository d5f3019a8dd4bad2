"""Loads what `fanflare export` wrote; importing it makes transformers know exports by itself.

    import pipelines.transfer.export.exported
    transformers.pipeline("text-classification", model=DIR, tokenizer=DIR, truncation=True)

Knows nothing of trials, sweeps and stores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import transformers
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

import pipelines.models.efficientnet_lite  # noqa: F401 - makes this architecture known
from pipelines.transfer.export.adapters import (
    ADAPTER_CONFIG,
    BASE_FOLDER,
    HEAD_CONFIG,
    HEAD_WEIGHTS,
)
from pipelines.transfer.export.exported_model import (
    PooledImageClassifier,
    PooledTextClassifier,
    TokenTagger,
)


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How transformers is to load an export."""

    task: str
    """The name of the pipeline."""
    auto_class: Any
    model: Any = None
    """The class that is shipped; None where it is one of transformers' own."""
    preprocessor: str = "tokenizer"
    """What the pipeline calls that which makes the model's inputs."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the pipeline, such that it does what was done in training."""


TEXTS = Loading(
    task="text-classification",
    auto_class=AutoModelForSequenceClassification,
    model=PooledTextClassifier,
    options={"truncation": True},
)
WORDS = Loading(
    task="token-classification",
    auto_class=AutoModelForTokenClassification,
    model=TokenTagger,
    options={"aggregation_strategy": "first"},
)
IMAGES = Loading(
    task="image-classification",
    auto_class=AutoModelForImageClassification,
    model=PooledImageClassifier,
    preprocessor="image_processor",
)
LANGUAGE = Loading(task="text-generation", auto_class=AutoModelForCausalLM)

OWN = {loading.model.config_class.model_type: loading for loading in (TEXTS, WORDS, IMAGES)}
"""Those with a class of ours, by the `model_type` of its configuration."""

for _type, _loading in OWN.items():
    AutoConfig.register(_type, _loading.model.config_class, exist_ok=True)
    _loading.auto_class.register(_loading.model.config_class, _loading.model, exist_ok=True)


def load(folder: str | Path, *, base: str | Path | None = None) -> Any:
    """Return the `transformers.Pipeline` of an export; texts are cut as they were in training.

    Args:
        folder: What `fanflare export` wrote.
        base: The folder or name of the base model, for an export with `--no-merge`; by default
            the one that lies in the export, or else the one that the adapter names.
    """
    folder = Path(folder)
    loading = _loading_of(folder)
    has_adapter = (folder / ADAPTER_CONFIG).is_file()
    return transformers.pipeline(
        loading.task,
        model=_with_adapter(folder, base, loading) if has_adapter else str(folder),
        **{loading.preprocessor: str(folder)},
        **loading.options,
    )


def _loading_of(folder: Path) -> Loading:
    for name in (HEAD_CONFIG, "config.json"):
        if (folder / name).is_file():
            config = json.loads((folder / name).read_text(encoding="utf-8"))
            return OWN.get(config["model_type"], LANGUAGE)
    return LANGUAGE  # its adapter comes without a head


def _with_adapter(folder: Path, base: str | Path | None, loading: Loading) -> Any:
    from peft import PeftConfig, PeftModel  # noqa: PLC0415 - takes seconds

    adapter = PeftConfig.from_pretrained(str(folder))
    if base is None and (folder / BASE_FOLDER).is_dir():
        base = folder / BASE_FOLDER
    auto_class = loading.auto_class if loading.model is None else AutoModel
    plain = auto_class.from_pretrained(
        base or adapter.base_model_name_or_path, revision=adapter.revision or "main"
    )
    merged = PeftModel.from_pretrained(plain, str(folder)).merge_and_unload()
    if loading.model is None:
        return merged.eval()
    model = loading.model(loading.model.config_class.from_json_file(folder / HEAD_CONFIG))
    model.backbone = merged
    model.head.load_state_dict(load_file(folder / HEAD_WEIGHTS))
    return model.eval()
