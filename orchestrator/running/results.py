"""Puts a trial's result together from the outcomes of its stages; runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from cluster.job import Cause, Failure, State
from cluster.store import Store
from orchestrator.errors import nearest_name
from orchestrator.planning.plan import Plan
from orchestrator.planning.trial import Trial, TrialResult
from orchestrator.running.journal import Event
from orchestrator.running.outcome import StageOutcome, finished
from orchestrator.running.power import trial_usage
from pipelines.labels import fidelity_of, weakest


def outcomes_in_store(store: Store, digests: Iterable[str]) -> dict[str, StageOutcome]:
    """Return what the store knows of finished stages, by digest."""
    return {digest: finished(record, reused=True) for digest, record in store.find(digests).items()}


def trial_result(trial: Trial, plan: Plan, outcomes: Mapping[str, StageOutcome]) -> TrialResult:
    """Return the result of a trial all of whose stages are finished.

    A stage that only this trial needs is its own; its time counts, that of shared ones does not.
    The curve is that of the last stage that has one: those before it trained what it began with.
    A trial that did not give the metric by which it is ranked has failed, whatever else it gave.
    """
    stages = [outcomes[digest] for digest in trial.stages if digest in outcomes]
    own = [o for o in stages if plan.stages[o.digest].num_trials == 1] or stages[-1:]
    metrics = {name: value for o in stages for name, value in o.value.get("metrics", {}).items()}
    failure = _without_metric(trial, metrics)
    return TrialResult(
        trial=trial,
        state=State.FAILED if failure else State.FINISHED,
        failure=failure,
        fidelity=weakest(fidelity_of(o.value) for o in stages),
        metrics=metrics,
        curve=next((tuple(c) for o in reversed(stages) if (c := o.value.get("curve"))), ()),
        datasets=tuple(dataset for o in stages for dataset in o.value.get("datasets", ())),
        started_at=min(o.started_at for o in own),
        ended_at=max(o.started_at + o.duration_s for o in own),
        duration_s=sum(o.duration_s for o in own),
        usage=trial_usage(own, stages, plan.sweep.energy.region),
    )


def _without_metric(trial: Trial, metrics: Mapping[str, float]) -> Failure | None:
    """Return the failure of a trial that cannot be ranked, or None."""
    wanted = f"validation/{trial.metric}"
    if wanted in metrics:
        return None
    message = f"the trial gave no metric {wanted!r}; it gave: {', '.join(metrics) or 'none'}"
    nearest = nearest_name(wanted, metrics)
    return Failure(Cause.INPUT, message, key="metric", nearest=nearest)


def failed_result(trial: Trial, event: Event) -> TrialResult:
    """Return the result of a trial that the failure of a stage, told by an event, has ended.

    The driver and whoever reads the journal later make the same of it.
    """
    return TrialResult(
        trial=trial,
        state=State.FAILED,
        failure=event.failure,
        started_at=event.detail.get("started_at") or event.time,
        ended_at=event.time,
        duration_s=event.detail.get("duration_s", 0.0),
    )


def stored_results(plan: Plan, store: Store, events: Iterable[Event]) -> Iterator[TrialResult]:
    """Yield every trial of a plan as the store and the journal know it, in the plan's order."""
    failures = _failures(events)
    outcomes = outcomes_in_store(store, plan.stages)
    for trial in plan.trials:
        failed = [failures[digest] for digest in trial.stages if digest in failures]
        if trial.result_digest in outcomes:
            yield trial_result(trial, plan, outcomes)
        elif failed:
            yield failed_result(trial, min(failed, key=lambda failure: failure[:3]).event)
        else:
            yield TrialResult(trial=trial, state=State.SCHEDULED)


def state_of(state: State, results: Iterable[TrialResult]) -> State:
    """Return where a sweep stands.

    Args:
        state: How its last run ended, or where it is.
        results: Of the trials that it has now; there may be more than that run had.
    """
    has_more = any(result.state is State.SCHEDULED for result in results)
    return State.SCHEDULED if state is State.FINISHED and has_more else state


class _Failed(NamedTuple):
    """A stage's failure, ordered so that the one which ended a trial comes first."""

    run: int
    """Minus the number of the run in which it was: what an earlier one left does not count."""
    time: float
    number: int
    event: Event


def _failures(events: Iterable[Event]) -> dict[str, _Failed]:
    """Return the failures of stages whose last attempt failed, by digest."""
    failures: dict[str, _Failed] = {}
    num_runs = 0
    for number, event in enumerate(events):
        num_runs += event.kind == "sweep_started"
        for digest in event.stages:
            if event.kind == "stage_failed":
                failures[digest] = _Failed(-num_runs, event.time, number, event)
            elif event.kind in ("job_started", "stage_finished"):
                failures.pop(digest, None)
    return failures
