"""Tasks of the user's own: which files, which reader, which kind; not those of the catalogue."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, get_args

from pipelines.contract import InputError
from pipelines.sources.base import Origin, Source, Task, TaskKind
from pipelines.sources.entries import (
    ClassificationMetric,
    LanguageMetric,
    RegressionMetric,
    TaskEntry,
    TokenMetric,
)
from pipelines.sources.hub import DATASETS, resolve_commit
from pipelines.sources.local import found_files, matching, path_digest
from pipelines.sources.packages import distribution
from pipelines.sources.readers import (
    COMPRESSED,
    CONLL,
    PLAIN,
    SUFFIXES,
    columns_of,
    read_columns,
)
from pipelines.sources.reference import Reference, data_suffix, is_image
from pipelines.sources.tags import marks_entities
from pipelines.sources.user_images import (
    image_columns,
    image_folders,
    image_splits,
    with_counts,
)

if TYPE_CHECKING:
    import pyarrow as pa

SPLIT_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval"),
}
"""How files and folders of a data set are called by split, as on the hub."""
SPLIT_PATTERNS = (
    "data/{name}{suffix}",
    "data/{name}-*{suffix}",
    "data/{name}/*{suffix}",
    "{name}{suffix}",
    "{name}-*{suffix}",
    "{name}/*{suffix}",
)
"""Where a split's files are looked for; the first that matches is taken. A plain name comes before
its parts, lest `train-old.csv` take the place of the `train.csv` beside it."""
WORD_A_LINE = ("conll", "conllu")
"""The readers whose files can be of one kind only."""


def user_task(entry: TaskEntry, reference: Reference) -> Task:
    """Return a task of the user's own files, of a package or of the hub, pinned.

    Raises:
        InputError: A file, column or split is not there, or the kind does not fit.
    """
    if entry.splits and "train" not in entry.splits:
        raise InputError("`splits` names no train; what is learnt from?", key="splits")
    kind = entry.kind or _default_kind(entry)
    if kind.is_unlabelled:
        _refuse_labels(entry)
    options: dict[str, Any] = {"text": _as_json(entry.text)}
    if not kind.is_unlabelled:
        options["label"] = entry.label
    if entry.text_pair is not None:
        options["text_pair"] = _as_json(entry.text_pair)
    if kind.has_images or "image" in entry.model_fields_set:
        options = image_columns(entry)
    task = Task(
        name=entry.name,
        kind=kind,
        source=_hub_source(entry, reference)
        if reference.origin is Origin.HUB
        else _file_source(entry, reference),
        reader="hub-dataset",
        options=options | ({"config": reference.config} if reference.config else {}),
        metric=entry.metric or "",
        positive=entry.positive or "",
    )
    if task.kind.is_pair != (entry.text_pair is not None):
        raise _unfit_pair(task.kind)
    if reference.origin is not Origin.HUB:
        task = _of_files(task, entry)
    elif task.kind.labels_words:
        _check_one_column(task)
        task = replace(task, metric=entry.metric or "f1")
    return replace(task, metric=task.metric or _metric_names(task.kind)[0])


def check_metric(task: Task) -> None:
    """Check that a metric fits the kind of its task.

    Raises:
        InputError: It does not.
    """
    names = _metric_names(task.kind)
    if task.metric not in names:
        raise InputError(
            f"metric {task.metric!r} does not fit a {task.kind} task; "
            f"allowed are {', '.join(names)}",
            key="metric",
            nearest=(difflib.get_close_matches(task.metric, names, n=1) or names)[0],
        )


def _metric_names(kind: TaskKind) -> tuple[str, ...]:
    """Return the metrics of a kind, the default first."""
    if kind.labels_words:
        return get_args(TokenMetric)
    if kind.is_unlabelled:
        return get_args(LanguageMetric)
    return get_args(RegressionMetric if kind.is_regression else ClassificationMetric)


def _default_kind(entry: TaskEntry) -> TaskKind:
    if "image" in entry.model_fields_set:
        return TaskKind.IMAGE_CLASSIFICATION
    return TaskKind.PAIR_CLASSIFICATION if entry.text_pair else TaskKind.CLASSIFICATION


def _as_json(columns: str | tuple[str, ...]) -> str | list[str]:
    return columns if isinstance(columns, str) else list(columns)


def _check_one_column(task: Task) -> None:
    if len(columns_of(task.options, "text")) > 1:
        raise InputError(
            "only texts of several columns can be joined; name one column of words", key="text"
        )


def _refuse_labels(entry: TaskEntry) -> None:
    given = sorted(entry.model_fields_set & {"label", "text_pair", "positive"})
    if given:
        raise InputError(
            f"tasks of kind {entry.kind} learn from their text alone; leave {given[0]} out",
            key=given[0],
        )


def _unfit_pair(kind: TaskKind) -> InputError:
    if kind.is_pair:
        return InputError(
            f"kind is {kind}, but `text_pair`, the column of the second text, is not given",
            key="text_pair",
        )
    return InputError(
        f"kind is {kind}, but `text_pair` is given; set kind: pair-{kind}",
        key="kind",
        nearest=f"pair-{kind}",
    )


def _hub_source(entry: TaskEntry, reference: Reference) -> Source:
    location = DATASETS + reference.location
    return Source(
        origin=Origin.HUB,
        location=location,
        digest=resolve_commit(location, reference.revision),
        paths=_named_splits(entry),
    )


def _named_splits(entry: TaskEntry) -> dict[str, str]:
    return {str(split): path for split, path in (entry.splits or {}).items()}


def _file_source(entry: TaskEntry, reference: Reference) -> Source:
    if reference.origin is Origin.PACKAGE:
        found = distribution(reference.location, digest=entry.digest or "")
        splits = {
            split: str(PurePosixPath(reference.inside, path))
            for split, path in _named_splits(entry).items()
        }
        return Source(
            origin=Origin.PACKAGE,
            location=reference.location,
            digest=found.digest,
            filename=found.path.name,
            paths=splits or {"all": reference.inside},
        )
    root = Path(reference.location)
    paths = _local_paths(root, entry)
    return Source(
        origin=Origin.PATH, location=str(root), digest=path_digest(root, paths), paths=paths
    )


def _local_paths(root: Path, entry: TaskEntry) -> dict[str, str]:
    if not root.exists():
        beside = [path.name for path in root.parent.glob("*")] if root.parent.exists() else []
        near = difflib.get_close_matches(root.name, beside, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(
            f"there is no file {root}{hint}", key="source", nearest=near[0] if near else ""
        )
    if root.is_file():
        if entry.splits:
            raise InputError(
                f"{root.name} is one file and holds one split; let `source` be its folder and "
                "`splits` name the files",
                key="splits",
            )
        return {"all": root.name}
    if entry.splits:
        for split, pattern in entry.splits.items():
            if not found_files(root, pattern):
                raise InputError(f"no file in {root} matches {pattern!r}", key=f"splits.{split}")
        return _named_splits(entry)
    return image_splits(root, SPLIT_NAMES, entry.kind) or _found_splits(root, entry.kind)


def _found_splits(root: Path, kind: TaskKind | None) -> dict[str, str]:
    files = [path for path in found_files(root, "**/*") if data_suffix(path.name)[0]]
    suffixes = sorted({"".join(data_suffix(path.name)) for path in files})
    if not suffixes and kind is TaskKind.LANGUAGE_MODELING and found_files(root, "**/*.txt"):
        suffixes = [".txt"]
    if len(suffixes) != 1:
        found = ", ".join(suffixes) or "no data file"
        raise InputError(
            f"{root} holds {found}; name the file of each split under `splits` "
            f"(formats: {', '.join(SUFFIXES)})",
            key="splits",
        )
    found_splits = {
        split: pattern
        for split, names in SPLIT_NAMES.items()
        if (pattern := _first_match(root, names, suffixes[0]))
    }
    if list(found_splits) == ["train"]:
        return {"all": found_splits["train"]}
    return found_splits or {"all": f"**/*{suffixes[0]}"}


def _first_match(root: Path, names: Iterable[str], suffix: str) -> str:
    patterns = (
        pattern.format(name=name, suffix=suffix) for pattern in SPLIT_PATTERNS for name in names
    )
    return next((pattern for pattern in patterns if found_files(root, pattern)), "")


def _of_files(task: Task, entry: TaskEntry) -> Task:
    """Return the task with its reader, its kind and what its files show of it."""
    if _are_images(task.source):
        return image_folders(task, entry.kind)
    reader, defaults = _reader(task.source, task.kind)
    labels_words = reader in WORD_A_LINE
    readable = (None, TaskKind.TOKEN_CLASSIFICATION, TaskKind.LANGUAGE_MODELING)
    if labels_words and entry.kind not in readable:
        raise InputError(
            f"kind is {entry.kind}, but the file has one word a line with its tag",
            key="kind",
            nearest=TaskKind.TOKEN_CLASSIFICATION.value,
        )
    if labels_words and not task.kind.is_unlabelled:
        task = replace(task, kind=TaskKind.TOKEN_CLASSIFICATION)
    unset = {name: value for name, value in defaults.items() if name not in entry.model_fields_set}
    lists = {"lists": True} if task.kind.labels_words and reader == "jsonl" else {}
    if task.kind.labels_words or reader in (*WORD_A_LINE, PLAIN[0]):
        _check_one_column(task)
    return _inspected(
        replace(task, reader=reader, options={**task.options, **unset, **lists}),
        entry.kind is None and not labels_words,
    )


def _are_images(source: Source) -> bool:
    root = Path(source.location)
    if source.origin is not Origin.PATH:
        return any(map(is_image, source.paths.values()))
    return any(is_image(f.name) for path in source.paths.values() for f in matching(root, path))


def _reader(source: Source, kind: TaskKind) -> tuple[str, Mapping[str, Any]]:
    suffixes = {data_suffix(path)[0] for path in source.paths.values()}
    if source.origin is Origin.PATH:
        root = Path(source.location)
        files = [file for path in source.paths.values() for file in matching(root, path)]
        suffixes = {data_suffix(file.name)[0] for file in files}
    if len(suffixes) == 1 and "" not in suffixes:
        return SUFFIXES[suffixes.pop()]
    if kind.labels_words and not any(suffixes):
        return CONLL  # whose files are called `.txt`, `.iob`, or `train` without any suffix
    if kind.is_unlabelled and not any(suffixes):
        return PLAIN
    if len(suffixes) > 1:
        raise InputError(f"{source} mixes file formats; use one for all splits", key="splits")
    raise InputError(
        f"{source} has none of the suffixes that are known: {', '.join(SUFFIXES)} "
        f"(text formats also with {', '.join(COMPRESSED)})",
        key="source",
    )


def _inspected(task: Task, infer_kind: bool) -> Task:
    """Read the columns once, so that a fault shows in the plan rather than on a worker."""
    import pyarrow as pa  # noqa: PLC0415 - only the user's own tasks need it to be planned

    from pipelines.sources.readers.columns import kind_of, standardise  # noqa: PLC0415

    if task.kind.has_images:
        return with_counts(task)
    tables = read_columns(task)
    if task.kind.is_unlabelled:
        return replace(task, num_rows=sum(len(standardise(t, task)) for t in tables.values()))
    if task.kind.labels_words:
        return _inspected_words(
            task, pa.concat_tables([standardise(table, task) for table in tables.values()])
        )
    labels = [table[task.options["label"]] for table in tables.values()]
    if infer_kind:
        kinds = {kind_of(label, is_pair=task.kind.is_pair) for label in labels}
        real = {kind for kind in kinds if kind.is_regression}
        task = replace(task, kind=(real or kinds).pop())
    rows = pa.concat_tables([standardise(table, task) for table in tables.values()])
    classes = None if task.kind.is_regression else len(rows["label"].drop_null().unique())
    return replace(task, num_rows=len(rows) - rows["label"].null_count, num_classes=classes)


def _inspected_words(task: Task, sentences: pa.Table) -> Task:
    import pyarrow.compute as pc  # noqa: PLC0415

    labels = sentences["labels"]
    tags = pc.list_flatten(labels).drop_null().unique().to_pylist()
    metric = task.metric or ("f1" if marks_entities(tags) else "accuracy")
    return replace(
        task, metric=metric, num_rows=len(labels) - labels.null_count, num_classes=len(tags)
    )
