"""Tasks whose words have labels: reading, splitting, alignment with sub-words, training."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Sequence, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModel, AutoTokenizer, GPT2Config, GPT2Model, GPT2TokenizerFast

from cluster.job import Resources
from orchestrator import run
from orchestrator.errors import InvalidSweepError
from orchestrator.running.worker_context import WorkerContext
from orchestrator.running.workspace import open_sweep
from pipelines.contract import InputError
from pipelines.models.backbone import WORDS, warm_tokenizer
from pipelines.sources import read, resolve_model, resolve_task
from pipelines.transfer.data.loading import load
from pipelines.transfer.data.truth import LOST, truth_of
from pipelines.transfer.data.word_tokens import first_tokens, token_batches, tokenize_words
from pipelines.transfer.examples import LabelScale, prediction_table
from tests.pipelines.test_transfer import Fake, artifact
from tests.pipelines.tiny import WORDS as VOCABULARY
from tests.pipelines.tiny import letters, save_bert, save_tagged

SIZES = {"train_size": 64, "validation_size": 24, "test_size": 24}
TAGS = ["B-a", "B-b", "I-a", "I-b", "O"]
CONLL = "-DOCSTART- -X- O\n\nEU NNP B-org\nrejects VBZ O\n\nPeter NNP B-per\nBlackburn NNP I-per\n"
CONLLU = """# sent_id = 1
1-2\tdo\t_\t_\t_\t_\t_\t_\t_\t_
1\tde\tde\tADP\t_\t_\t3\tcase\t_\t_
2\to\to\tDET\t_\t_\t3\tdet\t_\t_
3\tmar\tmar\tNOUN\t_\t_\t0\troot\t_\t_
3.1\té\tser\tVERB\t_\t_\t_\t_\t_\t_

# sent_id = 2
1\tsim\tsim\t_\t_\t_\t0\troot\t_\t_
"""


def task_of(folder, name, text, **entry):
    (folder / name).write_text(text)
    return resolve_task({"name": "mine", "source": f"./{name}", **entry}, folder)


def sentences(task):
    (table,) = read(task).values()
    return table.to_pylist()


# Reading


@pytest.mark.parametrize("name", ["a.conll", "a.txt", "train"])
def test_columns_of_conll_are_counted_from_both_ends(tmp_path, name):
    kind = {} if name == "a.conll" else {"kind": "token-classification"}
    task = task_of(tmp_path, name, CONLL, **kind)
    assert sentences(task) == [
        {"tokens": ["EU", "rejects"], "labels": ["B-org", "O"]},
        {"tokens": ["Peter", "Blackburn"], "labels": ["B-per", "I-per"]},
    ]
    assert (task.kind, task.metric) == ("token-classification", "f1")
    assert (task.num_rows, task.num_classes) == (2, 4)
    middle = task_of(tmp_path, name, CONLL, label=2, **kind)
    assert sentences(middle)[0]["labels"] == ["NNP", "VBZ"]
    assert middle.metric == "accuracy"


def test_words_may_hold_what_looks_like_a_line_end_or_a_space(tmp_path):
    task = task_of(tmp_path, "a.conll", "a b\tX\r\nc\u2028d\tY\r\n \t \r\n\u00a0\tX\n")
    assert [row["tokens"] for row in sentences(task)] == [["a b", "c\u2028d"], ["\u00a0"]]


def test_conllu_has_syntactic_words_only(tmp_path):
    task = task_of(tmp_path, "a.conllu", CONLLU)
    assert sentences(task) == [
        {"tokens": ["de", "o", "mar"], "labels": ["ADP", "DET", "NOUN"]},
        {"tokens": ["sim"], "labels": [None]},
    ]
    assert sentences(task_of(tmp_path, "a.conllu", CONLLU, label="deprel"))[1]["labels"] == ["root"]


@pytest.mark.parametrize(
    ("name", "text", "entry", "key", "words"),
    [
        ("a.conll", "a X\n\nb\n", {"label": "2"}, "source", "line 3 of a.conll has 1 columns"),
        ("a.conll", CONLL, {"label": "tag"}, "label", "numbers"),
        ("a.conll", CONLL, {"kind": "classification"}, "kind", "one word a line"),
        ("a.conllu", CONLLU, {"label": "pos"}, "label", "no column 'pos'"),
        ("a.conllu", "1\ta\n", {}, "source", "has 2 columns"),
        ("a.conll", CONLL, {"metric": "pearson"}, "metric", "accuracy, f1, f1_macro"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path, name, text, entry, key, words):
    with pytest.raises(InputError, match=words) as caught:
        task_of(tmp_path, name, text, **entry)
    assert caught.value.key == key


COLUMNS = {"tokens": [["a", "2020-01-01"], ["b"]], "ner_tags": [[0, 1], [2]]}
LISTS = {"kind": "token-classification", "text": "tokens", "label": "ner_tags"}


@pytest.mark.parametrize("form", ["jsonl", "json", "parquet"])
def test_lists_of_a_users_file(tmp_path, form):
    path = tmp_path / f"a.{form}"
    table = pa.table(COLUMNS)
    if form == "parquet":
        pq.write_table(table, path)
    else:
        rows = table.to_pylist()
        path.write_text("\n".join(map(json.dumps, rows)) if form == "jsonl" else json.dumps(rows))
    task = resolve_task({"name": "a", "source": str(path), **LISTS}, tmp_path)
    assert sentences(task)[0] == {"tokens": ["a", "2020-01-01"], "labels": ["0", "1"]}
    assert (task.num_rows, task.num_classes, task.metric) == (2, 3, "accuracy")


def test_class_numbers_in_lists_get_their_names(tmp_path):
    names = ClassLabel(names=["O", "B-x", "I-x"])
    features = Features({"tokens": Sequence(Value("string")), "ner_tags": Sequence(names)})
    Dataset.from_dict(COLUMNS, features=features).to_parquet(tmp_path / "train.parquet")
    entry = {"name": "a", "source": str(tmp_path / "train.parquet"), **LISTS}
    assert sentences(resolve_task(entry, tmp_path))[1]["labels"] == ["I-x"]


def test_lists_are_told_when_the_kind_is_another_or_lengths_differ(tmp_path):
    pq.write_table(pa.table(COLUMNS), tmp_path / "a.parquet")
    entry = {"name": "a", "source": "./a.parquet", **LISTS}
    with pytest.raises(InputError, match="set kind: token-classification"):
        resolve_task({**entry, "kind": "classification"}, tmp_path)
    pq.write_table(pa.table({**COLUMNS, "ner_tags": [[0, 1], [2, 2]]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="row 2 has 1 words, but 2 tags"):
        resolve_task(entry, tmp_path)


# Splitting


def loaded(task, train=None, validation=None, test=None):
    sizes = {"train_size": train, "validation_size": validation, "test_size": test}
    return load(None, [sizes], {}, {"task": task})[0]


def lines(rows):
    return "\n\n".join("\n".join(f"{word} {tag}" for word, tag in row) for row in rows)


def test_splits_are_of_sentences_without_repeats_and_nested(tmp_path):
    rows = [[(f"w{i % 50}", "B-a"), ("x", "I-a" if i % 3 else "O")] for i in range(60)]
    task = task_of(tmp_path, "a.conll", lines([*rows, [("rare", "I-b")]]))
    small, large = loaded(task, 10, 5, 10), loaded(task, 30, 5, 10)
    assert small.tables["train"].equals(large.tables["train"].slice(0, 10))
    assert small.value["dropped"]["repeated"] == 10
    assert small.value["labels"] == ["B-a", "I-a", "I-b", "O"]
    schema = {name: str(small.tables["test"].schema.field(name).type) for name in ("row", "labels")}
    assert schema == {"row": "int64", "labels": "list<item: int32>"}
    texts = [tuple(r) for t in large.tables.values() for r in t["tokens"].to_pylist()]
    assert len(texts) == len(set(texts)) == 45
    assert small.value["num_words"]["train"] == sum(
        map(len, small.tables["train"]["tokens"].to_pylist())
    )


def test_a_rare_tag_and_malformed_tags_are_counted_and_are_no_fault(tmp_path):
    for split, tag in {"train": "B-a", "test": "I-rare"}.items():
        rows = [[(f"{split}{i}", tag), ("x", "O")] for i in range(12)]
        (tmp_path / f"{split}.conll").write_text(lines(rows))
    value = loaded(resolve_task({"name": "a", "source": str(tmp_path)}, tmp_path)).value
    assert value["untrained"] == {"validation": {}, "test": {"I-rare": 12}}
    assert value["malformed"] == {"train": 0, "validation": 0, "test": 12}


def test_one_tag_is_nothing_to_learn(tmp_path):
    with pytest.raises(InputError, match="same tag, 'O'"):
        loaded(task_of(tmp_path, "a.conll", lines([[(f"w{i}", "O")] for i in range(20)])))


# Words and sub-words


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = save_bert(tmp_path_factory.mktemp("model"), splitting=letters)
    return resolve_model({"name": "tiny", "source": str(folder)}, folder)


@pytest.fixture(scope="module")
def context():
    return WorkerContext(Resources())


def tokenized(context, model, words, max_length=64):
    """Return the tokens of sentences whose words all have tag 0."""
    tags = [[0] * len(row) for row in words]
    table = pa.table(
        {
            "row": np.arange(len(words)) * 3,
            "tokens": pa.array(words, pa.list_(pa.string())),
            "labels": pa.array(tags, pa.list_(pa.int32())),
        }
    )
    value = {"labels": TAGS, "kind": "token-classification", "num_rows": {}}
    examples = Fake(value, dict.fromkeys(("train", "validation", "test"), table))
    inputs = ([{"max_length": max_length}], {"examples": examples}, {"model": model})
    (result,) = tokenize_words(context, *inputs)
    return result


# U+FE0F alone is nothing to a tokenizer that strips it, `ab cd` are two words to one that splits.
odd_words = st.sampled_from(["a", "abc", "fine", "zzzzzzzz", "ab cd", " ", "\ufe0f", "Ä", ""])
texts = st.lists(st.lists(odd_words, min_size=1, max_size=9), min_size=1, max_size=6)


@given(texts, st.integers(4, 24))
@settings(max_examples=60, deadline=None)
def test_every_word_gets_exactly_one_prediction(context, model, words, max_length):
    words = [*words, ["fine"]]
    result = tokenized(context, model, words, max_length)
    table = result.tables["test"]
    truth = truth_of(table)
    batches = token_batches(table, result.value["pad_id"], "cpu")
    seen = [batches.places(rows) for rows in batches.by_length(2)]
    assert sorted(np.concatenate(seen)) == list(range(batches.num_outputs))
    scores = torch.eye(len(TAGS))[torch.arange(batches.num_outputs) % len(TAGS)]
    scale = LabelScale(truth.labels, is_regression=False)
    part = {"validation": scores, "test": scores}
    made = prediction_table(part, {"validation": truth, "test": truth}, scale)
    rows = made.slice(made.num_rows // 2).to_pylist()
    expected = [(3 * i, p) for i, row in enumerate(words) for p in range(len(row))]
    assert [(row["row"], row["position"]) for row in rows] == expected
    predicted = [row["prediction"] for row in rows if row["prediction"] != LOST]
    assert predicted == [n % len(TAGS) for n in range(batches.num_outputs)]
    assert all((row["scores"] is None) == (row["prediction"] == LOST) for row in rows)
    assert len(rows) - len(predicted) == result.value["num_lost"]["test"]


@given(texts)
@settings(max_examples=30, deadline=None)
def test_the_token_of_a_word_is_its_first_one(context, model, words):
    words = [*words, ["fine"]]
    result = tokenized(context, model, words)
    table, tokenizer = result.tables["test"], warm_tokenizer(context, model)
    batches = token_batches(table, result.value["pad_id"], "cpu")
    flat = [word for row in words for word in row]
    kept = truth_of(table).kept
    for rows in batches.by_length(3):
        batch = batches.batch(rows)
        tokens = batch["input_ids"].flatten()[batch[WORDS]].tolist()
        for place, token in zip(batches.places(rows), tokens, strict=True):
            word = flat[kept[place]].strip()
            assert tokenizer.convert_ids_to_tokens(token) in (word[0], "[UNK]")


def test_cut_words_are_lost_and_counted(context, model):
    result = tokenized(context, model, [["fine", "fine"], ["a", "b", "c"]], max_length=5)
    assert result.tables["test"]["first_tokens"].to_pylist() == [[1, LOST], [1, 2, 3]]
    assert result.value["num_lost"] == {"train": 1, "validation": 1, "test": 1}
    assert first_tokens([None, 1, 1, 0, None], 3) == [3, 1, LOST]


def test_a_slow_tokenizer_is_told(context, model):
    class Slow:
        is_fast = False

    class Cached(WorkerContext):
        def cached(self, key, load):
            return Slow()

    with pytest.raises(InputError, match="slow sort"):
        tokenized(Cached(Resources()), model, [["a"]])


def test_byte_level_tokenizers_get_their_space(tmp_path, context):
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw = Tokenizer(models.BPE({c: n for n, c in enumerate(sorted(alphabet))}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    GPT2TokenizerFast(tokenizer_object=raw).save_pretrained(tmp_path)
    config = GPT2Config(vocab_size=300, n_embd=16, n_layer=1, n_head=2, n_positions=64)
    GPT2Model(config).save_pretrained(tmp_path)
    gpt2 = resolve_model({"name": "gpt2", "source": str(tmp_path)}, tmp_path)
    result = tokenized(context, gpt2, [["ab", "c"]])
    assert result.tables["test"]["first_tokens"].to_pylist() == [[0, 3]]
    tokens = result.tables["test"]["input_ids"][0].as_py()
    spaced = warm_tokenizer(context, gpt2, add_prefix_space=True).convert_ids_to_tokens(tokens)
    assert spaced == ["Ġ", "a", "b", "Ġ", "c"]
    assert warm_tokenizer(context, gpt2).add_prefix_space is False


# Training


@pytest.fixture(scope="module")
def swept(model, tmp_path_factory):
    """A finished sweep of all methods over a task of tagged words, and its store."""
    folder = tmp_path_factory.mktemp("sweep")
    train = {"epochs": 8, "batch_size": 8, "learning_rate": 0.01}
    sweep = {
        "name": "words",
        "models": {"name": "tiny", "source": model.source.location},
        "tasks": {
            "name": "tags",
            "source": str(save_tagged(folder / "tags.jsonl")),
            "kind": "token-classification",
            "text": "words",
            "label": "tags",
        },
        **SIZES,
        "seeds": 1,
        "space": [
            {"method": "probe", "learning_rate": 0.05, "max_length": [64, 12]},
            {"method": ["full", "partial", "scratch", "lora"], **train},
        ],
        "tracking": "off",
    }
    store = str(folder / "store")
    return run(sweep, backend="inline", store=store), open_sweep(sweep, store)


def test_every_method_labels_words(swept):
    report, _ = swept
    assert report.counts == {"FINISHED": 6}
    for row in report.table().to_pylist():
        for split in ("validation", "test"):
            names = {name for name in row if name.startswith(f"{split}/")}
            assert {f"{split}/{name}" for name in ("accuracy", "f1", "f1_macro")} <= names
            assert 0 <= row[f"{split}/f1"] <= 1


def test_a_probe_learns_what_can_be_read_off_the_words(swept, tmp_path):
    _, workspace = swept
    sweep = {
        **workspace.file.data,
        "models": {"name": "words", "source": str(save_bert(tmp_path / "model"))},
        "space": {"method": "probe", "learning_rate": 0.05},
    }
    (result,) = run(sweep, backend="inline", store=str(tmp_path / "store")).results
    assert result.metrics["test/accuracy"] > 0.6  # the most frequent of five tags has 0.3


def test_features_are_those_of_first_tokens_run_alone(swept, model):
    _, workspace = swept
    features = artifact(workspace, "encode", "tags", method="probe", max_length=64)
    examples = artifact(workspace, "load", "tags").table("test")
    tokenizer = AutoTokenizer.from_pretrained(model.source.location)
    backbone = AutoModel.from_pretrained(model.source.location).eval()
    rows, found = features.array("test/rows"), features.array("test/features")
    assert len(found) == len(rows)
    for number in (0, 7, 23):
        words = examples["tokens"][number].as_py()
        inputs = tokenizer(words, is_split_into_words=True, return_tensors="pt")
        with torch.inference_mode():
            hidden = backbone(**inputs).last_hidden_state[0]
        alone = hidden[first_tokens(inputs.word_ids(), len(words))]
        mine = found[rows == examples["row"][number].as_py()]
        np.testing.assert_allclose(mine, alone, atol=1e-5)


def test_cut_words_count_as_wrong(swept):
    _, workspace = swept
    table = artifact(workspace, "probe", "tags", method="probe", max_length=12).table("predictions")
    examples = artifact(workspace, "load", "tags")
    part = table.filter(pa.compute.equal(table["split"], "test"))
    words = [word for row in examples.table("test")["tokens"].to_pylist() for word in row]
    assert len(part) == len(words)
    predictions, labels = part["prediction"].to_numpy(), part["label"].to_numpy()
    assert (predictions == LOST).any()
    metrics = artifact(workspace, "evaluate", "tags", method="probe", max_length=12).value
    right = float((predictions == labels).sum() / len(words))
    assert metrics["metrics"]["test/accuracy"] == pytest.approx(right)
    assert set(VOCABULARY) == {"good", "bad", "any"}


def test_pooling_does_not_apply_and_is_told(swept):
    _, workspace = swept
    sweep = {**workspace.file.data, "space": {"method": "probe", "pooling": "cls"}}
    with pytest.raises(InvalidSweepError, match="labels words"):
        run(sweep, backend="inline", store="unused")
