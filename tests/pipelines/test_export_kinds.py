"""What is exported gives the trial's own predictions, whatever the kind of task and model."""

from itertools import groupby

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification

import pipelines.transfer.export.exported
from pipelines.exports import Agreement
from tests.pipelines.exporting import TRAINING, Exports, elsewhere, page_of, save_gpt2
from tests.pipelines.stranger import predict
from tests.pipelines.tiny import WORDS, letters, save_bert, save_tagged

# Tags of words


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tagged")
    return Exports(
        folder,
        models=[
            {"name": "bert", "source": str(save_bert(folder / "bert", splitting=letters))},
            {"name": "gpt2", "source": str(save_gpt2(folder / "gpt2"))},
        ],
        tasks={
            "name": "tags",
            "source": str(save_tagged(folder / "tags.jsonl")),
            "kind": "token-classification",
            "text": "words",
            "label": "tags",
        },
        space=[{"method": method, **TRAINING} for method in ("probe", "full", "lora")],
    )


def expected_entities(words, predictions, labels):
    """Return `(entity, start, end, score)` of the entities that the kept tags of words tell."""
    starts = np.cumsum([0, *(len(word) + 1 for word in words)])
    found = []
    for place, (tag, scores) in enumerate(predictions):
        if scores is None:
            continue
        begin, _, kind = labels[tag].rpartition("-")
        end = int(starts[place]) + len(words[place])
        score = float(torch.tensor(scores).softmax(-1).max())
        goes_on = begin != "B" and found and found[-1][0] == kind
        if goes_on:
            found[-1][2] = end
            found[-1][3].append(score)
        else:
            found.append([kind, int(starts[place]), end, [score]])
    return [(*entity, np.mean(scores)) for *entity, scores in found if entity[0] != "O"]


def check_tags(exports, done, tag):
    """Compare what a pipeline says of the test sentences with the tags that the trial kept."""
    examples, table, labels = exports.kept(done.trial)
    sentences = examples["tokens"].to_pylist()
    rows = zip(*(table[n].to_pylist() for n in ("row", "prediction", "scores")), strict=True)
    by_row = {row: [part[1:] for part in parts] for row, parts in groupby(rows, lambda r: r[0])}
    num_entities = 0
    for words, row, given in zip(
        sentences, examples["row"].to_pylist(), tag(sentences), strict=True
    ):
        wanted = expected_entities(words, by_row[row], labels)
        found = [(e["entity_group"], e["start"]) for e in given]
        assert found == [entity[:2] for entity in wanted]
        # The last word may have lost its own end, where the sentence is cut.
        assert [e["end"] for e in given[:-1]] == [entity[2] for entity in wanted[:-1]]
        np.testing.assert_allclose(
            [e["score"] for e in given], [entity[3] for entity in wanted], atol=1e-5
        )
        num_entities += len(found)
    assert num_entities > 10


@pytest.mark.parametrize("model", ["bert", "gpt2"])
@pytest.mark.parametrize("method", ["probe", "full", "lora"])
def test_a_loaded_tagger_gives_the_entities_that_the_trial_predicted(tagged, model, method):
    done = tagged.get(model, method)
    loaded = transformers.pipeline(
        "token-classification",
        model=str(done.folder),
        tokenizer=str(done.folder),
        aggregation_strategy="first",
    )
    check_tags(tagged, done, lambda words: loaded(words, is_split_into_words=True))
    assert done.verification.reloaded.is_close
    if method == "probe":
        assert done.verification.retrained is None
    else:
        assert isinstance(done.verification.retrained, Agreement)
        assert done.verification.retrained.max_difference == 0


def test_words_that_were_cut_off_take_no_part(tagged):
    done = tagged.get("bert", "full")
    _, table, _ = tagged.kept(done.trial)
    assert table["scores"].null_count > 0
    assert done.verification.reloaded.num_rows == len(table) - table["scores"].null_count


def test_a_tagger_loads_where_fanflare_is_not(tagged):
    done = tagged.get("gpt2", "full")
    making = {
        "task": "token-classification",
        "model": str(done.folder),
        "tokenizer": str(done.folder),
        "aggregation_strategy": "first",
        "trust_remote_code": True,
    }
    asking = {"is_split_into_words": True}
    check_tags(tagged, done, lambda words: elsewhere(predict, words, asking, **making))


def test_a_tagger_with_its_adapter_apart_is_the_same(tagged):
    done = tagged.get("bert", "lora", merge=False)
    load = pipelines.transfer.export.exported.load
    tag = load(done.folder, base=tagged.folder / "bert")
    check_tags(tagged, done, lambda words: tag(words, is_split_into_words=True))


def test_a_tagger_can_be_trained_on(tagged):
    model = AutoModelForTokenClassification.from_pretrained(tagged.get("bert", "full").folder)
    inputs = torch.tensor([[2, 9, 8, 3]])
    output = model(inputs, labels=torch.tensor([[-100, 0, -100, -100]]))
    assert output.logits.shape == (1, 4, model.config.num_labels)
    assert output.loss > 0


def test_the_card_of_a_tagger_is_about_words(tagged):
    page = page_of(tagged.get("bert", "full"))
    assert "pipeline_tag: token-classification" in page
    assert "Gives every word of a sentence one of 5 tags. Trained on 64 sentences" in page
    assert 'aggregation_strategy="first"' in page
    assert "is_split_into_words=True" in page
    assert "truncation=True" not in page
    assert "`f1` counts whole entities" in page
    assert "pooling" not in page.split("## How it was verified")[0]


# Texts themselves


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    words = [word for group in WORDS.values() for word in group]
    lines = [f"{one} {two} song" for one in words for two in words]
    (folder / "texts.txt").write_text("\n\n".join(lines))
    return Exports(
        folder,
        models={"name": "gpt2", "source": str(save_gpt2(folder / "gpt2"))},
        tasks={
            "name": "texts",
            "source": str(folder / "texts.txt"),
            "kind": "language-modeling",
        },
        space=[{"method": method, **TRAINING} for method in ("full", "lora")],
    )


def check_losses(exports, done, model, tokenizer):
    """Compare a model's mean loss over the test texts with the one that the trial kept."""
    _, table, _ = exports.kept(done.trial)
    (own,) = (r for r in exports.report.results if r.trial.id == done.trial)
    examples, *_ = exports.kept(done.trial)
    length = TRAINING["max_length"]
    ids = [
        token
        for text in examples["text"].to_pylist()
        for token in [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    ]
    total = 0.0
    for start in range(0, len(ids), length):
        block = torch.tensor([ids[start : start + length]])
        if block.shape[1] > 1:
            with torch.inference_mode():
                total += float(model(block, labels=block).loss) * (block.shape[1] - 1)
    assert total == pytest.approx(sum(table["nll"].to_pylist()), rel=1e-4)
    assert own.metrics["test/perplexity"] == pytest.approx(
        np.exp(total / sum(table["num_tokens"].to_pylist())), rel=1e-4
    )


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_language_model_goes_on_writing_with_transformers_alone(written, method):
    done = written.get("gpt2", method)
    folder = str(done.folder)
    making = {"task": "text-generation", "model": folder, "tokenizer": folder}
    asking = {"max_new_tokens": 4, "do_sample": False}
    (answer,) = elsewhere(predict, "fine great", asking, **making)
    assert len(answer["generated_text"]) > len("fine great")
    assert answer["generated_text"].startswith("fine great")
    assert done.verification.reloaded.is_close
    assert done.verification.retrained.max_difference == 0
    loaded = AutoModelForCausalLM.from_pretrained(done.folder)
    check_losses(written, done, loaded, transformers.AutoTokenizer.from_pretrained(done.folder))
    assert type(loaded).__name__ == "GPT2LMHeadModel"
    assert not (done.folder / "exported_model.py").exists()


def test_a_language_model_with_its_adapter_apart_is_the_same(written):
    done = written.get("gpt2", "lora", merge=False)
    load = pipelines.transfer.export.exported.load
    write = load(done.folder, base=written.folder / "gpt2")
    check_losses(written, done, write.model, write.tokenizer)
    assert not (done.folder / "head.safetensors").exists()


def test_the_card_of_a_language_model_is_about_text(written):
    page = page_of(written.get("gpt2", "full"))
    assert "pipeline_tag: text-generation" in page
    assert "perplexity" in page
    assert "trust_remote_code" not in page
