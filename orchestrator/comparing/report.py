"""What a sweep gave, in the forms in which people and programs read it; computes no statistics."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cluster.job import State
from orchestrator.comparing.leaderboard import SPLITS, ConfigRow, Leaderboard, leaderboard
from orchestrator.comparing.table import result_rows, result_table
from orchestrator.planning.trial import TrialResult
from pipelines.labels import Fidelity

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


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

    @cached_property
    def leaderboard(self) -> Leaderboard:
        """Configs ranked by their mean over seeds."""
        return leaderboard(self.results)

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

    def table(self) -> pa.Table:
        """Return one row a trial: identity, params, state, metrics, seconds."""
        return result_table(self.results)

    def to_pandas(self) -> pd.DataFrame:
        """Return :meth:`table` as a data frame."""
        frame: pd.DataFrame = self.table().to_pandas()
        return frame

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys are documented in docs/json.md."""
        return {
            "sweep": self.sweep,
            "state": str(self.state),
            "counts": dict(self.counts),
            "num_reused": self.num_reused,
            "leaderboard": {
                "tasks": {
                    task: [asdict(row) for row in rows]
                    for task, rows in self.leaderboard.tasks.items()
                },
                "overall": [asdict(row) for row in self.leaderboard.overall],
            },
            "trials": result_rows(self.results),
        }

    def config_rows(self) -> list[dict[str, Any]]:
        """Return the leaderboard of all tasks as flat rows."""
        return [_flat(row) for rows in self.leaderboard.tasks.values() for row in rows]

    def to_csv(self) -> str:
        """Return :meth:`config_rows` as CSV."""
        rows = self.config_rows()
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def to_markdown(self, num_rows: int = 5) -> str:
        """Return the best configs of each task as Markdown tables."""
        parts = [f"**{self.sweep}**: {_counted(self.counts)}"]
        for task, rows in self.leaderboard.tasks.items():
            parts += ["", f"### {task} ({rows[0].metric})" if task else f"### {rows[0].metric}", ""]
            parts += ["| # | config | validation | test | n |", "|--:|---|---|---|--:|"]
            parts += [
                f"| {row.rank} | {config_label(row)} | {format_score(row, 'validation')} "
                f"| {format_score(row, 'test')} | {row.scores['validation'].n} |"
                for row in rows[:num_rows]
            ]
        return "\n".join(parts) + "\n"


def format_params(params: Mapping[str, Any]) -> str:
    """Return params as people write them, `learning_rate=0.01 epochs=20`."""
    return " ".join(f"{name}={format_value(value)}" for name, value in params.items())


def format_value(value: Any) -> str:
    """Return one value of a param, numbers without needless digits.

    A param that is itself a method with its params reads as a call, `full(epochs=5)`.
    """
    if isinstance(value, Mapping):
        inside = [f"{n}={format_value(v)}" for n, v in value.items() if n != "method"]
        head = str(value.get("method", ""))
        return f"{head}({', '.join(inside)})" if inside or not head else head
    return f"{value:g}" if isinstance(value, float) else str(value)


def config_label(row: ConfigRow) -> str:
    """Return how a config is called in a table, leaving out what all configs share."""
    return " ".join(part for part in (row.model, row.method, format_params(row.params)) if part)


def format_score(row: ConfigRow, split: str) -> str:
    """Return `mean ± std` of a split, or a dash where there is no value."""
    summary = row.scores[split]
    if summary.mean is None:
        return "–"
    return f"{summary.mean:.3f}" + ("" if summary.std is None else f" ± {summary.std:.3f}")


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
        "num_failed": row.num_failed,
    }
    for split in SPLITS:
        summary = row.scores[split]
        flat |= {
            f"{split}_mean": summary.mean,
            f"{split}_std": summary.std,
            f"{split}_n": summary.n,
        }
    return flat
