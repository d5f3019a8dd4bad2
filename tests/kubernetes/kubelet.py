"""The kubelet of a cluster of tests: starts pods that a client makes, and runs `exec` for real.

A command runs as a process of this machine; where it names the mount of a claim, it is given the
folder that stands in for the claim.
"""

import json
import selectors
import subprocess
import sys
import tempfile

from tests.kubernetes import pod_states, refusals
from tests.kubernetes.kinds import kind_of
from tests.kubernetes.requests import Answer
from tests.kubernetes.websockets import STATUS, STDERR, STDIN, STDOUT, Channels

POD = kind_of("Pod")


class Kubelet:
    """Runs what pods run.

    Attributes:
        claims: The folders that stand in for claims, by their names; an empty one by default.
        obstacle: What a pod that a client makes waits for, as its status; None lets it start.
        executed: The (pod, container, program) of every `exec`.
        num_bytes: What commands have printed on standard output.
        output: Bytes to send in place of running a command, None to run it.
    """

    def __init__(self, objects):
        self.claims = {}
        self.obstacle = None
        self.executed = []
        self.num_bytes = 0
        self.output = None
        self._objects = objects
        self._cuts = []
        self._empty = tempfile.TemporaryDirectory()

    def start(self, pod):
        """Let a pod run, or meet the obstacle."""
        metadata = pod["metadata"]
        status = self.obstacle or pod_states.running(pod)
        self._objects.set_status(POD, metadata["namespace"], metadata["name"], **status)

    def cut(self, after_bytes, times=1):
        """Break the next connections after so many bytes of standard output."""
        self._cuts.extend([after_bytes] * times)

    def answer(self, request):
        """Answer a request for `exec` with what is to be run.

        Raises:
            ApiError: There is no such pod or container, or it does not run.
        """
        pod = self._objects.get(POD, request.namespace, request.name)
        name = request.query.get("container") or pod["spec"]["containers"][0]["name"]
        containers = {each["name"]: each for each in pod["spec"]["containers"]}
        statuses = (pod.get("status") or {}).get("containerStatuses") or []
        running = [each["name"] for each in statuses if "running" in each["state"]]
        if name not in containers or name not in running:
            raise refusals.bad_request(f"container {name} is not valid for pod {request.name}")
        self.executed.append((request.name, name, request.words[0]))
        words = [self._placed(word, pod, containers[name]) for word in request.words]
        program = sys.executable if words[0] == "python" else words[0]
        return Answer([program, *words[1:]], 101)

    def _placed(self, word, pod, container):
        """Return a word of a command with the folder of a claim in place of its mount."""
        claims = {
            volume["name"]: volume["persistentVolumeClaim"]["claimName"]
            for volume in pod["spec"].get("volumes") or []
            if "persistentVolumeClaim" in volume
        }
        for mount in container.get("volumeMounts") or []:
            path, claim = mount["mountPath"], claims.get(mount["name"])
            if claim and (word == path or word.startswith(f"{path}/")):
                return f"{self.claims.get(claim, self._empty.name)}{word.removeprefix(path)}"
        return word

    def run(self, command, connection):
        """Run a command whose input and output go through a connection, to their end."""
        channels = Channels(connection)
        cut = self._cuts.pop(0) if self._cuts else None
        if self.output is not None:
            self._send(channels, self.output, cut, 0)
            channels.send(STATUS, _status(0))
            channels.end()
            return
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        ) as process:
            try:
                self._relay(process, connection, channels, cut)
            except OSError:  # the client has gone, or is to think so
                process.kill()
                return
        channels.send(STATUS, _status(process.returncode))
        channels.end()

    def _relay(self, process, connection, channels, cut):
        num_sent = 0
        with selectors.DefaultSelector() as selector:
            for stream in (connection, process.stdout, process.stderr):
                selector.register(stream, selectors.EVENT_READ)
            while len(selector.get_map()) > 1:
                ready = {key.fileobj for key, _ in selector.select()}
                if connection in ready:
                    self._take_input(process, connection, channels)
                for stream, channel in ((process.stdout, STDOUT), (process.stderr, STDERR)):
                    if stream in ready and (content := stream.read(2**14)):
                        if channel == STDOUT:
                            self._send(channels, content, cut, num_sent)
                            num_sent += len(content)
                        else:
                            channels.send(channel, content)
                    elif stream in ready:
                        selector.unregister(stream)

    def _take_input(self, process, connection, channels):
        while True:
            messages = channels.receive()
            if messages is None:
                raise ConnectionError("the client has gone")
            for channel, content in messages:
                if channel == STDIN:
                    process.stdin.write(content)
            if not connection.pending():
                return

    def _send(self, channels, content, cut, num_sent):
        if cut is not None and num_sent + len(content) >= cut:
            part = content[: cut - num_sent]
            self.num_bytes += len(part)
            channels.send(STDOUT, part)
            raise ConnectionError("cut by the test")
        self.num_bytes += len(content)
        channels.send(STDOUT, content)


def _status(code):
    if not code:
        return json.dumps({"metadata": {}, "status": "Success"}).encode()
    cause = {"reason": "ExitCode", "message": str(code)}
    failure = {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [cause]},
    }
    return json.dumps(failure).encode()
