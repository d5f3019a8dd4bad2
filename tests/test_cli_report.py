"""`fanflare report` as a researcher uses it: marks, files for a paper, several sweeps."""

import re

import pandas as pd
import pytest
from rich.console import Console

from cluster.job import State
from orchestrator.cli import console as cli_console
from orchestrator.cli import report_end, report_tables
from orchestrator.comparing.report import Report
from tests.cli import fanflare, run, toy_file
from tests.reports import grid, result, seeds

__all__ = ["fanflare", "run", "toy_file"]  # the fixtures


@pytest.fixture
def shown(monkeypatch, capsys):
    """Show a report in a terminal of 80 columns."""

    def show(results):
        console = Console(width=80)
        for module in (report_tables, report_end, cli_console):
            monkeypatch.setattr(module, "stdout", lambda: console)
        report_tables.show_report(Report("toy", State.FINISHED, results), "toy.yaml", None)
        return capsys.readouterr().out

    return show


def test_ties_are_marked_and_the_mark_is_explained(shown):
    text = shown([*seeds(0.80, rate=1), *seeds(0.801, rate=2), *seeds(0.70, rate=3)])
    lines = text.splitlines()
    assert re.match(r" *1  probe rate=2", lines[2])
    assert re.match(r" *2† probe rate=1".replace("† ", "†  "), lines[3])
    assert re.match(r" *3  probe rate=3", lines[4])
    assert text.count("cannot be told apart from the best") == 1


def test_where_nothing_is_tied_no_mark_is_explained(shown):
    assert "†" not in shown([*seeds(0.80, rate=1), *seeds(0.70, rate=3)])


def test_a_whole_report_fits_into_80_columns(shown):
    text = shown(grid())
    for heading in ("chosen", "overall", "per method", "per model", "differences"):
        assert f"\n{heading}  " in text
    assert not [line for line in text.splitlines() if len(line) > 80 and "fanflare " not in line]
    assert "…" not in text


def test_failed_seeds_and_their_causes_are_shown(shown):
    failed = [result(0, seed=n, state=State.FAILED, rate=1, message="nan") for n in (5, 6)]
    text = shown([*seeds(0.8, rate=1), *failed, *seeds(0.7, rate=2)])
    assert "5 of 7" in text
    assert "2 trials, bug: nan" in text


@pytest.fixture
def swept(run, toy_file):
    """A sweep that has run: three configs, three seeds."""
    file = toy_file({"value": [1, 2, 3]}, seeds=3)
    assert run(file).code == 0
    return file


def test_csv_and_parquet_are_read_by_pandas(fanflare, swept, tmp_path):
    csv, parquet = tmp_path / "configs.csv", tmp_path / "trials.parquet"
    ended = fanflare("report", swept, "--csv", csv, "--parquet", parquet)
    assert (ended.code, ended.out) == (0, "")
    configs, trials = pd.read_csv(csv), pd.read_parquet(parquet)
    assert configs["validation_mean"].tolist() == pytest.approx([3.01, 2.01, 1.01])
    assert configs["is_tied"].tolist() == [True, False, False]
    assert (configs["validation_ci_low"] < configs["validation_mean"]).all()
    assert len(trials) == 9
    assert trials["params.value"].nunique() == 3


def test_tables_for_a_paper(fanflare, swept, tmp_path):
    latex, markdown = tmp_path / "tables.tex", tmp_path / "tables.md"
    assert fanflare("report", swept, "--latex", latex, "--markdown", markdown).code == 0
    text = latex.read_text()
    assert r"\toprule" in text
    assert r"\textbf{3.010 $\pm$ 0.010}" in text
    assert "Mean $\\pm$ standard deviation over n = 3 seeds." in text
    assert "| **3.010 ± 0.010** |" in markdown.read_text()


def test_latex_is_balanced_and_escaped():
    hostile = r"50%_of #1 & {x} \input{y} $z$ ~^"
    rows = [*seeds(0.8, tag=hostile), *seeds(0.7, tag="b")]
    text = Report("toy", State.FINISHED, rows).to_latex()
    assert text.count(r"\begin{") == text.count(r"\end{") > 0
    bare = re.sub(r"\\[&%$#_{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert r"50\%\_of \#1 \& \{x\} \textbackslash{}input\{y\}" in text
    for table in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.S):
        lines = [line for line in table[1].splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {len(table[0]) - 1}


def test_a_pipe_in_a_param_does_not_break_a_markdown_table():
    text = Report("toy", State.FINISHED, seeds(0.8, tag="a|b") + seeds(0.7, tag="c")).to_markdown()
    (line,) = [line for line in text.splitlines() if "a\\|b" in line]
    assert len(re.findall(r"(?<!\\)\|", line)) == 6


def test_two_sweeps_are_compared_in_one_report(fanflare, run, toy_file):
    first = toy_file({"value": [1, 2]}, name="first", seeds=2)
    second = toy_file({"value": [2, 3]}, name="second", seeds=2)
    assert run(first).code == run(second).code == 0
    content = fanflare("report", first, second, "--json").json
    assert content["sweep"] == "first + second"
    (rows,) = content["leaderboard"]["tasks"].values()
    assert [row["params"] for row in rows] == [{"value": 3.0}, {"value": 2.0}, {"value": 1.0}]
    assert content["counts"] == {"FINISHED": 6}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--csv", "nowhere/x.csv"], "there is no folder nowhere"),
        (["--latex", "."], "it is a folder"),
        (["--csv", "x", "--latex", "x"], "two formats into one file"),
        (["--task", "t"], "--task says which model --register means"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is(
    fanflare, toy_file, tmp_path, monkeypatch, options, message
):
    file = toy_file()
    monkeypatch.chdir(tmp_path)
    ended = fanflare("report", file, *options)
    assert ended.code == 2
    assert message in ended.err


def test_one_sweep_named_twice_is_refused(fanflare, toy_file):
    file = toy_file()
    ended = fanflare("report", file, file)
    assert (ended.code, "named twice" in ended.err) == (2, True)
