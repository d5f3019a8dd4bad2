"""What stands in the way of a submission is told before a pod is asked for, all at once."""

import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import cluster
from cluster.job import Resources
from cluster.kubernetes.api import Api
from cluster.kubernetes.preflight import RIGHTS, VOLUME_RIGHTS
from cluster.kubernetes.surroundings import image_problems
from cluster.kubernetes.target import KubernetesTarget
from tests.kubernetes.conftest import REAL
from tests.kubernetes.kinds import kind_of
from tests.kubernetes.real import within
from tests.kubernetes.schemas import needs_schemas
from tests.kubernetes.submissions import STORAGE, claim, profile, submission, target_of

ROLE = Path(cluster.__file__).parent / "deploy" / "submitter-role.yaml"
CLAIM = kind_of("PersistentVolumeClaim")
PYTHON = f"py{sys.version_info.major}{sys.version_info.minor}"


@pytest.fixture
def api(namespace, kubeconfig):
    return Api(profile(namespace))


@pytest.fixture
def ready(api, request):
    """A namespace that has all that the profile of the tests names."""
    if not STORAGE:
        claim(api)
    if not REAL:
        objects = request.getfixturevalue("_own_server").objects
        objects.set_status(CLAIM, api.namespace, "results", phase="Bound")
    return api


def told(namespace, *, sent=None, **changes):
    """Return the problems of a profile, by subject."""
    found = target_of(profile(namespace, **changes)).problems(sent or submission())
    for problem in found:
        assert problem.message and problem.remedy
    by_subject = {problem.subject: problem for problem in found}
    if REAL and "storage" not in changes:
        by_subject.pop("storage.pvc", None)  # a default class may give no volume, or for one node
    return by_subject


def make(api, kind, name, **content):
    group = "v1"
    body = {"apiVersion": group, "kind": kind, "metadata": {"name": name}, **content}
    api.create(f"{kind.lower()}s", body)


def test_a_profile_that_fits_has_no_problem_and_leaves_nothing(ready, namespace):
    assert told(namespace) == {}
    assert ready.select("rayjobs") == []
    assert ready.select("configmaps", selector="app.kubernetes.io/managed-by=fanflare") == []
    assert ready.select("pods") == []


def test_all_faults_are_told_at_once(ready, namespace, api_server):
    api_server.faults.deny("create", "rayjobs")
    found = told(
        namespace,
        image="rayproject/ray",
        env={"TOKEN": {"secret": "login", "key": "password"}},
        service_account="runner",
        queue="team",
        priority_class="high",
        storage={"pvc": "results"},
        sent=submission(shapes=[Resources(num_cpus=64)], tracking_uri="sqlite:///mlruns.db"),
    )
    subjects = {"image", "tracking_uri", "env.TOKEN", "service_account", "queue"}
    assert {*subjects, "priority_class", "workers.cpu", "rights"} <= set(found)


def test_a_server_that_cannot_be_reached_is_told_with_the_rest(namespace, kubeconfig, api_server):
    api_server.stop()
    found = told(namespace, image="rayproject/ray:latest")
    assert {"API server", "image"} <= set(found)


def test_a_context_that_is_not_there_is_a_problem(namespace, kubeconfig):
    (found,) = KubernetesTarget(profile(namespace, context="nowhere")).problems(submission())
    assert found.subject == "context"
    assert "'nowhere'" in found.message


def test_a_namespace_that_is_not_there_is_told_with_the_nearest(namespace, kubeconfig):
    found = told("defualt")
    assert "no namespace 'defualt'; meant: default?" in found["namespace"].message
    assert set(found) == {"namespace"}


@pytest.mark.parametrize(
    ("verb", "resource"),
    [("create", "rayjobs"), ("delete", "rayjobs"), ("get", "pods/log"), ("list", "events")],
)
def test_a_missing_right_is_named(ready, namespace, api_server, verb, resource):
    api_server.faults.deny(verb, resource)
    problem = told(namespace)["rights"]
    assert f"may not {verb} {resource}" in problem.message
    assert "Role" in problem.remedy


def test_the_role_that_we_ship_gives_all_rights_that_are_asked_for():
    rules = YAML(typ="safe").load(ROLE)["rules"]
    for group, resource, verbs in (*RIGHTS, *VOLUME_RIGHTS):
        given = {
            verb
            for rule in rules
            if group in rule["apiGroups"] and resource in rule["resources"]
            for verb in rule["verbs"]
        }
        assert given >= set(verbs), resource


@pytest.mark.skipif(not REAL, reason="our own server knows no Roles")
def test_the_role_that_we_ship_is_enough(ready, namespace, controllers, tmp_path, monkeypatch):
    role = YAML(typ="safe").load(ROLE)
    rights = "/apis/rbac.authorization.k8s.io/v1/namespaces"
    ask, subject = ready.transport.ask, {"kind": "ServiceAccount", "name": "default"}
    ask("POST", f"{rights}/{namespace}/roles", {}, role)
    binding = {"metadata": {"name": "people"}, "subjects": [subject | {"namespace": namespace}]}
    binding["roleRef"] = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role"}
    binding["roleRef"]["name"] = role["metadata"]["name"]
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
    token = ask("POST", account, {}, {"spec": {}})["status"]["token"]
    config = YAML(typ="safe").load(Path(REAL))
    for user in config["users"]:
        user["user"] = {"token": token}
    path = tmp_path / "person"
    YAML().dump(config, path)
    monkeypatch.setenv("KUBECONFIG", str(path))
    assert "may not create" in told(namespace)["rights"].message
    ask("POST", f"{rights}/{namespace}/rolebindings", {}, binding)
    assert within(30, lambda: told(namespace) == {})
    target_of(profile(namespace)).submit(submission())


def test_a_cluster_without_kuberay_is_told_how_to_install_it(ready, namespace, api_server):
    for kind in ("rayjobs", "rayclusters"):
        api_server.objects.delete(kind_of("CustomResourceDefinition"), "", f"{kind}.ray.io")
    problem = told(namespace)["KubeRay"]
    assert "rayjobs.ray.io" in problem.message
    assert "helm install" in problem.remedy


def test_an_old_operator_is_told_and_one_that_nobody_may_see_is_not(ready, namespace, api_server):
    deployment = kind_of("Deployment")
    operator = api_server.objects.get(deployment, "kuberay-system", "kuberay-operator")
    containers = operator["spec"]["template"]["spec"]["containers"]
    containers[0]["image"] = "quay.io/kuberay/operator:v1.3.2"
    api_server.objects.replace(deployment, "kuberay-system", operator)
    assert "v1.3.2" in told(namespace)["KubeRay"].message
    api_server.faults.deny("list", "deployments")
    assert told(namespace) == {}


def test_a_missing_secret_is_told_with_the_nearest(ready, namespace):
    make(ready, "Secret", "mlflow-login", stringData={"password": "x"})
    named = {"secret": "mlflow-logn", "key": "password"}
    assert "mlflow-login?" in told(namespace, env={"A": named})["env.A"].message
    keyed = {"secret": "mlflow-login", "key": "pasword"}
    problem = told(namespace, env={"A": keyed})["env.A"]
    assert "has no key 'pasword'; it has password; meant: password?" in problem.message
    assert "'x'" not in problem.message
    assert told(namespace, env={"A": {**keyed, "key": "password"}}) == {}


def test_secrets_that_may_not_be_read_are_no_problem(ready, namespace, api_server):
    api_server.faults.deny("get", "secrets")
    assert told(namespace, env_secrets=["s3"]) == {}


def test_a_secret_for_pulling_images_is_of_that_type(ready, namespace):
    make(ready, "Secret", "registry", stringData={"password": "x"})
    problem = told(namespace, image_pull_secrets=["registry"])["image_pull_secrets"]
    assert "docker-registry" in problem.remedy


def test_a_service_account_and_a_priority_class_have_to_exist(ready, namespace, controllers):
    found = told(namespace, service_account="defalt", priority_class="none-such")
    assert "meant: default?" in found["service_account"].message
    assert "PriorityClass 'none-such'" in found["priority_class"].message


def test_a_queue_has_to_exist_and_be_active(ready, namespace, api_server):
    queues = kind_of("LocalQueue")
    body = {"metadata": {"name": "team"}, "spec": {"clusterQueue": "all"}}
    api_server.objects.create(queues, namespace, body)
    assert "meant: team?" in told(namespace, queue="taem")["queue"].message
    assert told(namespace, queue="team") == {}
    stopped = {"type": "Active", "status": "False", "message": "ClusterQueue all is missing"}
    api_server.objects.set_status(queues, namespace, "team", conditions=[stopped])
    assert "ClusterQueue all is missing" in told(namespace, queue="team")["queue"].message
    api_server.objects.delete(kind_of("CustomResourceDefinition"), "", "localqueues.kueue.x-k8s.io")
    assert "no Kueue" in told(namespace, queue="team")["queue"].message


def test_a_volume_has_to_exist_be_bound_and_be_for_many_nodes(api, namespace, api_server):
    storage = {"pvc": "results"}
    claim(api, "result")
    assert "meant: result?" in told(namespace, storage=storage)["storage.pvc"].message
    claim(api)
    assert "is Pending" in told(namespace, storage=storage)["storage.pvc"].message
    api_server.objects.set_status(CLAIM, namespace, "results", phase="Bound")
    assert told(namespace, storage=storage) == {}
    api_server.objects.set_status(CLAIM, namespace, "results", phase="Lost")
    assert "is Lost" in told(namespace, storage=storage)["storage.pvc"].message
    api_server.objects.set_status(CLAIM, namespace, "results", phase="Bound")
    api_server.objects.create(kind_of("Node"), None, {"metadata": {"name": "node-2"}})
    problem = told(namespace, storage=storage)["storage.pvc"]
    assert "ReadWriteOnce" in problem.message and "ReadWriteMany" in problem.remedy
    claim(api, "shared", "ReadWriteMany")
    api_server.objects.set_status(CLAIM, namespace, "shared", phase="Bound")
    assert told(namespace, storage={"pvc": "shared"}) == {}


def test_a_folder_is_no_store_for_pods(ready, namespace, tmp_path):
    uri = f"file://{tmp_path}"
    problem = told(namespace, storage={"uri": uri})["storage.uri"]
    assert "every pod has its own" in problem.message
    mount = {"name": "nfs", "mountPath": str(tmp_path.parent)}
    volume = {"name": "nfs", "nfs": {"server": "nfs", "path": "/"}}

    def patch(name):
        both = {
            "initContainers": [{"name": "fetch-bundle", "volumeMounts": [mount]}],
            "containers": [{"name": name, "volumeMounts": [mount]}],
        }
        return {"spec": {"volumes": [volume], **both}}

    workers = {"num_cpus": 1, "memory_gib": 2, "max_replicas": 2}
    head = {"num_cpus": 0.5, "memory_gib": 2}
    mounted = told(
        namespace,
        storage={"uri": uri},
        head={**head, "pod_patch": patch("ray-head")},
        workers={"cpu": {**workers, "pod_patch": patch("ray-worker")}},
    )
    assert mounted == {}


def test_a_store_of_this_machine_is_not_one_of_pods(ready, namespace):
    uri = "s3://bucket/a?endpoint_override=http%3A%2F%2F127.0.0.1%3A1&region=us-east-1"
    problem = told(namespace, storage={"uri": uri})["storage.uri"]
    assert "inside a pod it is the pod" in problem.message


def test_a_ray_cluster_has_to_exist_and_be_ready(ready, namespace, api_server, tmp_path):
    clusters = kind_of("RayCluster")
    body = {"metadata": {"name": "shared"}, "spec": {}}
    api_server.objects.create(clusters, namespace, body)
    bucket = {"uri": f"file://{tmp_path}"}
    found = told(namespace, ray_cluster="shard", storage=bucket)
    assert "meant: shared?" in found["ray_cluster"].message
    assert (
        "not ready" in told(namespace, ray_cluster="shared", storage=bucket)["ray_cluster"].message
    )
    api_server.objects.set_status(clusters, namespace, "shared", state="ready")
    other = {"metadata": {"name": "older"}, "spec": {"rayVersion": "2.9.0"}}
    api_server.objects.create(clusters, namespace, other)
    api_server.objects.set_status(clusters, namespace, "older", state="ready")
    older = told(namespace, ray_cluster="older", storage=bucket)["ray_cluster"]
    assert "has Ray 2.9.0" in older.message
    assert "ray_cluster" not in told(namespace, ray_cluster="shared", storage=bucket)


@pytest.fixture
def quota(ready, request, controllers):
    """A function that makes a quota of which others use two accelerators and some memory."""

    def make_and_use(**hard):
        make(ready, "ResourceQuota", "team", spec={"hard": hard})
        room = {"cpu": "10m", "memory": "16Mi", "nvidia.com/gpu": "2"}
        if not REAL:
            used = {"requests.nvidia.com/gpu": "2", "memory": "16Mi"}
            objects = request.getfixturevalue("_own_server").objects
            kind = kind_of("ResourceQuota")
            objects.set_status(kind, ready.namespace, "team", hard=hard, used=used)
            return
        container = {"name": "a", "image": "busybox", "resources": {"limits": room}}
        spec = {"nodeSelector": {"fanflare.dev/none": "such"}, "containers": [container]}
        within(30, lambda: used_of_quota(ready))
        make(ready, "Pod", "others", spec=spec)
        assert within(30, lambda: {*used_of_quota(ready).values()} - {"0"})

    return make_and_use


def used_of_quota(api):
    return (api.get("resourcequotas", "team").get("status") or {}).get("used") or {}


GPU = {"gpu": {"num_cpus": 1, "memory_gib": 2, "max_replicas": 2, "num_gpus": 2}}
CPU = {"cpu": {"num_cpus": 1, "memory_gib": 2, "max_replicas": 2}}


def test_a_quota_that_leaves_no_room_is_told(quota, namespace):
    quota(**{"requests.nvidia.com/gpu": "3"})
    problem = told(namespace, workers=GPU)["quota"]
    assert "allows 3 requests.nvidia.com/gpu, 2 are used" in problem.message
    assert "`workers.gpu` needs 2" in problem.message
    assert told(namespace, workers=GPU | CPU) == {}, "one group has room"


def test_a_quota_that_the_running_submission_uses_itself_is_no_problem(quota, namespace):
    target_of(profile(namespace, workers=GPU)).submit(submission())
    quota(**{"requests.nvidia.com/gpu": "3"})
    assert told(namespace, workers=GPU) == {}


def test_memory_that_a_quota_can_never_give_is_told(quota, namespace):
    quota(memory="3Gi")
    problem = told(namespace)["quota"]
    assert "allows 3Gi memory" in problem.message
    assert "wait" not in problem.remedy


def test_a_pod_larger_than_the_limit_range_is_told(ready, namespace):
    limits = [{"type": "Container", "max": {"memory": "1Gi"}}, {"type": "Pod", "max": {"cpu": "4"}}]
    make(ready, "LimitRange", "small", spec={"limits": limits})
    found = told(namespace)
    assert {"head", "workers.cpu"} <= set(found)
    assert "at most 1Gi" in found["head"].message
    assert "'ray-worker'" in found["workers.cpu"].message


@needs_schemas
def test_a_field_that_the_server_does_not_know_is_told(ready, namespace):
    patch = {"spec": {"hostNetwrok": True}}
    head = {"num_cpus": 0.5, "memory_gib": 2, "pod_patch": patch}
    problem = told(namespace, head=head)["manifest"]
    assert "hostNetwrok" in problem.message
    assert "pod_patch" in problem.remedy


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("rayproject/ray", "no fixed tag"),
        ("localhost:5000/ray:latest", "no fixed tag"),
        (f"rayproject/ray:2.9.0-{PYTHON}", "has Ray 2.9.0"),
        (f"rayproject/ray:{version('ray')}-py27", "has Python 2.7"),
        (f"rayproject/ray:{version('ray')}-{PYTHON}-gpu", ""),
        ("registry.example:5000/team/sweeps:2.9.0", ""),
        ("registry.example/sweeps@sha256:12ab", ""),
    ],
)
def test_an_image_is_fixed_and_of_our_versions(image, words):
    found = [problem.message for problem in image_problems(profile("default", image=image))]
    assert len(found) == bool(words)
    assert words in "".join(found)
