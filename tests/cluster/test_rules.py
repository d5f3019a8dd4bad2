"""What KubeRay would refuse and what could never be placed, told before anything is sent."""

import copy
import random

import pytest

from cluster.bundle import Bundle
from cluster.job import Resources
from cluster.kubernetes.manifest import config_map, rayjob
from cluster.kubernetes.rules import placement_problems, profile_problems, rule_problems
from tests.cluster.kuberay import CPU, GPU, PVC, QUEUED, profile, submission

CLUSTER = "spec.rayClusterSpec"
WORKER = f"{CLUSTER}.workerGroupSpecs.0"
HEAD_POD = f"{CLUSTER}.headGroupSpec.template.spec"
POD = f"{WORKER}.template.spec"
GONE = object()


def changed(manifest, path, value):
    """Return a manifest with one value put in place, or taken away."""
    made = copy.deepcopy(manifest)
    part = made
    *way, last = path.split(".")
    for key in way:
        part = part[int(key) if isinstance(part, list) else key]
    if value is GONE:
        del part[last]
    elif isinstance(part, list):
        part[int(last)] = value
    else:
        part[last] = value
    return made


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("metadata.name", "a" * 48, "no name for a RayJob"),
        ("metadata.name", "1-sweep", "no name for a RayJob"),
        ("spec.ttlSecondsAfterFinished", -1, "below 0"),
        ("spec.activeDeadlineSeconds", 0, "above 0"),
        ("spec.preRunningDeadlineSeconds", 0, "above 0"),
        ("spec.backoffLimit", -1, "below 0"),
        ("spec.submissionMode", "InteractiveMode", "excludes InteractiveMode"),
        ("spec.submissionMode", "SidecarMode", "excludes SidecarMode"),
        ("spec.clusterSelector", {"ray.io/cluster": "a"}, "backoffLimit is not for a cluster"),
        ("spec.clusterSelector", {"team": "a"}, "needs a name under ray.io/cluster"),
        ("spec.deletionStrategy", {"deletionRules": [{}]}, "excludes shutdownAfterJobFinishes"),
        (CLUSTER, GONE, "or clusterSelector is needed"),
        (f"{CLUSTER}.rayVersion", "2.40.0", "needs Ray 2.52"),
        (f"{CLUSTER}.authOptions.enableK8sTokenAuth", True, "not for a RayJob"),
        (f"{CLUSTER}.enableInTreeAutoscaling", False, None),
        (f"{HEAD_POD}.restartPolicy", "Always", "autoscaler v2 needs `Never`"),
        (f"{POD}.restartPolicy", "OnFailure", "autoscaler v2 needs `Never`"),
        (f"{WORKER}.minReplicas", 99, "minReplicas 99 is more than maxReplicas"),
        (f"{WORKER}.minReplicas", -1, "-1 is below 0"),
        (f"{WORKER}.rayStartParams.num-cpus", 4, "is no text"),
        (f"{WORKER}.rayStartParams.labels", "a=b", "own key `labels`"),
        (f"{WORKER}.resources", {"CPU": "1"}, "both here and in"),
        (f"{WORKER}.groupName", "Head!", "cannot be called"),
        (f"{WORKER}.groupName", "headgroup", "cannot be called"),
        (f"{WORKER}.suspend", True, "cannot be suspended"),
        (f"{POD}.containers", [], "has no container"),
        (
            f"{POD}.containers",
            [{"name": "proxy"}, {"name": "ray-worker"}],
            "Ray's container is not the first",
        ),
        (f"{POD}.containers.0.resources.requests.memory", "1Gi", "memory is requested as 1Gi"),
        (f"{HEAD_POD}.containers.0.env", [{"name": "RAY_REDIS_ADDRESS"}], "refuses RAY_REDIS"),
        (
            f"{HEAD_POD}.containers.0.env",
            [{"name": "RAY_enable_autoscaler_v2"}],
            "refuses RAY_enable_autoscaler_v2",
        ),
        (f"{POD}.containers.0.image", "rayproject/ray:2.9.3-py311-gpu", "holds Ray 2.9.3"),
        (f"{POD}.containers.0.image", "rayproject/ray:2.60.0-py27", "holds Python 2.7"),
        (f"{POD}.containers.0.image", "example/fanflare:0.1.0", None),
        (f"{POD}.containers.0.image", "host:5000/rayproject/ray@sha256:abc", None),
    ],
)
def test_each_rule_of_the_controller_is_told(path, value, told):
    found = rule_problems(changed(rayjob(submission(), profile()), path, value))
    if told is None:
        assert found == []
    else:
        assert any(told in problem.message for problem in found), found
        assert all(problem.remedy for problem in found)


@pytest.mark.parametrize(("key", "value"), [("ttlSecondsAfterFinished", 60), ("suspend", True)])
def test_what_needs_the_cluster_to_end_with_the_job(key, value):
    job = changed(rayjob(submission(), profile()), f"spec.{key}", value)
    assert rule_problems(job) == []
    [problem] = rule_problems(changed(job, "spec.shutdownAfterJobFinishes", False))
    assert f"{key} needs shutdownAfterJobFinishes" in problem.message


@pytest.mark.parametrize(("value", "is_refused"), [("1", True), ("true", True), ("0", False)])
def test_the_second_autoscaler_is_refused_where_there_is_none(value, is_refused):
    job = changed(rayjob(submission(), profile()), f"{CLUSTER}.enableInTreeAutoscaling", False)
    variable = {"name": "RAY_enable_autoscaler_v2", "value": value}
    found = rule_problems(changed(job, f"{HEAD_POD}.containers.0.env", [variable]))
    assert ["refuses RAY_enable" in problem.message for problem in found] == [True] * is_refused


def test_all_faults_are_told_at_once():
    job = rayjob(submission(), profile())
    job = changed(job, "metadata.name", "No Name")
    job = changed(job, f"{WORKER}.minReplicas", 99)
    job = changed(job, f"{HEAD_POD}.restartPolicy", "Always")
    assert len(rule_problems(job)) == 3


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("spec.suspend", True, "Kueue's to set"),
        ("spec.shutdownAfterJobFinishes", False, "has to be true where there is a queue"),
        (f"{CLUSTER}.enableInTreeAutoscaling", True, "only as an elastic job"),
        (f"{WORKER}.groupName", "head", "cannot be called 'head'"),
    ],
)
def test_rules_of_kueue(path, value, told):
    found = rule_problems(changed(rayjob(submission(), profile(QUEUED)), path, value))
    assert any(told in problem.message for problem in found), found


def test_kueue_takes_no_more_than_seven_groups():
    workers = {f"g{number}": CPU["workers"]["cpu"] for number in range(8)}
    [problem] = rule_problems(rayjob(submission(), profile(QUEUED, workers=workers)))
    assert "no more than 7 worker groups" in problem.message


def test_a_bundle_too_large_for_a_config_map_is_told_with_its_size():
    noise = random.Random(0).randbytes(1_100_000)
    sent = submission(bundle=Bundle(files={"sweep/data.bin": noise}))
    [problem] = rule_problems(config_map(sent, profile(PVC)))
    assert "1,1" in problem.message
    assert "storage: {uri: s3://...}" in problem.remedy


# Where jobs can be placed


def test_a_job_that_fits_some_group_is_no_problem():
    shapes = [Resources(num_cpus=2), Resources(num_cpus=7, num_gpus=0.5, memory_gib=48)]
    assert placement_problems(shapes, profile(GPU)) == []


@pytest.mark.parametrize(
    ("shape", "told", "remedy"),
    [
        (Resources(num_cpus=8), "asks for 8 cores; the largest pod", "num_cpus: 8"),
        (Resources(num_gpus=2), "asks for 1 core, 2 GPUs;", "num_gpus: 2"),
        (Resources(memory_gib=50), "offers 7 cores, 1 GPU, 48 GiB (its memory less", "gib: 62"),
    ],
)
def test_a_job_that_fits_nowhere_is_told_with_the_change(shape, told, remedy):
    [problem] = placement_problems([shape, Resources()], profile(GPU))
    assert told in problem.message
    assert remedy in problem.remedy
    assert problem.subject.startswith("workers.")


def test_the_change_that_is_told_is_enough():
    shape = Resources(num_cpus=6, memory_gib=20)
    [problem] = placement_problems([shape], profile())
    assert "num_cpus: 6, memory_gib: 29" in problem.remedy
    workers = {"cpu": {**CPU["workers"]["cpu"], "num_cpus": 6, "memory_gib": 29}}
    assert placement_problems([shape], profile(workers=workers)) == []


def test_half_a_core_of_a_pod_is_not_offered():
    assert profile(GPU).workers["spot"].pod.num_cpus == 7


def test_of_a_cluster_that_is_there_nothing_is_foretold():
    assert placement_problems([Resources(num_gpus=8)], profile(ray_cluster="shared")) == []


# What a profile asks for


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        ({"env": {"PYTHONPATH": "/x"}}, "env.PYTHONPATH"),
        ({"env": {"RAY_AUTH_TOKEN": {"secret": "a", "key": "b"}}}, "env.RAY_AUTH_TOKEN"),
        ({"elastic": True}, "elastic"),
        ({"ray_cluster": "shared"}, "env_secrets"),
        ({"ray_cluster": "shared", "env": {"A": {"secret": "a", "key": "b"}}}, "env"),
        ({"ray_cluster": "shared", "env": {"A": "$HOME"}, "env_secrets": []}, "env"),
        ({"ray_cluster": "shared", "queue": "team-a", "env_secrets": []}, "queue"),
        ({"ray_cluster": "shared", "storage": {"pvc": "a"}, "env_secrets": []}, "storage"),
    ],
)
def test_what_a_cluster_cannot_have_is_told(changes, subject):
    [problem] = profile_problems(profile(**changes))
    assert problem.subject == subject


@pytest.mark.parametrize("given", [CPU, GPU, QUEUED, PVC])
def test_plain_profiles_ask_for_nothing_impossible(given):
    assert profile_problems(profile(given)) == []
