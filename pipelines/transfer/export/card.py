"""The model card of an export, and the same facts for programs; computes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, cast

from huggingface_hub import EvalResult, ModelCardData

from pipelines.contract import Json, Node
from pipelines.exports import MARKER, Export, TrialFacts, Verification
from pipelines.sources import Model, Task
from pipelines.sources.base import Origin, Source
from pipelines.sources.hub import DATASETS

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

| split | rows | {metric} of this trial | mean ± std over seeds | seeds |
|---|--:|--:|--:|--:|
{scores}

All metrics of this trial: {metrics}. Configs are ranked by the validation split.

## How to load it

{loading}

## Where it comes from

| | name | licence | content digest |
|---|---|---|---|
| base model | {base} | {base_licence} | `{base_digest}` |
| data | {data} | {data_licence} | `{data_digest}` |

A licence is that of the model or data itself{package}; `unknown` says that nobody stated it. What
stands as `license` at the head of this card, if anything, is that of the base model.

- Seed: {seed}
- Params: {params}
- Weights: stage `{stage}`, digest `{digest}`
- Versions: {versions}

## How it was verified

{verified}

## The sweep

```yaml
{sweep_text}
```
"""

_WHOLE = """\
Where fanflare is installed, without code from this folder:

```python
import transformers
import pipelines.transfer.export.exported  # makes the class known

classify = transformers.pipeline(
    "text-classification", model=DIR, tokenizer=DIR, truncation=True
)
classify({example})
```

Elsewhere, with torch and transformers alone; `exported_model.py` in this folder is then run:

```python
import transformers

classify = transformers.pipeline(
    "text-classification", model=DIR, tokenizer=DIR, truncation=True, trust_remote_code=True
)
```

`truncation=True` cuts texts at {max_length} tokens, as in training."""

_ADAPTER = """\
This folder holds the adapter in peft's layout and the head (`head.safetensors`); the base model
{base} is not in it.

```python
from pipelines.transfer.export.exported import load  # of fanflare

classify = load(DIR, base=FOLDER_OF_THE_BASE_MODEL)
classify({example})
```

The adapter alone, with peft and without the head:
`PeftModel.from_pretrained(AutoModel.from_pretrained(FOLDER_OF_THE_BASE_MODEL), DIR)`."""


def write_card(export: Export, examples: Node, model: Model, verification: Verification) -> None:
    """Write `README.md` as the hub has it, and the facts for programs."""
    task = cast(Task, examples.sources["task"])
    loaded = export.artifacts[examples.digest].value
    front = _front_matter(export.facts, model, task)
    page = _PAGE.format(
        **_facts(export, model, task, loaded["num_rows"]),
        summary=_summary(loaded, task),
        loading=_loading(export, model, task),
        verified=_verified(verification),
    )
    text = f"---\n{front.to_yaml()}\n---\n\n{page}"
    (export.folder / "README.md").write_text(text, encoding="utf-8")
    origin = {
        "facts": asdict(export.facts),
        "model": {"name": model.name, "digest": model.digest},
        "task": {"name": task.name, "digest": task.digest},
        "weights": export.node.digest,
        "verification": asdict(verification),
    }
    (export.folder / MARKER).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")


def _front_matter(facts: TrialFacts, model: Model, task: Task) -> ModelCardData:
    licence = model.licence.lower()
    is_hub_task = task.source.location.startswith(DATASETS)
    dataset = task.source.location.removeprefix(DATASETS) if is_hub_task else task.name
    return ModelCardData(
        license=licence if licence in LICENCES else None,
        base_model=model.source.location if model.source.origin is Origin.HUB else None,
        datasets=[dataset] if is_hub_task else None,
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["fanflare", str(facts.params.get("method", "")), str(task.kind)],
        metrics=[facts.metric],
        model_name=f"{task.name}-{facts.id}",
        eval_results=[
            EvalResult(
                task_type="text-classification",
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


def _facts(export: Export, model: Model, task: Task, num_rows: Mapping[str, int]) -> dict[str, Any]:
    facts = export.facts
    from_package = Origin.PACKAGE in (model.source.origin, task.source.origin)
    return {
        "id": facts.id,
        "sweep": facts.sweep,
        "fanflare": facts.version,
        "task": task.name,
        "model": model.name,
        "method": facts.params.get("method", ""),
        "metric": facts.metric,
        "metrics": ", ".join(f"{name} {value:.4g}" for name, value in facts.metrics.items()),
        "scores": "\n".join(_score_row(facts, split, num_rows[split]) for split in facts.seeds),
        "base": _origin(model.name, model.source),
        "base_licence": model.licence,
        "base_digest": model.digest,
        "data": _origin(task.name, task.source),
        "data_licence": task.licence,
        "data_digest": task.digest,
        "package": "; the package that carries it has one of its own" if from_package else "",
        "seed": facts.seed,
        "params": ", ".join(f"`{name}={value}`" for name, value in facts.params.items()),
        "stage": export.node.stage.name,
        "digest": export.node.digest,
        "versions": ", ".join(
            f"{name} {version(name)}" for name in ("fanflare", "torch", "transformers", "peft")
        ),
        "sweep_text": facts.sweep_text.strip(),
    }


def _score_row(facts: TrialFacts, split: str, num_rows: int) -> str:
    over = facts.seeds[split]
    own = facts.metrics.get(f"{split}/{facts.metric}")
    mean = "–" if over.mean is None else f"{over.mean:.4f}"
    spread = "" if over.std is None else f" ± {over.std:.4f}"
    shown = "–" if own is None else f"{own:.4f}"
    return f"| {split} | {num_rows} | {shown} | {mean}{spread} | {over.num_seeds} |"


def _summary(loaded: Mapping[str, Json], task: Task) -> str:
    rows = loaded["num_rows"]
    labels = loaded["labels"]
    given = "two texts" if task.kind.is_pair else "a text"
    told = (
        "a number, in the unit of the data" if labels is None else f"one of {len(labels)} classes"
    )
    return (
        f"Gives {told}, for {given}. Trained on {rows['train']} rows, validated on "
        f"{rows['validation']}, tested on {rows['test']}."
    )


def _loading(export: Export, model: Model, task: Task) -> str:
    template = _WHOLE if export.merge else _ADAPTER
    return template.format(
        example='{"text": "...", "text_pair": "..."}' if task.kind.is_pair else '"..."',
        max_length=export.facts.params["max_length"],
        base=_origin(model.name, model.source),
    )


def _verified(verification: Verification) -> str:
    again = verification.retrained
    first = (
        "The trial had kept these weights itself."
        if again is None
        else "The trial had kept its predictions but not its weights, so the same training was "
        f"repeated, and compared on all validation and test rows: {again}."
    )
    return (
        f"{first}\n\nThis folder was then loaded by `transformers.pipeline` and compared on test "
        f"rows: {verification.reloaded}."
    )


def _origin(name: str, source: Source) -> str:
    """Return where a source comes from; of a folder of one machine only its name."""
    return name if source.origin is Origin.PATH else f"{name} (`{source}`)"
