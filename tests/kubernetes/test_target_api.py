"""What the API server's moods do to a request: it is tried again, or refused with what to do."""

import time
from pathlib import Path

import pytest
import yaml

from cluster.kubernetes.api import Api
from cluster.kubernetes.transport import (
    PATIENCE_S,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    TakenError,
)
from cluster.target import TargetError
from tests.kubernetes.ray_job import ray_job
from tests.kubernetes.schemas import needs_schemas
from tests.kubernetes.submissions import Naps, profile


@pytest.fixture
def naps():
    return Naps()


@pytest.fixture
def api(kubeconfig, namespace, naps):
    return Api(profile(namespace), sleep=naps)


def test_objects_are_made_found_changed_and_removed(api):
    made = api.create("rayjobs", ray_job())
    assert api.get("rayjobs", "toy")["metadata"]["uid"] == made["metadata"]["uid"]
    assert [job["metadata"]["name"] for job in api.select("rayjobs", selector="team=toys")] == [
        "toy"
    ]
    assert api.select("rayjobs", selector="team=others") == []
    changed = api.patch("rayjobs", "toy", {"metadata": {"annotations": {"a": "1"}}})
    assert changed["metadata"]["annotations"]["a"] == "1"
    assert api.delete("rayjobs", "toy")


def test_what_is_not_there_is_none(api):
    assert api.get("rayjobs", "nobody") is None
    assert api.patch("rayjobs", "nobody", {"metadata": {"labels": {}}}) is None
    assert not api.delete("rayjobs", "nobody")


def test_a_list_of_many_pages_is_whole(api, monkeypatch):
    monkeypatch.setattr("cluster.kubernetes.api._PAGE", 2)
    for number in range(5):
        body = {"metadata": {"name": f"map-{number}", "labels": {"of": "pages"}}}
        api.create("configmaps", {"apiVersion": "v1", "kind": "ConfigMap", **body})
    assert len(api.select("configmaps", selector="of=pages")) == 5


@needs_schemas
def test_an_unknown_field_is_refused_and_a_dry_run_leaves_nothing(api):
    with pytest.raises(InvalidError, match=r"unknown field .*entrypont"):
        api.create("rayjobs", ray_job(entrypont="python"))
    api.create("rayjobs", ray_job(), dry_run=True)
    assert api.get("rayjobs", "toy") is None


def test_a_taken_name_and_an_unknown_kind_are_told_apart(api):
    api.create("rayjobs", ray_job())
    with pytest.raises(TakenError, match="already exists"):
        api.create("rayjobs", ray_job())
    with pytest.raises(NotFoundError):
        api.select_at("/apis/ray.io/v9/rayjobs")


@pytest.mark.parametrize("code", [429, 500, 503, 504, 0])
def test_what_passes_is_tried_again(api, api_server, naps, code):
    api_server.faults.fail(code, times=3, retry_after=7)
    assert api.get("rayjobs", "toy") is None
    assert len(naps.taken) == 3
    if code == 429:
        assert min(naps.taken) >= 7
    else:
        assert naps.taken[0] <= 0.5 and naps.taken == sorted(naps.taken)


def test_what_does_not_pass_is_given_up_within_a_minute(api, api_server, naps):
    api_server.faults.fail(503, times=1000)
    with pytest.raises(TargetError, match=r"in trouble .*try again later"):
        api.get("rayjobs", "toy")
    assert 20 < sum(naps.taken) <= PATIENCE_S


def test_a_creation_whose_answer_was_lost_is_told_as_taken(api, api_server, monkeypatch):
    send, lost = api.transport._send, []

    def send_and_lose(method, *rest):
        answer = send(method, *rest)
        if method == "POST" and not lost:
            lost.append(answer)
            answer.status = 504
        return answer

    monkeypatch.setattr(api.transport, "_send", send_and_lose)
    with pytest.raises(TakenError):
        api.create("rayjobs", ray_job())
    assert api.get("rayjobs", "toy") is not None


def test_a_token_that_was_renewed_is_read_again(api, api_server, token_file, naps):
    api_server.renew_token(token_file)
    assert api.get("rayjobs", "toy") is None
    assert naps.taken == []


def test_a_token_that_expired_says_how_to_log_in(api, api_server):
    api_server.renew_token()
    with pytest.raises(TargetError, match="log in again with `kubectl --context toy auth whoami`"):
        api.get("rayjobs", "toy")


def test_a_token_of_a_program_names_the_clouds_login(kubeconfig, namespace, api_server, tmp_path):
    config = yaml.safe_load(Path(kubeconfig).read_text())
    plugin = tmp_path / "gke-gcloud-auth-plugin"
    credential = '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", '
    plugin.write_text(f'#!/bin/sh\necho \'{credential}"status": {{"token": "old"}}}}\'\n')
    plugin.chmod(0o755)
    execution = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin)}
    config["users"][0]["user"] = {"exec": {**execution, "interactiveMode": "Never"}}
    Path(kubeconfig).write_text(yaml.safe_dump(config))
    with pytest.raises(TargetError, match="log in again with `gcloud auth login`"):
        Api(profile(namespace)).get("rayjobs", "toy")


def test_a_right_that_is_missing_is_named(api, api_server):
    api_server.faults.deny("list", "rayjobs")
    with pytest.raises(ForbiddenError, match=r'cannot list resource "rayjobs".*a Role'):
        api.select("rayjobs")


def test_rights_are_reviewed(api, api_server):
    api_server.faults.deny("get", "pods/log")
    assert api.may("create", "rayjobs", "ray.io")
    assert not api.may("get", "pods", "", "log")


def test_a_server_that_is_not_there_is_told_with_its_context(namespace, kubeconfig, api_server):
    api_server.stop()
    api = Api(profile(namespace), sleep=Naps())
    began = time.monotonic()
    with pytest.raises(TargetError, match=r"context toy.* cannot be reached"):
        api.transport.ask("GET", "/version", patience_s=2)
    assert time.monotonic() - began < 5


def test_a_context_that_is_not_there_is_told_with_the_nearest(kubeconfig, namespace, api_server):
    with pytest.raises(TargetError, match="no context 'toi'; it has toy; meant: toy"):
        Api(profile(namespace, context="toi"))


def test_no_kubeconfig_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(TargetError, match="no kubeconfig"):
        Api(profile("default"))
