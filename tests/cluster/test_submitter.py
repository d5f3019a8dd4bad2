"""The submitter's own text, against a real head: every line once, and no driver twice."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cluster.kubernetes import submitter
from tests.cluster.ray_cluster import ray_cluster
from tests.environment import FOLDER

pytest.importorskip("aiohttp_cors", reason="the Jobs API needs ray[default]")
pytestmark = pytest.mark.timeout(200)

TEXT = Path(submitter.__file__).read_text()
PRINTS = """
import time
for number in range(40):
    print("line", number, "é", flush=True)
    time.sleep(0.05)
"""
LINES = [f"line {number} é" for number in range(40)]


class Service:
    """One address for whatever head there is, like a Service of Kubernetes; it can be cut."""

    def __init__(self, cluster):
        self.cluster = cluster
        self._sockets = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        while self._sockets:
            with contextlib.suppress(OSError):
                self._sockets.pop().shutdown(socket.SHUT_RDWR)

    def close(self):
        self._listener.close()
        self.cut()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    place = urlsplit(self.cluster.url)
                    head = socket.create_connection((place.hostname, place.port), timeout=5)
                    head.settimeout(None)
                except (OSError, KeyError):
                    client.close()
                    continue
                self._sockets += [client, head]
                for pair in ((client, head), (head, client)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def service():
    with ray_cluster(FOLDER / "submitter") as cluster:
        cluster.start_head()
        made = Service(cluster)
        yield made
        made.close()


def submit(service, script, job_id, folder):
    """Start a submitter as KubeRay does, with its variables; its output is read as it ends."""
    path = folder / f"{job_id}.py"
    path.write_text(script)
    environment = {
        **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": service.cluster.token,
        "RAY_DASHBOARD_ADDRESS": service.address,
        "RAY_JOB_SUBMISSION_ID": job_id,
    }
    command = [sys.executable, "-c", TEXT, f"{sys.executable} {path}", "{}"]
    with path.with_suffix(".out").open("w") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    process.path = path.with_suffix(".out")
    return process


def output(process):
    return process.path.read_text()


def wait_for(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def lines(process):
    """Return what the driver printed, once its submitter has ended."""
    assert process.wait(60) == 0, output(process)
    return [line for line in output(process).splitlines() if line.startswith("line")]


def test_every_line_is_printed_once_and_a_second_submitter_starts_nothing(service, tmp_path):
    job_id = f"ff-{uuid.uuid4().hex[:8]}"
    script = f"open({str(tmp_path / 'starts')!r}, 'a').write('x')\n{PRINTS}"
    first = submit(service, script, job_id, tmp_path)
    assert lines(first) == LINES
    assert lines(submit(service, script, job_id, tmp_path)) == LINES
    assert (tmp_path / "starts").read_text() == "x"


def test_a_stream_that_is_cut_goes_on_where_it_was(service, tmp_path):
    cut = tmp_path / "cut"
    script = (
        f"import pathlib\n{PRINTS}"
        f"    while number == 5 and not pathlib.Path({str(cut)!r}).exists(): time.sleep(0.1)\n"
    )
    process = submit(service, script, f"ff-{uuid.uuid4().hex[:8]}", tmp_path)
    wait_for(lambda: "line 3 " in output(process))
    service.cut()
    cut.touch()
    assert lines(process) == LINES


def test_a_failing_driver_is_left_for_the_head_to_tell(service, tmp_path):
    process = submit(
        service, "print('line 0 é')\nraise SystemExit(3)", f"ff-{uuid.uuid4().hex[:8]}", tmp_path
    )
    assert lines(process) == LINES[:1]


def test_a_new_head_is_given_the_driver_again(service, tmp_path):
    mark = tmp_path / "first"
    script = (
        "import pathlib, time\n"
        f"mark = pathlib.Path({str(mark)!r})\n"
        "again = mark.exists(); mark.touch()\n"
        "print('line', 'again' if again else 'first', flush=True)\n"
        "time.sleep(0 if again else 100)\n"
    )
    process = submit(service, script, "ff-lost", tmp_path)
    wait_for(lambda: "line first" in output(process))
    service.cluster.kill("head")
    service.cut()
    service.cluster.start_head()
    assert lines(process) == ["line first", "line again"]
