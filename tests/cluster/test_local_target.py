"""A sweep in a process of its own on this machine: what becomes of it when that is gone."""

import json
import os
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from cluster.bundle import Bundle
from cluster.job import State
from cluster.local_target import LocalTarget
from cluster.profile import Profile
from cluster.target import Submission, TargetError

MODULES = {
    "quick": "print('one')",
    "slow": "import time\nprint('begun', flush=True)\ntime.sleep(60)",
    "deaf": "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('begun', flush=True)\ntime.sleep(60)",
    "here": "import os\nprint(os.getcwd())",
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
    for process in [shell, *shell.children(recursive=True)]:  # it shall not note an exit code
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


def test_one_that_was_cancelled_before_it_began_is_not_a_failure(target, submission):
    made = submission("slow")
    target.submit(made)
    target.cancel(made.name, made.store)  # the shell may not have started it yet
    assert target.standing(made.name, made.store).state is State.KILLED


def test_one_that_does_not_end_is_told(target, submission, monkeypatch):
    monkeypatch.setattr("cluster.local_target.STOPPING_S", 0.5)
    made = submission("deaf")
    target.submit(made)
    begun(target, made)
    with pytest.raises(TargetError, match="still runs"):
        target.cancel(made.name, made.store)
    os.killpg(int(target.standing(made.name, made.store).id), signal.SIGKILL)


def test_it_leaves_its_files_where_a_run_in_the_foreground_does(
    target, submission, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    made = submission("here")
    target.submit(made)
    assert list(target.logs(made.name, made.store, follow=True)) == [str(tmp_path)]


@pytest.fixture
def temporary(monkeypatch, tmp_path):
    """The folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_two_buckets_are_two_places_that_others_do_not_enter(target, submission, temporary):
    one, other = (replace(submission("quick"), store=f"s3://{name}/x") for name in ("a", "b"))
    places = [Path(target.submit(each).facts["log"]).parent for each in (one, other)]
    assert places[0] != places[1]
    assert {ended(target, each).num_attempts for each in (one, other)} == {1}
    (own,) = temporary.iterdir()
    assert own.stat().st_mode & 0o077 == 0


def test_a_place_of_another_user_is_told(target, submission, temporary):
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    made = replace(submission("quick"), store="s3://a/x")
    target.submit(made)
    ended(target, made)
    (own,) = temporary.iterdir()
    os.chown(own, 12345, 12345)
    with pytest.raises(TargetError, match="belongs to another user"):
        target.submit(made)
