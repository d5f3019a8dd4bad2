"""The commands over a sweep whose results are on a claim that this machine does not mount."""

import base64
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cluster.bundle import Bundle
from cluster.layout import files_of
from cluster.store import Store
from orchestrator import run
from orchestrator.running.saved_sweep import BUNDLE_NOTE, keep_bundle
from orchestrator.running.workspace import open_sweep
from orchestrator.submitting import pulling
from tests.cli import fanflare, sweep_file
from tests.kubernetes.kinds import kind_of
from tests.kubernetes.submissions import SCRIPT, SWEEP, bound_claim, profile_file

__all__ = ["fanflare"]  # a fixture


@pytest.fixture
def there(api_server, tmp_path):
    """The store on the claim."""
    folder = tmp_path / "claim"
    folder.mkdir()
    api_server.kubelet.claims["results"] = str(folder)
    return Store(str(folder / "fanflare"))


@pytest.fixture
def sweep(tmp_path):
    """The sweep file on the machine that sends it."""
    folder = tmp_path / "sender"
    folder.mkdir()
    (folder / "train.py").write_text(SCRIPT)
    return sweep_file(folder, SWEEP)


@pytest.fixture
def cluster(api_server, namespace, kubeconfig, tmp_path):
    """A profile as a file; its claim has no `local_path`."""
    bound_claim(api_server, namespace)
    return profile_file(tmp_path, namespace)


@pytest.fixture
def job(fanflare, sweep, cluster, operator, namespace):
    """A submission whose head runs; its RayJob's name."""
    name = fanflare("submit", sweep, "--cluster", cluster, "--json").json["submission"]["id"]
    operator.settle(namespace, name, "Running")
    return name


@pytest.fixture
def driven(api_server, namespace, job, there, tmp_path):
    """What the driver has done: all trials, from the files that were sent; their results' files."""
    config = api_server.objects.get(kind_of("ConfigMap"), namespace, job)
    content = base64.b64decode(config["binaryData"]["bundle.zip"])
    root = tmp_path / "pod"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(root)
        bundle = Bundle(files={name: archive.read(name) for name in archive.namelist()})
    (root / BUNDLE_NOTE).write_text(bundle.digest)
    keep_bundle(there, bundle)
    run(root / "sweep/sweep.yaml", store=there.location, backend="inline")
    for record in there.find(open_sweep(root / "sweep/sweep.yaml", there.location).nodes).values():
        there.write(record, arrays={"scores": np.arange(1000)})


@pytest.fixture
def laptop(tmp_path, monkeypatch):
    """Another machine: its current folder is empty, and so is its cache."""
    folder = tmp_path / "laptop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FANFLARE_CACHE", str(tmp_path / "laptop-cache"))
    return folder


def end(operator, namespace, name, exit_code=0):
    operator.finish(namespace, name, exit_code)
    operator.settle(namespace, name, "Complete")


def readers(api_server):
    """Return how many reader pods were made, and how many of them are there."""
    made = [each for each in api_server.requests if each[:2] == ("create", "pods")]
    pods = api_server.objects.list(kind_of("Pod"))
    return len(made), sum("-read-" in pod["metadata"]["name"] for pod in pods)


def test_pulled_through_the_head_while_it_runs(
    fanflare, driven, laptop, cluster, there, api_server
):
    told = fanflare("status", "own-script", "--cluster", cluster, "--json").json
    assert (told["state"], told["counts"]) == ("RUNNING", {"FINISHED": 4})

    pulled = fanflare("pull", "own-script", "--cluster", cluster, "--json").json
    assert pulled["num_copied"] == pulled["num_results"] > 0
    assert Path(pulled["report"]).read_text().startswith("<!doctype html>")
    here = Store(pulled["store"])
    for digest, record in there.find(open_sweep("own-script", there.location).nodes).items():
        assert here.find([digest]) == {digest: record}
        for path in files_of(record):
            assert here.read_bytes(path) == there.read_bytes(path)
    assert readers(api_server) == (0, 0)
    assert {container for _, container, _ in api_server.kubelet.executed} == {"ray-head"}


def test_a_second_pull_copies_nothing_and_the_copy_stands_by_itself(
    fanflare, driven, laptop, cluster, api_server
):
    fanflare("pull", "own-script", "--cluster", cluster)
    before, executed = api_server.kubelet.num_bytes, len(api_server.kubelet.executed)
    pulled = fanflare("pull", "own-script", "--cluster", cluster, "--json").json
    assert (pulled["num_copied"], pulled["num_results"]) == (0, 4)
    assert api_server.kubelet.num_bytes - before < 1000
    assert len(api_server.kubelet.executed) - executed == 2

    api_server.stop()
    assert fanflare("report", "own-script").code == 0
    assert not open_sweep("own-script", pulled["store"]).plan().jobs


def test_pulled_when_the_head_is_gone(
    fanflare, driven, laptop, cluster, operator, namespace, job, api_server
):
    end(operator, namespace, job)
    told = fanflare("pull", "own-script", "--cluster", cluster)
    assert told.code == 0, told.err
    assert "4 of 4 results are new here" in told.out
    assert readers(api_server) == (1, 0)
    told = fanflare("status", "own-script", "--cluster", cluster)
    assert "own-script is FINISHED: 4 finished" in told.out
    assert readers(api_server) == (2, 0)


def test_pulled_when_the_submission_is_gone_too(
    fanflare, driven, laptop, cluster, api_server, sweep
):
    assert fanflare("cancel", "own-script", "--cluster", cluster).code == 0
    assert readers(api_server) == (0, 0)
    told = fanflare("status", "own-script", "--cluster", cluster)
    assert (told.code, "4 finished" in told.out) == (0, True), told.err
    for given in ("own-script", sweep):
        to = laptop / str(len(str(given)))
        assert fanflare("pull", given, "--cluster", cluster, "--to", to).code == 0
        assert fanflare("report", "own-script", "--store", to).code == 0
    assert readers(api_server)[1] == 0


def test_a_pull_that_is_cut_again_and_again_ends_complete(
    fanflare, driven, laptop, cluster, api_server
):
    api_server.kubelet.cut(1500, times=3)
    pulled = fanflare("pull", "own-script", "--cluster", cluster, "--json").json
    assert pulled["num_copied"] == 4
    assert not open_sweep("own-script", pulled["store"]).plan().jobs


def test_a_head_that_goes_in_the_middle_is_followed_by_a_pod(
    fanflare, driven, laptop, cluster, operator, namespace, job, api_server, monkeypatch
):
    go_on = api_server.kubelet.run

    def lose_head(command, connection):
        monkeypatch.setattr(api_server.kubelet, "run", go_on)
        end(operator, namespace, job)
        raise ConnectionError("the node is gone")

    monkeypatch.setattr(api_server.kubelet, "run", lose_head)
    assert fanflare("pull", "own-script", "--cluster", cluster, "--json").json["num_copied"] == 4
    assert readers(api_server) == (1, 0)


def test_what_a_trial_printed_is_shown(fanflare, driven, laptop, cluster, api_server):
    trials = fanflare("status", "own-script", "--cluster", cluster, "--json").json["trials"]
    trial = trials[0]["id"]
    told = fanflare("logs", trial, "--sweep", "own-script", "--cluster", cluster)
    assert "a trial at work" in told.out
    told = fanflare("logs", trial, "--cluster", cluster)
    assert told.code == 2
    assert "--sweep" in told.err


def test_sent_again_by_name_from_another_machine(
    fanflare, driven, laptop, cluster, there, operator, namespace, job, api_server
):
    end(operator, namespace, job)
    told = fanflare("retry", "own-script", "--cluster", cluster)
    assert "Nothing to compute" in told.out, told.err
    digest = next(iter(open_sweep("own-script", there.location).nodes))
    there.remove(digest)
    sent = fanflare("retry", "own-script", "--cluster", cluster, "--json").json
    assert sent["submission"]["id"] == job.removesuffix("1") + "2"
    assert readers(api_server) == (2, 0)


def test_what_needs_no_results_starts_no_pod(
    fanflare, sweep, cluster, operator, namespace, job, there, api_server
):
    assert fanflare("submit", sweep, "--cluster", cluster).code == 0
    assert fanflare("logs", "--sweep", "own-script", "--cluster", cluster).code == 0
    assert fanflare("cancel", "own-script", "--cluster", cluster).code == 0
    assert fanflare("submit", sweep, "--cluster", cluster).code == 0
    waiting = fanflare("status", "own-script", "--cluster", cluster, "--json").json
    assert waiting["submission"]["state"] == "SCHEDULED"
    assert readers(api_server) == (0, 0)
    assert api_server.kubelet.executed == []


def test_without_the_right_the_rest_is_still_told(
    fanflare, driven, laptop, cluster, job, api_server
):
    api_server.faults.deny("create", "pods/exec")
    told = fanflare("status", "own-script", "--cluster", cluster)
    assert told.code == 0
    assert job in told.out
    assert "pods/exec" in told.out
    pulled = fanflare("pull", "own-script", "--cluster", cluster)
    assert pulled.code == 2
    assert "a right is missing" in pulled.err


def test_the_right_is_asked_after_where_it_is_needed(
    fanflare, cluster, namespace, api_server, tmp_path
):
    api_server.faults.deny("create", "pods/exec")
    told = fanflare("doctor", "--cluster", cluster, "--json")
    assert "you may not create pods/exec" in told.out
    seen = {"pvc": "results", "local_path": str(tmp_path)}
    profile_file(tmp_path, namespace, storage=seen)
    assert "pods/exec" not in fanflare("doctor", "--cluster", cluster, "--json").out


def test_a_name_that_the_claim_does_not_know(fanflare, cluster, there, laptop, api_server):
    told = fanflare("pull", "nobody", "--cluster", cluster)
    assert told.code == 2
    assert "no sweep of that name in 'fanflare' of the claim 'results'" in told.err
    assert readers(api_server) == (1, 0)


def test_few_streams_bring_many_results(toy, tmp_path, monkeypatch):
    """The number of requests does not grow with the trials."""
    monkeypatch.setattr(pulling, "BATCH_RESULTS", 50)
    run(toy.sweep({"value": list(range(100))}), backend="inline", tracking_uri="off")
    there = open_sweep("toy", str(tmp_path / "store"))
    for record in there.store.find(there.nodes).values():
        there.store.write(record, arrays={"scores": np.arange(3)})
    streams = []

    def fetch(paths, folder):
        streams.append(len(paths))
        for path in paths:
            Store(str(folder)).write_bytes(path, there.store.read_bytes(path))
        return 0

    pulled = pulling.pull(there, tmp_path / "here", fetch=fetch)
    assert pulled.num_results == 201
    assert sum(streams) == 100
    assert len(streams) <= 5
    everything = pulling.pull(there, tmp_path / "here", fetch=fetch, everything=True)
    assert everything.num_copied == 101
    assert sum(streams) == 201
