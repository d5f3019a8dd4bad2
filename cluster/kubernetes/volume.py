"""Brings files of a claim through a pod that mounts it, by `exec` alone; knows not what they mean.

The pod is the sweep's running head, else one made for the purpose. No port is opened and no server
started: a few lines of Python, sent along, answer with a tar stream (`cluster.send_files`).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from cluster import naming
from cluster.kubernetes.api import Api
from cluster.kubernetes.command import CommandFailedError
from cluster.kubernetes.diagnosis import is_ended
from cluster.kubernetes.findings import READER, at
from cluster.kubernetes.pods import text_of
from cluster.kubernetes.reader_pod import is_ready, reader_pod, remove_ended, wait_for
from cluster.kubernetes.transport import (
    CutError,
    InvalidError,
    NotFoundError,
    Object,
    TakenError,
)
from cluster.profile import Profile, Volume
from cluster.take_files import (
    BrokenStreamError,
    HostileStreamError,
    Known,
    known_files,
    take_files,
)
from cluster.target import TargetError

MAX_TRIES = 8
"""How often one wish is taken up again where a stream was cut."""
_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_PASSING = (CutError, BrokenStreamError, NotFoundError, InvalidError)
"""The stream was cut, or the pod has ended since it was looked at."""
_HEAD = "ray-head"
_START = "import json, sys; exec(json.loads(sys.stdin.readline()))"
"""The program comes by standard input, since a URL, which the command is part of, must be short."""


class ClaimFiles:
    """The files of a store on the claim of a profile.

    Args:
        profile: Of the kind `kubernetes`; its storage is a volume.
        name: The sweep that they are about.
        store: The store as the cluster sees it.
        say: Told in a sentence what is waited for.
        api: The API server, by default that of the profile's context.
    """

    def __init__(
        self,
        profile: Profile,
        name: str,
        store: str,
        say: Callable[[str], None],
        api: Api | None = None,
    ) -> None:
        self.is_driven = False
        self._profile = profile
        self._name = name
        self._store = store
        self._say = say
        self._api = api or Api(profile)
        self._reader = ""

    def bring(self, paths: Sequence[str], folder: Path) -> int:
        """Bring files into a folder; see :class:`~cluster.volume.VolumeFiles`.

        Raises:
            TargetError: There is no pod to read through, a right is missing, or the stream was cut
                again and again.
        """
        size = 0
        for number in range(MAX_TRIES):
            try:
                for num_bytes in self._streamed(paths, folder, known_files(folder, paths)):
                    size += num_bytes
            except _PASSING as error:
                fault = error
                self._api.sleep(min(_PAUSE_S * 2**number, _LONGEST_PAUSE_S))
            else:
                return size
        raise TargetError(
            f"the results break off again and again ({fault}): ask again later, what is here is "
            "not sent again"
        )

    def close(self) -> None:
        """Remove the pod that was made, if one was."""
        name, self._reader = self._reader, ""
        if name:
            try:
                self._api.delete("pods", name)
            except TargetError as error:
                self._say(f"pod {name} could not be removed and ends within the hour: {error}")

    def _streamed(self, paths: Sequence[str], folder: Path, known: Known) -> Iterator[int]:
        pod, container = self._place()
        asked = {"paths": list(paths), "known": known}
        stdin = f"{json.dumps(text_of('cluster.send_files'))}\n{json.dumps(asked)}\n"
        command = ["python", "-I", "-c", _START, self._store]
        try:
            with (
                self._api.run(pod, container, command, stdin.encode()) as output,
                io.BufferedReader(output, 2**18) as stream,
            ):
                yield from take_files(stream, folder, paths, known)
                stream.read()  # the command's own end
        except CommandFailedError as error:
            raise TargetError(
                f"pod {pod} could not read {self._store} of the claim {self._claim!r}: {error}"
            ) from error
        except HostileStreamError as error:
            raise TargetError(
                f"pod {pod} sent what was not asked for, and it was not kept: {error}; see who "
                f"may write to its image and to the claim {self._claim!r}"
            ) from error

    def _place(self) -> tuple[str, str]:
        """Return the pod and the container through which to read."""
        jobs = self._jobs()
        for job in jobs:
            if not is_ended(job) and (head := self._head(job)):
                self.is_driven = at(job, "status", "jobStatus") == "RUNNING"
                return head, _HEAD
        self.is_driven = False
        if not self._reader or not is_ready(self._api.get("pods", self._reader), READER):
            self.close()
            remove_ended(self._api)
            body = reader_pod(self._profile, self._name, self._store, jobs[-1] if jobs else None)
            self._reader = body["metadata"]["name"]
            with suppress(TakenError):  # made by a try whose answer was lost
                self._api.create("pods", body)
            wait_for(self._api, self._reader, self._say)
        return self._reader, READER

    def _jobs(self) -> list[Object]:
        """Return the RayJobs of the sweep, the oldest first."""
        try:
            jobs = self._api.select("rayjobs", selector=naming.selector(self._name, self._store))
        except NotFoundError:
            return []  # KubeRay is gone, the claim may not be
        return sorted(jobs, key=lambda job: str(at(job, "metadata", "creationTimestamp")))

    def _head(self, job: Object) -> str:
        cluster = at(job, "status", "rayClusterName")
        if not cluster:
            return ""
        heads = self._api.select("pods", selector=f"ray.io/cluster={cluster},ray.io/node-type=head")
        return next((head["metadata"]["name"] for head in heads if is_ready(head, _HEAD)), "")

    @property
    def _claim(self) -> str:
        return self._profile.storage.pvc if isinstance(self._profile.storage, Volume) else ""
