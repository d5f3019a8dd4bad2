"""Stage `transfer/load`: a task's examples in three splits; knows nothing of models and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contract import Artifact, Context, InputError, Json, Member, StageResult
from pipelines.sources import Task, TaskKind, read
from pipelines.transfer.data import image_labels, text_labels, unlabelled, word_labels
from pipelines.transfer.data.sizes import Size, Strata, chosen_rows
from pipelines.transfer.data.splitting import Pools, first_occurrences, make_pools

SPLITS = ("train", "validation", "test")
PRECEDENCE = ("test", "validation", "train", "all")
"""Who keeps a text that several splits of a source have: what measures, before what learns."""


def load(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> Sequence[StageResult]:
    """Read the task `sources["task"]` and split it.

    The params of a member are `train_size`, `validation_size` and `test_size`: numbers of rows,
    fractions of those there are, or None for all of them (a tenth of the training rows for a
    validation that the source does not have itself); `train_size` may be `N per class`. The
    splits depend on the content of the task and these sizes only.

    Rows without text or label are dropped; where words are labelled, a row is a sentence. So are
    rows whose text was seen before, case and blanks aside: in training those that validation or
    test have too, for a model that has learnt a row by heart says nothing about others, and repeats
    of the training rows themselves, for a part of them is held out. Official validation and test
    splits keep their repeats, and stay comparable with what others report. The value counts all
    that was dropped.

    Returns:
        One result a member. Tables `train`, `validation`, `test` with `row` (int64, index in
        the source), `text`, `text_pair` (pair tasks only) and `label` (int32 index into the
        value's `labels`, or float64); where words are labelled `tokens` (list of strings) and
        `labels` (list of int32) instead of text and label, one row a sentence; without labels
        `text` alone; of images `image` (the bytes of a file) instead of text. The value holds
        `kind`, `labels` (sorted, or None for regression), `num_rows` and `label_counts` (or
        `label_range`) by split, `dropped` by reason, `datasets`, and for words what
        `word_labels.described` adds.

    Raises:
        InputError: The task cannot be read, or cannot be split as asked.
    """
    task: Task = sources["task"]
    examples = _examples(task)
    return [_result(task, examples, _sizes(member)) for member in members]


class Labelling(Protocol):
    """What differs between kinds of task."""

    def usable(self, table: pa.Table) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
        """Return which rows have text, and which have labels."""

    def hashes(self, table: pa.Table) -> np.ndarray:
        """Return a hash of each row's text, `(rows,)`."""

    def alike(self, table: pa.Table, hashes: np.ndarray) -> np.ndarray:
        """Return a hash, `(rows,)`, that rows share which most models cannot tell apart.

        Args:
            table: The rows.
            hashes: Those of the same rows, where nothing else tells them apart.
        """

    def classes(self, table: pa.Table) -> list[str] | None:
        """Return the sorted names of classes; None for real numbers."""

    def numbered(self, table: pa.Table, classes: list[str] | None) -> pa.Table:
        """Return the table with numbers of classes in place of names."""

    def strata(self, table: pa.Table, classes: list[str] | None) -> np.ndarray:
        """Return by what rows are stratified, `(rows,)`."""

    def described(
        self, tables: Mapping[str, pa.Table], classes: list[str] | None, pool: pa.Table
    ) -> dict[str, Json]:
        """Return what the value says of the labels by split; see it for what is refused."""


LABELLINGS: Mapping[TaskKind, Labelling] = {
    TaskKind.TOKEN_CLASSIFICATION: word_labels,
    TaskKind.IMAGE_CLASSIFICATION: image_labels,
    TaskKind.LANGUAGE_MODELING: unlabelled,
}
"""Of kinds of task other than those with one label a text."""


def labelling_of(kind: TaskKind) -> Labelling:
    """Return what is particular to a kind of task."""
    return LABELLINGS.get(kind, text_labels)


@dataclass(frozen=True, kw_only=True)
class _Examples:
    """The usable rows of a task, before the sizes of a member choose among them."""

    table: pa.Table
    """The columns of the result."""
    labels: list[str] | None
    strata: Strata
    pools: Pools
    dropped: dict[str, int]


def _sizes(member: Member) -> dict[str, Size]:
    sizes: dict[str, Size] = {split: member.get(f"{split}_size") for split in SPLITS}
    for split, size in sizes.items():
        if isinstance(size, int | float) and size <= 0:
            raise InputError(
                f"{split}_size is {size}, which leaves {split} empty; the least is 1",
                key=f"{split}_size",
                nearest="1",
            )
    return sizes


def _examples(task: Task) -> _Examples:
    kind = labelling_of(task.kind)
    content = "image" if task.kind.has_images else "text"
    table, num_dropped = _usable(_joined(read(task)), kind, content)
    hashes = kind.hashes(table)
    keep = _unseen(table["split"].to_numpy(), hashes, kind.alike(table, hashes))
    num_dropped["repeated"] = len(table) - int(keep.sum())
    table, hashes = table.filter(pa.array(keep)), hashes[keep]
    labels = kind.classes(table)
    table = kind.numbered(table, labels)
    strata = kind.strata(table, labels)
    pools = make_pools(table["split"].to_numpy(), strata, hashes)
    table = table.drop_columns("split").combine_chunks()
    return _Examples(
        table=table,
        labels=labels,
        strata=Strata(rows=strata, names=labels if task.kind.has_classes else None),
        pools=pools,
        dropped=num_dropped,
    )


def _joined(splits: Mapping[str, pa.Table]) -> pa.Table:
    tables = [
        table.append_column("split", pa.array([split] * len(table), pa.string()))
        for split, table in sorted(splits.items())
    ]
    table = pa.concat_tables(tables)
    return table.add_column(0, "row", pa.array(np.arange(len(table))))


def _usable(table: pa.Table, kind: Labelling, content: str) -> tuple[pa.Table, dict[str, int]]:
    """Drop rows without `text` or `image`, or label; a split that loses all rows is a fault."""
    has_text, has_label = kind.usable(table)
    kept = table.filter(pc.and_(has_text, has_label))
    dropped = {
        f"without_{content}": len(table) - pc.sum(has_text, min_count=0).as_py(),
        "without_label": pc.sum(pc.and_(has_text, pc.invert(has_label)), min_count=0).as_py(),
    }
    lost = set(table["split"].unique().to_pylist()) - set(kept["split"].unique().to_pylist())
    if lost or not len(kept):
        raise InputError(
            f"no row of the split {', '.join(sorted(lost)) or 'all'} has both {content} and label "
            f"({dropped[f'without_{content}']} without {content}, {dropped['without_label']} "
            "without label); check the columns, or name another split under `splits`",
            key="splits" if lost - {"all"} else "label",
        )
    return kept, dropped


def _unseen(splits: np.ndarray, hashes: np.ndarray, alike: np.ndarray) -> np.ndarray:
    keep = np.zeros(len(splits), dtype=bool)
    seen = np.zeros(0, dtype=np.uint64)
    for split in PRECEDENCE:
        rows = np.flatnonzero(splits == split)
        rows = rows[np.argsort(hashes[rows], kind="stable")]  # which one stays: by content, too
        fresh = ~np.isin(alike[rows], seen)
        if split in ("train", "all"):
            fresh &= first_occurrences(alike[rows])
        keep[rows[fresh]] = True
        seen = np.concatenate([seen, alike[rows]])
    return keep


def _result(task: Task, examples: _Examples, sizes: Mapping[str, Size]) -> StageResult:
    rows = chosen_rows(examples.pools, examples.strata, sizes)
    tables = {split: examples.table.take(pa.array(rows[split])) for split in SPLITS}
    pool = examples.table.take(pa.array(examples.pools.train))
    kind = labelling_of(task.kind)
    num_rows = {split: len(table) for split, table in tables.items()}
    value = {
        "kind": task.kind.value,
        "labels": examples.labels,
        "num_rows": num_rows,
        "dropped": examples.dropped,
        **kind.described(tables, examples.labels, pool),
        "datasets": [
            {
                "name": task.name,
                "digest": task.digest,
                "split": split,
                "num_rows": num_rows[split],
                "source": str(task.source),
            }
            for split in SPLITS
        ],
    }
    return StageResult(value=value, tables=tables)
