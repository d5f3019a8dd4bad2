"""Kubernetes as a target: one KubeRay RayJob a submission; knows no sweep, only its program.

A submission is a RayJob with the sweep's labels and a number; the newest one counts. An ended one
stays to be looked at until its TTL, and nothing that is not labelled as this sweep's is touched.

To cancel is to delete the RayJob, its dependents in the background. On deletion KubeRay first stops
the driver by Ray's own means (SIGTERM, then `RAY_JOB_STOP_WAIT_TIME_S` seconds, 3 by default, until
SIGKILL), so that it records the end, and then gives back the cluster, whose pods have their grace
period. It does so as well when the cluster is gone. `suspend` would take the pods away without a
word to the driver, and is Kueue's where there is a queue; deletion in the foreground would take
them away at the same moment as the driver is told.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from cluster import naming
from cluster.artifact import StoreError
from cluster.kubernetes.api import Api
from cluster.kubernetes.diagnosis import attempts, diagnose, is_ended, unix_time
from cluster.kubernetes.findings import at
from cluster.kubernetes.logs import driver_lines
from cluster.kubernetes.manifest import config_map, rayjob
from cluster.kubernetes.parts import beneath
from cluster.kubernetes.preflight import preflight
from cluster.kubernetes.symptoms import fetching_failed
from cluster.kubernetes.transport import NotFoundError, Object, TakenError
from cluster.profile import Bucket, Profile
from cluster.store import Store
from cluster.target import Problem, Standing, Submission, TargetError

_TRIES = 5


class KubernetesTarget:
    """A namespace of a Kubernetes cluster with KubeRay.

    Args:
        profile: Of the kind `kubernetes`.
        api: The API server, by default that of the profile's context.
    """

    def __init__(self, profile: Profile, api: Api | None = None) -> None:
        self._profile = profile
        if api is not None:
            self._api = api

    @cached_property
    def _api(self) -> Api:
        return Api(self._profile)

    def problems(self, submission: Submission) -> Sequence[Problem]:
        """Return what stands in the way of a submission; asks for no pod."""
        try:
            api = self._api
        except TargetError as error:
            remedy = "name a kubeconfig by KUBECONFIG, and one of its contexts by `context`"
            return [Problem(subject="context", message=str(error), remedy=remedy)]
        return preflight(submission, self._profile, api)

    def submit(self, submission: Submission) -> Standing:
        """Start a submission, or return the one of its name that has not ended.

        Of two submitters at one moment the API server lets one make the RayJob of the next number;
        the other is told that the name is taken, and returns that one.

        Raises:
            TargetError: It was not accepted.
        """
        for _ in range(_TRIES):
            jobs = self._jobs(submission.name, submission.store)
            if jobs and not is_ended(jobs[-1]):
                return self._taken_up(submission, jobs[-1])
            number = 1 + max((_number(job) for job in jobs), default=0)
            self._store_bundle(submission)
            try:
                job = self._api.create("rayjobs", rayjob(submission, self._profile, number=number))
            except TakenError:
                continue
            standing = self._taken_up(submission, job)
            self._forget(jobs)
            return standing
        raise TargetError(
            f"the name {naming.job_name(submission.name, submission.store, number)} is taken in "
            f"namespace {self._profile.namespace!r} by a RayJob without this sweep's labels: "
            "remove that one"
        )

    def standing(self, name: str, store: str) -> Standing | None:
        """Return how the newest submission of a sweep stands, or None.

        Raises:
            TargetError: The API server cannot be asked.
        """
        jobs = self._jobs(name, store)
        return self._standing(jobs[-1]) if jobs else None

    def logs(self, name: str, store: str, *, follow: bool = False) -> Iterator[str]:
        """Yield the lines that the newest submission's driver has printed, without line ends.

        Raises:
            TargetError: The API server cannot be asked, knows no submission, or its pods are gone.
        """
        jobs = self._jobs(name, store)
        if not jobs:
            raise TargetError(
                f"namespace {self._profile.namespace!r} has no submission of {name!r}"
            )
        return driver_lines(self._api, _name(jobs[-1]), follow=follow)

    def cancel(self, name: str, store: str) -> None:
        """End the newest submission of a sweep, if it has not ended.

        Raises:
            TargetError: The API server cannot be asked.
        """
        jobs = self._jobs(name, store)
        if jobs and not is_ended(jobs[-1]):
            self._api.delete("rayjobs", _name(jobs[-1]))

    def _jobs(self, name: str, store: str) -> list[Object]:
        """Return the RayJobs of a sweep, by number."""
        try:
            jobs = self._api.select("rayjobs", selector=naming.selector(name, store))
        except NotFoundError as error:
            raise TargetError(
                f"the cluster of {self._api.transport.access.context} knows no RayJobs: "
                "install KubeRay, or correct `context` in the profile"
            ) from error
        return sorted(jobs, key=_number)

    def _store_bundle(self, submission: Submission) -> None:
        storage = self._profile.storage
        if not isinstance(storage, Bucket):
            return
        bundle = submission.bundle
        try:
            Store(storage.uri).write_bytes(f"bundles/{bundle.digest}.zip", bundle.content)
        except (StoreError, OSError) as error:
            where = beneath(storage.uri, "bundles").partition("?")[0]
            raise TargetError(f"storage: {where} cannot be written from here: {error}") from error

    def _taken_up(self, submission: Submission, job: Object) -> Standing:
        """Return a submission's standing, its files in place.

        A ConfigMap is made after its RayJob, to which it then belongs from the start: so whoever
        made the RayJob has its files there, and pods wait for it a moment. If the submitter died in
        between, the next one with the same files makes it.
        """
        body = config_map(submission, self._profile, number=_number(job))
        mine = at(job, "metadata", "annotations", naming.BUNDLE) == submission.bundle.digest
        if body is not None and mine:
            body["metadata"]["ownerReferences"] = [_owner(job)]
            try:
                self._make_files(body)
            except TakenError:
                pass  # another submitter of the same files was first
            except TargetError:
                self._api.delete("rayjobs", _name(job))
                raise
        return self._standing(job)

    def _make_files(self, body: Object) -> None:
        """Make the ConfigMap with a RayJob's files, unless it is there.

        A name comes again when its RayJob was cancelled. What is left of that one may be removed at
        any moment, or hold other files where `kubectl` made it.
        """
        name = _name(body)
        left = self._api.get("configmaps", name)
        if left is not None and not _serves(left, body):
            self._api.delete("configmaps", name, uid=left["metadata"]["uid"])
            left = None
        if left is None:
            self._api.create("configmaps", body)

    def _forget(self, jobs: Sequence[Object]) -> None:
        """Remove ended RayJobs after their TTL: KubeRay itself may give back their pods only."""
        for job in jobs:
            ended_at = unix_time(at(job, "status", "endTime"))
            if is_ended(job) and ended_at and ended_at + self._profile.ttl_s < time.time():
                self._api.delete("rayjobs", _name(job))

    def _standing(self, job: Object) -> Standing:
        annotations = at(job, "metadata", "annotations") or {}
        cluster, pods, events = self._surroundings(job)
        state, message, action = diagnose(job, cluster, pods, events, time.time())
        phases = Counter(str(at(pod, "status", "phase")) for pod in pods)
        return Standing(
            id=_name(job),
            state=state,
            message=message,
            action=action,
            owner=annotations.get(naming.OWNER, ""),
            bundle=annotations.get(naming.BUNDLE, ""),
            num_attempts=attempts(job),
            submitted_at=unix_time(at(job, "metadata", "creationTimestamp")),
            facts={
                "namespace": self._profile.namespace,
                "ray_cluster": at(job, "status", "rayClusterName"),
                "dashboard": at(job, "status", "dashboardURL"),
                "pods": dict(phases),
            },
        )

    def _surroundings(self, job: Object) -> tuple[Object | None, list[Object], list[Object]]:
        """Return the RayCluster, the pods and the events of a RayJob, as far as it has any."""
        name, cluster_name = _name(job), at(job, "status", "rayClusterName")
        if at(job, "status", "jobDeploymentStatus") == "Complete":
            return None, [], []
        pods = self._api.select("pods", selector=f"job-name={name}")
        cluster = None
        if cluster_name:
            cluster = self._api.get("rayclusters", cluster_name)
            pods += self._api.select("pods", selector=f"ray.io/cluster={cluster_name}")
        mine = {name, cluster_name or name, *(_name(pod) for pod in pods)}
        events = [
            event
            for event in self._api.select("events")
            if _about(event) in mine
            or _about(event).startswith(f"{cluster_name}-")  # a pod of it that is gone
            or _is_workload_of(event, name)
        ]
        return cluster, [self._with_log(pod) for pod in pods], events

    def _with_log(self, pod: Object) -> Object:
        """Return a pod with the log's end as message where it could not fetch its files."""
        ended = fetching_failed(pod)
        if ended is not None and not ended.get("message"):
            try:
                log = b"".join(self._api.log(_name(pod), "fetch-bundle"))
            except TargetError:
                return pod  # the log is a help, not a need
            lines = [line.partition(b" ")[2] for line in log.splitlines()]
            ended["message"] = b"\n".join(lines[-20:]).decode(errors="replace")
        return pod


def _about(event: Object) -> str:
    return str(at(event, "involvedObject", "name"))


def _is_workload_of(event: Object, name: str) -> bool:
    about = at(event, "involvedObject") or {}
    return about.get("kind") == "Workload" and f"rayjob-{name}-" in str(about.get("name"))


def _serves(left: Object, body: Object) -> bool:
    """Return whether a ConfigMap that is there holds the same files, and stays."""
    found, wanted = left["metadata"], body["metadata"]
    stays = found.get("ownerReferences") in (None, wanted["ownerReferences"])
    return stays and at(found, "annotations", naming.BUNDLE) == wanted["annotations"][naming.BUNDLE]


def _owner(job: Object) -> dict[str, Any]:
    metadata = job["metadata"]
    kind = {"apiVersion": "ray.io/v1", "kind": "RayJob"}
    return kind | {"name": metadata["name"], "uid": metadata["uid"]}


def _name(thing: Object) -> str:
    return str(thing["metadata"]["name"])


def _number(job: Object) -> int:
    try:
        return naming.number_of(_name(job))
    except ValueError:
        return 0  # made from our manifest, and renamed
