"""A toy submission, a sweep of a script, and a profile for the cluster that the tests talk to."""

import os
import sys
from importlib.metadata import version

import yaml

from cluster.bundle import Bundle
from cluster.job import Resources
from cluster.kubernetes.api import Api
from cluster.kubernetes.target import KubernetesTarget
from cluster.profile import Profile
from cluster.target import Submission
from tests.kubernetes.kinds import kind_of

IMAGE = os.environ.get("FANFLARE_TEST_IMAGE") or (
    f"rayproject/ray:{version('ray')}-py{sys.version_info.major}{sys.version_info.minor}"
)
STORAGE = os.environ.get("FANFLARE_TEST_STORAGE")
PROGRAM = """
import sys
for number in range(3):
    print(f"line {number}", flush=True)
sys.exit({code})
"""
SCRIPT = """
import json, sys
print("a trial at work")
print(json.dumps({"score": float(sys.argv[1])}))
"""
SWEEP = {
    "name": "own-script",
    "pipeline": "command",
    "seeds": 2,
    "tracking": "off",
    "metric": {"name": "score", "mode": "max"},
    "space": {"command": "{python} train.py {rate}", "metrics": "stdout", "rate": [0.1, 0.2]},
}
"""A sweep over a script of the user's own."""

STORE = "/fanflare/store/fanflare"


def profile(namespace, **changes):
    """Return a profile of a small cluster whose storage is the claim `results`, or a bucket."""
    given = {
        "target": "kubernetes",
        "namespace": namespace,
        "image": IMAGE,
        "storage": {"uri": STORAGE} if STORAGE else {"pvc": "results"},
        "head": {"num_cpus": 0.5, "memory_gib": 2},
        "workers": {"cpu": {"num_cpus": 1, "memory_gib": 2, "max_replicas": 2}},
        "max_retries": 1,
    }
    return Profile.model_validate({**given, **changes})


def submission(name="toy", *, code=0, shapes=(), owner="ada", note="", tracking_uri=None):
    """Return a program that prints three lines and ends with a code; `note` makes it another."""
    files = {"toy_program.py": PROGRAM.replace("{code}", str(code)).encode(), "note": note.encode()}
    return Submission(
        name=name,
        bundle=Bundle(files=files),
        module="toy_program",
        shapes=shapes or (Resources(num_cpus=1),),
        owner=owner,
        store=STORE,
        tracking_uri=tracking_uri,
    )


class Naps:
    """In place of `time.sleep`: remembers the pauses and takes none."""

    def __init__(self):
        self.taken = []

    def __call__(self, seconds):
        self.taken.append(seconds)


def target_of(given):
    """Return the target of a profile, which takes no pauses between its tries."""
    return KubernetesTarget(given, Api(given, sleep=Naps()))


def claim(api, name="results", mode="ReadWriteOnce"):
    """Make a claim; on our own server, which binds none, it is bound by its status."""
    body = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": [mode],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    api.create("persistentvolumeclaims", body)


def bound_claim(api_server, namespace):
    """Make the claim `results` on our own server, for many nodes, and bind it."""
    claim(Api(profile(namespace)), mode="ReadWriteMany")
    claims = kind_of("PersistentVolumeClaim")
    api_server.objects.set_status(claims, namespace, "results", phase="Bound")


def profile_file(folder, namespace, **changes):
    """Write a profile into a folder; return its path."""
    path = folder / "prod.yaml"
    data = profile(namespace, **changes).model_dump(mode="json", exclude_unset=True)
    path.write_text(yaml.safe_dump(data))
    return path
