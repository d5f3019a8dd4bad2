"""A sweep across two worker nodes that share a store and nothing else, and lose machines."""

import json
import subprocess
import sys
import time
import uuid
from contextlib import suppress

import pytest

from cluster.bundle import Bundle, package_files
from cluster.job import Resources, State
from cluster.profile import Profile
from cluster.store import Store
from cluster.target import Submission, open_target
from orchestrator import report, run
from orchestrator.running.journal import read_journal
from tests.cli import ROOT
from tests.cluster.ray_cluster import ray_cluster
from tests.environment import FOLDER
from tests.toy import Toy, folder
from tests.toy_training import sweep_of

pytest.importorskip("aiohttp_cors", reason="the Jobs API needs ray[default]")
pytestmark = pytest.mark.timeout(300)

DRIVE = """
import json
from pathlib import Path
from cluster.job import Resources
from orchestrator import run
from orchestrator.running.options import RayCluster

declared = RayCluster(capacity=Resources(num_cpus=2), idle_s=30)
report = run(json.loads(Path("request.json").read_text()), cluster=declared)
print(report.state, report.num_reused)
"""
TESTS = ("__init__.py", "toy.py", "toy_training.py")
STEPS = 60
SPACE = {"value": [1, 2, 3], "sleep_s": 0.05, "anything": [{"steps": STEPS}]}


class Nodes:
    """A cluster and the sweeps that are sent to it."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.num_workers = 0

    def add(self, count=1):
        """Start worker nodes as an autoscaler would; return their names."""
        names = [f"w{self.num_workers + number}" for number in range(1, count + 1)]
        self.num_workers += count
        for name in names:
            self.cluster.start_worker(name, TOY_NODE=name)
        return names

    def send(self, sweep):
        """Submit a sweep; nothing of it is on any node before."""
        files = package_files(["orchestrator", "pipelines", "cluster"])
        files |= {f"tests/{name}": (ROOT / "tests" / name).read_bytes() for name in TESTS}
        files |= {"drive.py": DRIVE.encode(), "request.json": json.dumps(sweep).encode()}
        target = open_target(Profile.model_validate({
            "target": {"ray": self.cluster.url}, "storage": {"uri": f"file://{sweep['store']}"},
            "workers": {"any": {"num_cpus": 1, "memory_gib": 4, "max_replicas": 2}},
        }))  # fmt: skip
        sent = Submission(name=sweep["name"], bundle=Bundle(files=files), module="drive",
                          shapes=[Resources()], owner="ann", store=sweep["store"])  # fmt: skip
        assert target.problems(sent) == []
        target.submit(sent)
        return Sent(target, sent)


class Sent:
    def __init__(self, target, submission):
        self.target, self.key = target, (submission.name, submission.store)

    def ended(self):
        """Wait for the end; return what the driver said last."""
        lines = list(self.target.logs(*self.key, follow=True))
        standing = self.target.standing(*self.key)
        assert standing.state is State.FINISHED, "\n".join(lines[-20:])
        return next(line for line in reversed(lines) if line)


@pytest.fixture(scope="module")
def nodes():
    with ray_cluster(FOLDER / "nodes") as cluster:
        cluster.start_head()
        yield Nodes(cluster)


@pytest.fixture
def toy(nodes, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", nodes.cluster.token)
    return Toy(store=tmp_path / "store", tag=uuid.uuid4().hex[:12])


@pytest.fixture
def two_workers(nodes):
    """Exactly two worker nodes."""
    nodes.add(2 - (len(nodes.cluster.nodes) - 1))
    nodes.cluster.wait_for_workers()
    return [name for name in nodes.cluster.nodes if name != "head"]


def until(condition, timeout_s=90):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def num_steps(toy, node):
    return sum(line.startswith(f"{node} ") for line in toy.executed("step"))


def results(sweep):
    made = report(sweep)
    assert made.state is State.FINISHED
    return {result.trial.id: (result.metrics, result.failure) for result in made.results}


def undisturbed(toy, tmp_path, monkeypatch, space=SPACE):
    """Return what the same sweep gives in one process."""
    alone = Toy(store=tmp_path / "alone", tag=toy.tag)
    sweep = sweep_of(alone, space, seeds=1)
    monkeypatch.setattr("tests.toy_training.PAUSE", 0)
    run(sweep, backend="inline")
    return results(sweep)


def events(sweep, kind):
    found = read_journal(Store(sweep["store"]), sweep["name"])
    return [event for event in found if event.kind == kind]


def test_a_worker_node_that_dies_in_mid_training_costs_no_trial(
    nodes, two_workers, toy, tmp_path, monkeypatch
):
    first, second = two_workers
    sweep = sweep_of(toy, SPACE, seeds=1)
    sent = nodes.send(sweep)
    until(lambda: num_steps(toy, first) > 5 and num_steps(toy, second) > 5)
    nodes.cluster.kill(first)
    (third,) = nodes.add()
    assert sent.ended() == "FINISHED 0"
    assert 3 * STEPS < len(toy.executed("step")) < 5 * STEPS
    assert not events(sweep, "stage_failed")
    assert results(sweep) == undisturbed(toy, tmp_path, monkeypatch)
    assert third in nodes.cluster.nodes


def test_a_preempted_node_saves_checkpoints_and_no_step_is_repeated(
    nodes, two_workers, toy, tmp_path, monkeypatch
):
    first, second = two_workers
    is_over = folder() / f"{toy.tag} is over"
    one_a_node = {"value": [1, 2], "anything": [{"steps": STEPS, "held_at": STEPS // 2}]}
    space = {**SPACE, **one_a_node, "until": str(is_over)}
    sweep = sweep_of(toy, space, seeds=1)
    sent = nodes.send(sweep)
    until(lambda: num_steps(toy, first) > 5 and num_steps(toy, second) > 5)
    node = nodes.cluster.nodes[first]
    hook = [sys.executable, "-m", "cluster.preempt", "--grace-s", "30", "--node-ip", node.ip]
    told = subprocess.run(node.command(hook), cwd=ROOT, env=nodes.cluster.environment(),
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert "did not end" not in told.stdout, told.stderr  # the node itself may go before it says so
    done = num_steps(toy, first)
    is_over.touch()
    assert sent.ended() == "FINISHED 0"
    assert num_steps(toy, first) == done, "nothing is placed on a node that goes"
    nodes.cluster.kill(first)
    assert len(toy.executed("step")) == 2 * STEPS
    assert any(int(line.split()[-1]) > 0 for line in toy.executed("begin"))
    assert not events(sweep, "stage_failed")
    assert results(sweep) == undisturbed(toy, tmp_path, monkeypatch, space)


def test_a_new_head_goes_on_from_the_store(nodes, two_workers, toy, tmp_path, monkeypatch):
    space = [{**SPACE, "value": [1, 2], "anything": [{"steps": 5}]}, {**SPACE, "value": [3, 4]}]
    sweep = sweep_of(toy, space, seeds=1)
    nodes.send(sweep)
    until(lambda: num_finished(sweep) >= 2)
    for name in list(nodes.cluster.nodes):  # the operator takes all pods of a lost head
        nodes.cluster.kill(name)
    nodes.cluster.start_head()
    nodes.add(2)  # which join when the driver waits for them already
    assert nodes.send(sweep).ended() == "FINISHED 2"
    begun = [line.split()[1] for line in toy.executed("begin")]
    assert begun.count("1") == begun.count("2") == 1, "what was finished is not repeated"
    assert results(sweep) == undisturbed(toy, tmp_path, monkeypatch, space)


def num_finished(sweep):
    with suppress(OSError):
        return sum(r.state is State.FINISHED for r in report(sweep).results)
    return 0
