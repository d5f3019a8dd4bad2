"""`fanflare ui`: MLflow's own pages for a sweep, until Ctrl-C."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer

from orchestrator.cli.console import StoreOption, SweepArgument, TrackingOption, stderr, stdout
from orchestrator.errors import FanflareError
from orchestrator.running.mlflow_ui import mlflow_ui
from orchestrator.running.session import tracking_uri as uri_of
from orchestrator.running.workspace import open_sweep

NAME = "ui"


def ui(
    sweep: SweepArgument,
    port: Annotated[int | None, typer.Option(help="The port; by default a free one.")] = None,
    store: StoreOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Open MLflow's UI on the sweep's runs and print its address; Ctrl-C stops it."""
    workspace = open_sweep(sweep, store)
    uri = uri_of(workspace, tracking_uri)
    if uri is None:
        raise FanflareError(f"sweep {workspace.sweep.name!r} has `tracking: off`: no runs to show")
    stderr().print("starting MLflow ...", style="dim")
    with mlflow_ui(uri, port, experiment=workspace.sweep.name) as url:
        stdout().print(f"{url}\nCtrl-C stops it.", soft_wrap=True, highlight=False)
        stdout().file.flush()
        stopped = threading.Event()
        signal.signal(signal.SIGINT, lambda *_: stopped.set())
        while not stopped.wait(0.2):
            pass
