"""Where models and tasks come from: name them, pin them, fetch them, read them."""

from pipelines.sources.base import Model, Origin, Source, Task, TaskKind
from pipelines.sources.converting import fetch_configuration, fetch_model
from pipelines.sources.fetching import fetch
from pipelines.sources.readers import read
from pipelines.sources.resolving import resolve_corpus, resolve_model, resolve_task

__all__ = [
    "Model",
    "Origin",
    "Source",
    "Task",
    "TaskKind",
    "fetch",
    "fetch_configuration",
    "fetch_model",
    "read",
    "resolve_corpus",
    "resolve_model",
    "resolve_task",
]
