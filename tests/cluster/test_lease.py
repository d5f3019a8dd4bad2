"""The lease by which one driver at a time works on an object store."""

import threading
import time

import pytest

from cluster.lease import LeaseTakenError, Pace, holder_of, lease
from cluster.store import Store

PACE = Pace(renew_every_s=0.3, lost_after_s=1.8, settle_s=0.2)
PATH = "sweeps/a/driver.json"


@pytest.fixture(params=["local", "s3"])
def store(request, tmp_path):
    """An empty store of each kind."""
    location = str(tmp_path) if request.param == "local" else request.getfixturevalue("s3_location")
    return Store(location)


def never():
    raise AssertionError("nobody took the lease")


def test_only_one_holds_it(store):
    with lease(store, PATH, "ann", on_loss=never, pace=PACE):
        holder = holder_of(store, PATH, PACE)
        assert holder is not None
        assert holder.owner == "ann"
        with (
            pytest.raises(LeaseTakenError, match="ann"),
            lease(store, PATH, "bob", on_loss=never, pace=PACE),
        ):
            raise AssertionError("two drivers at once")


def test_given_back_it_is_free_at_once(store):
    with lease(store, PATH, "ann", on_loss=never, pace=PACE):
        pass
    assert holder_of(store, PATH, PACE) is None
    with lease(store, PATH, "bob", on_loss=never, pace=PACE) as own:
        assert own.owner == "bob"


def test_it_outlives_its_first_term(store):
    with lease(store, PATH, "ann", on_loss=never, pace=PACE):
        time.sleep(2 * PACE.lost_after_s)
        assert holder_of(store, PATH, PACE) is not None


def test_that_of_a_holder_who_is_gone_is_waited_for(store):
    store.write_bytes(
        PATH, b'{"owner": "ann", "host": "h", "id": "1", "renewed_at": %f}' % time.time()
    )
    started = time.monotonic()
    with lease(store, PATH, "bob", on_loss=never, wait_s=5, pace=PACE):
        assert time.monotonic() - started >= PACE.lost_after_s * 0.9


def test_of_many_at_the_same_moment_one_gets_it(store):
    held, refused = [], []
    begin = threading.Barrier(6)

    def take(name):
        begin.wait()
        try:
            with lease(store, PATH, name, on_loss=never, pace=Pace(settle_s=0.5)):
                held.append(name)
                time.sleep(1)
        except LeaseTakenError:
            refused.append(name)

    threads = [threading.Thread(target=take, args=(f"driver {n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1
    assert len(refused) == 5


def test_a_holder_learns_that_it_lost_it(store):
    lost = threading.Event()
    with lease(store, PATH, "ann", on_loss=lost.set, pace=PACE):
        store.write_bytes(
            PATH, b'{"owner": "bob", "host": "h", "id": "2", "renewed_at": %f}' % time.time()
        )
        assert lost.wait(2)
    holder = holder_of(store, PATH, PACE)
    assert holder is None or holder.owner == "bob"


def test_a_damaged_file_holds_nobody_up(store):
    store.write_bytes(PATH, b'{"owner": ')
    with lease(store, PATH, "ann", on_loss=never, pace=PACE):
        pass
