"""Counts how far a run has come; a value that others may show, with no clock of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cluster.job import State
from orchestrator.planning.plan import Plan
from orchestrator.planning.trial import TrialResult


@dataclass
class Progress:
    """Where a run stands."""

    num_trials: int = 0
    num_known: int = 0
    """Trials whose result the store had before."""
    trials: Counter[State] = field(default_factory=Counter)
    """Trials that ended in this run, by state; known ones are FINISHED."""
    stage_totals: Counter[str] = field(default_factory=Counter)
    """Stages to compute, by name."""
    stages_done: Counter[str] = field(default_factory=Counter)
    stages_failed: Counter[str] = field(default_factory=Counter)
    stages_running: Counter[str] = field(default_factory=Counter)
    cost_total_s: float = 0.0
    """Estimated seconds of all jobs."""
    cost_done_s: float = 0.0
    """Estimated seconds of the jobs that have ended."""
    best: dict[str, TrialResult] = field(default_factory=dict)
    """By task, the trial with the best validation score so far."""

    @classmethod
    def of(cls, plan: Plan) -> Progress:
        """Return the progress at the start of a plan."""
        totals = Counter(
            plan.stages[digest].stage.name for job in plan.jobs for digest in job.stages
        )
        return cls(
            num_trials=len(plan.trials),
            stage_totals=Counter({name: totals[name] for name in plan.stage_names if totals[name]}),
            cost_total_s=sum(job.cost_s for job in plan.jobs),
        )

    @property
    def share_done(self) -> float:
        """The part of the estimated work that has ended, from 0 to 1."""
        return min(1.0, self.cost_done_s / self.cost_total_s) if self.cost_total_s else 1.0

    def time_left_s(self, elapsed_s: float) -> float | None:
        """Return the seconds left if the work goes on as it went so far; None at the start."""
        if not self.cost_done_s:
            return None
        return elapsed_s * (1 - self.share_done) / self.share_done

    @property
    def num_ended(self) -> int:
        """How many trials have ended, known ones among them."""
        return sum(self.trials.values())

    def trial_ended(self, result: TrialResult, *, known: bool) -> None:
        """Count a trial, and remember it where it is the best of its task."""
        self.trials[result.state] += 1
        self.num_known += known
        score = result.score("validation")
        if score is None:
            return
        best = self.best.get(result.trial.task)
        sign = 1 if result.trial.mode == "max" else -1
        if best is None or sign * score > sign * (best.score("validation") or 0.0):
            self.best[result.trial.task] = result

    def job_started(self, stages: Iterable[str]) -> None:
        """Count the stages of a job, given by name, as running."""
        self.stages_running.update(stages)

    def job_ended(
        self, stages: Iterable[str], ended: Mapping[State, Iterable[str]], cost_s: float
    ) -> None:
        """Count the stages of a job, given by name, as ended one way or the other."""
        self.cost_done_s += cost_s
        self.stages_running.subtract(stages)
        self.stages_done.update(ended.get(State.FINISHED, ()))
        self.stages_failed.update(ended.get(State.FAILED, ()))


class Observer(Protocol):
    """Someone who watches a run, as a progress display does."""

    def changed(self, progress: Progress) -> None:
        """Take notice that the run has come further; called often, must return at once."""

    def message(self, text: str) -> None:
        """Take notice of something that a person should read."""


class SilentObserver:
    """An observer that shows nothing."""

    def changed(self, progress: Progress) -> None:
        """Ignore it."""

    def message(self, text: str) -> None:
        """Ignore it."""
