"""What a sweep gave, in the forms in which people and programs read it; computes no statistics."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cluster.job import State
from orchestrator.comparing.choice import Chosen, choose
from orchestrator.comparing.configs import SPLITS, ConfigRow, bounds
from orchestrator.comparing.contrasts import Contrasts, compared, contrasts
from orchestrator.comparing.examples import Examples, ReadExamples, in_blocks
from orchestrator.comparing.failures import FailureGroup, failure_groups
from orchestrator.comparing.formats import csv_text, latex_table, markdown_table
from orchestrator.comparing.groups import GroupRow, group_rows
from orchestrator.comparing.joining import join_results
from orchestrator.comparing.leaderboard import Leaderboard, leaderboard
from orchestrator.comparing.paper import PaperTable, chosen_tables, task_table
from orchestrator.comparing.series import budgets, sizes
from orchestrator.comparing.table import result_rows, result_table
from orchestrator.comparing.wording import format_params
from orchestrator.planning.trial import TrialResult
from pipelines.labels import Fidelity

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

NUM_ROWS = 10
"""Configs of a task in a table for a paper."""


@dataclass(frozen=True)
class Report:
    """The results of a sweep and their comparison."""

    sweep: str
    """The sweep's name."""
    state: State
    results: Sequence[TrialResult]
    """One for each trial, in the plan's order."""
    num_reused: int = 0
    """Trials whose result the store had before this run."""
    is_tracked: bool = True
    """Whether MLflow has them too."""
    read_examples: ReadExamples | None = field(default=None, repr=False, compare=False)
    """Reads the scores of a trial's test examples; without it pairs are compared by seeds only."""
    accounts: Mapping[str, Any] | None = None
    """What it took: seconds, memory, energy; None where nobody has summed it up."""
    provenance: Mapping[str, Any] | None = None
    """What it came from: sweep file, versions, machine, models, tasks."""
    shared: Sequence[Mapping[str, Any]] = ()
    """What trials had in common."""

    @cached_property
    def leaderboard(self) -> Leaderboard:
        """Configs ranked by their mean over seeds."""
        return leaderboard(self.results)

    @cached_property
    def chosen(self) -> Sequence[Chosen]:
        """The config of each task, model and method that validation chooses."""
        return choose(self.leaderboard.tasks)

    @cached_property
    def contrasts(self) -> Contrasts:
        """The chosen configs of each task in pairs, on the test split."""
        return contrasts(self.chosen, self._examples)

    @cached_property
    def methods(self) -> Sequence[GroupRow]:
        """Methods over all tasks, by their chosen configs."""
        return group_rows(self.chosen, "method")

    @cached_property
    def models(self) -> Sequence[GroupRow]:
        """Models over all tasks, likewise."""
        return group_rows(self.chosen, "model")

    @cached_property
    def failures(self) -> Sequence[FailureGroup]:
        """Why trials failed or were stopped."""
        return failure_groups(self.results)

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """Trials by state."""
        return Counter(str(result.state) for result in self.results)

    @cached_property
    def labels(self) -> Mapping[str, int]:
        """Finished trials by their fidelity, the strongest first."""
        counts = Counter(result.fidelity for result in self.results if result.label)
        return {str(label): counts[label] for label in Fidelity if counts[label]}

    @property
    def exit_code(self) -> int:
        """0 when all trials finished, 130 when interrupted, else 1."""
        if self.state is State.KILLED:
            return 130
        return 0 if self.counts.get("FINISHED", 0) == len(self.results) else 1

    @cached_property
    def _examples(self) -> Examples:
        return Examples(self.results, self.read_examples)

    @cached_property
    def examples_intervals(self) -> Mapping[str, Sequence[float]]:
        """Intervals of the test means of chosen configs over other test examples, by config id."""
        found: dict[str, Sequence[float]] = {}
        for item in compared(self.chosen):
            row = item.row
            scores = self._examples.of([row.config_id], sorted(row.by_seed.get("test", {})))
            if scores:
                from orchestrator.comparing.statistics.intervals import (  # noqa: PLC0415 - scipy
                    examples_interval,
                )

                interval = bounds(examples_interval(in_blocks(scores)[0]))
                if interval:
                    found[row.config_id] = interval
        return found

    def table(self) -> pa.Table:
        """Return one row a trial: identity, params, state, metrics, seconds."""
        return result_table(self.results)

    def to_pandas(self) -> pd.DataFrame:
        """Return :meth:`table` as a data frame."""
        frame: pd.DataFrame = self.table().to_pandas()
        return frame

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys are documented in docs/json.md."""
        from orchestrator.comparing.effects import effects  # noqa: PLC0415 - not for a terminal

        tasks = self.leaderboard.tasks
        return {
            "sweep": self.sweep,
            "state": str(self.state),
            "counts": dict(self.counts),
            "num_reused": self.num_reused,
            "leaderboard": {
                "tasks": {
                    task: [self._row_json(row) for row in rows] for task, rows in tasks.items()
                },
                "overall": [row.to_json() for row in self.leaderboard.overall],
            },
            "chosen": [self._chosen_json(item) for item in self.chosen],
            "contrasts": [pair.to_json() for pair in self.contrasts.pairs],
            "num_contrasts_left_out": self.contrasts.num_left_out,
            "summary": {
                "methods": [row.to_json() for row in self.methods],
                "models": [row.to_json() for row in self.models],
            },
            "budget": budgets(tasks),
            "effects": effects(self.results),
            "sizes": sizes(tasks, self.results),
            "failures": [group.to_json() for group in self.failures],
            "accounts": self.accounts,
            "provenance": self.provenance,
            "shared": list(self.shared),
            "trials": result_rows(self.results),
        }

    def _row_json(self, row: ConfigRow) -> dict[str, Any]:
        content = row.to_json()
        for split, summary in content["scores"].items():
            interval = self.examples_intervals.get(row.config_id) if split == "test" else None
            summary["examples_ci"] = interval
        return content

    def _chosen_json(self, item: Chosen) -> dict[str, Any]:
        content = item.to_json()
        scores = self._row_json(item.row)["scores"]
        return {**content, **{split: scores[split] for split in SPLITS}}

    def config_rows(self) -> list[dict[str, Any]]:
        """Return the leaderboard of all tasks as flat rows."""
        return [_flat(row) for rows in self.leaderboard.tasks.values() for row in rows]

    def to_csv(self) -> str:
        """Return :meth:`config_rows` as CSV."""
        return csv_text(self.config_rows())

    def to_parquet(self) -> bytes:
        """Return :meth:`table` as a Parquet file."""
        import pyarrow.parquet as pq  # noqa: PLC0415 - the leaderboard alone needs no Arrow

        content = io.BytesIO()
        pq.write_table(self.table(), content)
        return content.getvalue()

    def to_markdown(self, num_rows: int = 5) -> str:
        """Return the best configs of each task as Markdown tables."""
        parts = [f"**{self.sweep}**: {_counted(self.counts)}"]
        for task, rows in self.leaderboard.tasks.items():
            parts += ["", f"### {task} ({rows[0].metric})" if task else f"### {rows[0].metric}", ""]
            parts.append(markdown_table(task_table(rows, num_rows)))
        return "\n".join(parts) + "\n"

    def to_latex(self) -> str:
        """Return the tables for a paper as LaTeX; they need the package booktabs."""
        return "\n".join(latex_table(table) for table in self.paper_tables())

    def to_paper_markdown(self) -> str:
        """Return the tables for a paper as Markdown."""
        head = f"# {self.sweep}\n\n{_counted(self.counts)}\n\n"
        return head + "\n".join(markdown_table(table) for table in self.paper_tables())

    def paper_tables(self) -> list[PaperTable]:
        """Return what the chosen configs give over all tasks, and the best configs of each task."""
        tasks = (rows for rows in self.leaderboard.tasks.values() if rows)
        return [
            *chosen_tables(self.chosen, self.contrasts.pairs),
            *(task_table(rows, NUM_ROWS) for rows in tasks),
        ]


def join(reports: Mapping[str, Report]) -> Report:
    """Return the report of several sweeps together.

    Args:
        reports: The report of each, by what it is to be called.

    Raises:
        FanflareError: Sweeps rank a task by different metrics.
    """
    states = [report.state for report in reports.values()]
    worst = (State.KILLED, State.FAILED, State.RUNNING, State.SCHEDULED)
    readers = {
        result.trial.id: report.read_examples
        for report in reports.values()
        for result in report.results
    }

    def read(result: TrialResult) -> Any:
        reader = readers.get(result.trial.id)
        return reader(result) if reader else None

    return Report(
        sweep=" + ".join(reports),
        state=next((state for state in worst if state in states), State.FINISHED),
        results=join_results({name: report.results for name, report in reports.items()}),
        num_reused=sum(report.num_reused for report in reports.values()),
        read_examples=read,
        shared=[entry for report in reports.values() for entry in report.shared],
    )


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state.lower()}" for state, count in counts.items())


def _flat(row: ConfigRow) -> dict[str, Any]:
    flat = {
        "task": row.task,
        "rank": row.rank,
        "config_id": row.config_id,
        "model": row.model,
        "method": row.method,
        "params": format_params(row.params),
        "metric": row.metric,
        "num_trials": row.num_trials,
        "num_failed": row.num_failed,
        "is_tied": row.is_tied,
        "p_best": row.p_best,
    }
    for split in SPLITS:
        summary = row.scores[split]
        low, high = bounds(summary.ci) or (None, None)
        flat |= {
            f"{split}_mean": summary.mean,
            f"{split}_std": summary.std,
            f"{split}_ci_low": low,
            f"{split}_ci_high": high,
            f"{split}_n": summary.n,
        }
    return flat
