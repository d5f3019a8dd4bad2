"""What peft put into a model: folded into its weights, or saved apart in peft's own layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from pipelines.sources import Model
from pipelines.sources.base import Origin
from pipelines.transfer.export.exported_model import PooledTextClassifier

HEAD_CONFIG = "head_config.json"
HEAD_WEIGHTS = "head.safetensors"


def merge_adapters(backbone: nn.Module) -> None:
    """Fold all adapters into the weights and leave the plain architecture; without any, nothing."""
    from peft.tuners.tuners_utils import BaseTunerLayer  # noqa: PLC0415 - takes seconds

    for parent in list(backbone.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BaseTunerLayer):
                child.merge(safe_merge=True)
                setattr(parent, name, child.get_base_layer())


def save_with_adapter(exported: PooledTextClassifier, base: Model, folder: Path) -> None:
    """Save the adapter as peft does, and the head beside it; the base model stays where it is."""
    backbone: Any = exported.backbone
    config = backbone.peft_config["default"]
    config.base_model_name_or_path = base_reference(base)
    config.revision = base.source.digest if base.source.origin is Origin.HUB else None
    config.task_type = "FEATURE_EXTRACTION"
    config.inference_mode = True
    config.save_pretrained(folder)
    weights = {
        f"base_model.model.{name.replace('.default.', '.')}": weight.detach().contiguous()
        for name, weight in backbone.named_parameters()
        if "lora_" in name
    }
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    save_file(dict(exported.head.state_dict()), folder / HEAD_WEIGHTS)
    text = json.dumps(exported.config.to_dict(), indent=2, sort_keys=True)
    (folder / HEAD_CONFIG).write_text(text + "\n", encoding="utf-8")


def base_reference(base: Model) -> str:
    """Return by which name others find the base model; a folder of this machine has none."""
    return base.source.location if base.source.origin is Origin.HUB else base.name
