"""Puts the results of several sweeps into one; computes and compares nothing.

A trial is its content, so one that several sweeps have is one trial. Where sweeps have other trials
of the same config and seed (other data, another version), the configs of that task, model and
method are told apart by their sweep, which then is one more param.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.comparing.choice import SWEEP
from orchestrator.errors import FanflareError
from orchestrator.planning.trial import Trial, TrialResult

Group = tuple[str, str, str]
"""Task, model, method."""


def join_results(sweeps: Mapping[str, Sequence[TrialResult]]) -> list[TrialResult]:
    """Return the results of several sweeps as if they were of one.

    Args:
        sweeps: Results by what the sweep is to be called.

    Raises:
        FanflareError: Sweeps rank a task by different metrics.
    """
    _check_metrics(sweeps)
    apart = _groups_to_tell_apart(sweeps)
    joined: dict[tuple[str, str, int], TrialResult] = {}
    for name, results in sweeps.items():
        for result in results:
            trial = result.trial
            if _group(trial) in apart:
                result = replace(result, trial=_labelled(trial, name))  # noqa: PLW2901
            key = (result.trial.config_id, trial.id, trial.seed)
            known = joined.get(key)
            if known is None or (result.ended_at and not known.metrics):
                joined[key] = result
    return list(joined.values())


def _groups_to_tell_apart(sweeps: Mapping[str, Sequence[TrialResult]]) -> set[Group]:
    ids: dict[tuple[str, int], str] = {}
    apart: set[Group] = set()
    for results in sweeps.values():
        for result in results:
            trial = result.trial
            if ids.setdefault((trial.config_id, trial.seed), trial.id) != trial.id:
                apart.add(_group(trial))
    return apart


def _labelled(trial: Trial, sweep: str) -> Trial:
    return replace(trial, params={**trial.params, SWEEP: sweep})


def _group(trial: Trial) -> Group:
    return trial.task, trial.model, trial.method


def _check_metrics(sweeps: Mapping[str, Sequence[TrialResult]]) -> None:
    metrics: dict[str, dict[str, str]] = defaultdict(dict)
    for name, results in sweeps.items():
        for result in results:
            trial = result.trial
            metrics[trial.task][f"{trial.metric} ({trial.mode})"] = name
    for task, found in metrics.items():
        if len(found) > 1:
            ways = ", ".join(f"sweep {name!r} by {metric}" for metric, name in found.items())
            what = f"task {task!r}" if task else "trials"
            raise FanflareError(
                f"these sweeps cannot be compared: they rank {what} by different metrics, {ways}; "
                "give both sweep files the same `metric`"
            )
