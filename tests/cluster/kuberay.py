"""KubeRay's schemas with unknown fields refused, and the profiles and submissions of its tests."""

import json

import jsonschema
import pytest

from cluster.bundle import Bundle
from cluster.job import Resources
from cluster.profile import Profile
from cluster.target import Submission
from tests.kubernetes.schemas import SCHEMAS

CPU = {
    "target": "kubernetes",
    "namespace": "sweeps",
    "image": "registry.example/fanflare:0.1.0",
    "storage": {"uri": "s3://bucket/sweeps?endpoint_override=minio:9000&scheme=http"},
    "env_secrets": ["s3"],
    "workers": {"cpu": {"num_cpus": 4, "memory_gib": 16, "max_replicas": 8}},
}
GPU_GROUP = {
    "num_cpus": 7.5,
    "memory_gib": 60,
    "num_gpus": 1,
    "gpu_memory_gib": 24,
    "shm_gib": 12,
    "max_replicas": 16,
    "node_selector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
    "tolerations": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}],
}
GPU = {
    **CPU,
    "tracking_uri": "http://mlflow:5000",
    "env": {
        "HF_HOME": "/tmp/hub",
        "MLFLOW_TRACKING_PASSWORD": {"secret": "mlflow-login", "key": "password"},
    },
    "image_pull_secrets": ["registry"],
    "service_account": "sweeps",
    "head": {"node_selector": {"pool": "stable"}},
    "workers": {
        "demand": {**GPU_GROUP, "max_replicas": 4, "min_replicas": 1},
        "spot": {**GPU_GROUP, "spot": True},
    },
    "priority_class": "batch",
    "deadline_s": 86400,
    "start_deadline_s": 3600,
    "grace_period_s": 25,
}
QUEUED = {**GPU, "queue": "team-a"}
PVC = {**CPU, "storage": {"pvc": "results"}, "env_secrets": []}


def profile(given=CPU, **changes):
    """Return a profile; a change to None takes a key away."""
    keys = {**given, **changes}
    return Profile.model_validate({key: part for key, part in keys.items() if part is not None})


def submission(**changes):
    """Return a submission of two files."""
    given = {
        "name": "Learning curves",
        "bundle": Bundle(files={"request.json": b"{}", "sweep/sweep.yaml": b"name: a\n"}),
        "module": "orchestrator.cli.drive",
        "shapes": [Resources(num_cpus=2)],
        "owner": "ann@example.org",
        "store": "s3://bucket/sweeps",
    }
    return Submission(**(given | changes))


def schema_faults(manifest):
    """Return what KubeRay's schema finds wrong, unknown fields included; skip without it."""
    path = SCHEMAS / f"{manifest['kind'].lower()}.v1.schema.json"
    if not path.exists():
        pytest.skip(f"no schemas of KubeRay at {SCHEMAS} (FANFLARE_KUBERAY_SCHEMAS)")
    schema = _closed(json.loads(path.read_text()))
    schema["properties"]["metadata"] = {"type": "object"}
    found = jsonschema.Draft202012Validator(schema).iter_errors(manifest)
    return [f"{error.json_path}: {error.message}" for error in found]


def _closed(schema):
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _closed(part) for key, part in schema.items()}
    if schema.get("x-kubernetes-int-or-string") is True:
        made |= {"type": ["integer", "string"]}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        made["additionalProperties"] = False
    return made
