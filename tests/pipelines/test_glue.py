"""GLUE's tasks by name, on a folder in the layout of the hub's repository."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from orchestrator import InvalidSweepError, run
from pipelines.catalogue.glue import GLUE
from pipelines.contract import InputError
from pipelines.sources import read, resolve_task
from pipelines.transfer.metrics import compute_metrics
from tests.pipelines.tiny import WORDS, save_bert

NAMES = {
    "cola": ["unacceptable", "acceptable"],
    "sst2": ["negative", "positive"],
    "mrpc": ["not_equivalent", "equivalent"],
    "qqp": ["not_duplicate", "duplicate"],
    "mnli": ["entailment", "neutral", "contradiction"],
    "qnli": ["entailment", "not_entailment"],
    "rte": ["entailment", "not_entailment"],
    "wnli": ["not_entailment", "entailment"],
}
ROWS = {"train": 60, "validation": 30, "test": 10}


@pytest.fixture(scope="module")
def glue(tmp_path_factory):
    """A small invented copy of every task, written by `datasets` in the layout of the hub."""
    root = tmp_path_factory.mktemp("glue")
    for entry in GLUE.values():
        folder = entry["splits"]["train"].partition("/")[0]
        validation = entry["splits"]["test"].partition("/")[2].removesuffix("-*.parquet")
        columns = [entry["text"]] + ([entry["text_pair"]] if "text_pair" in entry else [])
        for split, rows in ROWS.items():
            name = validation if split == "validation" else split
            path = root / folder / f"{name}-00000-of-00001.parquet"
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                invented(columns, NAMES.get(folder), split, rows).to_parquet(path)
    return root


def invented(columns, classes, split, rows):
    draw = np.random.default_rng(len(split) + rows)
    words = [word for group in WORDS.values() for word in group]
    data = {
        column: [f"{' '.join(draw.choice(words, 6))} {split} {row}" for row in range(rows)]
        for column in columns
    }
    label = Value("float32") if classes is None else ClassLabel(names=classes)
    numbers = draw.random(rows) * 5 if classes is None else np.arange(rows) % len(classes)
    data["label"] = (numbers if split != "test" else numbers * 0 - 1).tolist()
    features = Features({**{column: Value("string") for column in columns}, "label": label})
    return Dataset.from_dict(data, features=features)


@pytest.mark.parametrize("name", GLUE)
def test_a_task_has_its_columns_classes_and_splits(glue, name):
    task = resolve_task({"name": name, "source": str(glue)}, glue)
    splits = read(task)
    assert {split: table.num_rows for split, table in splits.items()} == {"train": 60, "test": 30}
    assert ("text_pair" in splits["train"].column_names) == task.kind.is_pair
    folder = GLUE[name]["splits"]["train"].partition("/")[0]
    if folder in NAMES:
        assert set(splits["test"]["label"].to_pylist()) == set(NAMES[folder])
    assert task.metric == GLUE[name]["metric"]


def test_the_official_metrics_are_those_of_the_benchmark():
    official = {name.removeprefix("glue/"): entry["metric"] for name, entry in GLUE.items()}
    assert official["cola"] == "matthews_corrcoef"
    assert official["stsb"] == "pearson"
    assert official["mrpc"] == official["qqp"] == "f1"
    assert set(official.values()) == {"matthews_corrcoef", "pearson", "f1", "accuracy"}


def test_f1_looks_at_the_class_that_is_named():
    labels, predictions = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    second = compute_metrics(labels, predictions, num_classes=2)["f1"]
    first = compute_metrics(labels, predictions, num_classes=2, positive=0)["f1"]
    assert (second, first) == (pytest.approx(2 / 3), pytest.approx(4 / 5))


def sweep(glue, bert, task):
    return {
        "name": "glue",
        "models": {"name": "tiny", "source": str(bert)},
        "tasks": [task],
        "space": {"method": "probe", "epochs": 1},
        "tracking": "off",
    }


def test_mrpc_is_judged_by_its_equivalent_pairs(glue, tmp_path):
    bert = save_bert(tmp_path / "bert")
    store = str(tmp_path / "store")
    official = sweep(glue, bert, {"name": "glue/mrpc", "source": str(glue)})
    other = sweep(
        glue, bert, {"name": "glue/mrpc", "source": str(glue), "positive": "not_equivalent"}
    )
    one, two = (run(s, backend="inline", store=store).results[0].metrics for s in (official, other))
    assert one["test/accuracy"] == two["test/accuracy"]
    assert one["test/f1_macro"] == pytest.approx((one["test/f1"] + two["test/f1"]) / 2)


def test_a_class_that_is_not_there_fails_with_the_names_that_are(glue, tmp_path):
    bert = save_bert(tmp_path / "bert")
    wrong = sweep(glue, bert, {"name": "glue/mrpc", "source": str(glue), "positive": "same"})
    try:
        report = run(wrong, backend="inline", store=str(tmp_path / "store"))
        message = report.results[0].failure.message
    except InvalidSweepError as error:
        message = str(error)
    assert "equivalent, not_equivalent" in message


def test_without_the_hub_the_name_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="nyu-mll/glue"):
        resolve_task("glue/sst2", tmp_path)
