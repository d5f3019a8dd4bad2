"""A model cut between two layers gives what the whole model gives."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModel

from pipelines.models.boundary import activations, cut_below
from pipelines.models.token_batches import TokenBatches
from tests.pipelines.architectures import ARCHITECTURES, save_architecture

TEXTS = [[5, 6, 7], [8, 9, 10, 11, 12, 5], [6], [7, 8, 9, 10]]


class Images:
    """Random images of one size."""

    def __init__(self, size):
        self._pixels = torch.rand(5, 3, size, size, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self._pixels)

    def batch(self, rows):
        return {"pixel_values": self._pixels[torch.as_tensor(rows)]}

    def by_length(self, batch_size):
        yield np.arange(len(self))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_can_be_cut(name, tmp_path):
    model = AutoModel.from_pretrained(save_architecture(tmp_path, name)).float().eval()
    size = getattr(model.config, "image_size", 32)
    is_image = name in ("vit", "resnet")
    inputs = (
        Images(size)
        if is_image
        else TokenBatches(pa.table({"input_ids": pa.array(TEXTS, pa.list_(pa.int32()))}), 0, "cpu")
    )
    rows = np.array([3, 1, 0])
    batch = inputs.batch(rows)
    mask = batch.get("attention_mask")
    with torch.inference_mode():
        whole = model(**batch).last_hidden_state
        kept = activations(model, inputs, [0, 1], batch_size=2)
        for depth in (1, 0):
            names = list(dict(model.named_parameters()))
            upper = AutoModel.from_pretrained(tmp_path).float().eval()
            cut_below(upper, depth)
            cut = upper(boundary=kept[depth].batch(rows), **batch).last_hidden_state
            seen = slice(None) if mask is None else mask == 1
            torch.testing.assert_close(cut[seen], whole[seen], rtol=1e-5, atol=1e-5)
            assert names == list(dict(upper.named_parameters()))
