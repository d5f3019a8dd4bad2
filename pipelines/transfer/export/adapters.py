"""What peft put into a model: folded into its weights, or saved apart in peft's own layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from pipelines.transfer.export.ancestry import Base
from pipelines.transfer.export.exported_model import BackboneWithHead

ADAPTER_CONFIG = "adapter_config.json"
"""Peft's name for it."""
HEAD_CONFIG = "head_config.json"
HEAD_WEIGHTS = "head.safetensors"
BASE_FOLDER = "base"
"""Where the base model lies inside an export, if nobody else has it."""


def merge_adapters(backbone: nn.Module) -> None:
    """Fold all adapters into the weights and leave the plain architecture; without any, nothing."""
    from peft.tuners.tuners_utils import BaseTunerLayer  # noqa: PLC0415 - takes seconds

    for parent in list(backbone.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BaseTunerLayer):
                child.merge(safe_merge=True)
                setattr(parent, name, child.get_base_layer())


def save_with_adapter(model: Any, base: Base, files: Path, folder: Path) -> None:
    """Save the adapter as peft does, and beside it the head if it is not the base model's own.

    The base model stays where it is; one that stages made, or that was converted, nobody else
    has: it is saved along.

    Args:
        model: What is exported, with the adapter in it.
        base: What the adapter is for.
        files: The base model in the hub's layout.
        folder: Where to write.
    """
    headed = isinstance(model, BackboneWithHead)
    adapted: Any = model.backbone if headed else model
    config = adapted.peft_config["default"]
    config.base_model_name_or_path = base.reference
    config.revision = base.revision
    config.task_type = "FEATURE_EXTRACTION" if headed else "CAUSAL_LM"
    config.inference_mode = True
    config.save_pretrained(folder)
    if not base.can_be_had:
        shutil.copytree(files, folder / BASE_FOLDER)
    weights = {
        f"base_model.model.{name.replace('.default.', '.')}": weight.detach().contiguous()
        for name, weight in adapted.named_parameters()
        if "lora_" in name
    }
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    if headed:
        save_file(dict(model.head.state_dict()), folder / HEAD_WEIGHTS)
        text = json.dumps(model.config.to_dict(), indent=2, sort_keys=True)
        (folder / HEAD_CONFIG).write_text(text + "\n", encoding="utf-8")
