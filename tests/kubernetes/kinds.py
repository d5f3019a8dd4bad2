"""Which kinds of object the API server in the tests serves, and under which paths; holds none."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of object, as discovery tells it."""

    group: str
    version: str
    name: str
    plural: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    has_status: bool = False
    model: str | None = None
    """The class of the official client that holds its fields; None for a custom resource."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """Its name in messages, as `rayjobs.ray.io` or `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified(self) -> str:
        """Its name in messages about contents, as `RayJob.ray.io` or `Pod`."""
        return f"{self.name}.{self.group}" if self.group else self.name

    @property
    def custom(self) -> bool:
        return self.group in CUSTOM_GROUPS


CUSTOM_GROUPS = ("ray.io", "kueue.x-k8s.io")


def _core(name, plural, *short_names, namespaced=True, has_status=False):
    return Kind("", "v1", name, plural, namespaced, short_names, has_status, f"V1{name}")


KINDS = (
    _core("Namespace", "namespaces", "ns", namespaced=False, has_status=True),
    _core("Node", "nodes", "no", namespaced=False, has_status=True),
    _core("Pod", "pods", "po", has_status=True),
    Kind("", "v1", "Event", "events", short_names=("ev",), model="CoreV1Event"),
    _core("Secret", "secrets"),
    _core("ConfigMap", "configmaps", "cm"),
    _core("Service", "services", "svc", has_status=True),
    _core("PersistentVolumeClaim", "persistentvolumeclaims", "pvc", has_status=True),
    _core("ServiceAccount", "serviceaccounts", "sa"),
    _core("ResourceQuota", "resourcequotas", "quota", has_status=True),
    _core("LimitRange", "limitranges", "limits"),
    Kind("apps", "v1", "Deployment", "deployments", True, ("deploy",), True, "V1Deployment"),
    Kind("batch", "v1", "Job", "jobs", has_status=True, model="V1Job"),
    Kind(
        "scheduling.k8s.io",
        "v1",
        "PriorityClass",
        "priorityclasses",
        False,
        ("pc",),
        model="V1PriorityClass",
    ),
    Kind(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        False,
        ("crd", "crds"),
        has_status=True,
    ),
    Kind(
        "authorization.k8s.io",
        "v1",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        namespaced=False,
        model="V1SelfSubjectAccessReview",
    ),
    Kind("ray.io", "v1", "RayJob", "rayjobs", has_status=True),
    Kind("ray.io", "v1", "RayCluster", "rayclusters", has_status=True),
    Kind("kueue.x-k8s.io", "v1beta1", "LocalQueue", "localqueues", has_status=True),
)


def kind_of(name):
    """Return a kind by its name or its plural."""
    return next(kind for kind in KINDS if name in (kind.name, kind.plural))


def definition_of(kind, schema):
    """Return the CustomResourceDefinition of a custom kind."""
    version = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema or {"type": "object"}},
        "subresources": {"status": {}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.resource},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {"kind": kind.name, "plural": kind.plural, "singular": kind.name.lower()},
            "versions": [version],
        },
    }
