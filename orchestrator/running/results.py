"""Puts a trial's result together from the outcomes of its stages; runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from cluster.job import Cause, Failure, State
from cluster.store import Store
from orchestrator.errors import nearest_name
from orchestrator.planning.plan import Plan
from orchestrator.planning.trial import Trial, TrialResult
from orchestrator.running.journal import Event
from orchestrator.running.outcome import StageOutcome
from pipelines.labels import fidelity_of, weakest


def outcomes_in_store(store: Store, digests: Iterable[str]) -> dict[str, StageOutcome]:
    """Return what the store knows of finished stages, by digest."""
    return {
        digest: StageOutcome(
            digest=digest,
            state=State.FINISHED,
            value=record.value,
            started_at=record.started_at,
            duration_s=record.duration_s,
            reused=True,
        )
        for digest, record in store.find(digests).items()
    }


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
    )


def _without_metric(trial: Trial, metrics: Mapping[str, float]) -> Failure | None:
    """Return the failure of a trial that cannot be ranked, or None."""
    wanted = f"validation/{trial.metric}"
    if wanted in metrics:
        return None
    message = f"the trial gave no metric {wanted!r}; it gave: {', '.join(metrics) or 'none'}"
    nearest = nearest_name(wanted, metrics)
    return Failure(Cause.INPUT, message, key="metric", nearest=nearest)


def stored_results(plan: Plan, store: Store, events: Iterable[Event]) -> Iterator[TrialResult]:
    """Yield every trial of a plan as the store and the journal know it, in the plan's order."""
    failures: dict[str, Event] = {}
    for event in events:
        for digest in event.stages:
            if event.kind == "stage_failed":
                failures[digest] = event
            elif event.kind in ("job_started", "stage_finished"):
                failures.pop(digest, None)
    outcomes = outcomes_in_store(store, plan.stages)
    for trial in plan.trials:
        if trial.result_digest in outcomes:
            yield trial_result(trial, plan, outcomes)
            continue
        failed = next((failures[digest] for digest in trial.stages if digest in failures), None)
        yield TrialResult(
            trial=trial,
            state=State.FAILED if failed else State.SCHEDULED,
            failure=failed.failure if failed else None,
            ended_at=failed.time if failed else 0.0,
        )
