"""Exports of trials that began with a model that the sweep itself made, or that had a teacher."""

import json

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

import pipelines.transfer.export.exported
from tests.pipelines.exporting import TRAINING, Exports, elsewhere, page_of, save_gpt2
from tests.pipelines.stranger import adapter_names
from tests.pipelines.tiny import save_task

ADAPTING = {"adapt_epochs": 1, "adapt_batch_size": 4, "adapt_max_length": 16}


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapted")
    training = {**TRAINING, "epochs": 2}
    return Exports(
        folder,
        models={"name": "gpt2", "source": str(save_gpt2(folder / "gpt2"))},
        tasks={"name": "classes", "source": str(save_task(folder / "classes.csv"))},
        space=[
            *(
                {"method": f"adapt+{method}", **training, **ADAPTING}
                for method in ("probe", "full", "lora")
            ),
            {"method": "distill", "teacher": {"method": "full", **training}, **training},
        ],
    )


def check(exports, done, classify):
    """Compare the classes that a pipeline gives the test rows with those that the trial kept."""
    examples, table, labels = exports.kept(done.trial)
    given = classify(examples["text"].to_pylist())
    assert [answer["label"] for answer in given] == [
        labels[index] for index in table["prediction"].to_pylist()
    ]
    scores = torch.tensor(table["scores"].to_pylist()).softmax(-1).amax(-1)
    np.testing.assert_allclose([answer["score"] for answer in given], scores, atol=1e-5)


@pytest.mark.parametrize("method", ["adapt+probe", "adapt+full", "adapt+lora", "distill"])
def test_the_loaded_pipeline_gives_the_trials_own_predictions(adapted, method):
    done = adapted.get("gpt2", method)
    folder = str(done.folder)
    classify = transformers.pipeline(
        "text-classification", model=folder, tokenizer=folder, truncation=True
    )
    check(adapted, done, classify)
    assert done.verification.reloaded.is_close
    if method != "adapt+probe":
        assert done.verification.retrained.max_difference == 0


def test_an_adapter_for_a_model_that_nobody_else_has_takes_it_along(adapted):
    done = adapted.get("gpt2", "adapt+lora", merge=False)
    check(adapted, done, pipelines.transfer.export.exported.load(done.folder))
    made = load_file(done.folder / "base" / "model.safetensors")
    began = load_file(adapted.folder / "gpt2" / "model.safetensors")
    name = "h.0.attn.c_attn.weight"
    assert not torch.equal(made[f"transformer.{name}"], began[name]), "it has been adapted"
    assert elsewhere(adapter_names, str(done.folder / "base"), str(done.folder))
    page = page_of(done)
    assert "load(DIR)" in page
    assert 'DIR + "/base"' in page


def test_the_card_tells_what_the_base_model_was_made_from(adapted):
    page = page_of(adapted.get("gpt2", "adapt+full"))
    assert "gpt2, adapted by this sweep" in page
    assert "| its own base model | gpt2 |" in page
    assert "| its texts | classes |" in page
    assert "stage `transfer/adapt`" in page
    assert "`epochs=1`" in page


def test_the_card_names_the_teacher(adapted):
    done = adapted.get("gpt2", "distill")
    assert "| teacher | gpt2, trained by `full` |" in page_of(done)
    facts = json.loads((done.folder / "fanflare.json").read_text())["facts"]
    assert facts["params"]["teacher"]["method"] == "full"


def test_a_model_that_the_sweep_pretrained_is_exported_like_any_other(tmp_path):
    task = save_task(tmp_path / "classes.csv")
    corpus = [
        f"{one} film {two} day {three}" for one in "abcdefgh" for two in "ij" for three in "kl"
    ]
    (tmp_path / "corpus.txt").write_text("\n\n".join(corpus * 2))
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    exports = Exports(
        tmp_path,
        models={
            "name": "own",
            "pretrain": {
                "corpus": {"source": str(tmp_path / "corpus.txt")},
                "vocab_size": 300,
                "max_length": 32,
                "epochs": 1,
                **sizes,
            },
        },
        tasks={"name": "classes", "source": str(task)},
        space=[{"method": "full", **TRAINING, "epochs": 1}],
    )
    (model,) = {result.trial.model for result in exports.report.results}
    done = exports.get(model, "full")
    folder = str(done.folder)
    check(
        exports,
        done,
        transformers.pipeline(
            "text-classification", model=folder, tokenizer=folder, truncation=True
        ),
    )
    page = page_of(done)
    assert f"| base model | {model}, pre-trained by this sweep" in page
    assert "`hidden_size=16`" in page
    assert "| its texts | corpus.txt | unknown" in page
