"""`fanflare catalog`: what a sweep file may name without saying where it comes from."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from rich.table import Table

from orchestrator.cli.console import JsonOption, print_json, stdout
from pipelines.catalogue import MODELS, TASKS, package_licence
from pipelines.registry import PIPELINES, load_pipeline

NAME = "catalog"


_HEADINGS = {"licence": "data licence", "package_licence": "package licence"}


def catalog(json: JsonOption = False) -> None:
    """List the models, tasks, pipelines and methods that a sweep file may name."""
    content = catalogue_json()
    if json:
        print_json(content)
        return
    console = stdout()
    licences = ("licence", "package_licence")
    console.print(_table("models", content["models"], ("name", "licence", "package_licence", "description")))
    console.print(
        _table("tasks", content["tasks"], ("name", "kind", "rows", "classes", "metric", *licences))
    )
    for method in content["methods"]:
        title = f"method {method['name']} of pipeline {method['pipeline']}"
        console.print(_table(title, method["params"], ("name", "default", "description")))


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
                "metric": task.metric,
                "licence": task.licence,
                "package_licence": package_licence(task.source),
                "source": str(task.source),
                "description": task.description,
            }
            for task in TASKS.values()
        ],
        "pipelines": [{"name": name} for name in PIPELINES],
        "methods": [
            {"name": method, "pipeline": name, "params": _params(schema)}
            for name in PIPELINES
            for method, schema in load_pipeline(name).methods().items()
        ],
    }


def _params(schema: type[BaseModel]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "default": None if field.is_required() else field.default,
            "required": field.is_required(),
            "description": " ".join((field.description or "").split()),
        }
        for name, field in schema.model_fields.items()
        if name != "method"
    ]


def _table(title: str, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(_HEADINGS.get(column, column), justify="right" if column in ("rows", "classes") else "left")
    for row in rows:
        table.add_row(*("–" if row[column] is None else str(row[column]) for column in columns))
    return table
