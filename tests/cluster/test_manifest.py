"""What is sent to Kubernetes: as it was agreed, as KubeRay's schema has it, without a secret."""

import base64
import json
import os
import zipfile
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import cluster
from cluster.kubernetes.manifest import config_map, manifests, rayjob
from cluster.kubernetes.patching import patched
from cluster.kubernetes.rules import rule_problems
from tests.cluster.kuberay import CPU, GPU, PVC, QUEUED, profile, schema_faults, submission

ROOT = Path(cluster.__file__).parent
GOLDEN = Path(__file__).parent / "golden"
PROFILES = {"cpu-s3": CPU, "gpu-kueue": {**QUEUED, "elastic": True}, "cpu-pvc": PVC}
VARIANTS = {
    **PROFILES,
    "gpu-spot": GPU,
    "queued": QUEUED,
    "on-cluster": {**CPU, "ray_cluster": "shared", "env_secrets": [], "env": {"A": "1"}},
    "sidecar": {
        **CPU,
        "head": {"pod_patch": {"spec": {"containers": [{"name": "proxy", "image": "proxy:1"}]}}},
    },
}


def as_text(made):
    """Return manifests as YAML without what differs from machine to machine."""
    stream = BytesIO()
    yaml = YAML()
    yaml.width = 4096
    yaml.dump_all(made, stream)
    return stream.getvalue().decode()


def neutral(made):
    """Return manifests with names in place of what changes with versions, not by intent."""
    text = json.dumps(made)
    sent = submission().bundle
    places = {
        json.dumps((ROOT / "bootstrap.py").read_text()): '"TEXT OF bootstrap.py"',
        json.dumps((ROOT / "kubernetes/submitter.py").read_text()): '"TEXT OF submitter.py"',
        base64.b64encode(sent.content).decode(): "BUNDLE",
        sent.digest: "DIGEST",
        f'"{version("ray")}"': '"RAY VERSION"',
    }
    for found, name in places.items():
        text = text.replace(found, name)
    return json.loads(text)


def pods(job):
    """Return the pod templates of a RayJob: head, then workers, then the submitter."""
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [*(group["template"] for group in groups), job["spec"]["submitterPodTemplate"]]


def containers(job):
    return [
        container
        for pod in pods(job)
        for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    ]


@pytest.mark.parametrize("name", PROFILES)
def test_manifests_are_as_agreed(name):
    """FANFLARE_UPDATE_GOLDEN=1 writes the files anew, to be read in the diff."""
    text = as_text(neutral(manifests(submission(), profile(PROFILES[name]))))
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("FANFLARE_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", VARIANTS)
def test_kuberays_schema_knows_every_field(name):
    assert schema_faults(rayjob(submission(), profile(VARIANTS[name]))) == []


@pytest.mark.parametrize("name", VARIANTS)
def test_the_controller_has_nothing_against_it(name):
    for made in manifests(submission(), profile(VARIANTS[name])):
        assert rule_problems(made) == []


@pytest.mark.parametrize("name", VARIANTS)
def test_it_is_the_same_every_time_and_has_no_references(name):
    given = submission(), profile(VARIANTS[name])
    assert manifests(*given) == manifests(*given)
    assert "&id" not in as_text(manifests(*given))


def test_an_unknown_field_is_a_fault():
    job = rayjob(submission(), profile())
    job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["colour"] = "red"
    assert len(schema_faults(job)) == 1


@pytest.mark.parametrize("name", ["cpu-s3", "gpu-spot", "queued", "cpu-pvc"])
def test_pods_meet_the_restricted_pod_security_standard(name):
    job = rayjob(submission(), profile(VARIANTS[name]))
    for pod in pods(job):
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert not any("hostPath" in volume for volume in pod["spec"].get("volumes", []))
    options = job["spec"]["rayClusterSpec"].get("autoscalerOptions")
    for container in [*containers(job), *([options] if options else [])]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"] == container["resources"]["limits"]


def test_only_the_autoscaler_may_ask_the_api_server():
    job = rayjob(submission(), profile())
    place = "/var/run/secrets/kubernetes.io/serviceaccount"
    mounted = [
        part["mountPath"] for each in containers(job) for part in each.get("volumeMounts", [])
    ]
    assert place not in mounted
    options = job["spec"]["rayClusterSpec"]["autoscalerOptions"]
    assert [part["mountPath"] for part in options["volumeMounts"]] == [place]
    fixed = rayjob(submission(), profile(QUEUED))["spec"]["rayClusterSpec"]
    assert "autoscalerOptions" not in fixed
    volumes = fixed["headGroupSpec"]["template"]["spec"]["volumes"]
    assert "api-token" not in {volume["name"] for volume in volumes}


def test_secrets_are_given_by_reference_only():
    given = profile(GPU, env={"TOKEN": {"secret": "hub", "key": "token"}, "PLAIN": "seen"})
    for container in containers(rayjob(submission(), given))[:-1]:
        env = {part["name"]: part for part in container["env"]}
        assert env["TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "token"}
        assert env["PLAIN"]["value"] == "seen"
        assert container["envFrom"] == [{"secretRef": {"name": "s3"}}]
    submitter = containers(rayjob(submission(), given))[-1]
    assert "env" not in submitter


def test_ray_generates_its_own_token():
    cluster = rayjob(submission(), profile())["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert "RAY_AUTH" not in json.dumps(cluster)


def test_the_head_runs_no_trial_and_workers_start_from_zero():
    cluster = rayjob(submission(), profile())["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    [group] = cluster["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (0, 0, 8)
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["autoscalerOptions"]["version"] == "v2"


def test_spot_groups_come_first_and_are_preferred():
    groups = rayjob(submission(), profile(GPU))["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert [(group["groupName"], group.get("priority")) for group in groups] == [
        ("spot", 1),
        ("demand", None),
    ]


def test_ray_is_told_what_a_pod_offers():
    made = profile(GPU)
    groups = rayjob(submission(), made)["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    params = groups[0]["rayStartParams"]
    pod = made.workers["spot"].pod
    assert (params["num-cpus"], params["num-gpus"]) == ("7", "1")
    assert int(params["memory"]) == pod.memory_gib * 2**30 == 48 * 2**30
    assert int(params["object-store-memory"]) < 12 * 2**30
    limits = groups[0]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "7500m", "memory": "60Gi", "nvidia.com/gpu": "1"}


def test_in_a_queue_all_pods_are_asked_for_at_once_unless_it_is_elastic():
    job = rayjob(submission(), profile(QUEUED))
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert "suspend" not in job["spec"]
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is False
    assert [group["replicas"] for group in cluster["workerGroupSpecs"]] == [16, 4]
    elastic = rayjob(submission(), profile(QUEUED, elastic=True))
    assert elastic["metadata"]["annotations"]["kueue.x-k8s.io/elastic-job"] == "true"
    assert elastic["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"] is True


def test_the_entrypoint_means_nothing_to_a_shell():
    """KubeRay writes it into a line of bash; Ray's CLI joins its words again."""
    entrypoint = rayjob(submission(), profile())["spec"]["entrypoint"]
    assert entrypoint == ("env --chdir=/fanflare/bundle python -m orchestrator.cli.drive")


def test_the_submitter_is_told_the_same_as_kuberay():
    for name in ("cpu-s3", "on-cluster"):
        given = profile(VARIANTS[name])
        spec = rayjob(submission(), given)["spec"]
        [container] = spec["submitterPodTemplate"]["spec"]["containers"]
        _, _, text, entrypoint, runtime_env = container["command"]
        compile(text, "submitter", "exec")
        assert "$(" not in text
        assert entrypoint == spec["entrypoint"]
        assert json.loads(runtime_env) == json.loads(spec.get("runtimeEnvYAML", "{}"))


def test_files_come_from_the_store_with_its_options_kept():
    job = rayjob(submission(), profile())
    for container in containers(job):
        if container["name"] == "fetch-bundle":
            _, _, text, source, digest, folder = container["command"]
            compile(text, "bootstrap", "exec")
            assert source == (
                f"s3://bucket/sweeps/bundles/{digest}.zip?endpoint_override=minio:9000&scheme=http"
            )
            assert folder == "/fanflare/bundle"
            assert "$(" not in text, "Kubernetes would put variables there"
    assert config_map(submission(), profile()) is None


def test_to_a_volume_files_travel_in_a_config_map():
    made, job = manifests(submission(), profile(PVC), number=3)
    assert made["metadata"]["name"] == job["metadata"]["name"]
    content = base64.b64decode(made["binaryData"]["bundle.zip"])
    assert "request.json" in zipfile.ZipFile(BytesIO(content)).namelist()
    [init, ray] = containers(job)[:2]
    assert init["command"][3] == "/etc/fanflare/bundle.zip"
    assert {"name": "store", "mountPath": "/fanflare/store"} in ray["volumeMounts"]


def test_a_cluster_that_is_there_is_selected_and_left_alone():
    given = profile(VARIANTS["on-cluster"], queue="team-a")
    spec = rayjob(submission(), given)["spec"]
    assert spec["clusterSelector"] == {"ray.io/cluster": "shared"}
    refused = {"rayClusterSpec", "backoffLimit", "shutdownAfterJobFinishes", "suspend"}
    assert not refused & set(spec)
    environment = json.loads(spec["runtimeEnvYAML"])
    assert environment["working_dir"].startswith("s3://bucket/sweeps/bundles/")
    assert environment["env_vars"] == {"A": "1"}


def test_a_patch_has_the_last_word():
    patch = {
        "metadata": {"labels": {"team": "a"}},
        "spec": {
            "priorityClassName": "high",
            "securityContext": {"runAsUser": None},
            "containers": [{"name": "ray-worker", "env": [{"name": "HF_HOME", "value": "/x"}]}],
            "volumes": [{"name": "shared-mem", "emptyDir": {"sizeLimit": "1Gi"}}],
        },
    }
    workers = {"gpu": {**CPU["workers"]["cpu"], "pod_patch": patch}}
    job = rayjob(submission(), profile(workers=workers, env={"HF_HOME": "/a", "B": "c"}))
    pod = pods(job)[1]
    assert pod["metadata"]["labels"]["team"] == "a"
    assert pod["metadata"]["labels"]["fanflare.dev/owner"] == "ann-example.org"
    assert pod["spec"]["priorityClassName"] == "high"
    assert "runAsUser" not in pod["spec"]["securityContext"]
    [container] = pod["spec"]["containers"]
    assert {"name": "HF_HOME", "value": "/x"} in container["env"]
    assert {"name": "B", "value": "c"} in container["env"]
    volume = next(part for part in pod["spec"]["volumes"] if part["name"] == "shared-mem")
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}


def test_patching_changes_neither_side_and_can_remove():
    value = {"a": [{"name": "x", "b": 1}, {"name": "y"}], "c": [1, 2], "d": {"e": 1}}
    patch = {"a": [{"name": "x", "$patch": "delete"}, {"name": "z"}], "c": [3], "d": None}
    assert patched(value, patch) == {"a": [{"name": "y"}, {"name": "z"}], "c": [3]}
    assert value["d"] == {"e": 1} and len(value["a"]) == 2
    mounts = {"volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b"}]}
    change = {"volumeMounts": [{"mountPath": "/b", "readOnly": True}]}
    assert patched(mounts, change)["volumeMounts"][1] == {
        "name": "v",
        "mountPath": "/b",
        "readOnly": True,
    }
