"""Writes a trained model as a folder that transformers loads; knows neither sweep nor store."""

from __future__ import annotations

from typing import cast

from pipelines.contract import Context
from pipelines.exports import Agreement, Export, Verification
from pipelines.models.backbone import set_up_torch
from pipelines.sources import Task
from pipelines.transfer.export.adapters import merge_adapters, save_with_adapter
from pipelines.transfer.export.ancestry import base_of
from pipelines.transfer.export.card import write_card
from pipelines.transfer.export.exported import load
from pipelines.transfer.export.forms import form_of
from pipelines.transfer.export.shipping import ship_architecture
from pipelines.transfer.export.trained import trained_model


def export(context: Context, export: Export) -> Verification:
    """Write model, tokenizer and card, and compare what is loaded again with the trial.

    Raises:
        InputError: The model is not there any more.
    """
    set_up_torch(context)
    trained = trained_model(context, export)
    base = base_of(trained.base, export.artifacts, export.facts.model)
    form = form_of(cast(Task, trained.examples.sources["task"]).kind)
    form.save_preprocessing(context, trained, export.folder)
    model = form.build(trained, export.artifacts[trained.prepared.digest]).cpu().eval()
    if export.merge:
        merge_adapters(model)
        model.save_pretrained(export.folder)
        ship_architecture(trained.backbone, export.folder)
    else:
        save_with_adapter(model, base, trained.files.folder, export.folder)
    retrained = export.artifacts[export.node.digest].value.get("agreement")
    loaded = load(export.folder, base=trained.files.folder)
    verification = Verification(
        retrained=Agreement(**retrained) if retrained else None,
        reloaded=form.reloaded(loaded, trained, export.artifacts),
    )
    write_card(export, trained.examples, base, form.loading, verification)
    return verification
