"""Freezes the verbs and options: whoever changes one changes this list, and the README."""

import typer.main

from orchestrator.cli.app import app

SURFACE = {
    "": ["--help", "--install-completion", "--show-completion", "--version", "-h"],
    "plan": ["--help", "--json", "--store", "-h", "SWEEP"],
    "run": [
        "--backend",
        "--fresh",
        "--help",
        "--json",
        "--no-retry-failed",
        "--retry-failed",
        "--store",
        "--tracking-uri",
        "-h",
        "SWEEP",
    ],
    "submit": [
        "--cluster",
        "--detach",
        "--dry-run",
        "--help",
        "--json",
        "--store",
        "--wait",
        "-h",
        "SWEEP",
    ],
    "status": ["--cluster", "--help", "--json", "--store", "-h", "SWEEP"],
    "logs": [
        "--cluster",
        "--follow",
        "--help",
        "--json",
        "--store",
        "--sweep",
        "-f",
        "-h",
        "[TRIAL]",
    ],
    "cancel": ["--cluster", "--help", "--json", "--store", "-h", "SWEEP"],
    "retry": ["--cluster", "--detach", "--help", "--json", "--store", "--wait", "-h", "SWEEP"],
    "pull": ["--all", "--cluster", "--help", "--json", "--store", "--to", "-h", "SWEEP"],
    "manifest": ["--cluster", "--help", "--json", "--number", "-h", "SWEEP"],
    "export": [
        "--force",
        "--help",
        "--merge",
        "--no-merge",
        "--store",
        "--sweep",
        "-h",
        "DIR",
        "TRIAL",
    ],
    "report": [
        "--csv",
        "--help",
        "--html",
        "--json",
        "--latex",
        "--markdown",
        "--parquet",
        "--register",
        "--store",
        "--task",
        "--tracking-uri",
        "-h",
        "SWEEP...",
    ],
    "diff": ["--help", "--json", "--store", "--sweep", "-h", "TRIAL", "TRIAL"],
    "verify": ["--help", "--json", "--sample", "--seed", "--store", "-h", "SWEEP"],
    "sync": ["--help", "--json", "--store", "--tracking-uri", "-h", "SWEEP"],
    "ui": ["--help", "--port", "--store", "--tracking-uri", "-h", "SWEEP"],
    "catalog": ["--help", "--json", "-h"],
    "schema": ["--help", "--profile", "-h"],
    "doctor": ["--cluster", "--help", "--json", "--store", "-h"],
}


def surface():
    """Return what each verb takes, as a user writes it."""
    group = typer.main.get_command(app)
    whole = group.make_context("fanflare", [], resilient_parsing=True)
    contexts = {"": whole} | {
        name: verb.make_context(name, [], parent=whole, resilient_parsing=True)
        for name, verb in group.commands.items()
    }
    return {name: sorted(_words(context)) for name, context in contexts.items()}


def _words(context):
    verb = context.command
    for param in verb.get_params(context):
        is_argument = param.param_type_name == "argument"
        yield from [param.metavar] if is_argument else [*param.opts, *param.secondary_opts]


def test_verbs_and_options_are_these():
    assert surface() == SURFACE


def test_every_verb_says_what_it_does():
    group = typer.main.get_command(app)
    for name, verb in group.commands.items():
        assert verb.help, name
        for param in verb.params:
            assert getattr(param, "help", None), f"{name} {param.name}"
