"""What one can do with a sweep at a target: send it, ask after it, end it; renders nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cluster.job import State
from cluster.profile import Profile
from cluster.target import Problem, Standing, Target, open_target
from orchestrator.errors import SubmissionError, UnknownNameError
from orchestrator.running.status import SweepStatus, sweep_status
from orchestrator.running.workspace import Workspace, open_past
from orchestrator.submitting.profile_file import is_out_of_sight, store_here, store_there
from orchestrator.submitting.reading import Say, results_of, say_nothing, told
from orchestrator.submitting.submission import Prepared, driver_store


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """What came of sending a sweep."""

    standing: Standing
    is_new: bool
    """Whether it was started now; else one of its name had not ended."""
    is_same: bool
    """Whether what runs is what was to be sent."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys are documented in docs/json.md."""
        return {
            "submission": self.standing.to_json(),
            "is_new": self.is_new,
            "is_same": self.is_same,
        }


@dataclass(frozen=True, kw_only=True)
class Whereabouts:
    """Where a sweep stands: what its target tells, and what its store tells."""

    name: str
    standing: Standing | None
    status: SweepStatus | None
    """None where this machine does not see the store, or nothing has been written yet."""
    unreached: str = ""
    """Why one of the two could not be asked, where the other can."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys are documented in docs/json.md."""
        found = self.status.to_json() if self.status else {"sweep": self.name}
        standing = self.standing.to_json() if self.standing else None
        return {**found, "submission": standing, "unreached": self.unreached}


class Sent:
    """A sweep by its name at a target, whoever sent it.

    Args:
        sweep: Its file, or its name.
        profile: Where it is.
        store: Where results are, for the target `local`.
        say: Told what is waited for, where results come through a pod.

    Raises:
        UnknownNameError: There is neither such a file nor, where no target can be asked by a
            name alone, such a sweep in the store.
    """

    def __init__(
        self, sweep: str, profile: Profile, store: str | None = None, say: Say = say_nothing
    ) -> None:
        self.profile = profile
        self._given = sweep
        self._say = say
        self.workspace = _opened(sweep, store or store_here(profile), profile)
        self.name = self.workspace.sweep.name if self.workspace else sweep
        if self.workspace is not None:
            self.store = driver_store(profile, self.workspace.store)
        else:
            self.store = str(store_there(profile))

    @cached_property
    def target(self) -> Target:
        """The target of the profile.

        Raises:
            SubmissionError: It cannot be reached.
        """
        return reached(self.profile)

    def standing(self) -> Standing | None:
        """Return how its newest submission stands, or None.

        Raises:
            SubmissionError: The target cannot be asked.
        """
        with told():
            return self.target.standing(self.name, self.store)

    def whereabouts(self) -> Whereabouts:
        """Return where it stands, by target and store; either may be out of reach.

        Raises:
            SubmissionError: Neither can be asked.
            UnknownNameError: Neither knows it.
        """
        seen = self.workspace is not None and _is_seen(self.profile)
        status = sweep_status(self.workspace) if self.workspace and seen else None
        standing, unreached = None, ""
        try:
            standing = self.standing()
        except SubmissionError as error:
            if status is None:
                raise
            unreached = str(error)
        if is_out_of_sight(self.profile) and _may_have_results(standing):
            status, unreached = self._status_there()
        if standing is None and status is None and self.workspace is None:
            raise SubmissionError(unreached) if unreached else self.unknown()
        return Whereabouts(name=self.name, standing=standing, status=status, unreached=unreached)

    def _status_there(self) -> tuple[SweepStatus | None, str]:
        """Return what a store tells that only the cluster sees, or why it could not be asked."""
        try:
            with results_of(self.profile, say=self._say) as results:
                return sweep_status(results.open(self._given)), ""
        except UnknownNameError:
            return None, ""
        except SubmissionError as error:
            return None, f"what the store knows is not shown: {error}"

    def logs(self, *, follow: bool = False) -> Iterator[str]:
        """Yield the lines of its driver.

        Raises:
            SubmissionError: The target cannot be asked, or knows none.
        """
        with told():
            yield from self.target.logs(self.name, self.store, follow=follow)

    def cancel(self) -> Standing | None:
        """End it in good order; return how it stood before, None where nothing runs.

        Raises:
            SubmissionError: The target cannot be asked, or it does not end.
        """
        standing = self.standing()
        if standing is None or standing.state.is_final():
            return None
        self._say(f"waiting for {standing.id} to end")
        with told():
            self.target.cancel(self.name, self.store)
        return standing

    def unknown(self) -> UnknownNameError:
        """Return the error of a name that nobody knows."""
        return UnknownNameError(
            f"neither the target {self.profile.kind!r} nor the store {self.store!r} knows a sweep "
            f"{self.name!r}"
        )


def problems_of(prepared: Prepared, profile: Profile) -> Sequence[Problem]:
    """Return what stands in the way of sending a sweep, all at once.

    Raises:
        SubmissionError: The target cannot be reached.
    """
    with told():
        return reached(profile).problems(prepared.submission)


def send(prepared: Prepared, profile: Profile) -> Submitted:
    """Send a sweep, or find the one of its name that has not ended.

    Raises:
        StoreError: The store of this machine cannot be written.
        SubmissionError: It was not accepted.
    """
    submission = prepared.submission
    target = reached(profile)
    with told():
        before = target.standing(submission.name, submission.store)
        running = None if before is None or before.state.is_final() else before
        if profile.kind == "local" and running is None:
            _make_known(prepared.workspace)
        standing = target.submit(submission)
    was_there = running is not None and running.id == standing.id
    is_same = standing.bundle == submission.bundle.digest
    # Of two that send at one moment neither saw the other before: whose it is, the standing tells.
    is_own = is_same and standing.owner == submission.owner
    return Submitted(standing=standing, is_new=is_own and not was_there, is_same=is_same)


def _make_known(workspace: Workspace) -> None:
    """Let the store know a sweep by its name before its driver does, which may fail early.

    Raises:
        StoreError: The store cannot be written.
    """
    if not workspace.is_running():
        workspace.store.check()
        workspace.save_copy()


def reached(profile: Profile) -> Target:
    """Return the target of a profile.

    Raises:
        SubmissionError: It cannot be reached.
    """
    with told():
        return open_target(profile)


def _opened(sweep: str, store: str | None, profile: Profile) -> Workspace | None:
    """Return the sweep's workspace; None where only the target may know its name."""
    try:
        return open_past(sweep, store)
    except UnknownNameError:
        if profile.kind == "local" or Path(sweep).suffix in (".yaml", ".yml", ".json"):
            raise
        return None


def _may_have_results(standing: Standing | None) -> bool:
    """Return whether it is worth a look at a store that is reached through a pod."""
    return standing is None or standing.state is not State.SCHEDULED


def _is_seen(profile: Profile) -> bool:
    return profile.storage is None or store_here(profile) is not None
