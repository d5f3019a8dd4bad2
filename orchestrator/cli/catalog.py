"""`fanflare catalog`: what a sweep file may name without saying where it comes from."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from rich.table import Table
from rich.text import Text

from orchestrator.cli.console import JsonOption, print_json, stdout
from pipelines.catalogue import BENCHMARKS, MODELS, TASKS, package_licence
from pipelines.registry import PIPELINES, load_pipeline

NAME = "catalog"

_HEADINGS = {"licence": "data licence", "package_licence": "package licence"}


def catalog(json: JsonOption = False) -> None:
    """List the models, tasks, pipelines and methods that a sweep file may name."""
    content = catalogue_json()
    if json:
        print_json(content)
        return
    sources = ("name", "source", "licence", "package_licence")
    _print_table("models", content["models"], ("name", "description"))
    about = ("name", "kind", "language", "rows", "classes", "metric")
    _print_table("tasks", content["tasks"], about)
    origins = [{**row, "source": _package(row["source"])} for row in _named(content)]
    _print_table("where they come from", origins, sources)
    for pipeline in content["pipelines"]:
        _print_methods(
            pipeline["name"], [m for m in content["methods"] if m["pipeline"] == pipeline["name"]]
        )


def _print_methods(pipeline: str, methods: list[dict[str, Any]]) -> None:
    """Print the params that all methods take alike, then those of each method."""
    columns = ("name", "default", "description")
    first, *others = methods
    alike = [
        param for param in first["params"] if others and all(param in m["params"] for m in others)
    ]
    if alike:
        _print_table(f"params of every method of pipeline {pipeline}", alike, columns)
    for method in methods:
        name = f"method {method['name']}" if method["name"] else f"pipeline {pipeline}"
        own = [param for param in method["params"] if param not in alike]
        _print_table(f"{name}: {method['description']}", own, columns)


def _named(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [*content["models"], *content["tasks"]]


def _package(source: str) -> str:
    """Return a source without the path inside the package."""
    return source.partition("/")[0]


def catalogue_json() -> dict[str, Any]:
    """Return the catalogue as plain data; the keys are documented in docs/json.md."""
    return {
        "models": [
            {
                "name": model.name,
                "licence": model.licence,
                "package_licence": package_licence(model.source),
                "source": str(model.source),
                "description": model.description,
            }
            for model in MODELS.values()
        ],
        "tasks": [
            {
                "name": task.name,
                "kind": str(task.kind),
                "rows": task.num_rows,
                "classes": task.num_classes,
                "language": task.language,
                "metric": task.metric,
                "licence": task.licence,
                "package_licence": package_licence(task.source),
                "source": str(task.source),
                "description": task.description,
            }
            for task in TASKS.values()
        ]
        + [_benchmark_row(name, entry) for name, entry in BENCHMARKS.items()],
        "pipelines": [{"name": name} for name in PIPELINES],
        "methods": [
            {
                "name": method,
                "pipeline": name,
                "description": inspect.cleandoc(schema.__doc__ or "").partition("\n")[0],
                "params": _params(schema),
            }
            for name in PIPELINES
            for method, schema in load_pipeline(name).methods().items()
        ],
    }


def _benchmark_row(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task whose data is on the hub: its counts are known when it is fetched."""
    return {
        "name": name,
        "kind": entry["kind"],
        "rows": None,
        "classes": None,
        "language": "en",
        "metric": entry["metric"],
        "licence": "unknown",
        "package_licence": "unknown",
        "source": f"{entry['source']}/{entry['splits']['train'].partition('/')[0]}",
        "description": "A task of the hub, whose validation split is the test split",
    }


def _params(schema: type[BaseModel]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "default": None
            if field.is_required()
            else field.get_default(call_default_factory=True),
            "required": field.is_required(),
            "description": " ".join((field.description or "").split()),
        }
        for name, field in schema.model_fields.items()
        if name != "method"
    ]


def _print_table(title: str, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    stdout().print(title, style="bold", markup=False, highlight=False)
    table = Table(box=None, pad_edge=False)
    for column in columns:
        is_number = column in ("rows", "classes")
        table.add_column(
            _HEADINGS.get(column, column),
            justify="right" if is_number else "left",
            no_wrap=column == "name",
        )
    for row in rows:
        table.add_row(*(_cell(row, column) for column in columns))
    stdout().print(table)
    stdout().print()


def _cell(row: dict[str, Any], column: str) -> Text:
    value = row[column]
    if column == "default" and row["required"]:
        return Text("required", "italic")
    return Text("–" if value in (None, "", {}) else str(value))
