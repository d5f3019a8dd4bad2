"""Shows how far a run has come: live in a terminal, plain lines elsewhere; decides nothing."""

from __future__ import annotations

import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cluster.job import State
from orchestrator.cli.console import format_duration
from orchestrator.comparing.wording import format_params
from orchestrator.running.progress import Progress

PLAIN_EVERY_S = 10.0
"""Seconds between plain lines: a log of an hour's run stays readable."""

MAX_BEST = 10
"""Tasks whose best trial is shown: the display must fit a small terminal."""

TELLING_PARAMS = ("learning_rate", "epochs")
"""Params that tell one config from another in the space of a line."""

MIN_SHARE_FOR_ETA = 0.03
"""Below this part of the work done, a time left would be a guess."""


def progress_line(progress: Progress, elapsed_s: float) -> str:
    """Return where a run stands in one line."""
    parts = [f"{progress.num_ended}/{progress.num_trials} trials"]
    if progress.num_known:
        parts.append(f"{progress.num_known} known before")
    failed = progress.trials[State.FAILED]
    if failed:
        parts.append(f"{failed} failed")
    num_new = progress.num_ended - progress.num_known
    if num_new and elapsed_s > 1:
        parts.append(_rate(num_new / elapsed_s))
    left_s = progress.time_left_s(elapsed_s)
    if left_s is not None and progress.share_done >= MIN_SHARE_FOR_ETA:
        parts.append(f"about {format_duration(left_s)} left")
    return ", ".join(parts)


def _rate(per_s: float) -> str:
    return f"{per_s:.1f} trials/s" if per_s >= 0.1 else f"{60 * per_s:.1f} trials/min"


class PlainDisplay:
    """Prints a line now and then: for pipes, logs and CI."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started_at = time.monotonic()
        self._printed_at = self._started_at

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def changed(self, progress: Progress) -> None:
        """Print where the run stands, if it is time."""
        now = time.monotonic()
        if now - self._printed_at >= PLAIN_EVERY_S:
            self._printed_at = now
            self.message(progress_line(progress, now - self._started_at))

    def message(self, text: str) -> None:
        """Print a message."""
        self._console.print(text, markup=False, highlight=False)


class LiveDisplay:
    """Redraws a table of stages, the best trials and the time left: for terminals."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress()
        self._text = ""
        self._started_at = time.monotonic()
        self._live = Live(
            get_renderable=self._render,
            console=console,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> LiveDisplay:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def changed(self, progress: Progress) -> None:
        """Show the new state at the next redrawing."""
        if not self._progress.num_trials:
            self._started_at = time.monotonic()
            self._text = ""
        self._progress = progress

    def message(self, text: str) -> None:
        """Show what is being done just now; what matters later is printed."""
        if text.startswith("MLflow:") or " not in MLflow" in text:
            self._console.print(text, markup=False, style="yellow")
        self._text = text

    def _render(self) -> Group:
        progress = self._progress
        parts: list[Table | Text] = []
        if progress.stage_totals:
            parts.append(_stages(progress))
        if progress.best:
            parts.append(_best(progress))
        if progress.num_trials:
            elapsed_s = time.monotonic() - self._started_at
            line = f"{progress_line(progress, elapsed_s)}  [{format_duration(elapsed_s)}]"
            parts.append(Text(line, style="bold"))
        if self._text:
            parts.append(Text(f"{self._text} ...", style="dim"))
        return Group(*parts)


def display_on(console: Console) -> LiveDisplay | PlainDisplay:
    """Return a display that redraws itself where that can be seen, else one of plain lines."""
    can_redraw = console.file.isatty() and not console.is_dumb_terminal
    return LiveDisplay(console) if can_redraw else PlainDisplay(console)


def _stages(progress: Progress) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(width=22)
    table.add_column(width=24)
    table.add_column(justify="right")
    table.add_column()
    for name, total in progress.stage_totals.items():
        done, failed = progress.stages_done[name], progress.stages_failed[name]
        running = progress.stages_running[name]
        notes = Text(f"{running} running" if running else "", style="cyan")
        if failed:
            notes.append(f" {failed} failed", style="red")
        table.add_row(
            name, ProgressBar(total=total, completed=done, width=24), f"{done}/{total}", notes
        )
    return table


def _best(progress: Progress) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for style in ("", "", "dim"):
        table.add_column(no_wrap=True, overflow="ellipsis", style=style)
    for task, result in sorted(progress.best.items())[:MAX_BEST]:
        trial, score = result.trial, result.score("validation")
        shown = {name: trial.params[name] for name in TELLING_PARAMS if name in trial.params}
        table.add_row(
            f"best on {task}" if task else "best",
            f"{score:.3f} {trial.metric}" if score is not None else "",
            f"{trial.method} {format_params(shown)}",
        )
    return table
