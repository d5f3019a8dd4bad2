"""Makes of a sweep and a profile what a target is sent; sends nothing."""

from __future__ import annotations

import getpass
import platform
from dataclasses import dataclass, replace

from cluster.bundle import Bundle
from cluster.job import Resources
from cluster.profile import Profile
from cluster.store import Store
from cluster.target import Submission
from orchestrator.errors import SubmissionError
from orchestrator.planning.plan import Plan
from orchestrator.planning.trial import ids_digest
from orchestrator.running.workspace import SweepLike, Workspace, is_sweep_file, open_sweep
from orchestrator.submitting.profile_file import is_out_of_sight, store_here, store_there
from orchestrator.submitting.reading import Say, results_of, say_nothing
from orchestrator.submitting.request import REQUEST_FILE, Request
from orchestrator.submitting.travel import SWEEP_FOLDER, bundle_of

MODULE = "orchestrator.cli.drive"


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A sweep that is ready to be sent."""

    workspace: Workspace
    plan: Plan
    submission: Submission
    is_plan_certain: bool
    """Whether the store was seen, so that the plan knows what is finished."""


def prepare(
    given: SweepLike, profile: Profile, *, store: str | None = None, say: Say = say_nothing
) -> Prepared:
    """Return what is to be sent.

    Args:
        given: The sweep.
        profile: Where it is to be sent.
        store: Where results are, for the target `local`.
        say: Told what is waited for, where a sweep is read through a pod.

    Raises:
        InvalidSweepError: The sweep has faults.
        SubmissionError: Something that it needs cannot be sent.
    """
    if store is not None and profile.storage is not None:
        raise SubmissionError("the profile says where results are; leave --store out")
    workspace, is_seen = _opened(given, profile, store, say)
    capacity = capacity_of(profile)
    gpu_memory_gib = _gpu_memory_gib(profile)
    plan = workspace.plan(fresh=not is_seen, capacity=capacity, gpu_memory_gib=gpu_memory_gib)
    there = driver_store(profile, workspace.store)
    request = Request(
        sweep=f"{SWEEP_FOLDER}/{workspace.file.path.name if workspace.file.path else ''}",
        store=there,
        trials=ids_digest(workspace.trials),
        tracking_uri=_tracking_uri(workspace, profile),
        capacity=capacity,
        gpu_memory_gib=gpu_memory_gib,
        idle_s=float(profile.idle_timeout_s) if profile.kind == "kubernetes" else None,
    )
    submission = Submission(
        name=workspace.sweep.name,
        bundle=_bundle(workspace, request, profile),
        module=MODULE,
        shapes=sorted({job.resources for job in plan.jobs}, key=repr),
        owner=f"{getpass.getuser()}@{platform.node()}",
        store=there,
        tracking_uri=profile.tracking_uri or _tracking_uri_of(workspace),
    )
    return Prepared(workspace=workspace, plan=plan, submission=submission, is_plan_certain=is_seen)


def _opened(
    given: SweepLike, profile: Profile, store: str | None, say: Say
) -> tuple[Workspace, bool]:
    """Return the sweep, and whether what is finished is known.

    A file needs no store to be sent; a name is looked up wherever the store is.
    """
    if is_out_of_sight(profile) and isinstance(given, str) and not is_sweep_file(given):
        with results_of(profile, say=say) as results:
            return results.open(given), True
    here = store or store_here(profile)
    return open_sweep(given, here), here is not None or profile.kind == "local"


def driver_store(profile: Profile, store: Store) -> str:
    """Return by what the driver opens a store that this process has opened."""
    there = None if profile.kind == "local" else store_there(profile)
    return there or store.place


def capacity_of(profile: Profile) -> Resources | None:
    """Return all that a Kubernetes cluster can grow to; None where Ray itself tells."""
    if profile.kind != "kubernetes" or not profile.workers:
        return None
    groups = profile.workers.values()
    return Resources(
        num_cpus=sum(group.pod.num_cpus * group.max_replicas for group in groups),
        num_gpus=sum(group.num_gpus * group.max_replicas for group in groups),
        memory_gib=sum(group.pod.memory_gib * group.max_replicas for group in groups),
    )


def _gpu_memory_gib(profile: Profile) -> float:
    sizes = [group.gpu_memory_gib for group in profile.workers.values() if group.num_gpus]
    return min(sizes, default=0.0)


def _tracking_uri(workspace: Workspace, profile: Profile) -> str | None:
    """Return where the driver writes: there is no file or database of this machine there."""
    if profile.tracking_uri:
        return profile.tracking_uri
    if profile.kind == "local" or _tracking_uri_of(workspace):
        return None
    return "off"


def _tracking_uri_of(workspace: Workspace) -> str | None:
    tracking = workspace.sweep.tracking
    return None if tracking == "off" else tracking.uri


def _bundle(workspace: Workspace, request: Request, profile: Profile) -> Bundle:
    if profile.kind != "local":
        return bundle_of(workspace, request)
    path = workspace.file.path
    if path is None:
        raise SubmissionError("only a sweep that stands in a file can be submitted")
    here = replace(request, path=str(path.resolve()), joins=False)
    # As it was read: the file itself may be another one by the time at which the driver begins.
    text = workspace.file.text.encode()
    return Bundle(files={request.sweep: text, REQUEST_FILE: here.to_bytes()})
