"""What a cluster profile may say: keys, types, units and defaults; asks no cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from cluster.addresses import has_password
from cluster.job import Resources

DNS_LABEL = r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"
"""RFC 1035, as Kubernetes wants names of groups and namespaces."""

OBJECT_STORE_SHARE = 0.3
"""The part of a node's memory that Ray's object store takes, by Ray's own default."""

TARGETS = ("local", "kubernetes")
"""The targets that a word names; a Ray cluster is named by its address."""

_Name = Annotated[str, Field(pattern=DNS_LABEL)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class RayTarget(_Part):
    """A Ray cluster that is there already."""

    ray: str = Field(pattern=r"^https?://[^\s@]+$")
    """The address of its dashboard, as `http://head:8265`; the token comes from `RAY_AUTH_TOKEN`,
    `RAY_AUTH_TOKEN_PATH` or `~/.ray/auth_token`."""


class Bucket(_Part):
    """An object store, the same for the cluster and for a laptop."""

    uri: str = Field(pattern=r"^(s3|gs|abfss|file)://[^\s@]+$")
    """A URI of `pyarrow.fs` as `s3://bucket/path` or `gs://bucket/path`, without credentials: pods
    get these by `env`, a laptop by its own environment."""

    @field_validator("uri")
    @classmethod
    def _without_credentials(cls, value: str) -> str:
        if has_password(value):
            raise ValueError(
                "credentials do not belong into a profile: pods get them by `env` from a Secret, "
                "this machine by its own environment"
            )
        return value


class Volume(_Part):
    """A volume that all pods mount."""

    pvc: str = Field(min_length=1)
    """The name of a PersistentVolumeClaim that many nodes may write (ReadWriteMany)."""
    path: str = "fanflare"
    """The folder of the store inside the volume."""
    local_path: str | None = None
    """Where this machine sees that folder, if it does; else results are read through a pod, by
    `exec`."""


def _storage_kind(value: Any) -> str:
    if isinstance(value, Volume) or (isinstance(value, Mapping) and "pvc" in value):
        return "volume"
    return "mapping"


class SecretKey(_Part):
    """A value that stays in a Secret of the cluster."""

    secret: str = Field(min_length=1)
    """The name of the Secret."""
    key: str = Field(min_length=1)
    """The key inside it."""


class Toleration(_Part):
    """A taint that pods of a group bear, in the words of Kubernetes."""

    key: str | None = None
    """The taint's key; without it all."""
    operator: Literal["Exists", "Equal"] = "Exists"
    """Whether the value counts."""
    value: str | None = None
    """The taint's value, for `Equal`."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; without it all."""


class WorkerGroup(_Part):
    """Pods of one shape on which trials run."""

    num_cpus: float = Field(gt=0)
    """Cores of a pod."""
    memory_gib: float = Field(gt=0)
    """Memory of a pod in GiB."""
    num_gpus: int = Field(default=0, ge=0)
    """Accelerators of a pod."""
    gpu_resource: str = "nvidia.com/gpu"
    """What Kubernetes calls the accelerator."""
    gpu_memory_gib: float = Field(default=0, ge=0)
    """Memory of one accelerator in GiB; 0 where unknown, so that no trials share one."""
    shm_gib: float | None = Field(default=None, gt=0)
    """Size of `/dev/shm` in GiB, where Ray keeps objects; by default 30 % of the memory."""
    min_replicas: int = Field(default=0, ge=0)
    """Pods that are there even without work."""
    max_replicas: int = Field(ge=1)
    """Pods at most."""
    spot: bool = False
    """Whether its machines may be taken away; such groups are filled first."""
    node_selector: dict[str, str] = {}
    """Labels of the nodes on which pods may be, as `cloud.google.com/gke-accelerator`."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints that its pods bear."""
    pod_patch: dict[str, Any] = {}
    """Merged into this group's pod template at the end: mappings by key, lists of named things by
    name, null removes."""

    @model_validator(mode="after")
    def _an_order(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"min_replicas {self.min_replicas} is more than max_replicas {self.max_replicas}"
            )
        if self.object_store_gib >= self.memory_gib:
            raise ValueError(
                f"shm_gib {self.shm_gib:g} leaves nothing of memory_gib {self.memory_gib:g}: "
                "`/dev/shm` is part of a pod's memory"
            )
        return self

    @property
    def object_store_gib(self) -> float:
        """Size of `/dev/shm` in GiB, a part of the memory."""
        return self.memory_gib * OBJECT_STORE_SHARE if self.shm_gib is None else self.shm_gib

    @property
    def pod(self) -> Resources:
        """What one of its pods offers to jobs: whole cores, and the memory beside `/dev/shm`."""
        return Resources(
            num_cpus=max(1, int(self.num_cpus)),
            num_gpus=self.num_gpus,
            memory_gib=self.memory_gib - self.object_store_gib,
        )


class Head(_Part):
    """The pod on which Ray's head and the driver run, and no trial."""

    num_cpus: float = Field(default=2, gt=0)
    """Cores."""
    memory_gib: float = Field(default=8, gt=0)
    """Memory in GiB; Ray's own part is 2 to 4, the driver needs about 10 KiB a trial."""
    node_selector: dict[str, str] = {}
    """Labels of the nodes on which it may be; better none that are taken away."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints that it bears."""
    pod_patch: dict[str, Any] = {}
    """Merged into the head's pod template at the end."""


class Profile(_Part):
    """One cluster, and how sweeps use it."""

    target: Annotated[
        Annotated[Literal["local", "kubernetes"], Tag("str")]
        | Annotated[RayTarget, Tag("mapping")],
        Discriminator(lambda value: "str" if isinstance(value, str) else "mapping"),
    ] = "local"
    """`local`: a process of this machine; `ray: http://head:8265`: a Ray cluster that is there;
    `kubernetes`: a KubeRay RayJob for each sweep."""
    storage: (
        Annotated[
            Annotated[Bucket, Tag("mapping")] | Annotated[Volume, Tag("volume")],
            Discriminator(
                lambda value: "volume" if _storage_kind(value) == "volume" else "mapping"
            ),
        ]
        | None
    ) = None
    """Where results are, seen from the cluster: `uri: s3://bucket/path`, or `pvc: NAME`."""
    tracking_uri: str | None = None
    """MLflow's tracking URI as pods reach it, `http://...` or `postgresql+psycopg2://...`, in place
    of what the sweep says; without any, nothing is tracked from the cluster."""
    env: dict[str, str | SecretKey] = {}
    """Environment of all pods: plain values, or `{secret: NAME, key: KEY}`."""
    env_secrets: tuple[str, ...] = ()
    """Secrets all of whose keys become environment, as one with `AWS_ACCESS_KEY_ID`."""
    namespace: _Name = "default"
    """The namespace in which all objects are made."""
    context: str | None = None
    """The context of the kubeconfig; by default the current one."""
    ray_cluster: str | None = None
    """A RayCluster of the namespace to run on, in place of one made for the sweep."""
    image: str | None = None
    """The image of all pods: with Ray and the pinned libraries, of this Ray and Python version."""
    image_pull_secrets: tuple[str, ...] = ()
    """Secrets with which the image is pulled."""
    service_account: str | None = None
    """The service account of head and workers; by default KubeRay's own."""
    head: Head = Head()
    """The pod of Ray's head."""
    workers: dict[_Name, WorkerGroup] = {}
    """The worker groups by name."""
    queue: str | None = None
    """A LocalQueue of Kueue, which then admits the job."""
    elastic: bool = False
    """Whether a job in a queue grows and shrinks with its work, for which Kueue 0.18 or later is
    needed; without, all `max_replicas` pods are asked for at once and kept to the end."""
    priority_class: str | None = None
    """The PriorityClass of all pods."""
    idle_timeout_s: int = Field(default=60, ge=10)
    """Seconds after which a worker pod without work is given back."""
    grace_period_s: int = Field(default=120, ge=1)
    """Seconds that a pod has to write its checkpoints when its machine is taken away."""
    ttl_s: int = Field(default=86400, ge=0)
    """Seconds for which a RayJob that has ended is kept to be looked at, when its sweep is
    submitted again; its cluster goes at once."""
    deadline_s: int | None = Field(default=None, gt=0)
    """Seconds after which a submission is ended, whatever it does; its results stay."""
    start_deadline_s: int | None = Field(default=None, gt=0)
    """Seconds within which it has to begin, waiting for accelerators included; for KubeRay 1.6
    on."""
    max_retries: int = Field(default=3, ge=0)
    """New clusters that are made when the head is lost; finished trials are not repeated."""

    @field_validator("target", mode="before")
    @classmethod
    def _a_known_target(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in TARGETS:
            raise PydanticCustomError(
                "unknown_target",
                "`local`, `kubernetes`, or a Ray cluster that is there by the address of its "
                "dashboard, as `ray: http://head:8265`",
                {"expected": repr(TARGETS)},
            )
        return value

    @field_validator("tracking_uri")
    @classmethod
    def _without_password(cls, value: str | None) -> str | None:
        if value and has_password(value):
            raise ValueError(
                "a password does not belong into a profile: give it by `env` from a Secret "
                "(MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or PGPASSWORD)"
            )
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        required = [] if self.target == "local" else ["storage"]
        if self.target == "kubernetes" and self.ray_cluster is None:
            required += ["image", "workers"]
        if missing := [name for name in required if not getattr(self, name)]:
            raise ValueError(f"for {self.kind} also required: {', '.join(missing)}")
        return self

    @property
    def kind(self) -> str:
        """The name of the target: `local`, `ray` or `kubernetes`."""
        return self.target if isinstance(self.target, str) else "ray"
