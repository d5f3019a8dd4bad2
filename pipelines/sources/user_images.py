"""Tasks of the user's own images: their columns, folders and classes; opens no image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from pipelines.contract import InputError
from pipelines.sources.base import Task, TaskKind
from pipelines.sources.entries import TaskEntry
from pipelines.sources.local import found_files
from pipelines.sources.readers import read_columns
from pipelines.sources.reference import data_suffix, is_image

CLASSES = "*/[!.]*"
"""Below the folder of a split: a folder for each class, with its files that are not hidden."""
KIND = TaskKind.IMAGE_CLASSIFICATION


def image_columns(entry: TaskEntry) -> dict[str, str]:
    """Return the columns of a task of images by role.

    Raises:
        InputError: A column of text is named too, or another kind.
    """
    for role in ("text", "text_pair"):
        if role in entry.model_fields_set:
            raise InputError(f"kind is {KIND}, which has no `{role}`", key=role)
    if entry.kind not in (None, KIND):
        raise _unfit(entry.kind, "`image` is given")
    return {"image": entry.image, "label": entry.label}


def image_splits(
    root: Path, names: Mapping[str, Iterable[str]], kind: TaskKind | None
) -> dict[str, str]:
    """Return the patterns of the images in a folder by split; none where it is not one of images.

    Args:
        root: Holds a folder for each split, and these one for each class, the layout
            `imagefolder` of `datasets`; or the folders of the classes, without official splits.
        names: How the folder of each split may be called.
        kind: Of the task, where the user says it.
    """
    found = {
        split: f"{name}/{CLASSES}"
        for split, aliases in names.items()
        for name in aliases
        if _has_images(root / name)
    }
    if not found and _has_images(root):
        found = {"all": CLASSES}
    if kind is not KIND and found and any(data_suffix(path.name)[0] for path in root.rglob("*")):
        return {}
    return {"all": found["train"]} if list(found) == ["train"] else found


def _has_images(folder: Path) -> bool:
    return any(is_image(path.name) for path in found_files(folder, CLASSES))


def image_folders(task: Task, kind: TaskKind | None) -> Task:
    """Return a task of image files whose folders are their classes.

    Args:
        task: Its source is known.
        kind: What the user says that it is.

    Raises:
        InputError: The user says that it is of another kind.
    """
    if kind not in (None, KIND):
        raise _unfit(kind, "the files are images")
    options = {"image": "image", "label": "label"}
    return with_counts(replace(task, kind=KIND, reader="image-folders", options=options))


def with_counts(task: Task) -> Task:
    """Return the task with the numbers of its rows and classes.

    Raises:
        InputError: A file or column is not there.
    """
    from pipelines.sources.readers.columns import classes  # noqa: PLC0415 - pyarrow is late

    name = task.options["label"]
    tables = read_columns(task, without_images=True)
    labels = [one for t in tables.values() for one in classes(t[name], name).to_pylist()]
    known = [label for label in labels if label is not None]
    return replace(task, num_rows=len(known), num_classes=len(set(known)))


def _unfit(kind: TaskKind | None, reason: str) -> InputError:
    return InputError(f"kind is {kind}, but {reason}", key="kind", nearest=KIND.value)
