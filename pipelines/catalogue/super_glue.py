"""The tasks of SuperGLUE by name: columns, splits and official metrics; the data is on the hub.

As in GLUE the labels of the test split are not public, and the validation split is the test
split here. Where a task has more than two texts a row, several are joined. Two of its tasks are
left out: ReCoRD, whose answers are words of the passage rather than classes, and the diagnostic
set AX-b, whose columns differ from those of RTE, on which it is trained. Source: A. Wang et al.,
SuperGLUE: A Stickier Benchmark for General-Purpose Language Understanding Systems, 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REPOSITORY = "hub:aps/super_glue"

Columns = str | tuple[str, ...]


def _task(
    folder: str, text: Columns, text_pair: Columns, *, metric: str = "accuracy", **more: Any
) -> dict[str, Any]:
    return {
        "source": REPOSITORY,
        "kind": "pair-classification",
        "text": text,
        "text_pair": text_pair,
        "label": "label",
        "metric": metric,
        "splits": {
            "train": f"{folder}/train-*.parquet",
            "test": f"{folder}/validation-*.parquet",
        },
        **more,
    }


SUPER_GLUE: Mapping[str, Mapping[str, Any]] = {
    "super_glue/boolq": _task("boolq", "question", "passage"),
    "super_glue/cb": _task("cb", "premise", "hypothesis", metric="f1_macro"),
    "super_glue/copa": _task("copa", ("premise", "question"), ("choice1", "choice2")),
    "super_glue/multirc": _task(
        "multirc", "paragraph", ("question", "answer"), metric="f1", positive="True"
    ),
    "super_glue/rte": _task("rte", "premise", "hypothesis"),
    "super_glue/wic": _task("wic", ("word", "sentence1"), "sentence2"),
    "super_glue/wsc": _task("wsc", "text", ("span1_text", "span2_text")),
    "super_glue/axg": _task(
        "rte",
        "premise",
        "hypothesis",
        splits={"train": "rte/train-*.parquet", "test": "axg/test-*.parquet"},
    ),
}
"""Fields of a `TaskEntry` by the name that a sweep uses. CB's other official metric is accuracy;
that of AX-g beside it, gender parity, is not computed."""
