"""Checks the labels of a sample of finished trials against reruns; writes into no sweep's store."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cluster.artifact import Record
from cluster.job import Failure, State
from cluster.machine import local_resources
from orchestrator.comparing.fidelity import (
    EXACT,
    Bound,
    Differences,
    Result,
    bound_of,
    compare,
    is_unstable,
)
from orchestrator.comparing.leaderboard import leaderboard
from orchestrator.comparing.wording import config_label
from orchestrator.errors import FanflareError
from orchestrator.planning.trial import Trial, TrialResult
from orchestrator.running.pins import past_sources
from orchestrator.running.progress import Observer, SilentObserver
from orchestrator.running.rerun import MOVES, Rerun
from orchestrator.running.results import stored_results
from orchestrator.running.workspace import SweepLike, Workspace, check_capacity, open_past
from pipelines.contract import Node
from pipelines.labels import Fidelity, fidelity_of

DEFAULT_SAMPLE = 5
"""Trials that are rerun: minutes with small models, and one of each kind of a usual sweep."""


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """Which trials to check, and who watches."""

    sample: int = DEFAULT_SAMPLE
    """How many finished trials are rerun, at most."""
    seed: int = 0
    """Draws the sample; the same seed draws the same trials."""
    store: str | None = None
    """Where results are, in place of what the sweep says."""
    observer: Observer = field(default_factory=SilentObserver)


@dataclass(frozen=True, kw_only=True)
class TrialCheck:
    """One trial, compared with itself run alone."""

    trial: Trial
    config: str
    """The config as the leaderboard calls it."""
    label: Fidelity
    bound: Bound | None
    """None where the label promises nothing of a single trial."""
    differences: Differences | None
    """None where the rerun failed."""
    failure: Failure | None = None
    """Why the rerun failed."""
    is_unstable: bool = False
    """Whether the bound is broken, but the trial alone does not hold it against itself either."""

    @property
    def is_broken(self) -> bool:
        """Whether the bound is broken, and not by rounding that the training blows up."""
        return bool(self.faults) and not self.is_unstable

    @property
    def faults(self) -> tuple[str, ...]:
        """In words, where the bound is broken; none where it holds."""
        if self.differences is None:
            why = self.failure.message if self.failure else "unknown"
            return (f"the rerun failed: {why}",)
        return self.differences.faults

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys are documented in docs/json.md."""
        found = self.differences
        return {
            "trial": self.trial.id,
            "config": self.config,
            "task": self.trial.task,
            "seed": self.trial.seed,
            "fidelity": str(self.label),
            "scores": found.scores if found else None,
            "metrics": found.metrics if found else None,
            "num_flipped": found.num_flipped if found else None,
            "bound": asdict(self.bound) if self.bound else None,
            "ok": not self.faults,
            "unstable": self.is_unstable,
            "faults": list(self.faults),
        }


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What rerunning a sample of a sweep's trials has shown."""

    sweep: str
    num_finished: int
    """Trials that could be sampled."""
    num_skipped: int
    """Trials that are not finished."""
    checks: Sequence[TrialCheck]

    @property
    def exit_code(self) -> int:
        """0 where every label holds; 1 where one is broken, or cannot be checked."""
        return int(any(check.faults for check in self.checks))

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys are documented in docs/json.md."""
        return {
            "sweep": self.sweep,
            "num_finished": self.num_finished,
            "num_skipped": self.num_skipped,
            "trials": [check.to_json() for check in self.checks],
        }


def verify(given: SweepLike, options: VerifyOptions | None = None) -> Verification:
    """Rerun a sample of a sweep's finished trials alone, in this process, and compare.

    Raises:
        FanflareError: No trial is finished, or what they rest on has changed since.
        InvalidSweepError: The sweep has faults, or this machine lacks what its trials need.
    """
    options = options or VerifyOptions()
    workspace = open_past(given, options.store)
    if changed := past_sources(list(workspace.nodes.values())):
        raise FanflareError(
            f"what sweep {workspace.sweep.name!r} gave cannot be computed again, as "
            f"{', '.join(changed)} has changed since it ran; put it back, or run the sweep again"
        )
    results = list(stored_results(workspace.plan(), workspace.store, ()))
    finished = [result for result in results if result.state is State.FINISHED]
    if not finished:
        name = workspace.file_name or workspace.sweep.name
        raise FanflareError(
            f"none of the {len(results)} trials of sweep {workspace.sweep.name!r} is finished; "
            f"run it first: fanflare run {name}"
        )
    check_capacity(workspace, local_resources())
    records = workspace.store.find(workspace.nodes)
    chosen = sample(finished, lambda r: _strata(r, workspace.nodes, records), options)
    names = {
        row.config_id: config_label(row)
        for rows in leaderboard(results).tasks.values()
        for row in rows
    }
    with tempfile.TemporaryDirectory(prefix="fanflare-verify-") as folder:
        rerun = Rerun(workspace, records, folder)
        checks = []
        for number, result in enumerate(chosen, start=1):
            name = names[result.trial.config_id]
            options.observer.message(
                f"running {number} of {len(chosen)} alone: {result.trial.id} {name}"
                f"{f' on {result.trial.task}' if result.trial.task else ''}, "
                f"seed {result.trial.seed}"
            )
            checks.append(_check(result, name, rerun, workspace, options.observer))
    return Verification(
        sweep=workspace.sweep.name,
        num_finished=len(finished),
        num_skipped=len(results) - len(finished),
        checks=checks,
    )


def _check(
    result: TrialResult, config: str, rerun: Rerun, workspace: Workspace, observer: Observer
) -> TrialCheck:
    trial = result.trial
    has_accelerator = workspace.sweep.resources.num_gpus > 0
    precision = trial.params.get("precision")
    is_bf16 = precision == "bf16" or (precision == "auto" and has_accelerator)
    bound = bound_of(result.fidelity, is_bf16=is_bf16, has_accelerator=has_accelerator)
    alone = rerun.alone(trial)
    check = TrialCheck(
        trial=trial, config=config, label=result.fidelity, bound=bound, differences=None
    )
    if isinstance(alone, Failure):
        return replace(check, failure=alone)
    check = replace(check, differences=compare(rerun.kept(trial), alone, bound))
    if not check.faults or bound in (None, EXACT):
        return check  # the same bits were promised, stable or not
    observer.message(
        f"running {trial.id} alone up to {len(MOVES)} times more, moved by a few roundings"
    )
    return replace(check, is_unstable=_is_unstable(trial, alone, rerun, bound))


def _is_unstable(trial: Trial, alone: Result, rerun: Rerun, bound: Bound) -> bool:
    """Return whether a broken bound says no more than that the training is unstable."""
    kept = rerun.kept(trial)
    return any(
        not isinstance(moved, Failure) and is_unstable(kept, alone, moved, bound)
        for moved in rerun.moved(trial)
    )


def sample(
    results: Sequence[TrialResult],
    strata: Callable[[TrialResult], frozenset[tuple[str, str]]],
    options: VerifyOptions,
) -> list[TrialResult]:
    """Return a sample in which every stratum has one trial before any has two, where it can.

    Args:
        results: What to draw from.
        strata: What a trial stands for; it may be in many strata.
        options: Size and seed of the sample.
    """
    rest = list(results)
    random.Random(options.seed).shuffle(rest)  # noqa: S311 - a sample, no secret
    inside = {result.trial.id: strata(result) for result in rest}
    counts: Counter[tuple[str, str]] = Counter()
    chosen: list[TrialResult] = []

    def gain(result: TrialResult) -> tuple[int, int]:
        seen = [counts[stratum] for stratum in inside[result.trial.id]]
        return seen.count(0), -sum(seen)

    while rest and len(chosen) < options.sample:
        best = max(rest, key=gain)
        rest.remove(best)
        chosen.append(best)
        counts.update(inside[best.trial.id])
    return chosen


def _strata(
    result: TrialResult, nodes: Mapping[str, Node], records: Mapping[str, Record]
) -> frozenset[tuple[str, str]]:
    trial = result.trial
    strata = {
        ("label", str(result.fidelity)),
        ("method", trial.method),
        ("model", trial.model),
        ("task", trial.task),
    }
    for digest in trial.stages:
        if digest in records:
            node, label = nodes[digest], fidelity_of(records[digest].value)
            strata.add(("stage", f"{node.stage.name} {label}"))
            strata.add(("cohort", node.cohort_digest))
    return frozenset(strata)
