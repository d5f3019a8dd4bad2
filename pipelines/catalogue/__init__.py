"""Models and tasks that come with fanflare: pinned, ready to name in a sweep; no data is here."""

from pipelines.catalogue.models import MODELS
from pipelines.catalogue.tasks import TASKS

__all__ = ["MODELS", "TASKS"]
