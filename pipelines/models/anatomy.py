"""Finds the parts of a model by looking at it: layers, what lies below them, attention weights.

No table of architectures: whatever transformers loads is looked at the same way.
"""

from __future__ import annotations

from torch import nn

from pipelines.contract import InputError
from pipelines.models.facts import num_frozen
from pipelines.training.learner import FROZEN


def layers_of(backbone: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return the name and the list of the model's repeated layers: the longest list of equals.

    Raises:
        InputError: The model has no list of layers.
    """
    lists = [
        (name, module)
        for name, module in backbone.named_modules()
        if isinstance(module, nn.ModuleList) and len({type(layer) for layer in module}) == 1
    ]
    if not lists:
        raise InputError("this model has no list of layers to freeze a part of", key="method")
    # The outermost of the longest: an expert or a head inside a layer may be as many.
    return max(lists, key=lambda found: (len(found[1]), -found[0].count(".")))


def freeze_below(backbone: nn.Module, frozen_layers: float) -> None:
    """Freeze the lowest layers and everything that comes before them, as the embeddings do."""
    name, layers = layers_of(backbone)
    for part in [*_below(backbone, name), *layers[: num_frozen(frozen_layers, len(layers))]]:
        part.requires_grad_(False)
        setattr(part, FROZEN, True)  # GPT-2's dropout of embeddings has no weights to tell it by


def _below(backbone: nn.Module, list_name: str) -> list[nn.Module]:
    """Return the modules outside the layers on which the lowest layer rests.

    These are the modules that are registered before the list of layers, on the way down to it,
    and every other table of embeddings outside the layers: DeBERTa has its table of relative
    positions after the list, and all layers use it.
    """
    below: list[nn.Module] = []
    parent = backbone
    for part in list_name.split("."):
        for name, child in parent.named_children():
            if name == part:
                parent = child
                break
            below.append(child)
    tables = [
        module
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Embedding) and not name.startswith(f"{list_name}.")
    ]
    return [*below, *tables]


def depth_of_weights(backbone: nn.Module) -> tuple[dict[str, int], int]:
    """Return the depth of every weight by name, and the depth of what lies above the layers.

    Depth 0 is what lies below the layers, depth `k` the `k`-th layer from below.
    """
    list_name, layers = layers_of(backbone)
    top = len(layers) + 1
    below = {id(weight) for module in _below(backbone, list_name) for weight in module.parameters()}
    depths = {}
    for name, weight in backbone.named_parameters():
        if name.startswith(f"{list_name}."):
            depths[name] = 1 + _number(name, list_name)
        else:
            depths[name] = 0 if id(weight) in below else top
    return depths, top


def linear_layers(
    backbone: nn.Module, *, attention_only: bool, frozen_layers: float = 0
) -> list[str]:
    """Return the names of the linear maps inside the layers, or inside their attention only.

    Args:
        backbone: The model.
        attention_only: Whether those outside the attention are left out.
        frozen_layers: How many of the lowest layers are left out: a count, or a fraction below 1.

    Raises:
        InputError: There are none, as in a convolutional network; or fewer layers.
    """
    list_name, layers = layers_of(backbone)
    first = num_frozen(frozen_layers, len(layers))
    parents = {
        name: "attention" in type(module).__name__.lower()
        for name, module in backbone.named_modules()
    }
    found = [
        name
        for name, module in backbone.named_modules()
        if name.startswith(f"{list_name}.")
        and _number(name, list_name) >= first
        and type(module).__name__ in ("Linear", "Conv1D")
        and (not attention_only or _is_inside(name, parents))
    ]
    if not found:
        above = f" above the lowest {first}" if first else ""
        raise InputError(
            f"this model has no linear maps to adapt in its layers{above}",
            key="frozen_layers" if first else "method",
        )
    return found


def _number(name: str, list_name: str) -> int:
    """Return in which layer it is, from 0."""
    return int(name[len(list_name) + 1 :].partition(".")[0])


def _is_inside(name: str, is_attention: dict[str, bool]) -> bool:
    parts = name.split(".")
    return any(is_attention.get(".".join(parts[:n]), False) for n in range(1, len(parts)))
