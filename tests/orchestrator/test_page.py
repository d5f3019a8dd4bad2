"""The page of a report: what is on it, that hostile text stays text, that it loads nothing."""

import base64
import hashlib
import html
import itertools
import json
import re
import time
from html.parser import HTMLParser

import pytest

from cluster.job import Cause, Failure, State
from orchestrator.comparing.page.page import page
from orchestrator.comparing.report import Report
from orchestrator.planning.trial import Trial, TrialResult
from pipelines.contract import digest_of
from tests.reports import seeds

HOSTILE = [
    "<script>alert(1)</script>",
    '</script><img src=x onerror="alert(1)">',
    "\"'><svg/onload=alert(1)>",
    '<a href="https://example.org">more</a>',
    "]]> --> <!-- {{ 7 * 7 }} %{x} $x$ \u2028 \u202e ≈ 模型 🦊 \ud800",
    "long " * 1000,
]

SECTIONS = [
    "leaderboard", "overall", "matrix", "contrasts", "curves", "effects", "sizes", "budget", "cost",
    "sharing", "failures", "provenance",
]  # fmt: skip


def results(tasks=("a", "b"), models=("m",), num_seeds=3, grid=None, *, fails=False, num_steps=4):
    """Return the trials of a grid whose scores follow from its params, with curves."""
    grid = grid or {"method": ["probe", "full"], "rate": [0.1, 0.2], "train_size": [10, 20]}
    made = []
    for task, model, *values in itertools.product(tasks, models, *grid.values()):
        params = dict(zip(grid, values, strict=True))
        for seed in range(num_seeds):
            digest = digest_of([task, model, params, seed])
            score = int(digest[:4], 16) / 0xFFFF / 10 + 0.8 * (params.get("method") == "full")
            trial = Trial(
                id=digest[:16], model=model, task=task, params=params, seed=seed, metric="score",
                mode="max", result_digest=digest, stages=(digest,),
            )  # fmt: skip
            if fails and seed == 0:
                failure = Failure(Cause.BUG, f"{task} broke")
                made.append(TrialResult(trial=trial, state=State.FAILED, failure=failure))
                continue
            curve = [{"step": s, "train_loss": score / (s + 1)} for s in range(num_steps)]
            made.append(
                TrialResult(
                    trial=trial, state=State.FINISHED, curve=curve, duration_s=1 + score,
                    metrics={"validation/score": score, "test/score": score - 0.01},
                )
            )  # fmt: skip
    return made


def full_report(name="sweep", text="plain", **more):
    return Report(
        name, State.FAILED, results(fails=True, **more),
        accounts={"wall_s": 10.0, "saved_s": 5.0, "energy_kwh": None, "region": text},
        shared=[{"stage": text, "task": text, "num_members": 9, "num_jobs": 1, "saved_s": 5.0}],
        provenance={
            "sweep_file": f"name: {text}", "versions": {text: text}, "machine": {"cpu": text},
            "models": [{"name": text, "digest": "ab"}], "tasks": [{"name": text, "num_rows": 5}],
            "started_at": 1.8e9, "ended_at": 1.8e9, "num_runs": 1,
        },
    )  # fmt: skip


class Elements(HTMLParser):
    """Gathers the elements of a page, with their attributes, and the text of its scripts."""

    def __init__(self, text):
        super().__init__()
        self.found, self.scripts, self.is_script = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.is_script = tag == "script"
        if self.is_script:
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag):
        self.is_script = False

    def handle_data(self, data):
        if self.is_script:
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)


def sections(text):
    return re.findall(r'<section id="(\w+)"', text)


def figures(text):
    return [json.loads(s) for a, s in Elements(text).scripts if a.get("type") == "application/json"]


@pytest.fixture(scope="module")
def full():
    return page(full_report())


def test_a_full_report_has_all_sections_in_the_order_in_which_one_asks(full):
    assert sections(full) == SECTIONS
    for key in SECTIONS:
        assert f'<a href="#{key}">' in full


def test_a_report_of_nothing_has_none_and_says_so():
    text = page(Report("empty", State.FINISHED, []))
    assert sections(text) == []
    assert "No trial has finished" in text


def test_what_one_seed_of_one_config_cannot_show_is_left_out():
    (only,) = results(tasks=["a"], num_seeds=1, grid={"method": ["probe"]}, num_steps=0)
    assert sections(page(Report("one", State.FINISHED, [only]))) == ["leaderboard"]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_names_params_and_messages_stay_text(hostile, full):
    grid = {"method": ["probe", hostile], hostile: [hostile, "x"], "rate": [0.1, 0.2]}
    report = full_report(hostile, hostile, tasks=(hostile, "b"), models=(hostile, "m"), grid=grid)
    text = page(report)
    elements = Elements(text).found
    known = {tag for tag, _ in Elements(full).found} | {"input"}  # larger tables have a filter
    assert {tag for tag, _ in elements} <= known
    assert not [attrs for _, attrs in elements if any(name.startswith("on") for name in attrs)]
    assert {a["href"][0] for _, a in elements if "href" in a} == {"#"}
    for figure in figures(text):
        assert "<script" not in json.dumps(figure)
        assert "<a " not in json.dumps(figure), "plotly.js would make a link of it"
    text.encode("utf-8")


def test_the_policy_allows_the_two_scripts_that_run_and_no_network(full):
    elements = Elements(full)
    (policy,) = [a["content"] for t, a in elements.found if a.get("http-equiv")]
    assert policy.startswith("default-src 'none';")
    assert not re.search(r"https?:|unsafe-eval|\*", policy)
    run = [text for attrs, text in elements.scripts if attrs.get("type") != "application/json"]
    assert len(run) == 2
    for text in run:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert sum("plotly.js v" in text for text in run) == 1


def test_nothing_on_the_page_refers_to_another_place(full):
    elements = Elements(full)
    loading = [a for _, a in elements.found if {"src", "srcset", "data", "action"} & a.keys()]
    assert loading == []
    assert {a["href"][0] for _, a in elements.found if "href" in a} == {"#"}
    (style,) = re.findall(r"<style>(.*?)</style>", full, re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style


def test_tables_have_captions_and_heads_and_figures_say_what_they_show(full):
    num_tables = full.count("<table>")
    assert num_tables == full.count("<caption>") > 5
    elements = Elements(full).found
    assert all(a.get("scope") == "col" for tag, a in elements if tag == "th")
    plots = [a for tag, a in elements if tag == "div" and a.get("class") == "plot"]
    assert len(plots) == len(figures(full))
    assert all(a["role"] == "img" and len(a["aria-label"]) > 20 for a in plots)


def test_failed_seeds_are_counted_and_their_causes_shown(full):
    assert "<dd>32 of 48</dd>" in full
    assert "a broke" in full
    assert "16 trials without a result" in full


def test_the_finding_names_the_better_method_and_says_whether_that_is_chance():
    tasks = ("a", "b", "c")
    text = page(Report("s", State.FINISHED, results(tasks=tasks, num_seeds=5)))
    assert re.search(r"full is best on 3 of 3 tasks.*on all of them.*beyond chance", text)


@pytest.mark.parametrize("tasks", [("a",), ("a", "b")])
def test_what_loses_on_the_test_split_is_not_said_to_lead_there(tasks):
    """Validation chose it all the same."""
    made = [
        trial
        for task in tasks
        for trial in (
            *seeds(0.90, test=0.70, num=8, task=task, method="full"),
            *seeds(0.85, test=0.80, num=8, task=task, method="probe"),
        )
    ]
    text = page(Report("s", State.FINISHED, made))
    told = "lag behind probe is real" if len(tasks) == 1 else "on none of them"
    assert told in text


def test_a_large_table_shows_its_first_rows_and_a_button_for_the_others():
    grid = {"method": ["probe"], "rate": [rate / 1000 for rate in range(250)]}
    text = page(Report("s", State.FINISHED, results(tasks=["a"], grid=grid, num_seeds=1)))
    assert "Show all 250" in text
    assert text.count('<tr class="more') == 238
    assert text.count('<tr class="more rest"') == 150, "what is not printed either"


def test_numbers_that_are_not_finite_do_not_break_the_figures():
    made = results(tasks=["a"], num_seeds=1)
    broken = TrialResult(
        trial=made[0].trial, state=State.FINISHED,
        metrics={"validation/score": float("nan"), "test/score": float("inf")},
        curve=[{"step": 1, "train_loss": float("nan")}],
    )  # fmt: skip
    assert figures(page(Report("s", State.FINISHED, [broken, *made[1:]])))


def test_two_thousand_trials_make_a_page_quickly_and_the_same_bytes_each_time():
    grid = {
        "method": ["probe", "full"], "rate": [10.0**-e for e in range(10)],
        "epochs": [1, 2, 3, 4, 5], "decay": [0.0, 0.1, 0.2, 0.3],
    }  # fmt: skip
    report = Report("big", State.FINISHED, results(["a"], num_seeds=5, grid=grid, num_steps=30))
    assert len(report.results) == 2000
    report.to_json()  # the comparison is not what is timed here
    started = time.process_time()
    text = page(report)
    assert time.process_time() - started < 10
    assert len(text.encode()) < 12e6
    again = Report(report.sweep, report.state, report.results)
    assert page(again) == text


def test_names_are_shown_as_they_are():
    text = page(Report("R&D <2>", State.FINISHED, results()))
    assert f"<title>{html.escape('R&D <2>')} · fanflare</title>" in text


def test_a_pipeline_without_model_task_and_method_has_a_page_too():
    made = results(tasks=[""], models=[""], grid={"rate": [0.1, 0.2, 0.3]})
    text = page(Report("own", State.FINISHED, made))
    assert sections(text)[0] == "leaderboard"
    assert re.search(r"rate=0.\d is chosen by the validation split", text)
    assert "<h3></h3>" not in text
