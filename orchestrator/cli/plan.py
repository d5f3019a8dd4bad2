"""`fanflare plan`: shows what a run would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from orchestrator.cli.console import (
    JsonOption,
    StoreOption,
    SweepArgument,
    format_duration,
    print_json,
    stdout,
)
from orchestrator.planning.plan import Plan
from orchestrator.planning.sharing import SharedGroup, shared_groups
from orchestrator.running.session import plan as make_plan
from orchestrator.running.summary import plan_json

NAME = "plan"
MAX_GROUPS = 12
"""Groups that are shown one by one; `--json` has them all."""


def plan(sweep: SweepArgument, store: StoreOption = None, json: JsonOption = False) -> None:
    """Show what `run` would do: trials, merged stages, what is known already, how long it takes."""
    made = make_plan(sweep, store=store)
    if json:
        print_json(plan_json(made))
    else:
        _show(made)


def _show(plan: Plan) -> None:
    console = stdout()
    num_known = sum(plan.is_known(trial) for trial in plan.trials)
    num_to_run = len({digest for job in plan.jobs for digest in job.stages})
    counts = [
        _count(number, noun)
        for noun, part in (
            ("model", "model"),
            ("task", "task"),
            ("config", "config_id"),
            ("seed", "seed"),
        )
        if (number := len({getattr(trial, part) for trial in plan.trials} - {""}))
    ]
    console.print(
        f"[bold]{plan.sweep.name}[/bold]: {len(plan.trials)} trials "
        f"({', '.join(counts)}), {num_known} known, {len(plan.trials) - num_known} to run"
    )
    if not plan.jobs:
        console.print("Nothing to compute: every trial's result is in the store.")
        return
    console.print(_stage_table(plan))
    console.print(
        f"{plan.num_unmerged_stages} stages merge into {len(plan.stages)}; "
        f"{num_to_run} to run in {_count(len(plan.jobs), 'job')}"
    )
    _show_sharing(plan, console)
    _show_gpu_sharing(plan, console)
    if plan.estimate is None:
        console.print("No estimate yet: this store has no timings.")
    else:
        console.print(
            f"About {format_duration(plan.estimate.wall_s)} "
            f"({format_duration(plan.estimate.compute_s)} of compute), "
            f"{plan.estimate.share_recorded:.0%} of it by recorded timings."
        )


def _stage_table(plan: Plan) -> Table:
    unmerged = Counter(plan.stages[d].stage.name for trial in plan.trials for d in trial.stages)
    merged = Counter(stage.stage.name for stage in plan.stages.values())
    known = Counter(plan.stages[digest].stage.name for digest in plan.known)
    to_run = Counter(plan.stages[digest].stage.name for job in plan.jobs for digest in job.stages)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage")
    for heading in ("in trials", "merged", "known", "to run"):
        table.add_column(heading, justify="right")
    for name in plan.stage_names:
        counts = (unmerged[name], merged[name], known[name], to_run[name])
        table.add_row(name, *map(str, counts))
    return table


def _show_sharing(plan: Plan, console: Console) -> None:
    groups = shared_groups(plan)
    if plan.sweep.sharing == "off":
        console.print("Nothing is computed together: `sharing: off`.")
    if not groups:
        return
    console.print()
    console.print(_sharing_table(groups[:MAX_GROUPS]))
    if rest := groups[MAX_GROUPS:]:
        num_saved = sum(group.num_saved for group in rest)
        console.print(f"and {_count(len(rest), 'group')} more, {_count(num_saved, 'run')} saved")
    if any(_memory(group) for group in groups[:MAX_GROUPS]):
        console.print("memory: the most that was measured in one job, and of a trial alone")
    for name, shared in dict.fromkeys((_what(g), g.cohort.sharing.shared) for g in groups):
        console.print(f"{name} shares {shared}")
    for group in groups:
        if group.cohort.limit is not None:
            whose = " of ".join(filter(None, (_what(group), _whose(group, with_model=True))))
            console.print(f"{whose}: {group.cohort.limit} fit into memory at once")
    console.print()


def _show_gpu_sharing(plan: Plan, console: Console) -> None:
    whole = plan.sweep.resources.num_gpus
    jobs = [job for job in plan.jobs if 0 < job.resources.num_gpus < whole == 1]
    for share in sorted({job.resources.num_gpus for job in jobs}):
        alike = [job for job in jobs if job.resources.num_gpus == share]
        stages = [plan.stages[digest] for job in alike for digest in job.stages]
        peak_gib = max(stage.peak_gpu_memory_gib or 0.0 for stage in stages)
        console.print(
            f"{_count(len(alike), 'job')}, {1 / share:.0f} to a GPU of {plan.gpu_memory_gib:.0f} "
            f"GiB: {_gib(peak_gib)} each at most, measured"
        )


def _sharing_table(groups: Sequence[SharedGroup]) -> Table:
    with_model = len({group.models for group in groups}) > 1
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("together", no_wrap=True)
    table.add_column("of", overflow="ellipsis", no_wrap=True)
    has_memory = any(map(_memory, groups))
    for heading in ("trials", "jobs", *(["memory"] if has_memory else []), "saves"):
        table.add_column(heading, justify="right", no_wrap=True)
    for group in groups:
        table.add_row(
            _what(group),
            _whose(group, with_model=with_model),
            str(group.num_trials),
            str(len(group.jobs)),
            *([_memory(group)] if has_memory else []),
            _saving(group),
        )
    return table


def _what(group: SharedGroup) -> str:
    """Return `stage (method)`, and the stage alone where that says it all."""
    stage = group.stage.rpartition("/")[2]
    methods = ", ".join(group.methods)
    return stage if methods in ("", stage) else f"{stage} ({methods})"


def _whose(group: SharedGroup, *, with_model: bool) -> str:
    """Return `model on task`, short."""
    parts = ((group.models if with_model else (), "models"), (group.tasks, "tasks"))
    return " on ".join(
        names[0].rpartition("/")[2] if len(names) == 1 else f"{len(names)} {noun}"
        for names, noun in parts
        if names
    )


def _saving(group: SharedGroup) -> str:
    saved = _count(group.num_saved, "run")
    if group.cohort.is_recorded:
        saved += f", ~{format_duration(group.saved_s)}"
    return saved


def _memory(group: SharedGroup) -> str:
    """Return the peaks of a job and of a trial alone, as far as known, of a GPU if there is one."""
    cohort = group.cohort
    peaks_gib, suffix = (cohort.peak_memory_gib, cohort.alone_memory_gib), ""
    if cohort.peak_gpu_memory_gib is not None:
        peaks_gib, suffix = (cohort.peak_gpu_memory_gib, cohort.alone_gpu_memory_gib), " GPU"
    together_gib, alone_gib = peaks_gib
    if together_gib is None:
        return ""
    alone = "" if alone_gib is None else f", {_gib(alone_gib)} alone"
    return f"{_gib(together_gib)}{suffix}{alone}"


def _gib(gib: float) -> str:
    return f"{gib:.1f} GiB"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
