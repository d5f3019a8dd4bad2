"""What a user would write under Ray Tune for the sweeps of `benchmarks.sharing`, at its best.

Class trainables with `reuse_actors=True`: imports, model and data stay in a process from trial
to trial. Where a sweep is tracked, Tune's own callback writes every trial to MLflow on SQLite.
On a machine with a GPU all but scikit-learn's heads compute on it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import ray
import torch
import transformers
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from sklearn.linear_model import SGDClassifier, SGDRegressor

from benchmarks.device import DEVICE, HAS_GPU
from cluster.job import Resources
from orchestrator.running.worker_context import WorkerContext
from pipelines.catalogue import MODELS, TASKS
from pipelines.seeding import stream_seed
from pipelines.sources import fetch_model
from pipelines.training.precision import precision_on
from pipelines.transfer.data.loading import SPLITS, load
from pipelines.transfer.examples import new_head

MODEL = "all-MiniLM-L6-v2"
MAX_LENGTH = 64
BATCH_SIZE = 32


@cache
def texts(task: str, sizes: tuple[int, int, int]) -> dict[str, tuple[list[str], np.ndarray]]:
    """Return the very rows that fanflare's trials have: texts and classes by split."""
    names = ("train_size", "validation_size", "test_size")
    member = dict(zip(names, sizes, strict=True))
    (result,) = load(WorkerContext(Resources()), [member], {}, {"task": TASKS[task]})
    return {
        split: (table["text"].to_pylist(), table["label"].to_numpy())
        for split, table in result.tables.items()
    }


@cache
def trunk() -> tuple[Any, Any]:
    """Return tokenizer and frozen model, loaded once in a process."""
    folder = fetch_model(MODELS[MODEL])
    return (
        transformers.AutoTokenizer.from_pretrained(folder),
        transformers.AutoModel.from_pretrained(folder).eval().to(DEVICE),
    )


def embed(batch: Sequence[str]) -> torch.Tensor:
    """Return mean-pooled features on the device, `(batch, width)`, in single precision."""
    tokenizer, model = trunk()
    inputs = tokenizer(
        list(batch), truncation=True, max_length=MAX_LENGTH, padding=True, return_tensors="pt"
    ).to(DEVICE)
    with torch.inference_mode():
        hidden = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1)
        return (hidden * mask).sum(1) / mask.sum(1)


def embed_all(rows: Sequence[str]) -> np.ndarray:
    """Return the features of all rows, batched by length as anyone would."""
    order = np.argsort([len(text) for text in rows], kind="stable")
    features = np.empty((len(rows), 384), dtype=np.float32)
    for start in range(0, len(rows), 64):
        places = order[start : start + 64]
        features[places] = embed([rows[place] for place in places]).cpu().numpy()
    return features


class _Reused(tune.Trainable):
    def reset_config(self, new_config: Mapping[str, Any]) -> bool:
        """Take another trial's params, so that the process is used again."""
        self.config = dict(new_config)
        return True


class _OnDevice(_Reused):
    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory | None:
        """Let a trial have a core, and share the GPU with seven others where there is one."""
        return tune.PlacementGroupFactory([{"CPU": 1, "GPU": 1 / 8}]) if HAS_GPU else None


class FrozenTrunk(_OnDevice):
    """A trial as most people write it: each batch goes through the frozen model, then the head."""

    def step(self) -> dict[str, Any]:
        """Train all epochs of a trial, and return its test accuracy."""
        torch.set_num_threads(1)
        data = texts("rotten-tomatoes", tuple(self.config["sizes"]))
        rows, labels = data["train"]
        torch.manual_seed(self.config["seed"])
        head = torch.nn.Linear(384, 2).to(DEVICE)
        optimizer = torch.optim.AdamW(
            head.parameters(), lr=self.config["lr"], weight_decay=self.config["weight_decay"]
        )
        targets = torch.tensor(labels, dtype=torch.int64, device=DEVICE)
        for _ in range(self.config["epochs"]):
            order = torch.randperm(len(rows))
            for places in order.split(BATCH_SIZE):
                features = embed([rows[place] for place in places]).clone()
                loss = torch.nn.functional.cross_entropy(head(features), targets[places])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        test, truth = data["test"]
        features = torch.from_numpy(embed_all(test)).to(DEVICE)
        predicted = head(features).argmax(1).cpu().numpy()
        return {"accuracy": float((predicted == truth).mean()), "done": True}


class CachedFeatures(_Reused):
    """A trial of someone who caches features by hand: a scikit-learn head on them."""

    def step(self) -> dict[str, Any]:
        """Train a head, and return its test accuracy, or correlation where numbers are learnt."""
        data = ray.get(self.config["features"][self.config.get("task", 0)])
        labels = data["train"][1]
        is_classified = np.issubdtype(labels.dtype, np.integer)
        common = {
            "learning_rate": "constant",
            "eta0": self.config["lr"] * (1 if is_classified else 0.1),  # else it diverges
            "alpha": self.config["weight_decay"] * 1e-3 or 1e-9,
            "max_iter": self.config["epochs"],
            "tol": None,
            "random_state": self.config["seed"],
        }
        kind = partial(SGDClassifier, loss="log_loss") if is_classified else SGDRegressor
        head = kind(**common).fit(*data["train"])
        if is_classified:
            score = head.score(*data["test"])
        else:
            score = np.corrcoef(head.predict(data["test"][0]), data["test"][1])[0, 1]
        return {"accuracy": float(score), "done": True}


class Classifier(torch.nn.Module):
    """The model with a linear head on the mean of its last layer, as fanflare begins with it."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.backbone = transformers.AutoModel.from_pretrained(fetch_model(MODELS[MODEL]))
        self.dropout = torch.nn.Dropout(0.1)
        self.head = new_head(384, 2, seed)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return logits `(batch, 2)`, and the loss where there are labels."""
        inputs = {"attention_mask": attention_mask, "token_type_ids": token_type_ids}
        hidden = self.backbone(input_ids, **inputs).last_hidden_state
        mask = attention_mask.unsqueeze(-1)
        logits = self.head(self.dropout((hidden * mask).sum(1) / mask.sum(1)))
        if labels is None:
            return {"logits": logits}
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


class InOrder(torch.utils.data.Sampler[int]):
    """Draws the rows of every epoch as fanflare does.

    After 16 steps an accuracy depends on where the head began and which rows came first: its mean
    over four learning rates had a standard deviation of 0.03 over seeds, so that with draws of
    their own two sides of two seeds each differ by as much. Dropout alone is drawn apart.
    """

    def __init__(self, num_rows: int, seed: int) -> None:
        self._num_rows = num_rows
        self._draw = np.random.default_rng(stream_seed(seed, "order"))

    def __len__(self) -> int:
        return self._num_rows

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers of the rows of an epoch."""
        return iter(self._draw.permutation(self._num_rows).tolist())


class InOrderTrainer(transformers.Trainer):
    """Transformers' Trainer on rows in a given order."""

    def _get_train_sampler(self, train_dataset: Any = None) -> InOrder:
        return InOrder(len(train_dataset or self.train_dataset), self.args.seed)


class Finetuned(_OnDevice):
    """A trial of someone who fine-tunes with transformers' Trainer, batches padded as needed."""

    def step(self) -> dict[str, Any]:
        """Fine-tune all weights, and return the test accuracy."""
        torch.set_num_threads(1)
        data = encoded("rotten-tomatoes", tuple(self.config["sizes"]))
        transformers.set_seed(self.config["seed"])
        trainer = InOrderTrainer(
            model=Classifier(self.config["seed"]),
            args=transformers.TrainingArguments(
                output_dir=self.logdir,
                num_train_epochs=1,
                per_device_train_batch_size=BATCH_SIZE,
                per_device_eval_batch_size=64,
                learning_rate=self.config["lr"],
                weight_decay=0.01,
                seed=self.config["seed"],
                eval_strategy="epoch",
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=not HAS_GPU,
                bf16=precision_on(DEVICE, "auto") is torch.bfloat16,  # as fanflare's own default
            ),
            data_collator=transformers.DataCollatorWithPadding(trunk()[0]),
            train_dataset=data["train"],
            eval_dataset=data["validation"],
        )
        trainer.train()
        predicted = trainer.predict(data["test"])
        accuracy = (predicted.predictions.argmax(1) == predicted.label_ids).mean()
        return {"accuracy": float(accuracy), "done": True}


@cache
def encoded(task: str, sizes: tuple[int, int, int]) -> dict[str, list[dict[str, Any]]]:
    """Return a task's rows as token ids with labels, by split, made once in a process."""
    tokenizer = trunk()[0]
    found = {}
    for split, (rows, labels) in texts(task, sizes).items():
        ids = tokenizer(rows, truncation=True, max_length=MAX_LENGTH)
        keys = list(ids)
        found[split] = [
            {**{key: ids[key][row] for key in keys}, "label": int(label)}
            for row, label in enumerate(labels)
        ]
    return found


def cached_features(
    task: str, sizes: tuple[int, int, int], folder: Path
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return a task's features and labels by split; they are kept in a file in a folder."""
    path = folder / f"{task}.npz"
    if path.exists():
        with np.load(path) as file:
            return {split: (file[split], file[f"{split}_labels"]) for split in SPLITS}
    torch.set_num_threads(2)
    data = {split: (embed_all(rows), own) for split, (rows, own) in texts(task, sizes).items()}
    labels = {f"{split}_labels": own for split, (_, own) in data.items()}
    np.savez(path, **{split: features for split, (features, _) in data.items()}, **labels)
    return data


def fit(
    trainable: type[tune.Trainable], space: Mapping[str, Any], folder: Path, *, tracked: bool
) -> list[float]:
    """Run a grid under Tune, as many trials at once as its resources allow; return accuracies."""
    callbacks = []
    if tracked:
        uri = f"sqlite:///{folder}/mlflow.db"
        callbacks.append(MLflowLoggerCallback(tracking_uri=uri, experiment_name="sharing"))
    tuner = tune.Tuner(
        trainable,
        param_space=dict(space),
        tune_config=tune.TuneConfig(metric="accuracy", mode="max", reuse_actors=True),
        run_config=tune.RunConfig(
            storage_path=str(folder / "tune"),
            verbose=0,
            callbacks=callbacks,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    return [result.metrics["accuracy"] for result in tuner.fit() if result.metrics]
