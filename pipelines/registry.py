"""Which pipelines there are by name; loads them late, and nothing else."""

from __future__ import annotations

from typing import cast

from pipelines.contract import InputError, load_object
from pipelines.pipeline import Pipeline

PIPELINES = {
    "command": "pipelines.command.graph:COMMAND",
    "pretrain": "pipelines.pretrain.graph:PRETRAIN",
    "transfer": "pipelines.transfer.graph:TRANSFER",
}
"""The built-in pipelines: name -> `module:attribute` of a :class:`Pipeline`."""

_PROMISED = ("name", "takes_models", "takes_tasks", "params_schema", "methods", "graph", "metrics")
"""What a :class:`Pipeline` has."""


def load_pipeline(name: str) -> Pipeline:
    """Return a built-in pipeline by name, or one of the user's own as `package.module:attribute`.

    Raises:
        InputError: There is no such pipeline, importing it failed, or it is none.
    """
    if name in PIPELINES:
        return cast(Pipeline, load_object(PIPELINES[name]))
    if ":" not in name:
        raise InputError(
            f"unknown pipeline {name!r}; there are {', '.join(sorted(PIPELINES))}, "
            "or one of your own as 'package.module:attribute'",
            key="pipeline",
        )
    try:
        loaded = load_object(name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"cannot load pipeline {name!r}: {error}", key="pipeline") from error
    if isinstance(loaded, type):
        message = f"{name!r} is a class; name an object of it, as PIPELINE = {loaded.__name__}()"
        raise InputError(message, key="pipeline")
    if lacking := [attribute for attribute in _PROMISED if not hasattr(loaded, attribute)]:
        message = f"{name!r} is no pipeline: it has no {', '.join(lacking)}"
        raise InputError(message, key="pipeline")
    return cast(Pipeline, loaded)
