"""Model folders that lack weights: what would be random is refused, a head to train is not."""

import json
from types import SimpleNamespace

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

from cluster.job import Resources
from orchestrator.running.worker_context import WorkerContext
from pipelines.contract import InputError
from pipelines.models.backbone import fresh_model, warm_model
from tests.pipelines.tiny import save_bert

LLAMA = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}


def files_of(folder):
    return SimpleNamespace(folder=folder, name="tiny", digest=str(folder))


def load(folder, auto_class=AutoModel):
    return warm_model(WorkerContext(Resources()), files_of(folder), auto_class)


def rename(folder, prefix):
    """Give all tensors the names that they have inside a wrapper."""
    path = folder / "model.safetensors"
    tensors = {f"{prefix}{name}": tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("auto_class", [AutoModel, AutoModelForMaskedLM])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_weights_under_the_names_of_a_wrapper_are_refused(tmp_path, prefix, auto_class):
    rename(save_bert(tmp_path), prefix)
    with pytest.raises(InputError, match=r"the weights of tiny lack .* as after a wrapper") as told:
        load(tmp_path, auto_class)
    assert told.value.key == "models"


def test_a_configuration_with_more_layers_than_weights_is_refused(tmp_path):
    config = save_bert(tmp_path) / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_hidden_layers": 3}))
    with pytest.raises(InputError, match=r"lack 16 .*encoder\.layer\.2\..* config\.json"):
        load(tmp_path)


def test_a_causal_model_is_used_with_its_own_head_or_not_at_all(tmp_path):
    torch.manual_seed(0)
    config = hf.LlamaConfig(**LLAMA)
    hf.LlamaModel(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"no head: lm_head\.weight .* of a LlamaForCausalLM"):
        load(tmp_path, AutoModelForCausalLM)
    load(tmp_path)
    fresh_model(WorkerContext(Resources()), files_of(tmp_path), 0, AutoModelForCausalLM)


def test_a_head_that_is_the_table_of_embeddings_is_there(tmp_path):
    hf.LlamaModel(hf.LlamaConfig(**LLAMA, tie_word_embeddings=True)).save_pretrained(tmp_path)
    model = load(tmp_path, AutoModelForCausalLM)
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)


def test_an_encoder_may_come_without_pooler_and_head_for_hidden_tokens(tmp_path):
    path = save_bert(tmp_path) / "model.safetensors"
    tensors = {name: t for name, t in load_file(path).items() if "pooler" not in name}
    assert len(tensors) == len(load_file(path)) - 2
    save_file(tensors, path, metadata={"format": "pt"})
    load(tmp_path)
    load(tmp_path, AutoModelForMaskedLM)
