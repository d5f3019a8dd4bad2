"""The commands of a cluster's user, from the shell to the API server and back."""

import json
from functools import partial

import pytest

from cluster.kubernetes.api import Api
from tests.cli import fanflare, sweep_file
from tests.kubernetes.conftest import REAL
from tests.kubernetes.real import lacks_volume
from tests.kubernetes.submissions import SCRIPT, STORAGE, SWEEP, bound_claim, profile, profile_file

__all__ = ["fanflare"]  # a fixture


@pytest.fixture
def sweep(tmp_path):
    """A sweep over a script of the user's own."""
    (tmp_path / "train.py").write_text(SCRIPT)
    return sweep_file(tmp_path, SWEEP)


@pytest.fixture
def api(namespace, kubeconfig):
    return Api(profile(namespace))


@pytest.fixture
def given(request, api, namespace, tmp_path):
    """A function that writes a profile of the test's namespace into a file."""
    if not REAL:
        bound_claim(request.getfixturevalue("api_server"), namespace)
    elif not STORAGE:
        request.getfixturevalue("controllers")
        if lacking := lacks_volume(api):
            pytest.skip(lacking)
    return partial(profile_file, tmp_path, namespace)


def rayjob(api):
    (found,) = api.select("rayjobs")
    return found


def test_from_doctor_to_a_submission_and_to_it_again(fanflare, sweep, given):
    cluster = given()
    assert fanflare("doctor", "--cluster", cluster).code == 0
    tried = fanflare("submit", sweep, "--cluster", cluster, "--dry-run")
    assert (tried.code, tried.err) == (0, "")
    assert "4 trials" in tried.out

    sent = fanflare("submit", sweep, "--cluster", cluster, "--json").json
    name = sent["submission"]["id"]
    assert sent["is_new"]
    assert name.startswith("ff-own-script-")
    again = fanflare("submit", sweep, "--cluster", cluster, "--json").json
    assert (again["is_new"], again["is_same"]) == (False, True)
    assert again["submission"]["id"] == name


def test_from_a_submission_to_its_end(fanflare, sweep, given, operator, namespace):
    cluster = given()
    assert fanflare("status", "own-script", "--cluster", cluster).code == 2
    name = fanflare("submit", sweep, "--cluster", cluster, "--json").json["submission"]["id"]
    operator.settle(namespace, name, "Running")
    operator.print(namespace, name, "0/4 trials", "2/4 trials")
    told = fanflare("status", "own-script", "--cluster", cluster)
    assert f"{name} of" in told.out
    assert "RUNNING" in told.out
    log = fanflare("logs", "--sweep", "own-script", "--cluster", cluster)
    assert log.out.splitlines()[-2:] == ["0/4 trials", "2/4 trials"]

    operator.finish(namespace, name, 0)
    operator.settle(namespace, name, "Complete")
    ended = fanflare("status", "own-script", "--cluster", cluster, "--json").json
    assert ended["submission"]["state"] == "FINISHED"
    second = fanflare("submit", sweep, "--cluster", cluster, "--json").json
    assert second["submission"]["id"] == name.removesuffix("1") + "2"


def test_another_version_of_the_file_does_not_run_unnoticed(fanflare, sweep, given, tmp_path):
    cluster = given()
    fanflare("submit", sweep, "--cluster", cluster)
    (tmp_path / "train.py").write_text("print('a better script')\n")
    told = fanflare("submit", sweep, "--cluster", cluster)
    assert told.code == 2
    assert "another version" in told.out


def test_all_that_is_wrong_is_told_before_anything_is_made(fanflare, sweep, given, api):
    cluster = given(
        env_secrets=["aws"], image_pull_secrets=["registry"], tracking_uri="sqlite:///runs.db"
    )
    told = fanflare("submit", sweep, "--cluster", cluster)
    assert told.code == 2
    for word in ("'aws'", "'registry'", "sqlite"):
        assert word in told.err
    assert api.select("rayjobs") == []
    examined = fanflare("doctor", "--cluster", cluster)
    assert examined.code == 1
    assert "'aws'" in examined.out


def test_what_a_job_waits_for_is_told_with_the_next_step(
    fanflare, sweep, given, operator, namespace
):
    cluster = given()
    name = fanflare("submit", sweep, "--cluster", cluster, "--json").json["submission"]["id"]
    operator.obstruct(namespace, name, "image")
    operator.settle(namespace, name, "Initializing")
    found = fanflare("status", "own-script", "--cluster", cluster, "--json").json["submission"]
    assert found["state"] == "SCHEDULED"
    assert "image" in found["message"]
    assert found["action"]


def test_cancelled_it_is_gone_and_can_be_sent_again(fanflare, sweep, given, reach, namespace):
    cluster = given()
    name = fanflare("submit", sweep, "--cluster", cluster, "--json").json["submission"]["id"]
    reach(namespace, name, "Initializing")
    assert fanflare("cancel", "own-script", "--cluster", cluster, "--json").json["cancelled"]
    assert fanflare("submit", sweep, "--cluster", cluster, "--json").json["is_new"]


def test_what_is_printed_for_kubectl_is_what_is_sent(fanflare, sweep, given, api):
    cluster = given()
    printed = fanflare("manifest", sweep, "--cluster", cluster, "--json")
    fanflare("submit", sweep, "--cluster", cluster)
    made = rayjob(api)
    job = next(item for item in json.loads(printed.out) if item["kind"] == "RayJob")
    assert made["metadata"]["name"] == job["metadata"]["name"]
    for key, value in job["spec"].items():
        if key != "rayClusterSpec":  # defaults of the schema are filled in there
            assert made["spec"][key] == value


def test_a_cluster_that_does_not_answer_is_told_in_a_sentence(fanflare, sweep, given, api_server):
    cluster = given()
    api_server.stop()
    told = fanflare("submit", sweep, "--cluster", cluster)
    assert told.code == 2
    assert "Traceback" not in told.err
    assert told.err.strip()
