"""A sweep in a process of its own on this machine: the promises of a target, from the shell."""

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
from cluster.target import Submission, TargetError

MODULES = {
    "quick": "print('one'); print('two')",
    "failing": "import sys; print('no'); sys.exit(3)",
    "slow": "import time\nprint('begun', flush=True)\ntime.sleep(60)",
    "orderly": (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('ended in order'), sys.exit(0)))\n"
        "print('begun', flush=True)\ntime.sleep(60)"
    ),
}


@pytest.fixture
def target():
    return LocalTarget(Profile())


@pytest.fixture
def submission(tmp_path):
    """A submission of a module that prints."""

    def make(module, name="a"):
        files = {f"{module}.py": MODULES[module].encode()}
        return Submission(
            name=name,
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


def test_it_runs_and_its_lines_come_in_order_each_once(target, submission):
    made = submission("quick")
    assert target.standing(made.name, made.store) is None
    assert target.submit(made).owner == "ann@host"
    assert list(target.logs(made.name, made.store, follow=True)) == ["one", "two"]
    assert ended(target, made).state is State.FINISHED


def test_an_exit_code_is_a_failure_with_a_next_step(target, submission):
    made = submission("failing")
    target.submit(made)
    standing = ended(target, made)
    assert standing.state is State.FAILED
    assert "exit code 3" in standing.message
    assert standing.action


def test_while_it_runs_the_same_name_attaches_and_afterwards_starts_anew(target, submission):
    made = submission("orderly")
    first = target.submit(made)
    assert target.submit(submission("quick")).id == first.id
    begun(target, made)
    target.cancel(made.name, made.store)
    assert ended(target, made).state is State.FINISHED
    assert list(target.logs(made.name, made.store)) == ["begun", "ended in order"]
    second = target.submit(submission("quick"))
    assert second.id != first.id
    assert second.num_attempts == 2
    ended(target, made)


def test_another_name_is_another_submission(target, submission):
    one, other = submission("quick"), submission("quick", name="b")
    assert target.submit(one).id != target.submit(other).id
    ended(target, one)
    ended(target, other)


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


def test_the_log_of_an_unknown_name_is_refused(target, tmp_path):
    with pytest.raises(TargetError, match="was not submitted"):
        next(target.logs("nobody", str(tmp_path)))
