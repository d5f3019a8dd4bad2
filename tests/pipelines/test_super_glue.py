"""SuperGLUE's tasks by name, on a folder in the layout of the hub's repository."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from orchestrator import run
from pipelines.catalogue.super_glue import SUPER_GLUE
from pipelines.contract import InputError
from pipelines.sources import read, resolve_task
from tests.pipelines.tiny import WORDS, save_bert

CLASSES = ["False", "True"]
ENTAILMENT = ["entailment", "not_entailment"]
LAYOUT = {
    "boolq": (["question", "passage", "idx", "label"], CLASSES),
    "cb": (["premise", "hypothesis", "idx", "label"], ["entailment", "contradiction", "neutral"]),
    "copa": (
        ["premise", "choice1", "choice2", "question", "idx", "label"],
        ["choice1", "choice2"],
    ),
    "multirc": (["paragraph", "question", "answer", "idx", "label"], CLASSES),
    "rte": (["premise", "hypothesis", "idx", "label"], ENTAILMENT),
    "wic": (
        ["word", "sentence1", "sentence2", "start1", "start2", "end1", "end2", "idx", "label"],
        CLASSES,
    ),
    "wsc": (
        ["text", "span1_index", "span2_index", "span1_text", "span2_text", "idx", "label"],
        CLASSES,
    ),
    "axg": (["premise", "hypothesis", "idx", "label"], ENTAILMENT),
}
"""The columns and class names of each folder of `aps/super_glue`."""
NUMBERS = {"idx", "start1", "start2", "end1", "end2", "span1_index", "span2_index"}
ROWS = {"train": 60, "validation": 30, "test": 12}


@pytest.fixture(scope="module")
def super_glue(tmp_path_factory):
    """A small invented copy of every task, written by `datasets` in the layout of the hub."""
    root = tmp_path_factory.mktemp("super_glue")
    for folder, (columns, classes) in LAYOUT.items():
        for split in ("test",) if folder == "axg" else ROWS:
            path = root / folder / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(exist_ok=True)
            has_labels = split != "test" or folder == "axg"
            invented(columns, classes, ROWS[split], has_labels).to_parquet(path)
    return root


def invented(columns, classes, num_rows, has_labels):
    draw = np.random.default_rng(num_rows)
    words = [word for group in WORDS.values() for word in group]
    data, features = {}, {}
    for column in columns:
        if column == "label":
            data[column] = np.arange(num_rows) % len(classes) if has_labels else [-1] * num_rows
            features[column] = ClassLabel(names=classes)
        elif column in NUMBERS:
            data[column], features[column] = list(range(num_rows)), Value("int32")
        else:
            data[column] = [
                f"{' '.join(draw.choice(words, 4))} {column} {row}" for row in range(num_rows)
            ]
            features[column] = Value("string")
    return Dataset.from_dict(data, features=Features(features))


def task_of(super_glue, name, **more):
    return resolve_task({"name": name, "source": str(super_glue), **more}, super_glue)


@pytest.mark.parametrize("name", SUPER_GLUE)
def test_a_task_has_its_columns_classes_and_splits(super_glue, name):
    task = task_of(super_glue, name)
    splits = read(task)
    num_test = ROWS["test" if name.endswith("axg") else "validation"]
    assert {split: len(table) for split, table in splits.items()} == {"train": 60, "test": num_test}
    folder = name.removeprefix("super_glue/")
    assert set(splits["test"]["label"].to_pylist()) == set(LAYOUT[folder][1])
    assert splits["test"].column_names == ["text", "text_pair", "label"]
    assert task.metric == SUPER_GLUE[name]["metric"]


def test_the_official_metrics_are_those_of_the_benchmark():
    metrics = {name: entry["metric"] for name, entry in SUPER_GLUE.items()}
    others = {name: metrics.pop(f"super_glue/{name}") for name in ("cb", "multirc")}
    assert others == {"cb": "f1_macro", "multirc": "f1"}
    assert set(metrics.values()) == {"accuracy"}
    assert SUPER_GLUE["super_glue/multirc"]["positive"] == "True"


@pytest.mark.parametrize(
    ("name", "role", "columns"),
    [
        ("multirc", "text_pair", ["question", "answer"]),
        ("copa", "text", ["premise", "question"]),
        ("copa", "text_pair", ["choice1", "choice2"]),
        ("wic", "text", ["word", "sentence1"]),
        ("wsc", "text_pair", ["span1_text", "span2_text"]),
    ],
)
def test_several_columns_are_one_text_a_line_each(super_glue, name, role, columns):
    row = read(task_of(super_glue, f"super_glue/{name}"))["train"].slice(3, 1).to_pylist()[0]
    lines = row[role].split("\n")
    assert [line.split()[-2:] for line in lines] == [[column, "3"] for column in columns]


@pytest.mark.parametrize("name", ["record", "axb"])
def test_what_is_left_out_is_no_name(super_glue, name):
    with pytest.raises(InputError):
        task_of(super_glue, f"super_glue/{name}", text="passage", metric="accuracy")
    with pytest.raises(InputError):
        resolve_task(f"super_glue/{name}", super_glue)


def test_a_sweep_over_tasks_with_joined_columns(super_glue, tmp_path):
    bert = save_bert(tmp_path / "bert")
    report = run(
        {
            "name": "super-glue",
            "models": {"name": "tiny", "source": str(bert)},
            "tasks": [
                {"name": f"super_glue/{name}", "source": str(super_glue)}
                for name in ("multirc", "cb", "wic")
            ],
            "space": {"method": "probe", "epochs": 1},
            "tracking": "off",
        },
        backend="inline",
        store=str(tmp_path / "store"),
    )
    assert report.exit_code == 0
    metrics = {result.trial.task: result.trial.metric for result in report.results}
    assert metrics == {
        "super_glue/multirc": "f1",
        "super_glue/cb": "f1_macro",
        "super_glue/wic": "accuracy",
    }


def write_table(path, rows):
    path.write_text("\n".join(["title,body,label", *(",".join(row) for row in rows)]) + "\n")
    return path


def test_columns_of_ones_own_are_joined_and_a_row_may_lack_some(tmp_path):
    rows = [(f"t{n}", f"b{n}", "ab"[n % 2]) for n in range(20)]
    write_table(tmp_path / "news.csv", [*rows, ("", "body alone", "a"), ("title alone", "", "b")])
    task = resolve_task(
        {"name": "news", "source": "./news.csv", "text": ["title", "body"]}, tmp_path
    )
    texts = read(task)["all"]["text"].to_pylist()
    assert texts[:2] == ["t0\nb0", "t1\nb1"]
    assert texts[-2:] == ["body alone", "title alone"]
    other = resolve_task({"name": "n", "source": "./news.csv", "text": ["body", "title"]}, tmp_path)
    one = resolve_task({"name": "n", "source": "./news.csv", "text": ["body"]}, tmp_path)
    same = resolve_task({"name": "n", "source": "./news.csv", "text": "body"}, tmp_path)
    assert len({task.digest, other.digest, one.digest}) == 3
    assert one.digest == same.digest


@pytest.mark.parametrize(
    ("text", "nearest"), [(["title", "boddy"], "body"), ([], ""), ({"a": "b"}, ""), ([True], "")]
)
def test_a_faulty_column_among_several_is_told(tmp_path, text, nearest):
    write_table(tmp_path / "news.csv", [("t", "b", "a"), ("u", "c", "b")])
    with pytest.raises(InputError) as caught:
        resolve_task({"name": "news", "source": "./news.csv", "text": text}, tmp_path)
    assert caught.value.key.partition(".")[0] == "text"
    assert caught.value.nearest == nearest


def test_words_come_of_one_column(tmp_path):
    (tmp_path / "tags.conll").write_text("a X\nb Y\n")
    with pytest.raises(InputError, match="one column"):
        resolve_task({"name": "tags", "source": "./tags.conll", "text": ["1", "2"]}, tmp_path)
