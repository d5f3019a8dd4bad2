"""Compares the documents with the code: keys, options, defaults, examples, links."""

import ast
import importlib
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from cluster.job import State
from cluster.target import Standing
from orchestrator import Sweep, plan
from orchestrator.comparing.fidelity import EQUAL, Differences
from orchestrator.comparing.report import Report
from orchestrator.planning.grid import parse
from orchestrator.planning.schema import sweep_schema
from orchestrator.planning.sweep import Energy, Metric, Tracking, TrialResources
from orchestrator.planning.sweep_file import SweepFile
from orchestrator.planning.trial import Trial, TrialResult
from orchestrator.running.checkup import Finding
from orchestrator.running.status import FailedTrial, RunningJob, SweepStatus
from orchestrator.running.summary import plan_json
from orchestrator.running.syncing import Synced
from orchestrator.running.tracking import Tracked
from orchestrator.running.trial_logs import StageLog
from orchestrator.running.verify import TrialCheck, Verification
from orchestrator.submitting.pulling import Pulled
from orchestrator.submitting.sending import Whereabouts
from pipelines.command.params import CommandParams
from pipelines.labels import Fidelity
from pipelines.pretrain.params import PretrainParams
from pipelines.sources.entries import MadeModelsEntry, ModelEntry, TaskEntry
from pipelines.transfer.params import METHODS
from tests.cli import ROOT, fanflare
from tests.reports import grid, right_or_wrong
from tests.test_cli_surface import surface
from tests.toy_cohorts import sweep_of

__all__ = ["fanflare"]  # the fixture

DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
PICTURES = sorted(path.name for path in ROOT.glob("docs/images/*"))
SWEEP_FILE = (ROOT / "docs/sweep-file.md").read_text()
JSON = (ROOT / "docs/json.md").read_text()
SCHEMA = Draft202012Validator(sweep_schema())

TRAINED = "Params of the methods that train the model"
ADAPTED = "Params of the methods that adapt the model first"
SHARED = {"probe": ["Params of every method"]}
"""Sections whose params a method has besides those of its own."""


def blocks(language):
    """Return the code blocks of all documents, as pytest params."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.M | re.S)
    return [
        pytest.param(text, id=f"{path.relative_to(ROOT)}-{number}")
        for path in DOCUMENTS
        for number, text in enumerate(pattern.findall(path.read_text()), start=1)
    ]


def section(text, title):
    """Return what stands under a heading, down to the next heading of any level."""
    match = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", text, re.M | re.S)
    assert match, f"there is no heading {title!r}"
    return match[1]


def rows(text):
    """Return the cells of all rows of the tables in a text that begin with code, by that code."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        key = re.match(r"\|? ?`([^`]+)`", line)
        if line.startswith("| `") and key:
            assert key[1] not in found, f"{key[1]} stands there twice"
            found[key[1]] = cells[1:]
    return found


# Sweep files


@pytest.mark.parametrize("text", blocks("yaml sweep"))
def test_every_sweep_in_a_document_is_valid(text, tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    file = SweepFile.read(path)
    parse(file)
    SCHEMA.validate(file.data)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_part_of_a_sweep_in_a_document_is_valid(text, tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(f"name: part\n{text}")
    SCHEMA.validate(SweepFile.read(path).data)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_example_plans_without_a_fault(path, tmp_path):
    made = plan(path, store=str(tmp_path))
    promised = re.search(r"(\d+) trials", path.read_text())
    assert promised, "an example says how many trials it has"
    assert len(made.trials) == int(promised[1])


def test_the_quickstart_of_the_readme_is_the_example(tmp_path):
    text = (ROOT / "README.md").read_text()
    shown = re.search(r"^```yaml sweep\n(.*?)^```", section(text, "The quickstart"), re.M | re.S)[1]
    path = tmp_path / "shown.yaml"
    path.write_text(shown)
    example = SweepFile.read(ROOT / "examples/quickstart.yaml")
    assert SweepFile.read(path).data == example.data


@pytest.mark.parametrize(
    ("title", "schema"),
    [
        ("The sweep", Sweep),
        ("A model as a mapping", ModelEntry),
        ("Models that the sweep makes", MadeModelsEntry),
        ("A task as a mapping", TaskEntry),
        ("`metric`", Metric),
        ("`resources`", TrialResources),
        ("`tracking`", Tracking),
        ("`energy`", Energy),
        ("Params of pipeline `command`", CommandParams),
    ],
)
def test_every_key_is_described_and_no_other(title, schema):
    check_table(rows(section(SWEEP_FILE, title)), schema.model_fields)


@pytest.mark.parametrize("method", METHODS)
def test_every_param_of_a_method_is_described_and_no_other(method):
    shared = SHARED.get(method, ["Params of every method", TRAINED])
    described = {}
    last = f"Params of method `{method}`"
    if method.startswith("adapt+"):
        after = method.removeprefix("adapt+")
        shared = SHARED.get(after, ["Params of every method", TRAINED])
        shared, last = [*shared, f"Params of method `{after}`"], ADAPTED
    for title in [*shared, last]:
        described |= rows(section(SWEEP_FILE, title))
    fields = METHODS[method].model_fields
    check_table(described, {name: field for name, field in fields.items() if name != "method"})


def test_every_param_of_pretraining_is_described_and_no_other():
    text = section(SWEEP_FILE, "Params of pipeline `pretrain`")
    described = rows(text)
    shared = {name for name in PretrainParams.model_fields if name not in described}
    assert all(f"`{name}`" in text for name in shared)
    fields = {n: field for n, field in PretrainParams.model_fields.items() if n not in shared}
    check_table(described, fields)


def check_table(described, fields):
    """Compare a table of keys with the fields of a model: names, and plain defaults."""
    assert set(described) == set(fields)
    for name, field in fields.items():
        default = described[name][1]
        if field.is_required():
            assert default == "required", name
        elif isinstance(field.default, int | float | str) and field.default != "":
            words = {True: "true", False: "false"} if isinstance(field.default, bool) else {}
            assert default == f"`{words.get(field.default, field.default)}`", name
        else:
            assert not re.fullmatch(r"`[\d.e-]+`", default) or name == "seeds", name


# JSON

STANDING = Standing(id="1", state=State.RUNNING, facts={"log": "driver.log"})


def paths(content, documented, path=""):
    """Yield the path of every value, names that vary replaced by what the document calls them."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from paths(value, documented, _join(path, key, documented))
    elif isinstance(content, list | tuple):
        yield path
        for item in content:
            if isinstance(item, dict):
                yield from paths(item, documented, f"{path}[]")
    else:
        yield path


def _join(path, key, documented):
    joined = f"{path}.{key}" if path else key
    for placeholder in ("NAME", "TASK", "METHOD", "STATE", "SPLIT"):
        generic = f"{path}.{placeholder}"
        if any(
            known == generic or known.startswith((f"{generic}.", f"{generic}["))
            for known in documented
        ):
            return generic
    if key.startswith("params."):
        return f"{path}.params.NAME"
    return f"{path}.SPLIT/METRIC" if "/" in key else joined


def check_json(title, content):
    """Compare a document's keys with those of real output."""
    documented = set(rows(section(JSON, title)))
    found = set(paths(content, documented))
    mappings = {known for known in documented if any(f.startswith(f"{known}.") for f in found)}
    assert found == documented - mappings


def _result(task, method, value, **changes):
    trial = Trial(
        id=f"{task}{method}",
        model="m",
        task=task,
        params={"method": method, "lr": value},
        seed=0,
        metric="accuracy",
        mode="max",
        result_digest="",
        stages=(),
    )
    scores = {"validation/accuracy": value, "test/accuracy": value}
    return TrialResult(trial=trial, state=State.FINISHED, metrics=scores, **changes)


def test_the_keys_of_plan(toy, tmp_path):
    toy_plan = plan(sweep_of(toy, {"value": [1, 2]}))
    assert toy_plan.estimate is None
    content = plan_json(toy_plan)
    content["estimate"] = {"compute_s": 1.0, "wall_s": 1.0, "share_recorded": 1.0}
    check_json("`fanflare plan SWEEP --json`", content)


def test_the_keys_of_run_and_report():
    content = Report("sweep", State.FINISHED, grid(), read_examples=right_or_wrong(50)).to_json()
    check_json("`fanflare run SWEEP --json` and `fanflare report SWEEP --json`", content)


def test_the_keys_of_status():
    trials = [
        {"id": "", "model": "", "task": "", "method": "", "seed": 0, "state": "", "fidelity": None}
    ]
    status = SweepStatus(
        sweep="x",
        state=State.RUNNING,
        counts={"RUNNING": 1},
        running=[RunningJob(job="", stages=["a"], attempt=1, running_s=1.0)],
        failures=[FailedTrial(trial="", cause="", message="")],
        trials=trials,
    )
    found = Whereabouts(name="x", standing=STANDING, status=status)
    check_json("`fanflare status SWEEP --json`", found.to_json())


def test_the_keys_of_pull():
    pulled = Pulled(sweep="x", store="s", num_results=1, num_copied=1, size_bytes=1, report="r")
    check_json("`fanflare pull SWEEP --json`", pulled.to_json())


def test_the_keys_of_sync():
    synced = Synced(
        sweep="x", tracking_uri="sqlite:///x.db", detail="trial", num_trials=1, tracked=Tracked()
    )
    check_json("`fanflare sync SWEEP --json`", synced.to_json())


def test_the_keys_of_verify():
    check = TrialCheck(
        trial=_result("a", "probe", 0.1).trial,
        config="",
        label=Fidelity.EQUAL,
        bound=EQUAL,
        differences=Differences(metrics=0.0),
    )
    found = Verification(sweep="x", num_finished=1, num_skipped=0, checks=[check])
    check_json("`fanflare verify SWEEP --json`", found.to_json())


def test_the_keys_of_catalog(fanflare):
    check_json("`fanflare catalog --json`", fanflare("catalog", "--json").json)


def test_the_keys_of_logs():
    log = StageLog(stage="", digest="", text="")
    check_json("`fanflare logs TRIAL --json`", {"stages": [asdict(log)]})


def test_the_keys_of_doctor():
    finding = Finding(subject="", is_fit=True, found="").to_json()
    check_json("`fanflare doctor --json`", {"findings": [finding]})


# The command line


def test_every_verb_and_option_is_in_the_readme():
    text = section((ROOT / "README.md").read_text(), "Verbs")
    described = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))
    verbs = set(re.findall(r"`fanflare ([a-z]+)", text))
    options = {word for words in surface().values() for word in words if word.startswith("-")}
    assert verbs == {verb for verb in surface() if verb}
    assert described == options


@pytest.mark.parametrize("option", ["--store", "--tracking-uri", "--json", "--backend", "--port"])
def test_the_readme_says_which_verbs_take_an_option(option):
    text = section((ROOT / "README.md").read_text(), "Verbs")
    line = next(line for line in text.splitlines() if line.startswith(f"| `{option}"))
    named = set(re.findall(r"`([a-z]+)`", line.split(" | ")[1]))
    takers = {verb for verb, words in surface().items() if option in words}
    everything = {verb for verb in surface() if verb}
    assert (everything - named if "all but" in line else named) == takers


# Python and links


@pytest.mark.parametrize("text", blocks("python"))
def test_python_in_a_document_compiles_and_imports_what_exists(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


def anchors(path: Path):
    """Return the anchors that headings get on GitHub."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_small(name):
    picture = ROOT / "docs/images" / name
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 300_000
    assert any(name in document.read_text() for document in DOCUMENTS), "shown nowhere"
