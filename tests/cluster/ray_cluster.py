"""A Ray cluster of several nodes on one machine: a real head and workers, each a process tree.

Where the machine allows it (root, `ip`, `unshare`) every node has a network, process and mount
namespace of its own, with private `/dev/shm` and Ray folder: like pods, nodes share nothing but
the disk. Elsewhere all of them are on loopback. Only what was started here is ended.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import free_port

RAY = str(Path(sys.executable).parent / "ray")
OBJECT_STORE_BYTES = 80 * 2**20
QUICK = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
"""A lost node is noticed in seconds rather than in a minute."""


@functools.cache
def has_namespaces() -> bool:
    """Return whether nodes can have namespaces of their own here."""
    if os.environ.get("FANFLARE_TEST_NAMESPACES") == "off":
        return False
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "nsenter", "mount"))):
        return False
    command = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "mount", "-t", "tmpfs",
               "tmpfs", "/mnt"]  # fmt: skip
    if subprocess.run(command, capture_output=True, timeout=20, check=False).returncode:
        return False
    name = f"ffp{os.getpid()}"
    made = _ip("link", "add", name, "type", "bridge", check=False)
    _ip("link", "del", name, check=False)
    return made


@dataclass
class Node:
    """One node: everything that runs on it ends with its process."""

    name: str
    ip: str
    process: subprocess.Popen[bytes]
    log: Path

    def command(self, command: Sequence[str]) -> list[str]:
        """Return a command that runs on this node."""
        if not has_namespaces():
            return list(command)
        inside = _children(self.process.pid)[0]
        return ["nsenter", "-t", str(inside), "--net", "--pid", "--mount", "--", *command]

    def kill(self) -> None:
        """End the node at once, as a machine that is switched off."""
        pids = [] if has_namespaces() else _descendants(self.process.pid)
        for pid in [self.process.pid, *pids]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(30)


@dataclass
class RayCluster:
    """A head without trials and its worker nodes.

    Args:
        folder: Where logs and Ray's own files are; the path is short.
    """

    folder: Path
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    nodes: dict[str, Node] = field(default_factory=dict)
    num_started: int = 0
    port: int = 6379
    dashboard_port: int = 8265
    tag: str = field(default_factory=lambda: secrets.token_hex(3))
    """Tells its interfaces from those of other clusters, of which some may not be gone yet."""

    @property
    def subnet(self) -> str:
        """The first three numbers of its nodes' addresses."""
        return f"10.{100 + int(self.tag[:2], 16) % 100}.{int(self.tag[2:4], 16)}"

    @property
    def url(self) -> str:
        """The address of the Jobs API."""
        return f"http://{self.nodes['head'].ip}:{self.dashboard_port}"

    def start_head(self, **env: str) -> Node:
        """Start a new head, and wait until its Jobs API answers."""
        if not has_namespaces():
            self.port, self.dashboard_port = free_port(), free_port()
        options = ["--head", "--num-cpus=0", "--no-monitor", f"--port={self.port}",
                   "--dashboard-host=0.0.0.0",
                   f"--dashboard-port={self.dashboard_port}"]  # fmt: skip
        node = self._start("head", options, env)
        self._wait(node, f"{self.url}/api/version")
        return node

    def start_worker(self, name: str, num_cpus: int = 1, **env: str) -> Node:
        """Start a worker node; it joins the head in its own time."""
        address = f"--address={self.nodes['head'].ip}:{self.port}"
        return self._start(name, [address, f"--num-cpus={num_cpus}"], env)

    def wait_for_workers(self, timeout_s: float = 60) -> None:
        """Wait until all worker nodes have joined."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            nodes = self._asked(f"{self.url}/api/v0/nodes?limit=1000")
            found = nodes["data"]["result"]["result"] if nodes["data"] else []
            alive = {node["node_ip"] for node in found if node["state"] == "ALIVE"}
            if {node.ip for node in self.nodes.values()} <= alive:
                return
            time.sleep(0.3)
        raise TimeoutError(f"only {sorted(alive)} joined")

    def kill(self, name: str) -> None:
        """End a node at once."""
        node = self.nodes.pop(name)
        node.kill()
        if has_namespaces():
            _ip("link", "del", self._link(node.ip), check=False)  # else it lingers for minutes
            _ip("netns", "del", self._space(name))

    def close(self) -> None:
        """End all nodes and remove what was made for them."""
        for name in list(self.nodes):
            self.kill(name)
        if has_namespaces():
            _ip("link", "del", self._bridge, check=False)

    def environment(self) -> dict[str, str]:
        """Return the environment of every process of the cluster."""
        kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        return {**kept, **QUICK, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "RAY_TMPDIR": str(self.folder)}  # fmt: skip

    def _start(self, name: str, options: Sequence[str], env: dict[str, str]) -> Node:
        self.num_started += 1
        ip = self._new_ip(name)
        command = [RAY, "start", *options, f"--node-ip-address={ip}", "--disable-usage-stats",
                   "--include-log-monitor=false", "--block",
                   f"--object-store-memory={OBJECT_STORE_BYTES}"]  # fmt: skip
        if has_namespaces():
            private = f"mount -t tmpfs tmpfs /dev/shm; mount -t tmpfs tmpfs {self.folder}"
            command = ["ip", "netns", "exec", self._space(name), "unshare", "--pid", "--fork",
                       "--kill-child", "--mount-proc", "sh", "-c", f'{private}; exec "$@"', "sh",
                       *command]  # fmt: skip
        log = self.folder.parent / f"{self.folder.name}-{name}-{self.num_started}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env={**self.environment(), **env}, cwd="/", stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.nodes[name] = Node(name, ip, process, log)
        return self.nodes[name]

    def _new_ip(self, name: str) -> str:
        if not has_namespaces():
            return f"127.0.0.{1 + self.num_started}"
        if self.num_started == 1:
            _ip("link", "add", self._bridge, "type", "bridge")
            # An address of its own: else it takes on another one whenever a node goes.
            _ip("link", "set", self._bridge, "address", "02:ff:00:00:00:01")
            _ip("addr", "add", f"{self.subnet}.1/24", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")
        ip, space = f"{self.subnet}.{1 + self.num_started}", self._space(name)
        outside = self._link(ip)
        _ip("netns", "add", space)
        _ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("link", "set", outside, "master", self._bridge, "up")
        for inside in (("addr", "add", f"{ip}/24", "dev", "eth0"), ("link", "set", "eth0", "up"),
                       ("link", "set", "lo", "up")):  # fmt: skip
            _ip("-n", space, *inside)
        return ip

    @property
    def _bridge(self) -> str:
        return f"ffb{self.tag}"

    def _link(self, ip: str) -> str:
        return f"ffv{self.tag}n{ip.rpartition('.')[2]}"

    def _space(self, name: str) -> str:
        return f"ff-{self.tag}-{name}"

    def _wait(self, node: Node, url: str, timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and node.process.poll() is None:
            with contextlib.suppress(OSError):
                self._asked(url)
                return
            time.sleep(0.2)
        raise TimeoutError(f"no answer from {url}:\n{node.log.read_text()[-2000:]}")

    def _asked(self, url: str) -> Any:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


@contextlib.contextmanager
def ray_cluster(folder: Path) -> Iterator[RayCluster]:
    """Give a cluster without nodes; those started in the block end with it."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = RayCluster(folder)
    try:
        yield cluster
    finally:
        cluster.close()


def _ip(*arguments: str, check: bool = True) -> bool:
    command = ["ip", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    if check and done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return not done.returncode


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def _descendants(pid: int) -> list[int]:
    found = _children(pid)
    for child in found:  # grows while it is walked
        found += _children(child)
    return found
