"""A model cut between two layers gives what the whole model gives."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModel

from pipelines.models.boundary import activations, cut_below, into_layers
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

    def keys(self):
        return [image.numpy().tobytes() for image in self._pixels]

    def by_length(self, batch_size, rows=None):
        yield np.arange(len(self)) if rows is None else rows


def tokens_of(texts):
    return TokenBatches(pa.table({"input_ids": pa.array(texts, pa.list_(pa.int32()))}), 0, "cpu")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_can_be_cut(name, tmp_path):
    model = AutoModel.from_pretrained(save_architecture(tmp_path, name)).float().eval()
    size = getattr(model.config, "image_size", 32)
    is_image = name in ("vit", "resnet")
    inputs = Images(size) if is_image else tokens_of(TEXTS)
    rows = np.array([3, 1, 0])
    batch = inputs.batch(rows)
    mask = batch.get("attention_mask")
    with torch.inference_mode():
        whole = model(**batch).last_hidden_state
        kept, (places,) = activations(model, [inputs], [0, 1], batch_size=2)
        for depth in (1, 0):
            names = list(dict(model.named_parameters()))
            upper = AutoModel.from_pretrained(tmp_path).float().eval()
            cut_below(upper, depth)
            cut = upper(boundary=kept[depth].batch(places[rows]), **batch).last_hidden_state
            seen = slice(None) if mask is None else mask == 1
            torch.testing.assert_close(cut[seen], whole[seen], rtol=1e-5, atol=1e-5)
            assert names == list(dict(upper.named_parameters()))


def test_a_row_that_several_splits_have_is_kept_once_and_found_from_each(tmp_path):
    model = AutoModel.from_pretrained(save_architecture(tmp_path, "bert")).float().eval()
    splits = [tokens_of(TEXTS[2:]), tokens_of(TEXTS), tokens_of([TEXTS[0], [5], TEXTS[0]])]
    kept, places = activations(model, splits, [1], batch_size=2)
    assert set(np.concatenate(places)) == set(range(len(TEXTS) + 1))
    for split, own in zip(splits, places, strict=True):
        for row in range(len(split)):
            alone = into_layers(model, split.batch(np.array([row])), [1])[1]
            torch.testing.assert_close(kept[1].batch(own[[row]]), alone, rtol=1e-5, atol=1e-5)
