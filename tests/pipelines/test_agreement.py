"""`probe` and `full` on real tasks, against plain references: transformers' Trainer, scikit-learn.

The references read the texts that stage `load` chose and do the rest themselves. Dropout is off
in the configuration of the model that both sides get, for its random stream is no part of the
method; head, order of the rows and schedule are the same. What is left are sums in another order.
"""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from sklearn.linear_model import LogisticRegression, RidgeCV
from torch import nn
from transformers import (
    AutoModel,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from orchestrator import run
from orchestrator.running.workspace import open_sweep
from pipelines.catalogue import MODELS
from pipelines.seeding import stream_seed
from pipelines.sources import fetch
from pipelines.transfer.examples import new_head

FEATURES_ATOL = 1e-5
"""Of pooled features, whose deviation is about 0.05."""
LOSS_ATOL = 1e-4
"""Of the training loss in every step."""
SCORES_ATOL = 1e-3
"""Of the outputs of the trained model on rows for test."""
METRIC_ATOL = 0.06
"""Between a probe and scikit-learn, whose penalty is another one: about 1.5 standard errors of
an accuracy of 0.7 on 120 rows."""

TEXTS = ("rotten-tomatoes", "bbc-news", "privacy-qa", "sentiment-tweets")
WORDS = "english-ner"
MAX_LENGTH = 32
SPLITS = ("train", "validation", "test")
PROBE = {"learning_rate": 0.003, "epochs": 30, "batch_size": 32, "warmup_ratio": 0.0}
FULL = {"learning_rate": 5e-5, "epochs": 2, "batch_size": 8, "warmup_ratio": 0.1}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """all-MiniLM-L6-v2 without dropout."""
    folder = tmp_path_factory.mktemp("minilm") / "model"
    shutil.copytree(fetch(MODELS["all-MiniLM-L6-v2"].source), folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def swept(model, tmp_path_factory):
    """Return what fanflare has of a task and a method: the result, and artifacts by stage."""
    sizes = {"validation_size": 8, "max_length": MAX_LENGTH}
    sweep = {
        "name": "agreement",
        "models": {"name": "minilm", "source": str(model)},
        "tasks": [*TEXTS, WORDS],
        "resources": {"num_cpus": 1},
        "tracking": "off",
        "space": [
            {"method": "probe", "train_size": 160, "test_size": 120, **sizes, **PROBE},
            {"method": "full", "train_size": 24, "test_size": 16, **sizes, **FULL},
        ],
    }
    store = str(tmp_path_factory.mktemp("store"))
    report = run(sweep, backend="inline", store=store)
    assert report.exit_code == 0
    workspace = open_sweep(sweep, store)

    def found(task, method):
        (result,) = (r for r in report.results if (r.trial.task, r.trial.method) == (task, method))
        digests = {workspace.nodes[d].stage.name: d for d in result.trial.stages}
        records = workspace.store.find(list(digests.values()))
        stages = {name: workspace.store.open(records[d]) for name, d in digests.items()}
        return result, stages

    return found


class Data:
    """The rows of a task as the references take them: tokens, and targets."""

    def __init__(self, model, loaded):
        self.labels = loaded.value["labels"]
        tokenizer = AutoTokenizer.from_pretrained(model)
        self.pad = DataCollatorWithPadding(tokenizer)
        tables = {split: loaded.table(split) for split in SPLITS}
        self.of_words = "tokens" in tables["train"].column_names
        of_split = _tagged if self.of_words else _labelled
        self.rows, self.targets = {}, {}
        for split, table in tables.items():
            self.rows[split], self.targets[split] = of_split(tokenizer, table)

    def scaled(self, split):
        """Return classes, or numbers in units of the training rows' deviation."""
        if self.labels is not None:
            return self.targets[split]
        train = self.targets["train"]
        return (self.targets[split] - train.mean()) / train.std()


def _labelled(tokenizer, table):
    texts = [
        table[name].to_pylist() for name in ("text", "text_pair") if name in table.schema.names
    ]
    encoded = tokenizer(*texts, truncation=True, max_length=MAX_LENGTH)
    labels = table["label"].to_numpy()
    return _rows(encoded), labels if labels.dtype == np.float64 else labels.astype(np.int64)


def _tagged(tokenizer, table):
    """Return tokens, and for each token the tag of the word that it begins, else -100."""
    encoded = tokenizer(
        table["tokens"].to_pylist(),
        is_split_into_words=True,
        truncation=True,
        max_length=MAX_LENGTH,
    )
    tags = []
    for row, labels in enumerate(table["labels"].to_pylist()):
        words = encoded.word_ids(row)
        begins = [w is not None and w not in words[:i] for i, w in enumerate(words)]
        tags.append([labels[w] if b else -100 for w, b in zip(words, begins, strict=True)])
    return _rows(encoded), tags


def _rows(encoded):
    return [
        {name: encoded[name][row] for name in encoded} for row in range(len(encoded["input_ids"]))
    ]


class Reference(nn.Module):
    """A pre-trained encoder, or none, with a linear head; returns outputs and targets."""

    def __init__(self, head, backbone=None):
        super().__init__()
        self.head, self.backbone = head, backbone

    def forward(self, targets, features=None, **inputs):
        if self.backbone is not None:
            features = self.backbone(**inputs).last_hidden_state
            if targets.ndim == 2:  # of tokens
                features, targets = features[targets != -100], targets[targets != -100]
            else:
                mask = inputs["attention_mask"].unsqueeze(-1)
                features = (features * mask).sum(1) / mask.sum(1)
        return self.head(features), targets


class InOrder(torch.utils.data.Sampler):
    """Draws the rows of every epoch from the stream of the trial's seed."""

    def __init__(self, num_rows, seed):
        self.num_rows = num_rows
        self.draw = np.random.default_rng(stream_seed(seed, "order"))

    def __len__(self):
        return self.num_rows

    def __iter__(self):
        return iter(self.draw.permutation(self.num_rows).tolist())


class PlainTrainer(Trainer):
    """Transformers' Trainer that keeps every loss and takes the rows in a given order."""

    def __init__(self, model, rows, collate, params, folder):
        num_steps = params["epochs"] * math.ceil(len(rows) / params["batch_size"])
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=params["epochs"],
            per_device_train_batch_size=params["batch_size"],
            lr_scheduler_type="linear",
            warmup_steps=math.ceil(params["warmup_ratio"] * num_steps),
            max_grad_norm=1.0,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=params["learning_rate"], weight_decay=0.01
        )
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=rows,
            data_collator=collate,
            optimizers=(optimizer, None),
        )
        self.losses = []

    def _get_train_sampler(self, *_):
        return InOrder(len(self.train_dataset), seed=0)

    def compute_loss(self, model, inputs, **_):
        outputs, targets = model(**inputs)
        if targets.is_floating_point():
            loss = nn.functional.mse_loss(outputs.squeeze(-1), targets.float())
        else:
            loss = nn.functional.cross_entropy(outputs, targets)
        self.losses.append(loss.item())
        return loss


def collate_texts(data, split):
    """Return a function that pads rows, given by their numbers, and adds their targets."""
    targets = data.scaled(split)

    def collate(numbers):
        batch = dict(data.pad([data.rows[split][n] for n in numbers]))
        chosen = [targets[n] for n in numbers]
        if data.of_words:
            longest = batch["input_ids"].shape[1]
            chosen = [tags + [-100] * (longest - len(tags)) for tags in chosen]
        return {**batch, "targets": torch.as_tensor(np.array(chosen))}

    return collate


def plain_outputs(model, data, split, size=32):
    """Return the outputs of a trained reference for all rows of a split, in their order."""
    collate = collate_texts(data, split)
    numbers = range(len(data.rows[split]))
    with torch.inference_mode():
        parts = [model.eval()(**collate(numbers[i : i + size]))[0] for i in numbers[::size]]
    return torch.cat(parts).numpy()


def plain_features(model, data, split):
    """Return the mean over the tokens of each text, of a word its first token."""
    backbone = AutoModel.from_pretrained(model)
    return plain_outputs(Reference(nn.Identity(), backbone), data, split)


def test_scores(stages, stage, num_outputs):
    """Return the scores that fanflare predicted for the rows for test, without words cut off."""
    table = stages[stage].table("predictions").to_pylist()
    rows = [row["scores"] for row in table if row["split"] == "test" and row["scores"] is not None]
    return np.array(rows).reshape(-1, num_outputs)


test_scores.__test__ = False


@pytest.mark.parametrize("task", [*TEXTS, WORDS])
def test_full_takes_the_steps_of_a_plain_trainer(swept, model, tmp_path, task):
    _, stages = swept(task, "full")
    data = Data(model, stages["transfer/load"])
    num_outputs = len(data.labels or [""])
    reference = Reference(new_head(384, num_outputs, seed=0), AutoModel.from_pretrained(model))
    rows = list(range(len(data.rows["train"])))
    trainer = PlainTrainer(reference, rows, collate_texts(data, "train"), FULL, tmp_path)
    trainer.train()
    curve = stages["transfer/finetune"].value["curve"]
    losses = [point["train_loss"] for point in curve if "train_loss" in point]
    assert len(losses) == 6
    np.testing.assert_allclose(losses, trainer.losses, atol=LOSS_ATOL)
    scores = test_scores(stages, "transfer/finetune", num_outputs)
    expected = plain_outputs(reference, data, "test")
    np.testing.assert_allclose(scores, expected, atol=SCORES_ATOL)


@pytest.mark.parametrize("task", [*TEXTS, WORDS])
def test_probe_agrees_with_plain_features_a_plain_trainer_and_scikit_learn(
    swept, model, tmp_path, task
):
    result, stages = swept(task, "probe")
    data = Data(model, stages["transfer/load"])
    features = {split: plain_features(model, data, split) for split in ("train", "test")}
    for split, plain in features.items():
        own = stages["transfer/encode"].array(f"{split}/features")
        np.testing.assert_allclose(own, plain, atol=FEATURES_ATOL)
    if data.of_words:
        return  # the order of the rows there is one of sentences
    num_outputs = len(data.labels or [""])
    reference = Reference(new_head(384, num_outputs, seed=0))
    train = torch.tensor(features["train"])
    targets = torch.as_tensor(data.scaled("train"))
    rows = list(range(len(train)))
    trainer = PlainTrainer(
        reference, rows, lambda n: {"features": train[n], "targets": targets[n]}, PROBE, tmp_path
    )
    trainer.train()
    with torch.inference_mode():
        expected = reference.head(torch.tensor(features["test"])).numpy()
    scores = test_scores(stages, "transfer/probe", num_outputs)
    np.testing.assert_allclose(scores, expected, atol=SCORES_ATOL)
    metric, plain_metric = "accuracy", None
    if data.labels is None:
        metric = "pearson"
        penalties = np.logspace(-1, 2, 7)
        fitted = RidgeCV(penalties).fit(features["train"], data.targets["train"])
        plain_metric = pearsonr(fitted.predict(features["test"]), data.targets["test"]).statistic
    else:
        fitted = LogisticRegression(max_iter=2000).fit(features["train"], data.targets["train"])
        plain_metric = fitted.score(features["test"], data.targets["test"])
    assert abs(result.metrics[f"test/{metric}"] - plain_metric) < METRIC_ATOL
    assert plain_metric > 0.5
