"""Sends a program to a Ray cluster that is there, through its Jobs API; not what the program does.

The submission id is the idempotency key: of two submitters at the same moment one is told that the
id exists, and joins the other.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cluster.bundle import Bundle
from cluster.job import State
from cluster.naming import (
    BUNDLE,
    OWNER,
    STORE,
    SWEEP_ID,
    SWEEP_NAME,
    job_name,
    labels,
    number_of,
    sweep_id,
)
from cluster.profile import Profile, RayTarget
from cluster.ray_api import RayApi, RayApiError, RefusedError
from cluster.ray_preflight import ray_problems
from cluster.target import Problem, Standing, Submission, TargetError

_STATES = {
    "PENDING": State.SCHEDULED,
    "RUNNING": State.RUNNING,
    "SUCCEEDED": State.FINISHED,
    "FAILED": State.FAILED,
    "STOPPED": State.KILLED,
}

_ACTIONS = {
    State.FAILED: "read its logs; submitting it again goes on from what is in the store",
    State.KILLED: "submitting it again goes on from what is in the store",
}

STOPPING_S = 20
"""Seconds that the driver has to end in good order when it is cancelled; Ray's default is 3."""

PENDING_S = 10.0
"""Seconds after which a job that was stopped before it began counts as stuck."""

RECONNECT_S = 1.0
"""Seconds before a log stream that was cut is opened again."""


class RayJobsTarget:
    """The target `ray: http://head:8265`.

    Args:
        profile: Names the cluster; `workers` say what its autoscaler may bring.
    """

    def __init__(self, profile: Profile) -> None:
        assert isinstance(profile.target, RayTarget)
        self._profile = profile
        self._api = RayApi(profile.target.ray)

    def problems(self, submission: Submission) -> Sequence[Problem]:
        """Return what stands in the way of a submission; starts nothing."""
        return ray_problems(self._profile, self._api, submission)

    def submit(self, submission: Submission) -> Standing:
        """Start a submission, or return the one of its name that has not ended.

        Raises:
            TargetError: It was not accepted.
        """
        newest = self._newest(submission.name, submission.store)
        if newest is not None and not newest.state.is_final():
            return newest
        number = newest.num_attempts + 1 if newest else 1
        new_id = job_name(submission.name, submission.store, number)
        try:
            self._send(submission, new_id)
        except RefusedError as error:
            if not error.is_duplicate:
                raise _told_size(error, submission.bundle) from error
        return self._standing_of(self._api.ask(lambda client: client.get_job_info(new_id)))

    def standing(self, name: str, store: str) -> Standing | None:
        """Return how the newest submission of a sweep stands, or None.

        Raises:
            TargetError: The cluster cannot be asked.
        """
        return self._newest(name, store)

    def logs(self, name: str, store: str, *, follow: bool = False) -> Iterator[str]:
        """Yield the lines that the newest submission's driver has printed, without line ends.

        Raises:
            TargetError: The cluster cannot be asked, or knows none.
        """
        newest = self._newest(name, store)
        if newest is None:
            raise TargetError(f"this cluster knows no submission of {name!r}; submit it first")
        lines = _Lines(newest.id)
        while follow and not self._is_ended(newest.id):
            for chunk in self._api.tail(newest.id):
                yield from lines.passed(chunk)
                if not chunk and self._is_known_to_have_ended(newest.id):
                    break  # Ray takes seconds to close the stream of a job that has ended
            lines.begin_again()
            if not self._is_ended(newest.id):
                time.sleep(RECONNECT_S)  # the stream was cut
        yield from lines.passed(self._api.ask(lambda client: client.get_job_logs(newest.id)))
        yield from lines.rest()

    def cancel(self, name: str, store: str) -> None:
        """End the newest submission of a sweep, if it has not ended, and wait for its end.

        Raises:
            TargetError: The cluster cannot be asked, or cannot end it.
        """
        newest = self._newest(name, store)
        if newest is None or newest.state.is_final():
            return None
        self._api.ask(lambda client: client.stop_job(newest.id))
        stopped_at = time.monotonic()
        while not (state := self._state(newest.id)).is_final():
            waited_s = time.monotonic() - stopped_at
            if state is State.SCHEDULED and waited_s > PENDING_S:
                return self._forget(newest.id)
            if waited_s > STOPPING_S + PENDING_S:
                raise RayApiError(
                    f"{newest.id} was told to end and still runs after {waited_s:.0f} s",
                    "its logs tell what it does; submit again when it has ended",
                )
            time.sleep(0.5)
        return None

    def _forget(self, job_id: str) -> None:
        """Delete what Ray never began, as far as it lets us."""
        try:
            self._api.ask(lambda client: client.delete_job(job_id), pauses_s=())
        except RefusedError as error:
            raise RayApiError(
                f"Ray has not begun {job_id} yet, and ends it only then",
                "see on its dashboard what it waits for; a head that is started anew forgets it",
            ) from error

    def _send(self, submission: Submission, new_id: str) -> None:
        env = {k: v for k, v in self._profile.env.items() if isinstance(v, str)}
        env = {"PYTHONUNBUFFERED": "1", "RAY_JOB_STOP_WAIT_TIME_S": str(STOPPING_S), **env}
        name, store, owner = submission.name, submission.store, submission.owner
        told = {SWEEP_NAME: name, STORE: store, OWNER: owner, BUNDLE: submission.bundle.digest}
        with tempfile.TemporaryDirectory(prefix="fanflare-") as folder:
            path = Path(folder) / "bundle.zip"
            path.write_bytes(submission.bundle.content)
            self._api.ask(
                lambda client: client.submit_job(
                    entrypoint=f"python -m {submission.module}",
                    submission_id=new_id,
                    runtime_env={"working_dir": str(path), "env_vars": env},
                    metadata={**labels(name, store, owner), **told},
                )
            )

    def _newest(self, name: str, store: str) -> Standing | None:
        wanted = sweep_id(name, store)
        jobs = self._api.ask(lambda client: client.list_jobs())
        ours = [
            job
            for job in jobs
            if job.submission_id and (job.metadata or {}).get(SWEEP_ID) == wanted
        ]
        newest = max(ours, key=lambda job: number_of(job.submission_id), default=None)
        return self._standing_of(newest) if newest else None

    def _standing_of(self, job: Any) -> Standing:
        state, told = _STATES[str(job.status)], job.metadata or {}
        return Standing(
            id=job.submission_id,
            state=state,
            message=_first_line(job.message or ""),
            action=_ACTIONS.get(state, ""),
            owner=told.get(OWNER, ""),
            bundle=told.get(BUNDLE, ""),
            num_attempts=number_of(job.submission_id),
            submitted_at=job.start_time / 1000 if job.start_time else None,
            facts={"dashboard": f"{self._api.url}/#/jobs/{job.submission_id}"},
        )

    def _state(self, job_id: str) -> State:
        return _STATES[str(self._api.ask(lambda client: client.get_job_status(job_id)))]

    def _is_ended(self, job_id: str) -> bool:
        return self._state(job_id).is_final()

    def _is_known_to_have_ended(self, job_id: str) -> bool:
        try:
            return self._is_ended(job_id)
        except RayApiError:  # no reason to leave a stream that goes on
            return False


class _Lines:
    """Whole lines out of chunks of one text, each once, however often the text begins again.

    Ray's own words before the driver begins are left out.
    """

    def __init__(self, job_id: str) -> None:
        self._greeting = re.compile(
            r"\d{4}-\d\d-\d\d .* -- Runtime env is setting up\.|"
            rf"Running entrypoint for job {job_id}: .*"
        )
        self._num_passed = 0
        self._position = 0
        self._rest = ""

    def begin_again(self) -> None:
        """Note that the next chunk is the first again."""
        self._position = 0

    def passed(self, chunk: str) -> list[str]:
        """Return the lines that a chunk completes and that were not given yet."""
        fresh = chunk[max(0, self._num_passed - self._position) :]
        self._position += len(chunk)
        self._num_passed = max(self._num_passed, self._position)
        *lines, self._rest = (self._rest + fresh).split("\n")
        return [line for line in lines if not self._greeting.fullmatch(line)]

    def rest(self) -> list[str]:
        """Return the last line, where it has no end."""
        return [self._rest] if self._rest else []


def _first_line(message: str) -> str:
    """Return what Ray says of a job, without the logs that it hangs onto it."""
    return message.strip().partition("\n")[0].partition(", last available logs")[0]


def _told_size(error: RefusedError, bundle: Bundle) -> TargetError:
    """Return an error that names the largest files, where what was sent is too large."""
    if not error.is_too_large:
        return error
    largest = sorted(bundle.files.items(), key=lambda item: -len(item[1]))[:3]
    told = ", ".join(f"{path} ({len(content) / 2**20:.1f} MiB)" for path, content in largest)
    return TargetError(
        f"the cluster takes no {len(bundle.content) / 2**20:.0f} MiB; the largest are {told}: "
        "put data into the store or on the hub, and out of the sweep's folder"
    )
