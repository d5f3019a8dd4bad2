"""The tasks of all benchmarks that go by name and whose data is on the hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.catalogue.glue import GLUE
from pipelines.catalogue.super_glue import SUPER_GLUE

BENCHMARKS: Mapping[str, Mapping[str, Any]] = {**GLUE, **SUPER_GLUE}
"""Fields of a `TaskEntry` by the name that a sweep uses."""
