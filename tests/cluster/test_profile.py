"""A cluster profile: what may stand in it, and what is told where it is wrong."""

import pytest
from pydantic import BaseModel, ValidationError

from cluster.profile import (
    Bucket,
    Head,
    Profile,
    RayTarget,
    SecretKey,
    Toleration,
    Volume,
    WorkerGroup,
)
from tests.cluster.kuberay import CPU, GPU, PVC, QUEUED, profile

GROUP = CPU["workers"]["cpu"]


def fault(**changes):
    """Return what is said about a profile: place and words."""
    with pytest.raises(ValidationError) as caught:
        profile(**changes)
    return "; ".join(
        f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}"
        for error in caught.value.errors()
    )


def test_nothing_is_needed_for_this_machine():
    assert Profile().kind == "local"


@pytest.mark.parametrize("given", [CPU, GPU, QUEUED, PVC])
def test_a_profile_survives_being_written_down(given):
    made = profile(given)
    assert Profile.model_validate(made.model_dump(mode="json")) == made
    assert made.kind == "kubernetes"


def test_a_ray_cluster_is_named_by_its_dashboard():
    given = Profile.model_validate(
        {"target": {"ray": "http://head:8265"}, "storage": {"uri": "s3://bucket"}}
    )
    assert given.kind == "ray"
    assert isinstance(given.target, RayTarget)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"storage": None}, "for kubernetes also required: storage"),
        ({"image": None}, "also required: image"),
        ({"workers": None, "image": None}, "also required: image, workers"),
        (
            {"storage": None, "image": None, "workers": None},
            "also required: storage, image, workers",
        ),
        ({"workers": {"cpu": {**GROUP, "max_replicas": 0}}}, "workers.cpu.max_replicas"),
        ({"workers": {"cpu": {**GROUP, "min_replicas": 9}}}, "9 is more than max_replicas 8"),
        ({"workers": {"cpu": {**GROUP, "shm_gib": 16}}}, "shm_gib 16 leaves nothing"),
        ({"workers": {"cpu": {**GROUP, "num_gpu": 1}}}, "workers.cpu.num_gpu: Extra inputs"),
        ({"workers": {"GPU": GROUP}}, "workers.GPU"),
        ({"namespace": "My Team"}, "namespace"),
        ({"storage": {"uri": "s3://key:word@bucket"}}, "uri"),
        ({"storage": {"uri": "s3://bucket/x?secret_key=word"}}, "credentials do not belong"),
        ({"storage": {"uri": "/mnt/results"}}, "uri"),
        ({"storage": {"pvc": ""}}, "pvc"),
        ({"tracking_uri": "postgresql://me:word@db/mlflow"}, "a password does not belong"),
        ({"tracking_uri": "postgresql://db/mlflow?password=word"}, "a password does not belong"),
        ({"target": {"ray": "head:8265"}}, "target.mapping.ray"),
        ({"target": "slurm"}, "target: `local`, `kubernetes`, or a Ray cluster"),
        ({"target": "ray"}, "as `ray: http://head:8265`"),
        ({"deadline_s": 0}, "deadline_s"),
        ({"max_retries": -1}, "max_retries"),
        ({"env": {"A": {"secret": "s"}}}, "key: Field required"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
    ],
)
def test_a_fault_is_told_with_its_place(changes, told):
    assert told in fault(**changes)


def test_a_fault_never_shows_a_password():
    with pytest.raises(ValidationError) as caught:
        profile(storage={"uri": "s3://key:hush@bucket"})
    assert "hush" not in "".join(error["msg"] for error in caught.value.errors())


def test_a_pod_offers_whole_cores_and_what_the_object_store_leaves():
    pod = profile().workers["cpu"].pod
    assert (pod.num_cpus, pod.memory_gib) == (4, pytest.approx(16 * 0.7))
    small = profile(workers={"cpu": {**GROUP, "num_cpus": 0.5}}).workers["cpu"].pod
    assert small.num_cpus == 1


@pytest.mark.parametrize(
    "part", [Profile, WorkerGroup, Head, Bucket, Volume, SecretKey, Toleration, RayTarget]
)
def test_every_key_says_what_it_means(part: type[BaseModel]):
    for name, field in part.model_fields.items():
        assert field.description, f"{part.__name__}.{name} has no sentence"
        assert field.description.rstrip().endswith("."), name
