"""The record of what happened: it survives a crash at any byte, and holds no secret."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.job import Cause, Failure
from cluster.store import Store
from orchestrator.running.journal import Event, Journal, parse_events, read_journal
from orchestrator.running.redaction import redact

REPOSITORY = Path(__file__).parents[2]
quick = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

TEXT = st.text(max_size=20)
DETAILS = st.dictionaries(TEXT, TEXT | st.integers() | st.booleans() | st.none(), max_size=3)
FAILURES = st.builds(
    Failure, st.sampled_from(Cause), message=TEXT, traceback=TEXT, key=TEXT, nearest=TEXT
)
EVENTS = st.builds(
    Event,
    time=st.floats(1e9, 2e9),
    kind=st.sampled_from(["job_started", "stage_finished", "stage_failed"]),
    job=TEXT,
    stages=st.lists(st.text("0123456789abcdef", min_size=1), max_size=3).map(tuple),
    attempt=st.integers(1, 20),
    failure=st.none() | FAILURES,
    detail=DETAILS,
)


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


@pytest.fixture
def object_store(s3_location):
    """A store that cannot append."""
    return Store(s3_location)


def write(store, events, *, sweep="toy", started_at=1e9, flush_each=False):
    journal = Journal(store, sweep, started_at)
    for event in events:
        journal.append(event)
        if flush_each:
            journal.flush()
    journal.close()


def failed(message, **detail):
    failure = Failure(Cause.BUG, message, f"Traceback: {message}")
    return Event(time=1.5e9, kind="stage_failed", stages=("d1",), failure=failure, detail=detail)


@quick
@given(events=st.lists(EVENTS, max_size=6))
def test_any_events_come_back(tmp_path, events):
    store = Store(str(tmp_path))
    sweep = f"s{len(list(tmp_path.rglob('*')))}"
    write(store, events, sweep=sweep)
    assert list(read_journal(store, sweep)) == events


def test_a_failure_comes_back_as_it_was(store):
    write(store, [failed("boom")])
    (event,) = read_journal(store, "toy")
    assert event.failure.cause is Cause.BUG
    assert event.failure.message == "boom"


@pytest.mark.parametrize("text", ["plain", 'é\n"quoted" \\ {}', ""])
def test_cut_at_any_byte_it_is_a_prefix_of_the_events(store, text):
    events = [failed(f"{text} {number}") for number in range(4)]
    write(store, events)
    (path,) = store.list_files("sweeps/toy/journal")
    content = store.read_bytes(path)
    lengths = []
    for end in range(len(content) + 1):
        read = list(parse_events(content[:end]))
        assert read == events[: len(read)]
        lengths.append(len(read))
    assert lengths == sorted(lengths)
    assert lengths[-1] == 4


def test_a_later_run_does_not_write_behind_a_cut_line(store):
    write(store, [failed("first"), failed("second")], started_at=1e9)
    (path,) = store.list_files("sweeps/toy/journal")
    store.write_bytes(path, store.read_bytes(path)[:-5])
    write(store, [failed("third")], started_at=1e9 + 1)
    assert [e.failure.message for e in read_journal(store, "toy")] == ["first", "third"]


def test_runs_come_back_oldest_first(store):
    for started_at in (2e9, 5e8, 1.5e9):
        write(store, [failed(f"{started_at:g}")], started_at=started_at)
    assert [e.failure.message for e in read_journal(store, "toy")] == ["5e+08", "1.5e+09", "2e+09"]


def test_sweeps_have_journals_of_their_own(store):
    write(store, [failed("mine")], sweep="mine")
    write(store, [failed("theirs")], sweep="theirs")
    assert [e.failure.message for e in read_journal(store, "mine")] == ["mine"]
    assert list(read_journal(store, "nobody's")) == []


def test_what_is_flushed_can_be_read_while_the_writer_goes_on(store):
    journal = Journal(store, "toy", 1e9)
    journal.append(failed("first"))
    assert list(read_journal(store, "toy")) == []
    journal.flush()
    assert len(list(read_journal(store, "toy"))) == 1
    journal.append(failed("second"))
    journal.close()
    assert len(list(read_journal(store, "toy"))) == 2


def test_on_an_object_store_every_flush_is_an_object(object_store):
    events = [failed(f"{number}") for number in range(12)]
    write(object_store, events, flush_each=True)
    assert len(object_store.list_files("sweeps/toy/journal")) == 12
    assert list(read_journal(object_store, "toy")) == events


def test_a_flush_of_nothing_writes_nothing(object_store):
    journal = Journal(object_store, "toy", 1e9)
    journal.flush()
    journal.close()
    assert object_store.list_files("sweeps/toy/journal") == []


def text_of(store):
    return "".join(store.read_bytes(p).decode() for p in store.list_files("sweeps/toy/journal"))


@pytest.mark.parametrize("secret", ["hunter-2-hunter", 'quo"ted\\secret', "pässwörd", "123456"])
def test_a_secret_of_the_environment_is_not_kept(store, monkeypatch, secret):
    monkeypatch.setenv("DATABASE_PASSWORD", secret)
    write(store, [failed(f"login with {secret} failed", url=[f"see {secret}"])])
    (event,) = read_journal(store, "toy")
    assert event.failure.message == "login with *** failed"
    assert event.detail == {"url": ["see ***"]}
    assert json.dumps(secret)[1:-1] not in text_of(store).replace(str(event.time), "")


@pytest.mark.parametrize("secret", ["failure", "stage_failed", "150000", '{"time"', "d1d1d1d1"])
def test_a_secret_that_looks_like_the_journal_does_not_break_it(store, monkeypatch, secret):
    monkeypatch.setenv("API_KEY", secret)
    event = Event(time=1500000000.5, kind="stage_failed", stages=("d1d1d1d1",))
    write(store, [event])
    assert list(read_journal(store, "toy")) == [event]


def test_a_password_in_a_uri_is_not_kept(store):
    write(store, [failed("cannot reach postgresql://me:se@cret@host:5432/db now")])
    (event,) = read_journal(store, "toy")
    assert event.failure.message == "cannot reach postgresql://me:***@host:5432/db now"
    assert "cret" not in text_of(store)


def test_a_password_among_the_options_of_a_uri_is_not_kept(store):
    write(store, [failed("cannot reach postgresql://host/db?user=me&password=secret")])
    (event,) = read_journal(store, "toy")
    assert event.failure.message == "cannot reach postgresql://host/db?user=me&password=***"


def test_a_uri_with_a_port_is_left_alone_and_breaks_nothing(store):
    events = [failed("http://host:5000", a="x", b="me@example.org"), failed("http://[::1]:5000/x")]
    write(store, events)
    assert list(read_journal(store, "toy")) == events


def test_a_secret_that_is_part_of_another_hides_nothing_of_it(monkeypatch):
    monkeypatch.setenv("A_TOKEN", "abcdef")
    monkeypatch.setenv("B_TOKEN", "abcdefghijkl")
    assert redact("token abcdefghijkl!") == "token ***!"


def test_a_long_text_is_searched_in_no_time():
    begun = time.perf_counter()
    redact("x" * 200_000 + " ://" * 20_000)
    assert time.perf_counter() - begun < 20  # what backtracks takes many minutes


def test_short_values_and_other_variables_are_left_alone(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "on")
    monkeypatch.setenv("EDITOR", "vim-editor")
    assert redact("vim-editor is on") == "vim-editor is on"


WRITER = """
import sys
from cluster.store import Store
from orchestrator.running.journal import Event, Journal
journal = Journal(Store(sys.argv[1]), "toy", 1e9)
for number in range(1_000_000):
    journal.append(Event(time=1e9, kind="job_started", stages=(f"{number:08x}",)))
    journal.flush()
    if number == 20:
        print("going", flush=True)
"""


def test_a_writer_that_is_killed_leaves_a_prefix(store):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, store.root], stdout=subprocess.PIPE, cwd=REPOSITORY
    )
    try:
        assert writer.stdout.readline() == b"going\n"
    finally:
        writer.kill()
        writer.wait(20)
    stages = [event.stages for event in read_journal(store, "toy")]
    assert len(stages) > 20
    assert stages == [(f"{number:08x}",) for number in range(len(stages))]


def test_on_a_disk_that_fills_up_it_is_a_prefix(small_disk):
    store = Store(str(small_disk))
    journal = Journal(store, "toy", 1e9)
    events = [failed(f"{number} {'x' * 7000}") for number in range(200)]
    with pytest.raises(OSError, match="space"):
        for event in events:
            journal.append(event)
            journal.flush()
    read = list(read_journal(store, "toy"))
    assert 10 < len(read) < 200
    assert read == events[: len(read)]


def test_an_object_store_gets_an_object_a_second_and_keeps_the_order(s3_location):
    store = Store(s3_location)
    journal = Journal(store, "a", 1.0)
    for number in range(200):
        journal.append(Event(time=1.0 + number, kind="job_started", job=str(number)))
        journal.flush_if_due()
    journal.close()
    assert len(store.list_files("sweeps/a/journal")) <= 3
    assert [event.job for event in read_journal(store, "a")] == [str(n) for n in range(200)]
