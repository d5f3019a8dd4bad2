"""Finds the parts of a model by looking at it: layers, what lies below them, attention weights.

No table of architectures: whatever transformers loads is looked at the same way.
"""

from __future__ import annotations

from torch import nn

from pipelines.contract import InputError


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


def num_frozen(frozen_layers: float, num_layers: int) -> int:
    """Return how many of the layers are frozen: a count as it is, a fraction rounded.

    Args:
        frozen_layers: A count (1, 2, ...) or a fraction (below 1).
        num_layers: How many layers the model has.

    Raises:
        InputError: More are to be frozen than there are.
    """
    count = round(frozen_layers * num_layers) if frozen_layers < 1 else int(frozen_layers)
    if count > num_layers:
        raise InputError(
            f"{count} layers cannot be frozen: the model has {num_layers}",
            key="frozen_layers",
            nearest=str(num_layers),
        )
    return count


def freeze_below(backbone: nn.Module, frozen_layers: float) -> None:
    """Freeze the lowest layers and everything that comes before them, as the embeddings do."""
    name, layers = layers_of(backbone)
    frozen = set(list(layers)[: num_frozen(frozen_layers, len(layers))])
    for below in _before(backbone, name):
        below.requires_grad_(False)
    for layer in frozen:
        layer.requires_grad_(False)


def _before(backbone: nn.Module, list_name: str) -> list[nn.Module]:
    """Return the modules that are registered before the list of layers, on the way down to it."""
    before: list[nn.Module] = []
    parent = backbone
    for part in list_name.split("."):
        for name, child in parent.named_children():
            if name == part:
                parent = child
                break
            before.append(child)
    return before


def depth_of_weights(backbone: nn.Module) -> tuple[dict[str, int], int]:
    """Return the depth of every weight by name, and the depth of what lies above the layers.

    Depth 0 is what lies below the layers, depth `k` the `k`-th layer from below.
    """
    list_name, layers = layers_of(backbone)
    top = len(layers) + 1
    below = {
        id(weight) for module in _before(backbone, list_name) for weight in module.parameters()
    }
    depths = {}
    for name, weight in backbone.named_parameters():
        if name.startswith(f"{list_name}."):
            depths[name] = 1 + int(name[len(list_name) + 1 :].partition(".")[0])
        else:
            depths[name] = 0 if id(weight) in below else top
    return depths, top


def linear_layers(backbone: nn.Module, *, attention_only: bool) -> list[str]:
    """Return the names of the linear maps inside the layers, or inside their attention only.

    Raises:
        InputError: There are none, as in a convolutional network.
    """
    list_name, _ = layers_of(backbone)
    parents = {
        name: "attention" in type(module).__name__.lower()
        for name, module in backbone.named_modules()
    }
    found = [
        name
        for name, module in backbone.named_modules()
        if name.startswith(f"{list_name}.")
        and type(module).__name__ in ("Linear", "Conv1D")
        and (not attention_only or _is_inside(name, parents))
    ]
    if not found:
        raise InputError("this model has no linear maps to adapt in its layers", key="method")
    return found


def _is_inside(name: str, is_attention: dict[str, bool]) -> bool:
    parts = name.split(".")
    return any(is_attention.get(".".join(parts[:n]), False) for n in range(1, len(parts)))
