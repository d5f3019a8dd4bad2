"""What every target promises (`cluster.target.Target`), of those that run what they are sent here.

Of Kubernetes they stand in `tests/kubernetes/test_target.py`: there no program runs by itself.
"""

import threading
import time
import uuid

import pytest

from cluster.bundle import Bundle
from cluster.job import Resources, State
from cluster.local_target import LocalTarget
from cluster.profile import Profile
from cluster.target import Submission, TargetError
from tests.cluster.test_ray_jobs import head, opened

__all__ = ["head"]  # a fixture
pytestmark = pytest.mark.timeout(200)

PRINTS = "for number in range(300): print('line', number, 'é')\nprint('the end', end='')"
FAILS = "print('no'); raise SystemExit(3)"
WAITS = """
import signal, sys, time
def end(*_):
    print("in good order")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
time.sleep(60)
"""
ENDS_SLOWLY = WAITS.replace("    sys.exit(0)", "    time.sleep(1.5)\n    sys.exit(0)")


@pytest.fixture(params=["local", "ray"])
def place(request, tmp_path, monkeypatch):
    """A function that opens the target anew, as from another shell."""
    if request.param == "local":
        return lambda: LocalTarget(Profile())
    cluster = request.getfixturevalue("head")
    monkeypatch.setattr("cluster.ray_jobs.STOPPING_S", 3)
    monkeypatch.setenv("RAY_AUTH_TOKEN", cluster.token)
    return lambda: opened(cluster.url, tmp_path)


@pytest.fixture
def submission(tmp_path):
    """A function that makes a submission of a program, all of one name."""
    name = f"Toys {uuid.uuid4().hex[:8]}"

    def make(program, name=name, owner="ann@example", store="store"):
        return Submission(
            name=name,
            bundle=Bundle(files={"drive.py": program.encode()}),
            module="drive",
            shapes=[Resources(num_cpus=1)],
            owner=owner,
            store=str(tmp_path / store),
        )

    return make


def ended(target, sent, timeout_s=60):
    """Return how a submission ended."""
    deadline = time.monotonic() + timeout_s
    while not (standing := target.standing(sent.name, sent.store)).state.is_final():
        assert time.monotonic() < deadline, standing
        time.sleep(0.2)
    return standing


def test_it_runs_once_and_every_line_comes_once_in_order(place, submission):
    target, sent = place(), submission(PRINTS)
    assert target.standing(sent.name, sent.store) is None
    first = target.submit(sent)
    assert (first.owner, first.bundle) == ("ann@example", sent.bundle.digest)
    expected = [*(f"line {number} é" for number in range(300)), "the end"]
    assert list(target.logs(sent.name, sent.store, follow=True)) == expected
    end = ended(place(), sent)
    assert (end.id, end.state, end.num_attempts) == (first.id, State.FINISHED, 1)
    assert list(place().logs(sent.name, sent.store)) == expected


def test_a_program_that_fails_is_told_in_a_sentence_with_the_next_step(place, submission):
    target, sent = place(), submission(FAILS)
    target.submit(sent)
    end = ended(target, sent)
    assert end.state is State.FAILED
    assert "exit code 3" in end.message
    assert "\n" not in end.message
    assert end.action


def test_while_one_runs_its_name_starts_none_and_afterwards_anew(place, submission):
    target, sent = place(), submission(WAITS)
    first = target.submit(sent)
    lines = target.logs(sent.name, sent.store, follow=True)
    assert next(lines) == "up"
    joined = place().submit(submission(PRINTS, owner="bob@example"))
    assert (joined.id, joined.owner, joined.bundle) == (first.id, first.owner, first.bundle)
    target.cancel(sent.name, sent.store)
    assert list(lines) == ["in good order"]
    ended(target, sent)
    target.cancel(sent.name, sent.store)  # does nothing
    second = place().submit(submission("print('anew')"))
    assert (second.id != first.id, second.num_attempts) == (True, 2)
    assert list(target.logs(sent.name, sent.store, follow=True)) == ["anew"]
    assert ended(target, sent).id == second.id


def test_what_is_cancelled_has_ended_and_can_be_sent_at_once(place, submission):
    target, sent = place(), submission(ENDS_SLOWLY)
    target.submit(sent)
    lines = target.logs(sent.name, sent.store, follow=True)
    assert next(lines) == "up"
    target.cancel(sent.name, sent.store)
    anew = place().submit(submission("print('anew')"))
    assert anew.num_attempts == 2
    assert ended(target, sent).state is State.FINISHED
    assert list(target.logs(sent.name, sent.store)) == ["anew"]


def test_two_submitters_at_one_moment_start_one(place, submission):
    targets, found = [place() for _ in range(4)], []
    barrier = threading.Barrier(len(targets))

    def submit(number):
        barrier.wait()
        found.append(targets[number].submit(submission(WAITS, owner=f"user-{number}")))

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent = submission(WAITS)
    targets[0].cancel(sent.name, sent.store)
    assert len(found) == 4
    assert {(each.id, each.owner) for each in found} == {(found[0].id, found[0].owner)}
    assert ended(targets[0], sent).num_attempts == 1


def test_another_name_and_another_store_are_other_submissions(place, submission):
    target = place()
    sent = [submission(PRINTS), submission(PRINTS, name="b"), submission(PRINTS, store="other")]
    assert len({target.submit(each).id for each in sent}) == 3
    assert [ended(target, each).state for each in sent] == [State.FINISHED] * 3


def test_a_name_that_nobody_sent_is_told(place, submission):
    target, sent = place(), submission(PRINTS)
    assert target.standing(sent.name, sent.store) is None
    with pytest.raises(TargetError):
        next(target.logs(sent.name, sent.store))
