"""How a worker is made by name, in any process; not what it does."""

from __future__ import annotations

import importlib
from typing import Any

from cluster.job import Resources, WorkerSpec


def make_worker(spec: WorkerSpec, resources: Resources) -> Any:
    """Import the factory and call it with the resources and the settings."""
    module, _, attribute = spec.factory.partition(":")
    return getattr(importlib.import_module(module), attribute)(resources=resources, **spec.settings)
