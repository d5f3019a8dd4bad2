"""KubeRay's operator as a script: it walks RayJobs through the states that a test asks for.

Nothing happens by itself and no clock runs: `step` is one reconciliation, the other methods are
what the world does to the job in between.
"""

import uuid

from tests.kubernetes.kinds import kind_of
from tests.kubernetes.objects import timestamp
from tests.kubernetes.ray_pods import JOB, SUBMITTER, RayPods

RAYJOB, CLUSTER = kind_of("RayJob"), kind_of("RayCluster")
FINALIZER = "ray.io/rayjob-finalizer"
"""Keeps a RayJob that is deleted until its entrypoint was told to stop."""
NO_ATTEMPT = dict.fromkeys(
    (
        "jobId",
        "rayClusterName",
        "rayClusterStatus",
        "dashboardURL",
        "jobStatus",
        "reason",
        "message",
        "endTime",
    )
)
"""What the operator forgets when it starts a job anew."""


class Operator:
    """Reconciles the RayJobs of one API server, a step at a time."""

    def __init__(self, objects, logs):
        self.objects = objects
        self.pods = RayPods(objects, logs)
        self._logs = logs
        self._obstacles = {}
        self._outcomes = {}

    def job(self, namespace, name):
        """Return a RayJob."""
        return self.objects.get(RAYJOB, namespace, name)

    def status(self, namespace, name):
        """Return a RayJob's status."""
        return self.job(namespace, name).get("status") or {}

    def _set(self, namespace, name, **fields):
        self.objects.set_status(RAYJOB, namespace, name, **fields)

    def step(self, namespace, name):
        """Reconcile once; return the job's deployment status."""
        job, status = self.job(namespace, name), self.status(namespace, name)
        if "deletionTimestamp" in job["metadata"]:
            self._release(namespace, name)
            return ""
        state, suspend = status.get("jobDeploymentStatus", ""), job["spec"].get("suspend")
        if suspend and state in ("", "Initializing", "Running", "Retrying"):
            self._set(namespace, name, jobDeploymentStatus="Suspending" if state else "Suspended")
        elif state == "Suspending":
            self._clear(namespace, name, status)
            self._set(namespace, name, jobDeploymentStatus="Suspended", **NO_ATTEMPT)
        elif state == "Retrying":
            self._clear(namespace, name, status)
            self._set(namespace, name, jobDeploymentStatus="", **NO_ATTEMPT)
            self._initialize(self.job(namespace, name))
        elif state == "" or (state == "Suspended" and not suspend):
            self._initialize(job)
        elif state == "Initializing":
            self._try_to_run(job, status)
        elif state == "Running":
            self._follow(namespace, name, status)
        elif state in ("Complete", "Failed"):
            self.pass_time(namespace, name, 0)
        if self.objects.find(RAYJOB, namespace, name) is None:
            return ""
        return self.status(namespace, name).get("jobDeploymentStatus", "")

    def settle(self, namespace, name, state):
        """Step until the job has a deployment status.

        Raises:
            AssertionError: It does not get there.
        """
        for _ in range(8):
            if self.step(namespace, name) == state:
                return
        raise AssertionError(f"{name} is {self.status(namespace, name)}, not {state}")

    def _release(self, namespace, name):
        job = self.objects.find(RAYJOB, namespace, name)
        if job is not None:
            job["metadata"].pop("finalizers", None)
            self.objects.replace(RAYJOB, namespace, job)

    def _initialize(self, job):
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        job["metadata"]["finalizers"] = [FINALIZER]
        self.objects.replace(RAYJOB, namespace, job)
        cluster = self.pods.make_cluster(job, self._obstacles.get((namespace, name)))
        made = cluster["metadata"]["name"]
        self._set(
            namespace,
            name,
            jobId=job["spec"].get("jobId") or f"{name}-{uuid.uuid4().hex[:5]}",
            rayClusterName=made,
            rayClusterStatus={"desiredCPU": "0", "desiredGPU": "0"},
            dashboardURL=f"{made}-head-svc.{namespace}.svc.cluster.local:8265",
            jobDeploymentStatus="Initializing",
            startTime=timestamp(),
            failed=(job.get("status") or {}).get("failed", 0),
            succeeded=(job.get("status") or {}).get("succeeded", 0),
            observedGeneration=job["metadata"]["generation"],
        )

    def _try_to_run(self, job, status):
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        if self._obstacles.get((namespace, name)):
            return
        cluster = status["rayClusterName"]
        for pod in self.pods.of_cluster(namespace, cluster):
            self.pods.run(pod)
        self.objects.set_status(CLUSTER, namespace, cluster, state="ready")
        if job["spec"].get("submissionMode", "K8sJobMode") == "K8sJobMode":
            self.pods.make_submitter(job)
        self._set(
            namespace,
            name,
            jobDeploymentStatus="Running",
            jobStatus="RUNNING",
            message="Job is currently running.",
            rayClusterStatus={"state": "ready"},
        )

    def _follow(self, namespace, name, status):
        if status.get("jobStatus") == "RUNNING":
            if outcome := self._outcomes.pop((namespace, name), None):
                self._set(namespace, name, **outcome)
        elif status["jobStatus"] in ("SUCCEEDED", "STOPPED"):
            succeeded = status["jobStatus"] == "SUCCEEDED"
            self.pods.end_submitter(namespace, name, 0 if succeeded else 1)
            self._set(
                namespace,
                name,
                jobDeploymentStatus="Complete",
                succeeded=status.get("succeeded", 0) + succeeded,
                endTime=timestamp(),
            )
        else:
            self.pods.end_submitter(namespace, name, 1)
            self._fail(namespace, name, "AppFailed", status.get("message", ""))

    def _fail(self, namespace, name, reason, message, *, retried=True):
        job, status = self.job(namespace, name), self.status(namespace, name)
        failed = status.get("failed", 0) + 1
        again = retried and failed <= job["spec"].get("backoffLimit", 0)
        self._set(
            namespace,
            name,
            jobDeploymentStatus="Retrying" if again else "Failed",
            reason=reason,
            message=message,
            failed=failed,
            endTime=timestamp(),
        )

    def _clear(self, namespace, name, status):
        self.pods.delete(CLUSTER, namespace, status.get("rayClusterName"))
        self.pods.delete(JOB, namespace, name)

    # what a test lets happen

    def print(self, namespace, name, *lines):
        """Let the entrypoint print lines; they appear in the submitter's log."""
        pod = self.pods.submitter(namespace, name)
        self._logs.append(namespace, pod["metadata"]["name"], SUBMITTER, *lines)

    def obstruct(self, namespace, name, obstacle):
        """Let pods made from now on meet `image`, `unschedulable` or `quota`; None ends it."""
        if obstacle is None and self._obstacles.pop((namespace, name), None) == "quota":
            status = self.status(namespace, name)
            self._clear(namespace, name, status)
            self._initialize(self.job(namespace, name))
        self._obstacles[(namespace, name)] = obstacle

    def finish(self, namespace, name, exit_code=0, tail=""):
        """Let the entrypoint end: the next step tells its job status, the one after the end."""
        outcome = {"jobStatus": "SUCCEEDED", "message": "Job finished successfully."}
        if exit_code:
            message = (
                f"Job entrypoint command failed with exit code {exit_code}, "
                f"last available logs (truncated to 20,000 chars):\n{tail}"
            )
            outcome = {"jobStatus": "FAILED", "message": message}
        self._outcomes[(namespace, name)] = outcome

    def stop(self, namespace, name):
        """Let Ray's own `job stop` end the entrypoint."""
        self._outcomes[(namespace, name)] = {
            "jobStatus": "STOPPED",
            "message": "Job was intentionally stopped.",
        }

    def lose_head(self, namespace, name, *, retried=True):
        """Take the head's node away; the job is retried on a new RayCluster while it may be.

        Args:
            namespace: The job's namespace.
            name: The job's name.
            retried: False where the operator gives up instead: no head for 300 s.
        """
        status = self.status(namespace, name)
        message = "The node was low on resource: memory."
        for pod in self.pods.of_cluster(namespace, status["rayClusterName"], "head"):
            self.pods.evict(pod, "TerminationByKubelet", message)
        self.pods.end_submitter(namespace, name, 1)
        reason, text = (
            ("SubmissionFailed", "Job submission has failed. Reason: BackoffLimitExceeded.")
            if retried
            else ("JobStatusCheckTimeoutExceeded", "Job status check failed for 300 seconds")
        )
        self._fail(namespace, name, reason, text, retried=retried)

    def preempt_worker(self, namespace, name):
        """Take a worker's node away, as a spot machine; return the name of its pod."""
        cluster = self.status(namespace, name)["rayClusterName"]
        pod = self.pods.of_cluster(namespace, cluster, "worker")[0]
        self.pods.evict(pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute")
        return pod["metadata"]["name"]

    def add_worker(self, namespace, name, group, obstacle=None):
        """Let the autoscaler ask for a worker of a group; return its pod, or None."""
        cluster = self.status(namespace, name)["rayClusterName"]
        found = self.objects.get(CLUSTER, namespace, cluster)
        return self.pods.add_worker(found, group, obstacle)

    def admit(self, namespace, name, admitted=True):
        """Let Kueue admit a suspended job, or take the admission back."""
        job = self.job(namespace, name)
        job["spec"]["suspend"] = not admitted
        self.objects.replace(RAYJOB, namespace, job)

    def pass_time(self, namespace, name, seconds):
        """Say that so many seconds have passed since the job's start, or its end if it has one."""
        job, status = self.job(namespace, name), self.status(namespace, name)
        spec, state = job["spec"], status.get("jobDeploymentStatus", "")
        if state in ("Complete", "Failed"):
            self._clean_up(namespace, name, seconds)
        elif spec.get("activeDeadlineSeconds", seconds + 1) <= seconds:
            text = (
                "The RayJob has passed the activeDeadlineSeconds. "
                f"StartTime: {status.get('startTime')}. "
                f"ActiveDeadlineSeconds: {spec['activeDeadlineSeconds']}"
            )
            self._fail(namespace, name, "DeadlineExceeded", text, retried=False)
        elif (
            state == "Initializing"
            and spec.get("preRunningDeadlineSeconds", seconds + 1) <= seconds
        ):
            text = "The RayJob has passed the preRunningDeadlineSeconds."
            self._fail(namespace, name, "PreRunningDeadlineExceeded", text, retried=False)

    def _clean_up(self, namespace, name, seconds):
        spec, status = self.job(namespace, name)["spec"], self.status(namespace, name)
        policies = set()
        if rules := (spec.get("deletionStrategy") or {}).get("deletionRules"):
            for rule in rules:
                condition = dict(rule["condition"])
                if (
                    condition.pop("ttlSeconds", 0) <= seconds
                    and condition.items() <= status.items()
                ):
                    policies.add(rule["policy"])
        elif spec.get("shutdownAfterJobFinishes"):
            policies = {"DeleteCluster"} if spec["ttlSecondsAfterFinished"] <= seconds else set()
        if policies & {"DeleteCluster", "DeleteSelf"}:
            self.pods.delete(CLUSTER, namespace, status.get("rayClusterName"))
        elif "DeleteWorkers" in policies:
            for pod in self.pods.of_cluster(namespace, status["rayClusterName"], "worker"):
                self.pods.delete(kind_of("Pod"), namespace, pod["metadata"]["name"])
        if "DeleteSelf" in policies:
            self.pods.delete(RAYJOB, namespace, name)
            self._release(namespace, name)
