"""Showing a sweep to people, in MLflow; importing this imports no mlflow, which takes seconds."""

from orchestrator.running.tracking.lane import Patience
from orchestrator.running.tracking.mlflow_tracker import MlflowTracker, open_tracker
from orchestrator.running.tracking.tracker import (
    ConfigSummary,
    NullTracker,
    SweepInfo,
    SweepSummary,
    Tracked,
    Tracker,
)
from orchestrator.running.tracking.uris import (
    check_tracking_uri,
    default_tracking_uri,
    mask_credentials,
)

__all__ = [
    "ConfigSummary",
    "MlflowTracker",
    "NullTracker",
    "Patience",
    "SweepInfo",
    "SweepSummary",
    "Tracked",
    "Tracker",
    "check_tracking_uri",
    "default_tracking_uri",
    "mask_credentials",
    "open_tracker",
]
