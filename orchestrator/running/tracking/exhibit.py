"""A trained model as it stands in a registry: what it is, not its weights; imports no mlflow."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.running.tracking.records import CONFIG_ID_TAG, SWEEP_ID_TAG, TRIAL_ID_TAG


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """A trained model that is to be registered."""

    sweep_id: str
    config_id: str
    trial_id: str
    seed: int
    name: str
    """What the page of models calls it."""
    description: str
    """Of the version, in Markdown."""

    @property
    def tags(self) -> dict[str, str]:
        """Return what tells it from all others."""
        return {
            SWEEP_ID_TAG: self.sweep_id,
            CONFIG_ID_TAG: self.config_id,
            TRIAL_ID_TAG: self.trial_id,
        }
