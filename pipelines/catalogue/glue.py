"""The tasks of GLUE by name: columns, splits and official metrics; the data is on the hub.

The labels of GLUE's own test split are not public, so the official validation split is the
test split here, as in papers that report "dev" scores. Source: A. Wang et al., GLUE: A
Multi-Task Benchmark and Analysis Platform for Natural Language Understanding, 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REPOSITORY = "hub:nyu-mll/glue"


def _task(folder: str, *texts: str, metric: str = "accuracy", **more: Any) -> dict[str, Any]:
    validation = more.pop("validation", "validation")
    return {
        "source": REPOSITORY,
        "kind": "classification" if len(texts) == 1 else "pair-classification",
        "text": texts[0],
        **({"text_pair": texts[1]} if len(texts) > 1 else {}),
        "label": "label",
        "metric": metric,
        "splits": {
            "train": f"{folder}/train-*.parquet",
            "test": f"{folder}/{validation}-*.parquet",
        },
        **more,
    }


GLUE: Mapping[str, Mapping[str, Any]] = {
    "glue/cola": _task("cola", "sentence", metric="matthews_corrcoef"),
    "glue/sst2": _task("sst2", "sentence"),
    "glue/mrpc": _task("mrpc", "sentence1", "sentence2", metric="f1", positive="equivalent"),
    "glue/qqp": _task("qqp", "question1", "question2", metric="f1", positive="duplicate"),
    "glue/stsb": _task("stsb", "sentence1", "sentence2", metric="pearson", kind="pair-regression"),
    "glue/mnli": _task("mnli", "premise", "hypothesis", validation="validation_matched"),
    "glue/mnli-mismatched": _task(
        "mnli", "premise", "hypothesis", validation="validation_mismatched"
    ),
    "glue/qnli": _task("qnli", "question", "sentence"),
    "glue/rte": _task("rte", "sentence1", "sentence2"),
    "glue/wnli": _task("wnli", "sentence1", "sentence2"),
}
"""Fields of a `TaskEntry` by the name that a sweep uses; a sweep may name another `source` in the
same layout, as a local copy."""
