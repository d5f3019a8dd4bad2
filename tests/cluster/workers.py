"""Workers for the tests of backends; a payload is an action and its argument."""

import os
import signal
import sys
import time
from pathlib import Path


class ScriptedWorker:
    """Does what each payload says, and counts how often it was made."""

    def __init__(self, *, resources, made="", greeting="hello"):
        self.resources = resources
        self.greeting = greeting
        self.num_jobs = 0
        self.is_told = False
        self.is_lost = False
        self.prepared = []
        if made:
            append(made, f"{resources.num_cpus:g} {os.getpid()}")

    def prepare(self, payload):
        self.prepared.append(payload)
        if payload[0] in ("fail", "leave", "sleep"):
            self.run(payload)

    def run(self, payload):
        self.num_jobs += 1
        action, argument = payload
        return getattr(self, action)(argument)

    def echo(self, argument):
        return argument

    def greet(self, argument):
        return f"{self.greeting} {argument}"

    def preparations(self, argument):
        return self.prepared

    def who(self, argument):
        return {"pid": os.getpid(), "num_jobs": self.num_jobs, "cpus": self.resources.num_cpus}

    def lose(self, argument):
        self.is_lost = True
        return os.getpid()

    def sleep(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.02)
        return "slept"

    def span(self, path):
        """Write down when this job began and ended."""
        begun = time.time()
        time.sleep(0.15)
        append(path, f"{begun} {time.time()} {self.resources.num_cpus:g}")

    def sleep_after_a_mark(self, path):
        append(path, str(os.getpid()))
        self.sleep(120)

    def preempt(self):
        self.is_told = True

    def end_soon_after_a_mark(self, path):
        append(path, str(os.getpid()))
        while not self.is_told:
            time.sleep(0.02)
        return "saved"

    def fail(self, text):
        raise ValueError(text)

    def fail_oddly(self, argument):
        raise UnpicklableError(argument)

    def leave(self, code):
        sys.exit(code)

    def kill(self, number):
        os.kill(os.getpid(), number)
        time.sleep(60)

    def crash(self, code):
        os._exit(code)

    def die_once(self, path):
        """Kill this process unless the file is there already."""
        if not Path(path).exists():
            Path(path).touch()
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        return "alive"


class UnpicklableError(Exception):
    """An error that no other process can rebuild."""

    def __reduce__(self):
        raise TypeError("not to be pickled")


def broken_factory(*, resources):
    """A factory that cannot make a worker."""
    raise RuntimeError("no licence for this worker")


def append(path, line):
    """Append a line in one write."""
    with Path(path).open("ab", buffering=0) as file:
        file.write(f"{line}\n".encode())
