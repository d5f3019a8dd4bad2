"""A batch that runs in parts of like length gives what the whole batch gives, from fewer tokens."""

import numpy as np
import pytest
import torch
from transformers import AutoModel

from pipelines.models.backbone import last_hidden
from pipelines.models.like_length import last_hidden_in_parts, parts_of_like_length
from tests.pipelines.tiny import save_bert

LENGTHS = [30, 4, 29, 5, 6, 30, 4, 28]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return AutoModel.from_pretrained(save_bert(tmp_path_factory.mktemp("bert"))).eval()


@pytest.fixture
def batch():
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(4, 20, mask.shape, generator=draw) * mask
    return {"input_ids": ids, "attention_mask": mask, "words": torch.tensor([1, 31])}


@pytest.mark.parametrize(
    ("lengths", "cost", "expected"),
    [
        ([5, 5, 5], 0, [[0, 1, 2]]),
        ([9, 2, 8, 2], 4, [[1, 3], [2, 0]]),
        ([9, 2, 8, 2], 14, [[1, 3, 2, 0]]),
        ([1, 50, 100], 10, [[0], [1], [2]]),
        ([7], 0, [[0]]),
    ],
)
def test_a_batch_is_cut_where_that_saves_more_tokens_than_a_pass_costs(lengths, cost, expected):
    parts = parts_of_like_length(np.array(lengths), cost)
    assert sorted(part.tolist() for part in parts) == sorted(expected)


def test_the_last_layer_is_that_of_the_whole_batch(model, batch):
    seen = batch["attention_mask"].bool()
    parts = last_hidden_in_parts(model, batch)
    torch.testing.assert_close(parts[seen], last_hidden(model, batch)[seen], atol=1e-5, rtol=1e-5)


def test_the_gradients_are_those_of_the_whole_batch(model, batch):
    seen = batch["attention_mask"].bool()
    layers = [model.embeddings.word_embeddings, model.embeddings.position_embeddings]
    layers.append(model.encoder.layer[0].attention.self.query)
    weights = [layer.weight for layer in layers]
    whole, parts = (
        torch.autograd.grad(run(model, batch)[seen].square().sin().mean(), weights)
        for run in (last_hidden, last_hidden_in_parts)
    )
    torch.testing.assert_close(parts, whole, atol=1e-7, rtol=1e-3)


def test_tokens_are_looked_up_once(model, batch):
    hidden = last_hidden_in_parts(model, batch)
    table, found, left = model.embeddings.word_embeddings.weight, set(), [hidden.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in found:
            found.add(node)
            left += [before for before, _ in node.next_functions]
    sums = [
        node
        for node in found
        if any(getattr(n, "variable", None) is table for n, _ in node.next_functions)
    ]
    assert len(sums) == 1


def test_short_texts_are_not_padded_to_the_longest_of_the_batch(model, batch):
    passes = []
    hook = model.encoder.layer[0].register_forward_pre_hook(
        lambda _, args: passes.append(args[0].shape[:2])
    )
    last_hidden_in_parts(model, batch)
    hook.remove()
    assert sorted(passes) == [(4, 6), (4, 30)]
