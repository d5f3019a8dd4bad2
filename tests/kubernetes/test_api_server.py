"""The API server in the tests behaves as a real one does, to the official client."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from kubernetes import config, watch
from kubernetes.client import (
    ApiException,
    AuthorizationV1Api,
    CoreV1Api,
    CustomObjectsApi,
    VersionApi,
)

from tests.kubernetes.kinds import kind_of
from tests.kubernetes.ray_job import IDLE, ray_job
from tests.kubernetes.real import within
from tests.kubernetes.schemas import needs_schemas

RAYJOBS = {"group": "ray.io", "version": "v1", "plural": "rayjobs"}


@pytest.fixture
def core(api_client):
    return CoreV1Api(api_client)


@pytest.fixture
def jobs(api_client):
    return CustomObjectsApi(api_client)


def refusal(call, *args, **kwargs):
    with pytest.raises(ApiException) as caught:
        call(*args, **kwargs)
    return caught.value


def config_map(name, labels=None, **data):
    metadata = {"name": name} | ({"labels": labels} if labels else {})
    return {"metadata": metadata, "data": data}


def test_version_and_health(api_client):
    assert VersionApi(api_client).get_code().git_version.startswith("v1.")


def test_create_get_replace_delete(core, namespace):
    made = core.create_namespaced_config_map(namespace, config_map("a", key="1"))
    assert made.metadata.uid and made.metadata.creation_timestamp
    core.patch_namespaced_config_map("a", namespace, {"data": {"other": "2"}})
    got = core.read_namespaced_config_map("a", namespace)
    assert got.data == {"key": "1", "other": "2"}
    assert int(got.metadata.resource_version) > int(made.metadata.resource_version)
    core.delete_namespaced_config_map("a", namespace)
    gone = refusal(core.read_namespaced_config_map, "a", namespace)
    assert gone.status == 404 and 'configmaps \\"a\\" not found' in gone.body


def test_a_taken_name_and_an_old_version_conflict(core, namespace):
    made = core.create_namespaced_config_map(namespace, config_map("a"))
    taken = refusal(core.create_namespaced_config_map, namespace, config_map("a"))
    assert taken.status == 409 and "AlreadyExists" in taken.body
    core.patch_namespaced_config_map("a", namespace, {"data": {"x": "1"}})
    old = refusal(core.replace_namespaced_config_map, "a", namespace, made)
    assert old.status == 409 and "object has been modified" in old.body


def test_only_one_of_many_creates_wins(jobs, namespace):
    def create(_):
        try:
            jobs.create_namespaced_custom_object(
                namespace=namespace, body=ray_job(**IDLE), **RAYJOBS
            )
        except ApiException as error:
            return error.status
        return 201

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(create, range(6))) == [201] + [409] * 5


def test_bad_names_and_labels_are_refused(core, namespace):
    bad = refusal(core.create_namespaced_config_map, namespace, config_map("A_b"))
    assert bad.status == 422 and "RFC 1123" in bad.body
    label = refusal(core.create_namespaced_config_map, namespace, config_map("a", {"owner": "ä b"}))
    assert label.status == 422 and "metadata.labels" in label.body
    place = refusal(core.create_namespaced_config_map, "no-such-place", config_map("a"))
    assert place.status == 404 and "namespaces" in place.body


def test_contents_and_annotations_have_a_size_limit(core, namespace):
    body = config_map("noted")
    body["metadata"]["annotations"] = {"applied": "x" * 270_000}
    noted = refusal(core.create_namespaced_config_map, namespace, body)
    assert noted.status == 422 and "metadata.annotations: Too long" in noted.body
    large = refusal(
        core.create_namespaced_config_map, namespace, config_map("a", text="x" * 1_100_000)
    )
    assert large.status == 422


def test_selectors_and_pages(core, namespace):
    for i in range(5):
        labels = {"part": "even" if i % 2 == 0 else "odd", "number": str(i)}
        core.create_namespaced_config_map(namespace, config_map(f"c-{i}", labels))

    def names(**query):
        found = core.list_namespaced_config_map(namespace, **query).items
        return [item.metadata.name for item in found if item.metadata.name.startswith("c-")]

    assert names(label_selector="part=even,number!=0") == ["c-2", "c-4"]
    assert names(label_selector="number in (1, 3),part") == ["c-1", "c-3"]
    assert names(label_selector="number notin (1,3),part") == ["c-0", "c-2", "c-4"]
    assert names(label_selector="!part") == []
    assert names(field_selector="metadata.name=c-3") == ["c-3"]
    page = core.list_namespaced_config_map(namespace, limit=2)
    rest = core.list_namespaced_config_map(namespace, _continue=page.metadata._continue)
    assert len(page.items) == 2 and len(page.items + rest.items) >= 5
    unknown = refusal(core.list_namespaced_config_map, namespace, field_selector="data.x=1")
    assert unknown.status == 400 and "is not a known field selector" in unknown.body
    unknown = refusal(core.list_namespaced_pod, namespace, field_selector="data.x=1")
    assert unknown.status == 400 and "field label not supported: data.x" in unknown.body


@needs_schemas
def test_strict_validation_against_kuberay(jobs, namespace):
    job = ray_job(oops=1, **IDLE)
    unknown = refusal(
        jobs.create_namespaced_custom_object,
        namespace=namespace,
        body=job,
        field_validation="Strict",
        **RAYJOBS,
    )
    assert unknown.status == 400 and 'unknown field \\"spec.oops\\"' in unknown.body
    wrong = refusal(
        jobs.create_namespaced_custom_object,
        namespace=namespace,
        body=ray_job(backoffLimit="many", **IDLE),
        **RAYJOBS,
    )
    assert wrong.status == 422
    assert "spec.backoffLimit in body must be of type integer" in wrong.body
    kept = jobs.create_namespaced_custom_object(namespace=namespace, body=job, **RAYJOBS)
    assert "oops" not in kept["spec"] and kept["spec"]["submissionMode"] == "K8sJobMode"


def test_a_dry_run_leaves_nothing(jobs, namespace):
    jobs.create_namespaced_custom_object(
        namespace=namespace, body=ray_job(**IDLE), dry_run="All", **RAYJOBS
    )
    gone = refusal(jobs.get_namespaced_custom_object, namespace=namespace, name="toy", **RAYJOBS)
    assert gone.status == 404 and 'rayjobs.ray.io \\"toy\\" not found' in gone.body


def test_what_an_owner_had_goes_with_it(core, jobs, namespace, controllers):
    job = jobs.create_namespaced_custom_object(namespace=namespace, body=ray_job(**IDLE), **RAYJOBS)
    core.create_namespaced_config_map(namespace, config_map("bundle"))
    keys = ("name", "uid")
    owner = {"apiVersion": "ray.io/v1", "kind": "RayJob"} | {k: job["metadata"][k] for k in keys}
    core.patch_namespaced_config_map(
        "bundle", namespace, {"metadata": {"ownerReferences": [owner]}}
    )
    jobs.delete_namespaced_custom_object(namespace=namespace, name="toy", **RAYJOBS)

    def is_gone():
        found = core.list_namespaced_config_map(namespace).items
        return "bundle" not in [each.metadata.name for each in found]

    assert within(60, is_gone)


def test_an_object_with_finalizers_goes_with_the_last(jobs, namespace):
    where = {"namespace": namespace, "name": "toy", **RAYJOBS}
    body = ray_job(**IDLE)
    body["metadata"]["finalizers"] = ["example.dev/wait"]
    jobs.create_namespaced_custom_object(namespace=namespace, body=body, **RAYJOBS)
    jobs.delete_namespaced_custom_object(**where)
    assert "deletionTimestamp" in jobs.get_namespaced_custom_object(**where)["metadata"]
    taken = refusal(
        jobs.create_namespaced_custom_object, namespace=namespace, body=ray_job(**IDLE), **RAYJOBS
    )
    assert taken.status == 409 and "object is being deleted" in taken.body
    jobs.patch_namespaced_custom_object(body={"metadata": {"finalizers": None}}, **where)
    assert refusal(jobs.get_namespaced_custom_object, **where).status == 404


def test_the_status_is_a_part_of_its_own(jobs, namespace):
    where = {"namespace": namespace, "name": "toy", **RAYJOBS}
    body = ray_job(**IDLE) | {"status": {"jobStatus": "LIE"}}
    made = jobs.create_namespaced_custom_object(namespace=namespace, body=body, **RAYJOBS)
    assert "status" not in made and made["metadata"]["generation"] == 1
    jobs.patch_namespaced_custom_object_status(body={"status": {"jobStatus": "RUNNING"}}, **where)
    jobs.patch_namespaced_custom_object(body={"spec": {"suspend": True}}, **where)
    got = jobs.get_namespaced_custom_object(**where)
    assert got["status"]["jobStatus"] == "RUNNING" and got["metadata"]["generation"] == 2


def test_a_watch_sees_objects_come_change_and_go(api_client, core, namespace):
    core.create_namespaced_config_map(namespace, config_map("a", {"mine": "yes"}))
    version = core.list_namespaced_config_map(namespace).metadata.resource_version
    seen = []

    def look():
        stream = watch.Watch().stream(
            core.list_namespaced_config_map,
            namespace,
            label_selector="mine=yes",
            resource_version=version,
            timeout_seconds=10,
        )
        for event in stream:
            seen.append((event["type"], event["object"].metadata.name))
            if len(seen) == 4:
                return

    thread = threading.Thread(target=look)
    thread.start()
    core.create_namespaced_config_map(namespace, config_map("b", {"mine": "yes"}))
    core.create_namespaced_config_map(namespace, config_map("c"))
    core.patch_namespaced_config_map("a", namespace, {"data": {"x": "1"}})
    core.patch_namespaced_config_map("a", namespace, {"metadata": {"labels": {"mine": "no"}}})
    core.delete_namespaced_config_map("b", namespace)
    thread.join(10)
    assert seen == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "a"), ("DELETED", "b")]


def test_a_watch_from_a_forgotten_version_is_refused(api_server, core, namespace):
    version = core.list_namespaced_config_map(namespace).metadata.resource_version
    core.create_namespaced_config_map(namespace, config_map("a"))
    api_server.objects.forget_changes()
    with pytest.raises(ApiException, match="410"):
        list(
            watch.Watch().stream(
                core.list_namespaced_config_map,
                namespace,
                resource_version=version,
                timeout_seconds=2,
            )
        )


def test_the_token_counts(api_server, kubeconfig, token_file, core, namespace):
    api_server.renew_token(token_file)
    assert refusal(core.list_namespaced_pod, namespace).status == 401
    with config.new_client_from_config(kubeconfig) as fresh:
        assert CoreV1Api(fresh).list_namespaced_pod(namespace).items == []


def test_faults_come_when_asked_for(api_server, core, namespace):
    api_server.faults.fail(429, times=9, verb="list", resource="pods")
    throttled = refusal(core.list_namespaced_pod, namespace, _request_timeout=5)
    assert throttled.status == 429 and "Too many requests" in throttled.body
    num_tries = api_server.requests.count(("list", "pods", None))
    assert num_tries > 1  # the client itself tries again where there is a Retry-After
    api_server.faults.clear()
    api_server.faults.fail(504)
    late = refusal(core.list_namespaced_pod, namespace)
    assert late.status == 504 and "Too large resource version" in late.body
    assert core.list_namespaced_pod(namespace).items == []


def test_denied_rights_show_in_access_reviews(api_server, api_client, jobs, namespace):
    def allowed():
        attributes = {"namespace": namespace, "verb": "create", "group": "ray.io"}
        body = {"spec": {"resourceAttributes": {**attributes, "resource": "rayjobs"}}}
        return AuthorizationV1Api(api_client).create_self_subject_access_review(body).status.allowed

    assert allowed()
    api_server.faults.deny("create", "rayjobs")
    assert not allowed()
    denied = refusal(
        jobs.create_namespaced_custom_object, namespace=namespace, body=ray_job(**IDLE), **RAYJOBS
    )
    assert denied.status == 403 and "cannot create resource" in denied.body


def test_without_its_definition_a_kind_is_not_served(api_server, jobs, namespace):
    api_server.objects.delete(kind_of("CustomResourceDefinition"), None, "rayjobs.ray.io")
    gone = refusal(jobs.list_namespaced_custom_object, namespace=namespace, **RAYJOBS)
    assert gone.status == 404 and "page not found" in gone.body


def test_server_side_apply(api_client, core, namespace):
    def apply(manager, data, **query):
        body = {"apiVersion": "v1", "kind": "ConfigMap"} | config_map("a", **data)
        return core.patch_namespaced_config_map(
            "a",
            namespace,
            body,
            field_manager=manager,
            _content_type="application/apply-patch+yaml",
            **query,
        )

    apply("one", {"x": "1", "y": "1"})
    apply("one", {"x": "1"})
    assert core.read_namespaced_config_map("a", namespace).data == {"x": "1"}
    apply("two", {"z": "2"})
    conflict = refusal(apply, "two", {"x": "2"})
    assert conflict.status == 409 and "Apply failed with 1 conflict" in conflict.body
    apply("two", {"x": "2"}, force=True)
    assert core.read_namespaced_config_map("a", namespace).data == {"x": "2"}


def test_strategic_and_json_patches(core, namespace, controllers):
    pod = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "one"}]}}
    core.create_namespaced_pod(namespace, pod)
    spec = {"containers": [{"name": "a", "image": "two"}]}
    core.patch_namespaced_pod(
        "a", namespace, {"spec": spec}, _content_type="application/strategic-merge-patch+json"
    )
    operations = [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]
    patched = core.patch_namespaced_pod("a", namespace, operations)
    assert patched.spec.containers[0].image == "two" and patched.metadata.labels == {"a": "b"}
