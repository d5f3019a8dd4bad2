"""What a user does with an exported model where fanflare is not; runs in a process of its own."""

import sys

from transformers import AutoModel, pipeline

FANFLARE = ("pipelines", "orchestrator", "cluster")


def alone(function, *args, **kwargs):
    """Return what a function gives that must do without fanflare."""
    assert not set(FANFLARE) & set(sys.modules)
    sys.modules.update(dict.fromkeys(FANFLARE))  # not to be had
    return function(*args, **kwargs)


def predict(inputs, asking, **making):
    """Return what a pipeline says of the inputs; `asking` is for the call, the rest makes it."""
    return pipeline(**making)(inputs, **asking)


def adapter_names(base, adapter):
    """Return the names of a saved adapter's weights, put on its base by PEFT."""
    import peft  # noqa: PLC0415 - takes seconds, and only here is it needed

    model = peft.PeftModel.from_pretrained(AutoModel.from_pretrained(base), adapter)
    return sorted(name for name, _ in model.named_parameters() if "lora_" in name)


def registered(uri, asked):
    """Return what registered models say: by MLflow's `pyfunc`, and as a pipeline of one row.

    Args:
        uri: Of MLflow.
        asked: The rows for each model, by its URI.
    """
    import mlflow  # noqa: PLC0415 - takes seconds, and only here is it needed
    import pandas as pd  # noqa: PLC0415

    mlflow.set_tracking_uri(uri)
    answers = {}
    for model, rows in asked.items():
        given = pd.DataFrame(rows) if isinstance(rows[0], dict) else rows
        answers[model] = (
            mlflow.pyfunc.load_model(model).predict(given).to_dict("list"),
            mlflow.transformers.load_model(model)(rows[0], truncation=True),
        )
    return answers
