"""Writes a pre-trained model as a folder, with a model card; knows neither sweep nor store."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from huggingface_hub import ModelCardData

from pipelines.contract import Context
from pipelines.exports import MARKER, TOLERANCE, Agreement, Export, Verification
from pipelines.language.blocks import Vocabulary
from pipelines.language.training import VALIDATION_SEED, language_examples, language_learner
from pipelines.models.files import write_model
from pipelines.pretrain.architectures import HEADS
from pipelines.sources import Origin, Task
from pipelines.training.learner import mean_loss

_PAGE = """\
# {model_type}, pre-trained on {corpus}

A small language model trained from scratch ({objective} language modelling, {num_weights:,}
weights, {num_tokens:,} tokens of text in an epoch). Made by fanflare {fanflare} as trial
`{id}` of the sweep
`{sweep}`. It is a base to be fine-tuned, and says nothing that can be relied on.

```python
from transformers import AutoModel, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModel.from_pretrained("FOLDER")
```

## How it does

{metrics}

Losses are in nats a predicted token, on text that was held out. This folder was loaded again and
measured on the test text: its loss differs from the trial's by {difference:.1g}.

## Data

{corpus} ({source}), licence: {licence}; digest `{digest}`.

## How it was made

Params: {params}; seed {seed}. Stage `{stage}`, digest `{node}`. Versions: {versions}.

```yaml
{sweep_text}
```
"""


def export(context: Context, export: Export) -> Verification:
    """Write model, tokenizer and card, and measure what is loaded again on the test text."""
    made = export.artifacts[export.node.digest]
    write_model(made, export.folder)
    verification = Verification(retrained=None, reloaded=_reloaded(context, export))
    _write_card(export, verification)
    return verification


def _reloaded(context: Context, export: Export) -> Agreement:
    """Return how the loss of the folder's model compares with the one that the trial gave."""
    made = export.artifacts[export.node.digest].value
    blocks = export.artifacts[export.node.inputs["blocks"].digest]
    model = HEADS[made["objective"]].from_pretrained(export.folder, attn_implementation="sdpa")
    examples = language_examples(
        blocks.table("test"),
        Vocabulary.read(dict(blocks.value["vocabulary"])),
        {name: made[name] for name in ("objective", "mask_ratio")},
        "cpu",
        seed=VALIDATION_SEED,
    )
    difference = abs(
        mean_loss(language_learner(model), examples) - export.facts.metrics["test/loss"]
    )
    is_same = difference <= TOLERANCE
    return Agreement(
        num_rows=len(examples),
        num_same=len(examples) if is_same else 0,
        max_difference=difference,
    )


def _write_card(export: Export, verification: Verification) -> None:
    facts, node = export.facts, export.node
    made = export.artifacts[node.digest].value
    corpus: Task = node.inputs["texts"].sources["task"]  # type: ignore[assignment]
    is_local = corpus.source.origin is Origin.PATH
    content: dict[str, Any] = {
        **{name: made[name] for name in ("objective", "num_weights", "num_tokens")},
        "model_type": node.params["model_type"],
        "corpus": corpus.name,
        "source": "a file of one's own" if is_local else f"`{corpus.source}`",
        "licence": corpus.licence,
        "digest": corpus.digest,
        "fanflare": facts.version,
        "id": facts.id,
        "sweep": facts.sweep,
        "metrics": "\n".join(f"- {name}: {value:.4f}" for name, value in facts.metrics.items()),
        "difference": verification.reloaded.max_difference,
        "params": ", ".join(f"`{name}={value}`" for name, value in facts.params.items()),
        "seed": facts.seed,
        "stage": node.stage.name,
        "node": node.digest,
        "versions": ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers")),
        "sweep_text": facts.sweep_text.strip(),
    }
    task = "fill-mask" if made["objective"] == "masked" else "text-generation"
    head = ModelCardData(library_name="transformers", pipeline_tag=task, tags=["fanflare"])
    card = f"---\n{head.to_yaml()}\n---\n\n{_PAGE.format(**content)}"
    (export.folder / "README.md").write_text(card, encoding="utf-8")
    origin = {
        "trial": facts.id,
        "sweep": facts.sweep,
        "fanflare": facts.version,
        "params": dict(facts.params),
        "seed": facts.seed,
        "metrics": dict(facts.metrics),
        "weights": node.digest,
        "verification": asdict(verification),
    }
    (export.folder / MARKER).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
