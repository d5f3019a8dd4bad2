"""One contract over every kind of store, and what holds on a local disk only."""

import contextlib
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cluster import store as store_module
from cluster.artifact import Record, StoreError
from cluster.store import Store

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(params=["folder", "file URI", "S3"])
def location(request, tmp_path):
    """The location of an empty store of each kind in turn."""
    if request.param == "folder":
        return str(tmp_path / "a store")
    if request.param == "file URI":
        return (tmp_path / "store").as_uri()
    return request.getfixturevalue("s3_location")


@pytest.fixture
def store(location):
    return Store(location)


def digest(number=0):
    return f"{number:064x}"


def record(number=0, **changes):
    made = Record(
        digest=digest(number),
        stage="toy/work",
        value={"metrics": {"test/score": 0.5}, "words": ["é", None, True]},
        started_at=1_700_000_000.25,
        duration_s=1.5,
    )
    return replace(made, **changes)


def table(num_rows=5):
    return pa.table({"text": [f"row {i}" for i in range(num_rows)], "label": list(range(num_rows))})


def test_what_is_written_is_found_and_read_back(store):
    written = store.write(record(), {"rows": table()}, {"x": np.arange(6.0).reshape(2, 3)})
    found = store.find([digest()])[digest()]
    assert found == written
    assert found.value == record().value
    assert (found.stage, found.started_at, found.duration_s) == ("toy/work", 1_700_000_000.25, 1.5)
    artifact = store.open(found)
    assert artifact.table("rows") == table()
    np.testing.assert_array_equal(artifact.array("x"), np.arange(6.0).reshape(2, 3))


def test_another_process_sees_what_was_written(location, store):
    store.write(record(), {"rows": table()})
    code = (
        "import sys; from cluster.store import Store; s = Store(sys.argv[1]);"
        "r = s.find([sys.argv[2]])[sys.argv[2]]; print(s.open(r).table('rows').num_rows)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, location, digest()],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "5"


def test_only_what_is_there_is_present(store):
    assert store.present([]) == set()
    assert store.find([digest(1)]) == {}
    store.write(record(1))
    store.write(record(2), {"rows": table()})
    assert store.present([digest(n) for n in range(4)]) == {digest(1), digest(2)}
    assert set(store.find([digest(n) for n in range(4)])) == {digest(1), digest(2)}


def test_a_location_with_a_slash_at_its_end_is_the_same_store(location, store):
    store.write(record())
    path, mark, options = location.partition("?")
    assert Store(f"{path}/{mark}{options}").present([digest()]) == {digest()}


def test_a_record_that_cannot_be_written_leaves_nothing_visible(store):
    with pytest.raises(TypeError):
        store.write(record(value={"model": object()}), {"rows": table()})
    assert store.present([digest()]) == set()


def test_an_artifact_is_replaced_as_a_whole_and_readers_keep_theirs(store):
    store.write(record(), {"rows": table(3)})
    before = store.open(store.find([digest()])[digest()])
    store.write(record(started_at=2e9), {"rows": table(7)})
    after = store.open(store.find([digest()])[digest()])
    assert before.table("rows").num_rows == 3
    assert after.table("rows").num_rows == 7
    assert after.record.started_at == 2e9


def test_what_an_artifact_lacks_is_named(store):
    artifact = store.open(store.write(record(), {"rows": table()}))
    with pytest.raises(StoreError, match=r"other\.arrow"):
        artifact.table("other")
    with pytest.raises(StoreError, match="no array"):
        artifact.array("x")


def test_an_array_that_is_not_there_is_named(store):
    artifact = store.open(store.write(record(), arrays={"x": np.zeros(2)}))
    with pytest.raises(StoreError, match="'y'"):
        artifact.array("y")


DAMAGE = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["rows.arrow", "arrays.safetensors"])
def test_a_damaged_file_is_a_store_error(store, damage, name):
    written = store.write(record(), {"rows": table(100)}, {"x": np.ones(100)})
    path = f"artifacts/00/{digest()}/{written.attempt}/{name}"
    store.write_bytes(path, DAMAGE[damage](store.read_bytes(path)))
    artifact = store.open(written)
    with pytest.raises(StoreError, match=digest()[:12]):
        artifact.table("rows") if name == "rows.arrow" else artifact.array("x")


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_a_store_error_that_names_it(store, damage):
    store.write(record(), {"rows": table()})
    path = f"artifacts/00/{digest()}.json"
    store.write_bytes(path, DAMAGE[damage](store.read_bytes(path)))
    with pytest.raises(StoreError, match=digest()[:12]):
        store.find([digest()])


def test_a_lost_file_is_a_store_error(tmp_path):
    store = Store(str(tmp_path))
    written = store.write(record(), {"rows": table()})
    shutil.rmtree(tmp_path / "artifacts" / "00" / digest())
    with pytest.raises(StoreError, match="cannot read"):
        store.open(written).table("rows")


def test_logs_come_back_oldest_first(store):
    for started_at, text in [(999.5, "first"), (1e9, "second"), (1_700_000_000, "third é\n")]:
        store.write_log(digest(), started_at, text)
    assert store.read_logs(digest()) == ["first", "second", "third é\n"]
    assert store.read_logs(digest(1)) == []


def test_a_store_that_works_passes_its_check_and_keeps_nothing_of_it(store):
    store.check()
    assert store.list_files("") == []


WRITER = """
import sys, time
import numpy as np, pyarrow as pa
from cluster.artifact import Record
from cluster.store import Store
location, digest, number, num_writes = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
store = Store(location)
print("ready", flush=True)
for turn in range(num_writes):
    record = Record(digest=digest, stage="s", value={"writer": number}, started_at=1, duration_s=1)
    store.write(record, {"rows": pa.table({"x": [number] * 2000})}, {"y": np.full(2000, number)})
print("done", flush=True)
"""


def start_writer(location, number, num_writes):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, location, digest(), str(number), str(num_writes)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )


def assert_whole(store, found):
    writer = found.value["writer"]
    artifact = store.open(found)
    assert set(artifact.table("rows")["x"].to_pylist()) == {writer}
    assert set(artifact.array("y").tolist()) == {writer}


def test_two_writers_of_one_artifact_at_once_leave_a_whole_one(location, store):
    writers = [start_writer(location, number, 12) for number in (1, 2)]
    try:
        deadline = time.monotonic() + 60
        num_seen = 0
        while any(w.poll() is None for w in writers) and time.monotonic() < deadline:
            for found in store.find([digest()]).values():
                assert_whole(store, found)
                num_seen += 1
        assert [writer.wait(10) for writer in writers] == [0, 0]
        assert num_seen
        assert_whole(store, store.find([digest()])[digest()])
    finally:
        for writer in writers:
            writer.kill()
            writer.wait(10)


def test_a_writer_that_is_killed_leaves_a_whole_artifact_or_none(tmp_path):
    num_killed = 0
    for turn in range(4):
        store = Store(str(tmp_path / str(turn)))
        writer = start_writer(store.location, 1, 100_000)
        assert writer.stdout.readline() == "ready\n"
        time.sleep(0.006 * turn)
        writer.send_signal(signal.SIGKILL)
        num_killed += writer.wait(10) == -signal.SIGKILL
        for found in store.find([digest()]).values():
            assert_whole(store, found)
        store.write(record(value={"writer": 1}))
        assert store.find([digest()])[digest()].value == {"writer": 1}
    assert num_killed == 4


def test_what_a_killed_writer_left_of_a_log_is_not_a_log(tmp_path):
    store = Store(str(tmp_path))
    store.write_log(digest(), 1.0, "whole")
    folder = tmp_path / "logs" / "00" / digest()
    (whole,) = folder.iterdir()
    (folder / f"{whole.name}.{uuid.uuid4().hex}.part").write_text("wh")
    assert store.read_logs(digest()) == ["whole"]


def test_a_file_in_the_place_of_the_store_is_told(tmp_path):
    (tmp_path / "store").write_text("not a folder")
    with pytest.raises(StoreError, match="not writable"):
        Store(str(tmp_path / "store")).check()


@pytest.mark.parametrize("location", ["nosuch://bucket/x", "s3://", "file://relative"])
def test_a_location_that_is_no_store_is_told(location):
    with pytest.raises(StoreError, match="cannot open"):
        Store(location)


def test_a_message_about_a_location_shows_no_password():
    with pytest.raises(StoreError) as caught:
        Store("s3://toy:toy@secret@bucket/x?password=secret&no_such_option=1")
    assert "no_such_option" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_disk_that_is_nearly_full_is_told_before_anything_runs(small_disk):
    with pytest.raises(StoreError, match="is full: 1 MiB free"):
        Store(str(small_disk)).check()


def test_a_disk_without_rights_is_told(small_disk):
    remount = [shutil.which("mount"), "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True, capture_output=True, timeout=20)
    with pytest.raises(StoreError, match="not writable"):
        Store(str(small_disk)).check()


def test_a_disk_that_fills_up_shows_nothing_half_and_keeps_what_it_had(small_disk, monkeypatch):
    monkeypatch.setattr(store_module, "MIN_FREE_BYTES", 0)
    store = Store(str(small_disk))
    store.check()
    store.write(record(0), {"rows": table()})
    with pytest.raises(OSError, match="space"):
        store.write(record(1), {"rows": pa.table({"x": np.zeros(400_000)})})
    with pytest.raises(OSError, match="space"):
        store.write(record(2), arrays={"x": np.zeros(400_000)})
    assert store.present([digest(n) for n in range(3)]) == {digest(0)}
    assert store.open(store.find([digest(0)])[digest(0)]).table("rows") == table()


def test_a_relative_location_means_the_folder_in_which_it_was_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store("store")
    monkeypatch.chdir("/")
    store.write(record())
    assert Store(str(tmp_path / "store")).present([digest()]) == {digest()}


def test_a_table_outlives_its_file(tmp_path):
    store = Store(str(tmp_path))
    read = store.open(store.write(record(), {"rows": table(10_000)})).table("rows")
    shutil.rmtree(tmp_path)
    assert read == table(10_000)


quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

CELLS = st.one_of(st.none(), st.text(max_size=8))
KINDS = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]
ARRAYS = st.sampled_from(KINDS).flatmap(
    lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@quick
@given(value=st.dictionaries(st.text(), JSON, max_size=4))
def test_any_json_value_comes_back(tmp_path, value):
    store = Store(str(tmp_path))
    store.write(record(value=value))
    assert store.find([digest()])[digest()].value == value


@quick
@given(texts=st.lists(CELLS), numbers=st.lists(st.floats() | st.none()))
def test_any_table_comes_back(tmp_path, texts, numbers):
    size = min(len(texts), len(numbers))
    given_table = pa.table(
        {
            "text": pa.array(texts[:size], pa.string()),
            "number": pa.array(numbers[:size], pa.float64()),
        }
    )
    store = Store(str(tmp_path))
    read = store.open(store.write(record(), {"rows": given_table})).table("rows")
    assert read.schema == given_table.schema
    assert repr(read.to_pylist()) == repr(given_table.to_pylist())  # NaN is not equal to itself


@quick
@given(array=ARRAYS, transposed=st.booleans(), step=st.sampled_from([1, 2, -1]))
def test_any_array_comes_back(tmp_path, array, transposed, step):
    array = array.T if transposed else array
    array = array[::step] if array.ndim else array
    store = Store(str(tmp_path))
    read = store.open(store.write(record(), arrays={"x": array})).array("x")
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(read, array)


def test_big_endian_arrays_keep_their_values(tmp_path):
    store = Store(str(tmp_path))
    with contextlib.suppress(ValueError, KeyError):  # refusing is as good as keeping
        read = store.open(store.write(record(), arrays={"x": np.arange(4, dtype=">f4")})).array("x")
        assert read.tolist() == [0, 1, 2, 3]
