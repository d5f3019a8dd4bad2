"""What a person is told about a RayJob, from objects as a cluster reports them."""

import pytest

from cluster.job import State
from cluster.kubernetes.diagnosis import attempts, diagnose, is_ended
from tests.kubernetes.reported import CREATED, ends, event, failed, job, pod, unscheduled, waits

NOW = 1795300000.0  # 2026-11-21T22:26:40Z


INITIALIZING = {"jobDeploymentStatus": "Initializing"}
RUNNING = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
UP = pod("head", phase="Running", main={"running": {}})
NO_GPU = (
    "0/5 nodes are available: 2 Insufficient nvidia.com/gpu, 3 node(s) didn't match Pod's node "
    "affinity/selector. preemption: 0/5 nodes are available: 5 No preemption victims found."
)
TAINTED = "0/3 nodes are available: 3 node(s) had untolerated taint {nvidia.com/gpu: present}."
SELECTED = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
QUOTA = (
    'Failed to create worker Pod a/b, pods "b" is forbidden: exceeded quota: team, requested: '
    "requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=8, limited: requests.nvidia.com/gpu=8"
)


# name: (job, pods, events, state, words of the message, words of the action)
CASES = {
    "image missing": (
        job(INITIALIZING),
        [pod(main=waits("ImagePullBackOff"))],
        [],
        State.SCHEDULED,
        "the head cannot pull the image 'registry.example/toy:1'",
        "image_pull_secrets",
    ),
    "image missing, told by the init container": (
        job(INITIALIZING),
        [pod(init=waits("ErrImagePull"), main=waits("PodInitializing"))],
        [],
        State.SCHEDULED,
        "cannot pull the image",
        "`image`",
    ),
    "no accelerator free": (
        job(RUNNING),
        [UP, unscheduled(NO_GPU)],
        [],
        State.RUNNING,
        "0 of 1 workers are there; a worker of group 'gpu' waits for a node: 0/5 nodes are "
        "available: 2 Insufficient nvidia.com/gpu",
        "`workers.gpu.num_gpus`",
    ),
    "a taint nobody bears": (
        job(RUNNING),
        [UP, unscheduled(TAINTED)],
        [],
        State.RUNNING,
        "untolerated taint",
        "add the taint 'nvidia.com/gpu: present' to `workers.gpu.tolerations`",
    ),
    "a selector that no node carries": (
        job(INITIALIZING),
        [unscheduled(SELECTED, role="head")],
        [],
        State.SCHEDULED,
        "the head waits for a node",
        "correct `head.node_selector`",
    ),
    "a machine is on its way": (
        job(RUNNING),
        [UP, unscheduled(NO_GPU)],
        [event("TriggeredScaleUp", "pod triggered scale-up: [{gpu 0->1 (max: 4)}]")],
        State.RUNNING,
        "waits for a machine that is being started",
        "",
    ),
    "no machine will come": (
        job(RUNNING),
        [UP, unscheduled(NO_GPU)],
        [event("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group size reached")],
        State.RUNNING,
        "no machine is added: pod didn't trigger scale-up: 1 max node group size reached",
        "num_gpus",
    ),
    "quota spent": (
        job(RUNNING),
        [UP],
        [event("FailedToCreateWorkerPod", QUOTA, "toy-cluster", "RayCluster")],
        State.RUNNING,
        "a worker is refused: quota 'team' is spent (requested: requests.nvidia.com/gpu=1",
        "have the quota raised",
    ),
    "refused by a policy": (
        job(INITIALIZING),
        [],
        [event("FailedToCreateHeadPod", 'pods "x" is forbidden: violates PodSecurity "baseline"')],
        State.SCHEDULED,
        'the head cannot be made: violates PodSecurity "baseline"',
        "correct the profile",
    ),
    "waits for Kueue": (
        job(
            {"jobDeploymentStatus": "Suspended"},
            labels={"kueue.x-k8s.io/queue-name": "team"},
            suspend=True,
        ),
        [],
        [
            event(
                "Pending",
                "insufficient unused quota for nvidia.com/gpu in flavor a100, 4 more needed",
                "rayjob-ff-toy-1a2b3c4d-1-9f",
                "Workload",
            )
        ],
        State.SCHEDULED,
        "waits for Kueue to admit it to queue 'team': insufficient unused quota for nvidia.com/gpu",
        "wait",
    ),
    "suspended by a person": (
        job({"jobDeploymentStatus": "Suspended"}, suspend=True),
        [],
        [],
        State.SCHEDULED,
        "suspended by somebody",
        "kubectl patch rayjob ff-toy-1a2b3c4d-1",
    ),
    "files refused by the store": (
        job(INITIALIZING),
        [pod(init=ends(1, "Traceback\nOSError: AWS Error ACCESS_DENIED during GetObject"))],
        [],
        State.SCHEDULED,
        "the head could not fetch the files: OSError: AWS Error ACCESS_DENIED",
        "`env_secrets`",
    ),
    "other files than were sent": (
        job(INITIALIZING),
        [pod(init=ends(1, "ValueError: the bundle has digest 12, 34 was sent"))],
        [],
        State.SCHEDULED,
        "the bundle has digest 12",
        "submit again",
    ),
    "the head out of memory": (
        job({**failed(1, "x"), "reason": "SubmissionFailed"}),
        [pod("head", phase="Failed", main=ends(137, reason="OOMKilled"))],
        [],
        State.FAILED,
        "the head ran out of memory (8Gi)",
        "`head.memory_gib`",
    ),
    "the head out of memory, its pod removed": (
        job({**failed(1, "x"), "reason": "SubmissionFailed", "jobStatus": "RUNNING"}),
        [],
        [
            event(
                "DeletedHeadPod",
                "Deleted head Pod a/b; Pod status: Failed; Pod restart policy: Never; Ray "
                "container terminated status: &ContainerStateTerminated{ExitCode:137,"
                "Reason:OOMKilled,}",
                "toy-cluster",
                "RayCluster",
            )
        ],
        State.FAILED,
        "the head ran out of memory",
        "`head.memory_gib`",
    ),
    "a worker out of memory": (
        job(RUNNING),
        [UP, pod("worker", phase="Failed", main=ends(137, reason="OOMKilled"))],
        [],
        State.RUNNING,
        "a worker of group 'gpu' ran out of memory",
        "`workers.gpu.memory_gib`",
    ),
    "a Secret missing": (
        job(INITIALIZING),
        [pod(main=waits("CreateContainerConfigError", 'secret "s3" not found'))],
        [],
        State.SCHEDULED,
        'the head cannot start: secret "s3" not found',
        "create what is missing",
    ),
    "a volume that cannot be mounted": (
        job(INITIALIZING),
        [pod(main=waits("ContainerCreating"))],
        [event("FailedMount", 'MountVolume.SetUp failed: configmap "x" not found', "toy-head-x")],
        State.SCHEDULED,
        'configmap "x" not found',
        "volumes",
    ),
    "the head lost, to be tried again": (
        job(
            {
                "jobDeploymentStatus": "Retrying",
                "reason": "SubmissionFailed",
                "failed": 1,
                "jobStatus": "RUNNING",
                "message": "Job submission has failed.",
            }
        ),
        [],
        [],
        State.SCHEDULED,
        "attempt 1 of 4 has failed (the head was lost",
        "",
    ),
    "the second attempt": (
        job({**RUNNING, "failed": 1}),
        [UP, pod("worker", phase="Running", main={"running": {}})],
        [],
        State.RUNNING,
        "attempt 2 of 4: running, 1 of 1 workers are there",
        "",
    ),
    "the head lost for good": (
        job(
            {
                "jobDeploymentStatus": "Failed",
                "reason": "JobStatusCheckTimeoutExceeded",
                "failed": 1,
                "message": "Job status checks have been failing",
            }
        ),
        [],
        [],
        State.FAILED,
        "the head was lost",
        "retry: finished trials are not repeated",
    ),
    "the head does not answer": (
        job({**RUNNING, "jobStatusCheckFailureStartTime": CREATED}),
        [],
        [],
        State.RUNNING,
        f"the head has not answered since {CREATED}",
        "retry",
    ),
    "a worker taken away": (
        job(RUNNING),
        [
            UP,
            pod(
                "worker",
                phase="Failed",
                main=ends(143),
                conditions=[
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "DeletionByTaintManager",
                    }
                ],
            ),
        ],
        [],
        State.RUNNING,
        "was taken away (DeletionByTaintManager); its trials go on elsewhere",
        "",
    ),
    "the driver crashed": (
        job(failed(3, "KeyError: 'lr'")),
        [],
        [],
        State.FAILED,
        "the driver ended with exit code 3: KeyError: 'lr'",
        "look at the logs",
    ),
    "the driver killed": (
        job(failed(137, "epoch 3")),
        [],
        [],
        State.FAILED,
        "as when memory runs out",
        "memory_gib",
    ),
    "the deadline": (
        job(
            {"jobDeploymentStatus": "Failed", "reason": "DeadlineExceeded", "failed": 1},
            activeDeadlineSeconds=3600,
        ),
        [],
        [],
        State.FAILED,
        "ended at its deadline of 3600 s",
        "`deadline_s`",
    ),
    "not begun in time, with the reason": (
        job(
            {"jobDeploymentStatus": "Failed", "reason": "PreRunningDeadlineExceeded", "failed": 1},
            preRunningDeadlineSeconds=600,
        ),
        [unscheduled(SELECTED, role="head")],
        [],
        State.FAILED,
        "did not begin within 600 s: the head waits for a node",
        "node_selector",
    ),
    "not begun in time, its pods gone": (
        job(
            {"jobDeploymentStatus": "Failed", "reason": "PreRunningDeadlineExceeded", "failed": 1},
            preRunningDeadlineSeconds=600,
        ),
        [],
        [event("FailedScheduling", SELECTED, "toy-cluster-head-x")],
        State.FAILED,
        "did not begin within 600 s: the head waited for a node: 0/3 nodes",
        "head.node_selector",
    ),
    "refused by KubeRay": (
        job({"jobDeploymentStatus": "ValidationFailed", "message": "backoffLimit is negative"}),
        [],
        [],
        State.FAILED,
        "KubeRay refuses the RayJob: backoffLimit is negative",
        "pod_patch",
    ),
    "no operator": (
        job(),
        [],
        [],
        State.SCHEDULED,
        "operator has not taken it up for 70 s",
        "kubectl get pods",
    ),
    "done": (
        job({"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED", "succeeded": 1}),
        [],
        [],
        State.FINISHED,
        "in good order",
        "",
    ),
    "stopped": (
        job({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}),
        [],
        [],
        State.KILLED,
        "stopped",
        "submit again",
    ),
    "cancelled": (job(RUNNING, deleted=True), [UP], [], State.KILLED, "cancelled", ""),
    "without workers": (job(RUNNING), [UP], [], State.RUNNING, "without workers yet", ""),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_state_is_told_in_one_sentence_with_the_next_action(case):
    rayjob, pods, events, state, message, action = case
    late = NOW + 30 if not rayjob["status"] else NOW
    told = diagnose(rayjob, None, pods, events, late)
    assert told.state is state
    assert message in told.message
    assert action in told.action
    assert bool(action) == bool(told.action)
    assert "\n" not in told.message


def test_on_a_cluster_that_is_there_nothing_is_made():
    theirs = job(RUNNING, clusterSelector={"ray.io/cluster": "shared"})
    assert diagnose(theirs, None, [UP], [], NOW).message == "running on RayCluster 'shared'"


def test_the_head_is_told_before_a_worker():
    pods = [unscheduled(NO_GPU), pod(main=waits("ImagePullBackOff"))]
    assert "the head cannot pull" in diagnose(job(INITIALIZING), None, pods, [], NOW).message


def test_the_newest_word_about_a_quota_counts():
    other = QUOTA.replace("team", "lab")
    events = [
        event("FailedToCreateWorkerPod", other, time="2026-11-21T22:26:30Z"),
        event("FailedToCreateWorkerPod", QUOTA, time="2026-11-21T22:26:10Z"),
    ]
    assert "'lab'" in diagnose(job(RUNNING), None, [UP], events, NOW).message


@pytest.mark.parametrize(
    ("status", "number"),
    [
        (None, 0),
        (INITIALIZING, 1),
        ({**RUNNING, "failed": 2}, 3),
        ({"jobDeploymentStatus": "Failed", "failed": 4}, 4),
        ({"jobDeploymentStatus": "Complete", "failed": 1, "succeeded": 1}, 2),
    ],
)
def test_attempts_are_counted(status, number):
    assert attempts(job(status)) == number


def test_what_may_go_on_has_not_ended():
    assert not is_ended(job({"jobDeploymentStatus": "Suspended"}, suspend=True))
    assert not is_ended(job({"jobDeploymentStatus": "Retrying"}))
    assert is_ended(job({"jobDeploymentStatus": "ValidationFailed"}))
