"""All that stands in the way of a submission, each fault with its fix, before a pod is asked for.

Looks and asks, changes nothing. What the user has no right to look at is no fault by itself: the
server's own dry run, which comes last, and the pods will tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cluster import naming
from cluster.kubernetes.api import Api
from cluster.kubernetes.diagnosis import is_ended
from cluster.kubernetes.findings import at
from cluster.kubernetes.limits import limit_range_problems, quota_problems
from cluster.kubernetes.manifest import manifests
from cluster.kubernetes.references import namespace_problems, reference_problems
from cluster.kubernetes.rules import placement_problems, profile_problems, rule_problems
from cluster.kubernetes.surroundings import image_problems, store_problems
from cluster.kubernetes.transport import ForbiddenError, InvalidError, NotFoundError, TakenError
from cluster.profile import Profile, Volume
from cluster.target import Problem, Submission, TargetError
from cluster.tracking import tracking_problems

MIN_KUBERAY = (1, 5, 1)
"""The first release that gives a cluster of a RayJob a token (`authOptions`)."""

RIGHTS: Sequence[tuple[str, str, Sequence[str]]] = (
    ("ray.io", "rayjobs", ("create", "delete", "get", "list")),
    ("ray.io", "rayclusters", ("get",)),
    ("", "pods", ("list",)),
    ("", "pods/log", ("get",)),
    ("", "events", ("list",)),
)
"""What a user does in the namespace: group, resource, verbs."""
VOLUME_RIGHTS: Sequence[tuple[str, str, Sequence[str]]] = (
    ("", "configmaps", ("create", "delete", "get")),
)
"""What comes in addition where files travel in a ConfigMap."""
READING_RIGHTS: Sequence[tuple[str, str, Sequence[str]]] = (
    ("", "pods", ("create", "delete", "get")),
    ("", "pods/exec", ("create", "get")),
)
"""What comes in addition where results are read through a pod. A websocket is opened by GET, for
which all versions ask for `get`, and Kubernetes from 1.35 on for `create` besides."""

_QUICK_S = 5.0
_INSTALL = (
    "install it: `helm install kuberay-operator kuberay/kuberay-operator` "
    "(https://ray-project.github.io/kuberay-helm/)"
)


def preflight(submission: Submission, profile: Profile, api: Api) -> list[Problem]:
    """Return all faults that can be found without asking for a pod.

    Args:
        submission: What would be sent.
        profile: Where to.
        api: The API server.
    """
    made = manifests(submission, profile)
    found = offline_problems(submission, profile, made)
    try:
        api.transport.ask("GET", "/version", patience_s=_QUICK_S)
    except TargetError as error:
        remedy = "log in, or see that this machine reaches the cluster: `kubectl version`"
        return [Problem(subject="API server", message=str(error), remedy=remedy), *found]
    remote: list[Callable[[], Iterator[Problem]]] = [
        lambda: _right_problems(profile, api),
        lambda: _kuberay_problems(api),
    ]
    missing = _seen(lambda: namespace_problems(profile, api))
    if not missing:
        remote += [
            lambda: reference_problems(profile, api),
            lambda: limit_range_problems(made, api),
            lambda: _quota_problems(submission, made, api),
            lambda: _dry_run_problems(made, api),
        ]
    for check in remote:
        found += _seen(check)
    return [*missing, *found]


def offline_problems(
    submission: Submission, profile: Profile, made: Sequence[Mapping[str, Any]]
) -> list[Problem]:
    """Return the faults for which no API server has to be asked.

    Args:
        submission: What would be sent.
        profile: Where to.
        made: The objects made of both.
    """
    return [
        *profile_problems(profile),
        *image_problems(profile),
        *tracking_problems(submission.tracking_uri),
        *(problem for manifest in made for problem in rule_problems(manifest)),
        *placement_problems(submission.shapes, profile),
        *store_problems(profile, made),
    ]


def _seen(check: Callable[[], Iterator[Problem]]) -> list[Problem]:
    """Return what one check finds, as far as the user may look."""
    found: list[Problem] = []
    try:
        for problem in check():
            found.append(problem)  # what came before a refusal stands
    except (ForbiddenError, NotFoundError):
        pass
    except TargetError as error:
        found.append(Problem(subject="API server", message=str(error), remedy="try again later"))
    return found


def _right_problems(profile: Profile, api: Api) -> Iterator[Problem]:
    wanted = [*RIGHTS]
    if isinstance(profile.storage, Volume):
        wanted += [*VOLUME_RIGHTS, *(() if profile.storage.local_path else READING_RIGHTS)]
    for group, resource, verbs in wanted:
        plural, _, subresource = resource.partition("/")
        denied = [verb for verb in verbs if not api.may(verb, plural, group, subresource)]
        if denied:
            yield Problem(
                subject="rights",
                message=f"in namespace {profile.namespace!r} you may not {' or '.join(denied)} "
                f"{resource}",
                remedy="have whoever runs the cluster give you a Role with "
                f"{{apiGroups: [{group!r}], resources: [{resource}], verbs: {list(verbs)}}}",
            )


def _kuberay_problems(api: Api) -> Iterator[Problem]:
    served = _discovered(api, "/apis/ray.io")
    resources = _discovered(api, "/apis/ray.io/v1").get("resources") or []
    versions = [each["version"] for each in served.get("versions") or []]
    if not versions:
        yield Problem(
            subject="KubeRay", message="the cluster does not know rayjobs.ray.io", remedy=_INSTALL
        )
    elif "rayjobs" not in [each["name"] for each in resources]:
        yield Problem(
            subject="KubeRay",
            message=f"rayjobs.ray.io is served as {', '.join(versions)}, v1 is needed",
            remedy="upgrade KubeRay and its CRDs to 1.5.1 or later",
        )
    else:
        yield from _version_problems(api)


def _discovered(api: Api, path: str) -> dict[str, Any]:
    """Return what the cluster says it serves at a path: nothing where it serves nothing."""
    try:
        return api.transport.ask("GET", path)
    except NotFoundError:
        return {}


def _version_problems(api: Api) -> Iterator[Problem]:
    """Yield what is wrong with the operator's release, where the user may see the operator."""
    operators = api.select_at(
        "/apis/apps/v1/deployments",
        selector="app.kubernetes.io/name in (kuberay,kuberay-operator)",
    )
    for operator in operators:
        containers = at(operator, "spec", "template", "spec", "containers") or []
        for container in containers:
            tag = str(container.get("image", "")).rpartition(":")[2]
            numbers = tuple(int(each) for each in re.findall(r"\d+", tag)[:3])
            if re.match(r"v?\d+\.\d+", tag) and numbers < MIN_KUBERAY:
                yield Problem(
                    subject="KubeRay",
                    message=f"the operator is {tag}, 1.5.1 or later is needed: earlier ones make "
                    "no token for Ray",
                    remedy="upgrade KubeRay and its CRDs",
                )


def _quota_problems(submission: Submission, made: Sequence[Any], api: Api) -> Iterator[Problem]:
    """Yield what the quota forbids, unless the submission runs already and uses it itself."""
    jobs = api.select("rayjobs", selector=naming.selector(submission.name, submission.store))
    if all(is_ended(job) for job in jobs):
        yield from quota_problems(made, api)


def _dry_run_problems(made: Sequence[Any], api: Api) -> Iterator[Problem]:
    """Yield what the API server itself would refuse: schema, policies, admission."""
    for manifest in made:
        try:
            api.create(f"{manifest['kind'].lower()}s", manifest, dry_run=True)
        except TakenError:
            continue  # the name is looked for when it is needed
        except InvalidError as error:
            known = "unknown field" in str(error)
            yield Problem(
                subject="manifest",
                message=f"the API server refuses the {manifest['kind']}: {error}",
                remedy="upgrade KubeRay's CRDs, or take the field out of `pod_patch`"
                if known
                else "correct the profile, `pod_patch` first",
            )
        except ForbiddenError as error:
            if "cannot create resource" not in str(error):  # rights are told by themselves
                yield Problem(
                    subject="manifest",
                    message=f"a policy of the cluster refuses the {manifest['kind']}: {error}",
                    remedy="correct the profile, or ask whoever runs the cluster",
                )
