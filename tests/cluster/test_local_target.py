"""A sweep in a process of its own on this machine: what becomes of it when that is gone."""

import json
import os
import time
from pathlib import Path

import psutil
import pytest

from cluster.bundle import Bundle
from cluster.job import State
from cluster.local_target import LocalTarget
from cluster.profile import Profile
from cluster.target import Submission

MODULES = {
    "quick": "print('one')",
    "slow": "import time\nprint('begun', flush=True)\ntime.sleep(60)",
}


@pytest.fixture
def target():
    return LocalTarget(Profile())


@pytest.fixture
def submission(tmp_path):
    """A submission of a module that prints."""

    def make(module):
        files = {f"{module}.py": MODULES[module].encode()}
        return Submission(
            name="a",
            bundle=Bundle(files=files),
            module=module,
            shapes=(),
            owner="ann@host",
            store=str(tmp_path / "store"),
        )

    return make


def ended(target, made, timeout_s=20):
    """Return how a submission ended."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        standing = target.standing(made.name, made.store)
        if standing.state.is_final():
            return standing
        time.sleep(0.1)
    raise AssertionError("it does not end")


def begun(target, made):
    """Wait until a submission has printed something."""
    log = Path(target.standing(made.name, made.store).facts["log"])
    deadline = time.monotonic() + 20
    while not log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_one_that_was_killed_is_told_and_cancelling_it_does_nothing(target, submission):
    made = submission("slow")
    target.submit(made)
    begun(target, made)
    shell = psutil.Process(int(target.standing(made.name, made.store).id))
    for process in [*shell.children(recursive=True), shell]:
        process.kill()
    standing = ended(target, made)
    assert standing.state is State.KILLED
    assert "gone" in standing.message
    target.cancel(made.name, made.store)


def test_the_number_of_another_process_is_not_taken_for_it(target, submission, tmp_path):
    made = submission("quick")
    target.submit(made)
    ended(target, made)
    note = tmp_path / "store/sweeps/a/submission.json"
    other = json.loads(note.read_text()) | {"pid": os.getpid(), "started_at": 1.0}
    note.write_text(json.dumps(other))
    next(note.parent.glob("*.code")).unlink()
    assert target.standing(made.name, made.store).state is State.KILLED
