"""What is wrong with pods, in the words of Kubernetes 1.36 and KubeRay 1.7."""

import pytest

from cluster.kubernetes.symptoms import findings, without_node
from tests.kubernetes.reported import event, pod, unscheduled

NO_CPU = (
    "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: 0/2 "
    "nodes are available: 2 Preemption is not helpful for scheduling."
)
TAINTED = "0/3 nodes are available: 3 node(s) had untolerated taint(s)."
NO_ACCOUNT = (
    "Failed to reconcile RayCluster a/b. If users specify ServiceAccountName for the head Pod, "
    "they need to create a ServiceAccount themselves. However, ServiceAccount runner is not found. "
    "Please create one."
)
REFUSED = 'Failed to create head Pod a/, pods "b" is forbidden: exceeded quota: team, used: pods=9'


def about_cluster(reason, message, time):
    return event(reason, message, "toy-cluster", "RayCluster", f"2026-11-21T22:26:{time}Z")


@pytest.mark.parametrize(
    ("said", "told", "action"),
    [
        (NO_CPU, "2 Insufficient cpu", "wait until cpu is free, or see that a node has as much as"),
        (TAINTED, "untolerated taint(s)", "`head.tolerations`: `kubectl describe nodes` shows it"),
    ],
)
def test_what_the_scheduler_says_is_told_without_its_asides(said, told, action):
    [found] = findings([unscheduled(said, role="head")], [])
    assert found.message.startswith("the head waits for a node: 0/")
    assert found.message.endswith(told)
    assert action in found.action


def test_a_service_account_that_is_not_there_is_told():
    [found] = findings([], [about_cluster("AutoscalerServiceAccountNotFound", NO_ACCOUNT, "01")])
    assert found.message == "the head cannot be made: there is no ServiceAccount 'runner'"
    assert "`service_account`" in found.action


def test_a_refusal_ends_when_the_pod_is_made():
    refused = about_cluster("FailedToCreateHeadPod", REFUSED, "01")
    made = about_cluster("CreatedHeadPod", "Created head Pod a/b", "02")
    [found] = findings([], [refused])
    assert "quota 'team' is spent" in found.message
    assert findings([pod(phase="Running")], [refused, made]) == []
    again = about_cluster("FailedToCreateHeadPod", REFUSED, "03")
    assert findings([], [refused, made, again]) == [found]


def test_what_pods_waited_for_is_known_when_they_are_gone():
    events = [event("FailedScheduling", NO_CPU, "toy-cluster-head-x")]
    assert "the head waited for a node: 0/2" in without_node(events).message
    assert without_node([event("Scheduled", "assigned", "toy-cluster-head-x")]) is None
