"""A small RayJob for tests, as data."""

import os

IMAGE = os.environ.get("FANFLARE_TEST_IMAGE", "rayproject/ray:2.60.0")
"""The image of its pods, which only a real cluster pulls."""

IDLE = {"managedBy": "kueue.x-k8s.io/multikueue"}
"""With this in its spec the operator of a real cluster leaves a RayJob alone."""


def ray_job(name="toy", **spec):
    """Return a RayJob of one head and one worker group; `spec` overrides its fields."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name, "labels": {"team": "toys"}},
        "spec": {
            "entrypoint": "python -c 'print(1)'",
            "shutdownAfterJobFinishes": True,
            "rayClusterSpec": {
                "rayVersion": "2.60.0",
                "headGroupSpec": {"rayStartParams": {"num-cpus": "0"}, "template": _pod("head")},
                "workerGroupSpecs": [
                    {
                        "groupName": "cpu",
                        "replicas": 1,
                        "minReplicas": 0,
                        "maxReplicas": 2,
                        "rayStartParams": {},
                        "template": _pod("worker"),
                    }
                ],
            },
            **spec,
        },
    }


def _pod(role):
    room = {"cpu": "1", "memory": "2Gi"}
    container = {
        "name": f"ray-{role}",
        "image": IMAGE,
        "resources": {"limits": room, "requests": room},
    }
    return {"spec": {"containers": [container]}}
