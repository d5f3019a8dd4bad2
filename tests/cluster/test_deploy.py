"""What is shipped for a cluster: manifests an API server takes, profiles, and a guide to them."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from cluster.kubernetes.manifest import manifests
from cluster.kubernetes.preflight import READING_RIGHTS, RIGHTS, VOLUME_RIGHTS
from cluster.kubernetes.rules import profile_problems, rule_problems
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
from orchestrator.submitting.profile_file import read_profile
from tests.cluster.kuberay import schema_faults, submission
from tests.kubernetes import schemas
from tests.kubernetes.kinds import KINDS, Kind
from tests.test_docs import rows, section

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "cluster" / "deploy"
GUIDE = (ROOT / "docs/kubernetes.md").read_text()
SHIPPED = sorted(DEPLOY.glob("*.yaml"))
PROFILES = sorted((ROOT / "examples/clusters").glob("*.yaml"))
SHOWN = re.findall(r"^```yaml profile\n(.*?)^```", GUIDE, re.M | re.S)
MODELS = {kind.name: kind for kind in KINDS} | {
    "StatefulSet": Kind("apps", "v1", "StatefulSet", "statefulsets", model="V1StatefulSet"),
    "NetworkPolicy": Kind(
        "networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", model="V1NetworkPolicy"
    ),
    "Role": Kind("rbac.authorization.k8s.io", "v1", "Role", "roles", model="V1Role"),
}
TABLES = {
    "Keys of a profile": {"": Profile},
    "A worker group": {"": WorkerGroup},
    "The head": {"": Head},
}
PARTS = [
    ("target.", RayTarget),
    ("storage.", Bucket),
    ("storage.", Volume),
    ("env.NAME.", SecretKey),
    ("tolerations.", Toleration),
]


def objects(path):
    return list(YAML(typ="safe").load_all(path.read_text()))


def pod_specs(path):
    return [
        made["spec"]["template"]["spec"]
        for made in objects(path)
        if made["kind"] in ("Deployment", "StatefulSet")
    ]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_an_api_server_takes_every_object(path):
    for made in objects(path):
        kind = MODELS[made["kind"]]
        assert made["apiVersion"] == kind.api_version
        schemas.checked(kind, made, "Strict")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_pods_are_restricted_and_hold_no_secret(path):
    assert all(made["kind"] != "Secret" for made in objects(path))
    for pod in pod_specs(path):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            for variable in container["env"]:
                if "PASSWORD" in variable["name"]:
                    assert "secretKeyRef" in variable["valueFrom"]


def test_services_find_their_pods():
    for path in SHIPPED:
        labels = [
            made["spec"]["template"]["metadata"]["labels"]
            for made in objects(path)
            if made["kind"] in ("Deployment", "StatefulSet")
        ]
        for made in objects(path):
            if made["kind"] == "Service":
                assert made["spec"]["selector"] in labels


def test_the_role_allows_all_that_is_asked_for():
    [role] = objects(DEPLOY / "submitter-role.yaml")
    for group, resource, verbs in [*RIGHTS, *VOLUME_RIGHTS, *READING_RIGHTS]:
        allowed = {
            verb
            for rule in role["rules"]
            if group in rule["apiGroups"] and resource in rule["resources"]
            for verb in rule["verbs"]
        }
        assert set(verbs) <= allowed, (resource, verbs)


def test_the_image_has_the_versions_that_were_tested_together():
    text = (DEPLOY / "Dockerfile").read_text()
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line
    )
    assert f"ARG RAY_VERSION={pins['ray']}\n" in text
    assert {"torch", "psycopg2-binary", "mlflow"} <= set(pins)
    assert text.rstrip().endswith("USER 1000")
    for source in re.findall(r"^COPY \S+ (.*) \S+$", text, re.M):
        for name in source.split():
            assert (ROOT / name).exists()
            assert f"!{name}" in (DEPLOY / "Dockerfile.dockerignore").read_text().split()


def test_what_is_shipped_is_in_the_wheel():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert data["package-data"]["cluster"] == ["deploy/*"]
    assert all(path.parent == DEPLOY for path in DEPLOY.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_example_profile_gives_a_valid_manifest(path):
    profile = read_profile(str(path))
    if profile.kind == "kubernetes":
        assert profile_problems(profile) == []
        for made in manifests(submission(), profile):
            assert rule_problems(made) == []
            assert made["kind"] != "RayJob" or schema_faults(made) == []


@pytest.mark.parametrize("text", SHOWN)
def test_every_profile_in_the_guide_gives_a_valid_manifest(text, tmp_path):
    path = tmp_path / "profile.yaml"
    path.write_text(text)
    profile = read_profile(str(path))
    assert profile_problems(profile) == []
    for made in manifests(submission(), profile):
        assert rule_problems(made) == []
        assert made["kind"] != "RayJob" or schema_faults(made) == []


@pytest.mark.parametrize("title", TABLES)
def test_the_guide_has_every_key_of_the_profile(title):
    [(_, model)] = TABLES[title].items()
    found = rows(section(GUIDE, title))
    assert list(found) == list(model.model_fields)
    for name, field in model.model_fields.items():
        assert found[name][-1].rstrip(" |") == " ".join(field.description.split())
        default = field.get_default(call_default_factory=True)
        if isinstance(default, bool | int | float | str) and not field.is_required():
            shown = str(default).lower() if isinstance(default, bool) else str(default)
            assert found[name][1] == f"`{shown}`"
        assert (found[name][1] == "required") == field.is_required()


def test_the_guide_has_every_key_of_the_parts():
    found = rows(section(GUIDE, "Storage, secrets, tolerations"))
    wanted = [f"{start}{name}" for start, model in PARTS for name in model.model_fields]
    assert list(found) == wanted


def test_the_guide_names_files_and_versions_that_are_there():
    for name in re.findall(r"(?:cluster/deploy|examples/clusters)/[\w.-]+", GUIDE):
        assert (ROOT / name).exists(), name
    assert version("fanflare") in GUIDE
