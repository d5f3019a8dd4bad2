"""`fanflare submit`: sends a sweep to a cluster, or to a process that outlives the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from cluster.job import State
from cluster.profile import Profile
from cluster.target import Problem
from orchestrator.cli.console import (
    ClusterOption,
    JsonOption,
    StoreOption,
    SweepArgument,
    command_line,
    print_hint,
    print_json,
    print_waiting,
    stderr,
    stdout,
)
from orchestrator.cli.standing import exit_code, show_whereabouts
from orchestrator.submitting.profile_file import read_profile
from orchestrator.submitting.sending import Sent, Submitted, problems_of, send
from orchestrator.submitting.submission import Prepared, prepare

NAME = "submit"
EXIT_BAD_INPUT = 2


def submit(
    sweep: SweepArgument,
    cluster: ClusterOption = None,
    store: StoreOption = None,
    wait: Annotated[
        bool, typer.Option("--wait/--detach", help="Follow the driver's log until the end.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and send nothing.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Send a sweep and return; while it runs, the same command attaches to it.

    Exit codes: 0 accepted (with --wait: all finished), 1 some trials failed, 2 bad input, a problem
    of the cluster, or another version of the sweep runs.
    """
    profile = read_profile(cluster)
    prepared = prepare(sweep, profile, store=store, say=print_waiting)
    problems = problems_of(prepared, profile)
    if problems or dry_run:
        _show_check(prepared, profile, problems, json=json)
        sys.exit(EXIT_BAD_INPUT if problems else 0)
    if prepared.is_plan_certain and not prepared.plan.jobs:
        _nothing_to_do(prepared, json=json)
        return
    submitted = send(prepared, profile)
    name = prepared.submission.name
    if not json:
        _show(submitted, name, cluster, store)
    elif not (wait and submitted.is_same):
        print_json(submitted.to_json())
    if not submitted.is_same:
        sys.exit(EXIT_BAD_INPUT)
    if wait:
        sys.exit(follow(Sent(sweep, profile, store), json=json))


def follow(sent: Sent, *, json: bool = False) -> int:
    """Show what a driver prints until it ends, then where the sweep stands; return the code."""
    try:
        for line in sent.logs(follow=True):
            stderr().print(line, markup=False, highlight=False, soft_wrap=True)
    except KeyboardInterrupt:
        stderr().print("The sweep goes on; `fanflare cancel` ends it.", style="yellow")
        raise
    store = None if sent.profile.storage else sent.store  # the place of the cluster is not one here
    found = Sent(sent.name, sent.profile, store, print_waiting).whereabouts()
    if json:
        print_json(found.to_json())
    else:
        show_whereabouts(found, is_sent=True)
    return exit_code(found)


def _show(submitted: Submitted, name: str, cluster: str | None, store: str | None) -> None:
    console, standing = stdout(), submitted.standing
    if submitted.is_new:
        console.print(f"Submitted [bold]{name}[/bold] as {standing.id}.", highlight=False)
    else:
        console.print(
            f"[bold]{name}[/bold] is {standing.state} already, as {standing.id}, submitted by "
            f"{standing.owner}.",
            highlight=False,
        )
        if not submitted.is_same:
            console.print(
                "What runs is another version of the file or of the code: submit it again when "
                "that has ended, or cancel it first.",
                style="yellow",
            )
    places = {"cluster": cluster, "store": store}
    print_hint(f"Watch it:  {command_line('status', name, **places)}")
    print_hint(f"Its log:   {command_line('logs', '--sweep', name, '--follow', **places)}")
    if standing.state is not State.FINISHED:
        print_hint(f"End it:    {command_line('cancel', name, **places)}")
    if cluster is not None:
        print_hint(f"Results:   {command_line('pull', name, **places)}")


def _show_check(
    prepared: Prepared, profile: Profile, problems: Sequence[Problem], *, json: bool
) -> None:
    plan, submission = prepared.plan, prepared.submission
    if json:
        print_json(
            {
                "sweep": submission.name,
                "target": profile.kind,
                "num_trials": len(plan.trials),
                "num_jobs": len(plan.jobs),
                "bundle": submission.bundle.digest,
                "problems": [problem.to_json() for problem in problems],
            }
        )
        return
    show_problems(problems)
    if not problems:
        size_kib = len(submission.bundle.content) / 1024
        known = "" if prepared.is_plan_certain else " at most; the store is not seen from here"
        stdout().print(
            f"[bold]{submission.name}[/bold] can be sent to {profile.kind}: {len(plan.trials)} "
            f"trials in {len(plan.jobs)} jobs{known}; {size_kib:.0f} KiB of code and files "
            f"({submission.bundle.digest[:12]}). Nothing was sent."
        )


def show_problems(problems: Sequence[Problem]) -> None:
    """Print what stands in the way, each with what to do."""
    console = stderr()
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        console.print(f"{count}; nothing was sent:", style="red")
    for problem in problems:
        text = f"  {problem.subject}: {problem.message}"
        console.print(text, style="red", markup=False, highlight=False)
        console.print(f"    {problem.remedy}", style="yellow", markup=False, highlight=False)


def _nothing_to_do(prepared: Prepared, *, json: bool) -> None:
    if json:
        print_json({"submission": None, "is_new": False, "is_same": True})
        return
    stdout().print(
        f"Nothing to compute: the results of all {len(prepared.plan.trials)} trials are in the "
        "store. Nothing was sent."
    )
