"""The RayCluster, the submitter and their pods, made and ended as KubeRay does; judges no job."""

import uuid

from tests.kubernetes import pod_states
from tests.kubernetes.kinds import kind_of
from tests.kubernetes.objects import timestamp

POD, EVENT, JOB = kind_of("Pod"), kind_of("Event"), kind_of("Job")
CLUSTER = kind_of("RayCluster")
SUBMITTER = "ray-job-submitter"
UNSCHEDULABLE = (
    "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are "
    "available: 1 No preemption victims found for incoming pod."
)
QUOTA = (
    "exceeded quota: team, requested: requests.nvidia.com/gpu=1, "
    "used: requests.nvidia.com/gpu=8, limited: requests.nvidia.com/gpu=8"
)


class RayPods:
    """Makes what belongs to a RayJob, and lets it run, wait or fail."""

    def __init__(self, objects, logs):
        self.objects = objects
        self.logs = logs

    def tell(self, namespace, obj, reason, message, **how):
        """Record an event about an object."""
        self.objects.create(EVENT, namespace, pod_states.event(obj, reason, message, **how))

    def make_cluster(self, job, obstacle=None):
        """Make a RayCluster with its head and the workers it starts with.

        Args:
            job: The RayJob.
            obstacle: None, or what the pods meet: `image`, `unschedulable` or `quota`.
        """
        metadata = job["metadata"]
        origin = {
            "ray.io/originated-from-cr-name": metadata["name"],
            "ray.io/originated-from-crd": "RayJob",
        }
        cluster = {
            "metadata": {
                "name": f"{metadata['name']}-{uuid.uuid4().hex[:5]}",
                "labels": {**(metadata.get("labels") or {}), **origin},
                "annotations": metadata.get("annotations") or {},
                "ownerReferences": [pod_states.owner_of(job)],
            },
            "spec": job["spec"]["rayClusterSpec"],
        }
        cluster = self.objects.create(CLUSTER, metadata["namespace"], cluster)
        head = cluster["spec"]["headGroupSpec"]
        self._make_pod(cluster, "head", "headgroup", head, obstacle)
        for group in cluster["spec"].get("workerGroupSpecs") or []:
            for _ in range(max(group.get("minReplicas") or 0, group.get("replicas") or 0)):
                self._make_pod(cluster, "worker", group["groupName"], group, obstacle)
        return cluster

    def add_worker(self, cluster, group_name, obstacle=None):
        """Make one more worker of a group, as the autoscaler does; it runs unless obstructed."""
        groups = cluster["spec"]["workerGroupSpecs"]
        group = next(each for each in groups if each["groupName"] == group_name)
        pod = self._make_pod(cluster, "worker", group_name, group, obstacle)
        if pod and not obstacle:
            self.run(pod)
        return pod

    def _make_pod(self, cluster, role, group_name, group, obstacle):
        namespace, name = cluster["metadata"]["namespace"], cluster["metadata"]["name"]
        if obstacle == "quota":
            why = f'pods "{name}-{role}" is forbidden: {QUOTA}'
            reason = "FailedToCreateHeadPod" if role == "head" else "FailedToCreateWorkerPod"
            message = f"Failed to create {role} Pod {namespace}/{name}-{role}, {why}"
            self.tell(namespace, cluster, reason, message, source="raycluster-controller")
            return None
        labels = {
            "ray.io/cluster": name,
            "ray.io/node-type": role,
            "ray.io/group": group_name,
            "ray.io/is-ray-node": "yes",
            "app.kubernetes.io/name": "kuberay",
            "app.kubernetes.io/created-by": "kuberay-operator",
        }
        stem = f"{name}-head" if role == "head" else f"{name}-{group_name}-worker"
        pod = pod_states.pod_of(group["template"], name=stem, owner=cluster, labels=labels)
        pod = self.objects.create(POD, namespace, pod)
        self._obstruct(pod, obstacle)
        return pod

    def _obstruct(self, pod, obstacle):
        namespace = pod["metadata"]["namespace"]
        if obstacle == "unschedulable":
            self._set(pod, pod_states.unscheduled(UNSCHEDULABLE))
            self.tell(namespace, pod, "FailedScheduling", UNSCHEDULABLE)
        elif obstacle == "image":
            image = pod["spec"]["containers"][0]["image"]
            message = f'Back-off pulling image "{image}"'
            cause = (
                f'Failed to pull image "{image}": rpc error: code = NotFound desc = failed to '
                f'pull and unpack image "{image}": not found'
            )
            self._set(pod, pod_states.waiting(pod, "ImagePullBackOff", message))
            self.tell(namespace, pod, "Failed", cause, source="kubelet")
            self.tell(namespace, pod, "BackOff", message, warning=False, source="kubelet")
        else:
            self._set(pod, pod_states.waiting(pod, "ContainerCreating"))

    def _set(self, pod, status):
        metadata = pod["metadata"]
        self.objects.set_status(POD, metadata["namespace"], metadata["name"], **status)

    def run(self, pod):
        """Let a pod run."""
        for container in pod["spec"]["containers"]:
            self.logs.begin(
                pod["metadata"]["namespace"], pod["metadata"]["name"], container["name"]
            )
        self._set(pod, pod_states.running(pod))

    def end(self, pod, exit_code, reason=None):
        """Let a pod end by itself."""
        self._set(pod, pod_states.ended(pod, exit_code, reason))
        self._end_logs(pod)

    def evict(self, pod, reason, message):
        """Take a pod's node away."""
        self._set(pod, pod_states.evicted(pod, reason, message))
        self.tell(pod["metadata"]["namespace"], pod, reason, message, source="node-controller")
        self._end_logs(pod)

    def _end_logs(self, pod):
        for container in pod["spec"]["containers"]:
            self.logs.end(pod["metadata"]["namespace"], pod["metadata"]["name"], container["name"])

    def of_cluster(self, namespace, cluster, role=None):
        """Return the pods of a RayCluster, by role `head` or `worker`."""
        wanted = {"ray.io/cluster": cluster} | ({"ray.io/node-type": role} if role else {})
        return [
            pod
            for pod in self.objects.list(POD, namespace)
            if wanted.items() <= pod["metadata"]["labels"].items()
        ]

    def submitter(self, namespace, job_name):
        """Return the newest submitter pod of a RayJob, or None."""
        pods = [
            pod
            for pod in self.objects.list(POD, namespace)
            if pod["metadata"].get("labels", {}).get("job-name") == job_name
        ]
        return max(pods, key=lambda pod: int(pod["metadata"]["resourceVersion"]), default=None)

    def make_submitter(self, job):
        """Make the batch Job whose pod submits the entrypoint and prints its output; it runs."""
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        default = {
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": SUBMITTER, "image": "rayproject/ray"}],
            }
        }
        template = job["spec"].get("submitterPodTemplate") or default
        limit = (job["spec"].get("submitterConfig") or {}).get("backoffLimit", 2)
        batch = {
            "metadata": {"name": name, "ownerReferences": [pod_states.owner_of(job)]},
            "spec": {"template": template, "backoffLimit": limit},
        }
        batch = self.objects.create(JOB, namespace, batch)
        labels = {"job-name": name, "batch.kubernetes.io/job-name": name}
        labels |= batch["spec"]["selector"]["matchLabels"]
        pod = pod_states.pod_of(template, name=name, owner=batch, labels=labels)
        pod = self.objects.create(POD, namespace, pod)
        self.run(pod)
        self.objects.set_status(JOB, namespace, name, active=1, startTime=timestamp())

    def end_submitter(self, namespace, job_name, exit_code):
        """Let the submitter's pod and batch Job end."""
        pod = self.submitter(namespace, job_name)
        if pod is None:
            return
        self.end(pod, exit_code)
        done = {"failed": 1} if exit_code else {"succeeded": 1, "completionTime": timestamp()}
        condition = {
            "type": "Failed" if exit_code else "Complete",
            "status": "True",
            "lastTransitionTime": timestamp(),
        }
        if exit_code:
            condition["reason"] = "BackoffLimitExceeded"
        self.objects.set_status(
            JOB, namespace, job_name, active=None, conditions=[condition], **done
        )

    def delete(self, kind, namespace, name):
        """Remove an object with all that belongs to it, if it is there."""
        if not name or self.objects.find(kind, namespace, name) is None:
            return
        before = self.objects.list(POD, namespace)
        self.objects.delete(kind, namespace, name)
        for pod in before:
            if self.objects.find(POD, namespace, pod["metadata"]["name"]) is None:
                self._end_logs(pod)
