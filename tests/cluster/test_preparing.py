"""Workers get ready for jobs to come, which delays, costs and begins nothing."""

import pytest

from tests.cluster.scripted import (
    DECLARED,
    WHOLE,
    ends,
    job,
    lines,
    opened,
    ray_opened,
    run_one,
    wait_for,
)

__all__ = ["opened", "ray_opened"]  # fixtures


def test_to_prepare_begins_nothing_and_takes_nothing_from_other_jobs(opened):
    backend = opened()
    for _ in range(3):
        backend.prepare(job("soon", "echo", "never"))
    assert list(backend.wait(0.2)) == []
    assert list(backend.begun()) == []
    assert run_one(backend, "echo", "now", WHOLE).result == "now"
    assert list(backend.wait(0.2)) == []


def test_a_worker_is_prepared_once_and_serves_the_next_job(ray_opened, tmp_path):
    made = tmp_path / "made"
    backend = ray_opened(made=str(made))
    backend.submit(job("long", "sleep", 60))
    assert wait_for(lambda: not backend.wait(0.1) and "long" in backend.begun())
    for name in ("next", "one too many for two cores"):
        backend.prepare(job(name, "echo", name))
    assert run_one(backend, "preparations").result == [("echo", "next")]
    assert len(lines(made)) == 2


@pytest.mark.parametrize(("action", "argument"), [("fail", "no such module"), ("leave", 3)])
def test_a_worker_that_cannot_be_prepared_costs_no_job_anything(ray_opened, action, argument):
    backend = ray_opened()
    backend.prepare(job("soon", action, argument))
    backend.submit(job("long", "sleep", 3.0))
    backend.submit(job("next", "preparations"))
    ended = ends(backend, 2)
    assert ended["long"].result == "slept"
    assert ended["next"].result == []


def test_no_job_waits_for_what_gets_ready_for_others(ray_opened):
    backend = ray_opened()
    backend.prepare(job("soon", "sleep", 60))
    assert run_one(backend, "echo", "at once").result == "at once"
    backend.prepare(job("soon", "sleep", 60))
    assert run_one(backend, "echo", "all of it", WHOLE).result == "all of it"
    backend.cancel_all()
    assert run_one(backend, "echo", "again", WHOLE).result == "again"


def test_no_node_is_asked_for_before_there_is_work_for_it(ray_opened, tmp_path):
    made = tmp_path / "made"
    backend = ray_opened(capacity=DECLARED, made=str(made))
    backend.prepare(job("soon"))
    assert run_one(backend, "echo", "now").result == "now"
    assert len(lines(made)) == 1
