"""The model card of an export, and the same facts for programs; computes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, cast

from huggingface_hub import EvalResult, ModelCardData

from pipelines.contract import Json, Node
from pipelines.exports import MARKER, Export, SeedScores, TrialFacts, Verification
from pipelines.sources import Model, Task
from pipelines.sources.hub import DATASETS
from pipelines.sources.tags import marks_entities
from pipelines.transfer.export.ancestry import Base, origin_of, teacher_of
from pipelines.transfer.export.exported import Loading
from pipelines.transfer.export.usage import adapter_text, loading_text

LICENCES = frozenset(
    {
        "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "mpl-2.0", "gpl-3.0", "lgpl-3.0",
        "cc0-1.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0", "openrail", "unlicense",
    }
)  # fmt: skip
"""Licences by the names that the hub knows; another one is told in the text alone."""

_PAGE = """\
# {task}: {model}, {method}

{summary} Made by fanflare {fanflare} as trial `{id}` of the \
sweep `{sweep}`.

## How it does

| split | {unit} | {metric} of this trial | mean ± std over seeds | 95 % interval | seeds |
|---|--:|--:|--:|--:|--:|
{scores}

All metrics of this trial: {metrics}. {meaning}\
Configs are ranked by the validation split. The interval is that of the mean, Student's t over the
seeds: it says how training varies, not how other data would.

## How to load it

{loading}

## Where it comes from

| | name | licence | content digest |
|---|---|---|---|
{origins}

A licence is that of the model or data itself{package}; `unknown` says that nobody stated it. What
stands as `license` at the head of this card, if anything, is that of the base model.

- Seed: {seed}
- Params: {params}{made}
- Weights: stage `{stage}`, digest `{digest}`
- Versions: {versions}

## How it was verified

{verified}

## The sweep

```yaml
{sweep_text}
```
"""


def write_card(
    export: Export, examples: Node, base: Base, loading: Loading, verification: Verification
) -> None:
    """Write `README.md` as the hub has it, and the facts for programs."""
    task = cast(Task, examples.sources["task"])
    loaded = export.artifacts[examples.digest].value
    front = _front_matter(export.facts, base, task, loading.task)
    page = _PAGE.format(
        **_facts(export, base, task, loaded),
        summary=_summary(loaded, task),
        loading=_loading(export, base, task, loading),
        verified=_verified(verification),
    )
    text = f"---\n{front.to_yaml()}\n---\n\n{page}"
    (export.folder / "README.md").write_text(text, encoding="utf-8")
    origin = {
        "facts": asdict(export.facts),
        "model": {"name": base.name, "digest": base.digest},
        "task": {"name": task.name, "digest": task.digest},
        "weights": export.node.digest,
        "loading": {
            "task": loading.task,
            "inputs": ["text", "text_pair"] if task.kind.is_pair else [_input_of(task)],
            "options": dict(loading.options),
        },
        "verification": asdict(verification),
    }
    (export.folder / MARKER).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")


def _front_matter(facts: TrialFacts, base: Base, task: Task, pipeline: str) -> ModelCardData:
    licence = base.licence.lower()
    is_hub_task = task.source.location.startswith(DATASETS)
    dataset = task.source.location.removeprefix(DATASETS) if is_hub_task else task.name
    return ModelCardData(
        license=licence if licence in LICENCES else None,
        base_model=base.on_hub,
        datasets=[dataset] if is_hub_task else None,
        library_name="transformers",
        pipeline_tag=pipeline,
        tags=["fanflare", str(facts.params.get("method", "")), str(task.kind)],
        metrics=[facts.metric],
        model_name=f"{task.name}-{facts.id}",
        eval_results=[
            EvalResult(
                task_type=pipeline,
                dataset_type=dataset,
                dataset_name=task.name,
                dataset_split=split,
                metric_type=facts.metric,
                metric_value=facts.metrics[f"{split}/{facts.metric}"],
            )
            for split in ("validation", "test")
            if f"{split}/{facts.metric}" in facts.metrics
        ],
    )


def _facts(export: Export, base: Base, task: Task, loaded: Mapping[str, Json]) -> dict[str, Any]:
    facts, num_rows = export.facts, loaded["num_rows"]
    origins = list(_origins(base, task))
    taught = teacher_of(export.node, export.artifacts)
    if taught:
        origins.append(_teacher_row(*taught))
    from_package = any("pypi:" in line for line in origins)
    return {
        "id": facts.id,
        "sweep": facts.sweep,
        "fanflare": facts.version,
        "task": task.name,
        "model": base.name,
        "method": facts.params.get("method", ""),
        "metric": facts.metric,
        "unit": unit_of(task),
        "metrics": ", ".join(f"{name} {value:.4g}" for name, value in facts.metrics.items()),
        "meaning": _meaning(task, loaded["labels"]),
        "scores": "\n".join(_score_row(facts, split, num_rows[split]) for split in facts.seeds),
        "origins": "\n".join(origins),
        "package": "; the package that carries it has one of its own" if from_package else "",
        "seed": facts.seed,
        "params": _params({n: v for n, v in facts.params.items() if n not in _without_use(task)}),
        "made": "".join(
            f"\n- Base model, stage `{node.stage.name}`: {_params(node.params)}"
            for node in base.made_by
            if _params(node.params)
        ),
        "stage": export.node.stage.name,
        "digest": export.node.digest,
        "versions": ", ".join(
            f"{name} {version(name)}" for name in ("fanflare", "torch", "transformers", "peft")
        ),
        "sweep_text": facts.sweep_text.strip(),
    }


def _meaning(task: Task, labels: list[str] | None) -> str:
    """Return what must be said of a metric that its name does not say."""
    if task.kind.labels_words and labels is not None and marks_entities(labels):
        return "`f1` counts whole entities, as seqeval does. "
    if task.kind.is_unlabelled:
        return "`loss` is in nats a token, `perplexity` its exponential. "
    return ""


def _without_use(task: Task) -> tuple[str, ...]:
    """Return the params that every trial has, and that mean nothing for a kind of task."""
    if task.kind.has_images:
        return ("max_length",)
    return ("pooling",) if task.kind.labels_words or task.kind.is_unlabelled else ()


def _params(params: Mapping[str, Json]) -> str:
    told = {name: value for name, value in params.items() if value is not None}
    return ", ".join(f"`{name}={value}`" for name, value in told.items())


def _score_row(facts: TrialFacts, split: str, num_rows: int) -> str:
    over = facts.seeds[split]
    own = facts.metrics.get(f"{split}/{facts.metric}")
    mean = "–" if over.mean is None else f"{over.mean:.4f}"
    spread = "" if over.std is None else f" ± {over.std:.4f}"
    shown = "–" if own is None else f"{own:.4f}"
    cells = (split, num_rows, shown, f"{mean}{spread}", _interval(over), over.num_seeds)
    return f"| {' | '.join(map(str, cells))} |"


def _interval(over: SeedScores) -> str:
    if over.mean is None or over.half_width is None:
        return "–"
    return f"{over.mean - over.half_width:.4f} to {over.mean + over.half_width:.4f}"


def _origins(base: Base, task: Task) -> Iterator[str]:
    """Yield the rows of the table: base model, what it was made from, data."""
    if base.model is not None:
        yield _row("base model", base.model)
    else:
        licence = base.licence if base.pretrained else "none stated; see its corpus"
        how = "adapted" if base.pretrained else "pre-trained"
        yield f"| base model | {base.name}, {how} by this sweep | {licence} | `{base.digest}` |"
        for source in base.sources:
            role = "its texts" if isinstance(source, Task) else "its own base model"
            yield _row(role, source)
    yield _row("data", task)


def _teacher_row(teacher: Node, base: Base) -> str:
    method = teacher.params.get("method", "probe" if "features" in teacher.inputs else "")
    name = origin_of(base.name, base.model.source) if base.model else base.name
    trained = f", trained by `{method}`" if method else ""
    return f"| teacher | {name}{trained} | {base.licence} | `{teacher.digest}` |"


def _row(role: str, source: Model | Task) -> str:
    name = origin_of(source.name, source.source)
    return f"| {role} | {name} | {source.licence} | `{source.digest}` |"


def _summary(loaded: Mapping[str, Json], task: Task) -> str:
    rows = loaded["num_rows"]
    unit = unit_of(task)
    return (
        f"Gives {_told(loaded, task)}. Trained on {rows['train']} {unit}, validated on "
        f"{rows['validation']}, tested on {rows['test']}."
    )


def _input_of(task: Task) -> str:
    """Return what the pipeline takes one of."""
    return "image" if task.kind.has_images else "text"


def unit_of(task: Task) -> str:
    """Return what a task has many of."""
    if task.kind.is_unlabelled:
        return "texts"
    if task.kind.has_images:
        return "images"
    return "sentences" if task.kind.labels_words else "rows"


def _told(loaded: Mapping[str, Json], task: Task) -> str:
    if task.kind.is_unlabelled:
        return "the text that may follow a text, a token at a time"
    labels = loaded["labels"]
    if task.kind.labels_words:
        return f"every word of a sentence one of {len(labels)} tags"
    if task.kind.has_images:
        return f"one of {len(labels)} classes for an image"
    given = "two texts" if task.kind.is_pair else "a text"
    if labels is None:
        return f"a number, in the unit of the data, for {given}"
    return f"one of {len(labels)} classes for {given}"


def _loading(export: Export, base: Base, task: Task, loading: Loading) -> str:
    length = export.facts.params["max_length"]
    if export.merge:
        return loading_text(task.kind, loading, length)
    return adapter_text(task.kind, loading, base, length)


def _verified(verification: Verification) -> str:
    again = verification.retrained
    first = (
        "The trial had kept these weights itself."
        if again is None
        else "The trial had kept its predictions but not its weights, so the same training was "
        f"repeated, and compared on all of validation and test: {again}."
    )
    return (
        f"{first}\n\nThis folder was then loaded by `transformers.pipeline` and compared on test "
        f"data: {verification.reloaded}."
    )
