"""`fanflare report`: the comparison of what sweeps have given so far, shown or written to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.console import (
    JsonOption,
    StoreOption,
    TrackingOption,
    print_changed,
    print_hint,
    print_json,
    stderr,
)
from orchestrator.cli.report_tables import show_report
from orchestrator.comparing.report import Report, join
from orchestrator.errors import FanflareError
from orchestrator.running.past import report as make_report

NAME = "report"

__all__ = ["NAME", "report", "show_report"]


def _file(option: str, what: str) -> Any:
    return typer.Option(option, metavar="FILE", help=f"Write {what} to a file.")


def report(  # noqa: PLR0913, PLR0917 - options of a command line
    sweeps: Annotated[
        list[str],
        typer.Argument(
            metavar="SWEEP...",
            help="Sweep files, or names of sweeps in the store; several are compared as one.",
        ),
    ],
    html: Annotated[Path | None, _file("--html", "everything, with plots, as one web page")] = None,
    csv: Annotated[Path | None, _file("--csv", "a row a config")] = None,
    parquet: Annotated[Path | None, _file("--parquet", "a row a trial")] = None,
    markdown: Annotated[Path | None, _file("--markdown", "the tables for a paper")] = None,
    latex: Annotated[Path | None, _file("--latex", "the same for LaTeX with booktabs")] = None,
    register: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Put the best config's model into MLflow's registry by this name."
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="TASK", help="The task whose best config --register means."),
    ] = None,
    store: StoreOption = None,
    tracking_uri: TrackingOption = None,
    json: JsonOption = False,
) -> None:
    """Show which config is best, per task and overall, and which differences are real.

    Scores are mean ± standard deviation over seeds. † marks what is not told apart from the best.
    """
    if register and len(sweeps) > 1:
        raise FanflareError("--register takes the model of one sweep; name one")
    if task and not register:
        raise FanflareError("--task says which model --register means; give both")
    files = {"html": html, "csv": csv, "parquet": parquet, "markdown": markdown, "latex": latex}
    wanted = {name: path for name, path in files.items() if path}
    _check(list(wanted.values()))
    made = _made(sweeps, store)
    for name, path in wanted.items():
        _write(path, _content(made, name))
    if json:
        print_json(made.to_json())
    elif not wanted and not register:
        show_report(made, sweeps[0], store)
    for path in wanted.values():
        stderr().print(f"Wrote {path}", highlight=False, markup=False, soft_wrap=True)
    if register:
        _register(sweeps[0], register, task, store, tracking_uri)


def _made(sweeps: Sequence[str], store: str | None) -> Report:
    if len(set(sweeps)) < len(sweeps):
        raise FanflareError(f"the same sweep is named twice: {', '.join(sweeps)}")
    reports: dict[str, Report] = {}
    for sweep in sweeps:
        made = make_report(sweep, store=store)
        if made.provenance:
            changed = {name: made.provenance[name] for name in ("changed_since", "is_past")}
            print_changed(made.sweep, **changed)
        # Two files may well bear the same name inside; then the path tells them apart.
        reports[made.sweep if made.sweep not in reports else sweep] = made
    return join(reports) if len(reports) > 1 else next(iter(reports.values()))


def _content(made: Report, name: str) -> bytes:
    if name == "parquet":
        return made.to_parquet()
    if name == "html":
        from orchestrator.comparing.page.page import page  # noqa: PLC0415 - loads plotly's script

        return page(made).encode()
    texts = {"csv": made.to_csv, "markdown": made.to_paper_markdown, "latex": made.to_latex}
    return texts[name]().encode()


def _check(paths: Sequence[Path]) -> None:
    """Make sure that files can be written, before anything is computed for them.

    Raises:
        FanflareError: Two are the same, one is a folder, or its folder is not there.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise FanflareError(f"two formats into one file: {', '.join(map(str, paths))}")
    for path in paths:
        if path.is_dir():
            raise FanflareError(f"cannot write {str(path)!r}: it is a folder; name a file in it")
        if not path.parent.is_dir():
            raise FanflareError(f"cannot write {str(path)!r}: there is no folder {path.parent}")


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise FanflareError(f"cannot write {str(path)!r}: {error.strerror or error}") from error


def _register(
    sweep: str, name: str, task: str | None, store: str | None, tracking_uri: str | None
) -> None:
    from orchestrator.running.registering import (  # noqa: PLC0415 - only where it is asked for
        RegisterOptions,
        register,
    )

    options = RegisterOptions(task=task, store=store, tracking_uri=tracking_uri)
    made = register(sweep, name, options)
    how = "registered" if made.is_new else "was there already"
    print_hint(f"{made.name} version {made.version} {how}: trial {made.trial}, load {made.uri}")
