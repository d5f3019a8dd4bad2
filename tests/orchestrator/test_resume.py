"""A driver that is interrupted or killed: quick, told as it was, resumed without loss."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from cluster.job import State
from cluster.machine import local_resources
from cluster.store import Store
from orchestrator import report, run
from orchestrator.running.journal import read_journal

REPOSITORY = Path(__file__).parents[2]

DRIVER = """
import json, sys
from orchestrator import run
made = run(json.loads(sys.argv[1]), **json.loads(sys.argv[2]))
print(json.dumps({"state": made.state, "exit_code": made.exit_code, "counts": made.counts}))
sys.exit(made.exit_code)
"""
START_TIMEOUT_S = 90
NUM_CORES = int(local_resources().num_cpus)
SPACE = {"value": list(range(12)), "sleep_s": 0.15}


class Driver:
    """`run` in a process group of its own, as a terminal has one."""

    def __init__(self, toy, sweep, **options):
        self.toy = toy
        self._process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, json.dumps(sweep), json.dumps(options)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.family: list[psutil.Process] = []

    def wait_for_work(self, num_executed=1):
        """Wait until so many trials have begun; remember all processes of this driver."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.toy.num_executed() < num_executed:
            assert self._process.poll() is None, self._process.stderr.read()
            assert time.monotonic() < deadline, "nothing began"
            time.sleep(0.02)
        self.family = psutil.Process(self._process.pid).children(recursive=True)

    def signal_group(self, number):
        """Do what a terminal does on Ctrl-C: signal the driver and all its children."""
        os.killpg(self._process.pid, number)

    def signal(self, number):
        self._process.send_signal(number)

    def end(self, timeout_s=30):
        """Wait for the driver's end; return its exit code and what it said."""
        output, errors = self._process.communicate(timeout=timeout_s)
        said = json.loads(output) if output.strip() else {}
        return self._process.returncode, said, errors

    def leftovers(self, timeout_s=20):
        """Return the processes of this driver that are still there after a bounded wait.

        Ray's two agents compute nothing and take a minute to find that their head has died.
        """
        workers = [
            process for process in self.family if not process_name(process).endswith("Agent")
        ]
        _, alive = psutil.wait_procs(workers, timeout=timeout_s)
        return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]

    def kill(self):
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
        for process in self.family:
            if process.is_running():
                process.kill()


def process_name(process):
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


@pytest.fixture
def drive(toy):
    drivers = []

    def start(sweep, **options):
        drivers.append(Driver(toy, sweep, **options))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.kill()


def scores(made):
    return {
        (r.trial.params["value"], r.trial.seed): r.metrics.get("test/score") for r in made.results
    }


def undisturbed(space, num_seeds):
    return {
        (v, s): pytest.approx(v + s / 100 + 1) for v in space["value"] for s in range(num_seeds)
    }


def failed_events(toy):
    events = read_journal(Store(str(toy.store)), "toy")
    return [event.failure for event in events if event.kind == "stage_failed"]


@pytest.mark.parametrize(("name", "to_group"), [("SIGINT", True), ("SIGHUP", False)])
def test_an_interrupted_run_ends_in_good_order_and_goes_on_later(toy, drive, name, to_group):
    space = {"value": [1, 2, 3, 4], "sleep_s": 0.6}
    sweep = toy.sweep(space, seeds=2)
    driver = drive(sweep, backend="inline")
    driver.wait_for_work(3)
    assert_interrupted(toy, sweep, driver, name, to_group)
    assert_goes_on(toy, sweep, undisturbed(space, 2))


def assert_interrupted(toy, sweep, driver, name, to_group):
    """Interrupt a driver that is at work; it ends soon, and nothing has failed."""
    begun = time.monotonic()
    (driver.signal_group if to_group else driver.signal)(getattr(signal, name))
    code, said, errors = driver.end()
    assert time.monotonic() - begun < 15
    assert (code, said.get("state")) == (130, "KILLED"), errors
    assert "Traceback" not in errors
    assert driver.leftovers() == []
    assert said["counts"]["KILLED"] >= 1
    assert "FAILED" not in said["counts"]
    assert failed_events(toy) == [], "what was interrupted did not fail"
    assert report(sweep).state is State.KILLED


def assert_goes_on(toy, sweep, scores_expected):
    """Run a sweep to its end and compare; only what was in flight is computed again."""
    before = toy.executed()
    known = report(sweep)
    assert known.state is State.KILLED
    made = run(sweep, backend="inline")
    assert made.exit_code == 0
    assert scores(made) == scores_expected
    assert made.num_reused == known.counts.get("FINISHED", 0)
    trials_before = {tuple(line.split()[:2]) for line in before}
    trials_after = {tuple(line.split()[:2]) for line in toy.executed()[len(before) :]}
    assert len(trials_before & trials_after) <= NUM_CORES
    assert len(trials_before | trials_after) == len(scores_expected)


def assert_killed(driver):
    """Kill a driver; none of its processes outlives it."""
    driver.signal(signal.SIGKILL)
    assert driver.end()[0] == -signal.SIGKILL
    assert driver.leftovers() == []


def assert_little_was_repeated(toy, num_ends):
    """What was in flight when a driver ended is computed again, and nothing else."""
    times = Counter(tuple(line.split()[:2]) for line in toy.executed())
    assert sum(times.values()) - len(times) <= num_ends * NUM_CORES


def test_a_driver_that_is_killed_again_and_again_is_resumed_without_loss(toy, drive):
    sweep, num_kills = toy.sweep(SPACE, seeds=2), 5
    moment = random.Random(num_kills)
    for _ in range(num_kills):
        driver = drive(sweep, backend="inline")
        driver.wait_for_work(toy.num_executed() + moment.randrange(1, 4))
        time.sleep(moment.random() * 0.3)
        assert_killed(driver)
    assert_little_was_repeated(toy, num_kills)
    assert_goes_on(toy, sweep, undisturbed(SPACE, 2))


def test_on_ray_a_driver_may_be_killed_and_interrupted_in_turn(toy, drive):
    """One sweep for all three ends: it takes each driver seconds to start Ray."""
    space = {"value": list(range(12)), "sleep_s": 0.3}
    sweep = toy.sweep(space, seeds=2)
    for name, to_group in (("SIGKILL", False), ("SIGTERM", False), ("SIGINT", True)):
        driver = drive(sweep, backend="ray")
        driver.wait_for_work(toy.num_executed() + 3)
        if name == "SIGKILL":
            assert_killed(driver)
        else:
            assert_interrupted(toy, sweep, driver, name, to_group)
    assert_little_was_repeated(toy, num_ends=3)
    assert_goes_on(toy, sweep, undisturbed(space, 2))
