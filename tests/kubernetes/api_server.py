"""A small Kubernetes API server over real HTTP, for tests: authenticates, routes and answers.

It speaks to the official client and to kubectl. Objects are in memory, no controller runs by
itself, and whatever goes wrong was asked for by a test (`faults`).
"""

import base64
import json
import secrets
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from tests.kubernetes import discovery, refusals
from tests.kubernetes.certificate import self_signed, server_context
from tests.kubernetes.faults import Faults
from tests.kubernetes.kinds import KINDS, definition_of, kind_of
from tests.kubernetes.kubelet import Kubelet
from tests.kubernetes.objects import Objects
from tests.kubernetes.pod_logs import PodLogs
from tests.kubernetes.reading import Reading
from tests.kubernetes.requests import Answer, Request
from tests.kubernetes.schemas import schema_of
from tests.kubernetes.websockets import upgrade_headers
from tests.kubernetes.writing import Writing

USER = "laptop"
MAX_BODY = 3 * 1024 * 1024


class ApiServer:
    """One server with its objects, logs and faults.

    Attributes:
        objects: What is in the cluster.
        logs: What containers have printed.
        faults: What goes wrong next.
        kubelet: What runs in pods.
        requests: The (verb, resource, name) of all requests about objects, in their order.
    """

    def __init__(self):
        self.objects = Objects()
        self.logs = PodLogs()
        self.faults = Faults()
        self.kubelet = Kubelet(self.objects)
        self.requests = []
        self.token = secrets.token_hex(8)
        self._stopped = threading.Event()
        self._reading = Reading(self.objects, self.logs, self._stopped)
        self._writing = Writing(self.objects, self.faults)
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.api = self
        self.certificate, key = self_signed()
        with tempfile.TemporaryDirectory() as folder:
            context = server_context(self.certificate, key, Path(folder))
        self._http.socket = context.wrap_socket(
            self._http.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        _furnish(self.objects)

    @property
    def url(self):
        return f"https://127.0.0.1:{self._http.server_port}"

    def start(self):
        """Serve until :meth:`stop`."""
        self._thread.start()

    def stop(self):
        """End all streams and give the port back."""
        self._stopped.set()
        self._http.shutdown()
        self._http.server_close()

    def kubeconfig(self, token_file):
        """Return a kubeconfig as data; the token is read from a file, which this writes."""
        token_file.write_text(self.token)
        authority = base64.b64encode(self.certificate).decode()
        cluster = {"server": self.url, "certificate-authority-data": authority}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "toy",
            "clusters": [{"name": "toy", "cluster": cluster}],
            "users": [{"name": USER, "user": {"tokenFile": str(token_file)}}],
            "contexts": [{"name": "toy", "context": {"cluster": "toy", "user": USER}}],
        }

    def renew_token(self, token_file=None):
        """Let the token expire; the new one is written to the file, or nobody has it."""
        self.token = secrets.token_hex(8)
        if token_file is not None:
            token_file.write_text(self.token)

    def answer(self, request, authorization):
        """Return the answer to a request.

        Raises:
            ApiError: It is refused.
        """
        if authorization != f"Bearer {self.token}":
            raise refusals.unauthorized()
        kinds = self.objects.served()
        document = discovery.answer(request.path, kinds)
        if isinstance(document, str):
            return Answer(document, content_type="text/plain; charset=utf-8")
        if document is not None:
            return Answer(document)
        request.route(kinds)
        self.requests.append((request.verb, request.resource, request.name))
        failure = self.faults.next_failure(request.verb, request.resource, self.objects.version)
        if failure:
            raise failure
        # From Kubernetes 1.35 on whoever opens a websocket needs the right to create one, too.
        verbs = ("get", "create") if request.subresource == "exec" else (request.verb,)
        for verb in verbs:
            if self.faults.denies(verb, request.resource):
                raise refusals.forbidden(
                    request.kind,
                    verb,
                    user=USER,
                    resource=request.resource,
                    namespace=request.namespace,
                    name=request.name,
                )
        if request.subresource == "exec":
            return self.kubelet.answer(request)
        part = self._reading if request.verb in ("get", "list", "watch") else self._writing
        answer = getattr(part, request.verb)(request)
        if (request.verb, request.resource) == ("create", "pods") and not request.dry_run:
            self.kubelet.start(answer.body)
        return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    api: ApiServer

    def handle_error(self, request, client_address):
        """Say nothing of clients that go away or distrust the certificate."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def _handle(self):
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length)
        url = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=url.path,
            query=dict(parse_qsl(url.query, keep_blank_values=True)),
            content_type=self.headers.get("Content-Type") or "application/json",
            content=content,
            words=[value for key, value in parse_qsl(url.query) if key == "command"],
        )
        try:
            if length > MAX_BODY:
                text = f"Request entity too large: limit is {MAX_BODY}"
                raise refusals.ApiError(413, "RequestEntityTooLarge", text)
            answer = self.server.api.answer(request, self.headers.get("Authorization"))
        except refusals.ApiError as error:
            self._refuse(error)
            return
        if answer.code == 101:
            self._run(answer.body)
        elif isinstance(answer.body, dict | str):
            self._send(answer, {}, request.warnings)
        else:
            self._stream(answer, request)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815 (the library's names)

    def _run(self, command):
        self.close_connection = True
        headers = upgrade_headers(self.headers)
        if headers is None:
            self._refuse(refusals.bad_request("Upgrade request required"))
            return
        self.send_response(101)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()
        self.server.api.kubelet.run(command, self.connection)

    def _refuse(self, error):
        if error.code == 0:
            self.close_connection = True
            return
        if error.plain:
            answer = Answer(str(error), error.code, "text/plain; charset=utf-8")
        else:
            answer = Answer(error.status, error.code)
        self._send(answer, error.headers, ())

    def _send(self, answer, headers, warnings):
        body = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        content = body.encode()
        self.send_response(answer.code)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        for warning in warnings:
            quoted = warning.replace('"', '\\"')
            self.send_header("Warning", f'299 - "{quoted}"')
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, answer, request):
        cut = self.server.api.faults.next_cut() if request.subresource == "log" else None
        self.send_response(answer.code)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            self.wfile.flush()
            self._send_chunks(answer.body, cut)
        except OSError:
            self.close_connection = True  # the client has gone

    def _send_chunks(self, chunks, cut):
        num_sent = 0
        for chunk in chunks:
            if cut and num_sent >= cut[0]:
                break
            if chunk:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                num_sent += 1
            self.wfile.flush()
        if cut and not cut[1]:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        """Say nothing: a test prints what it needs."""


def _furnish(objects):
    """Put into the cluster what every cluster has, and KubeRay and Kueue."""
    for name in ("default", "kube-system", "kuberay-system"):
        objects.create(kind_of("Namespace"), None, {"metadata": {"name": name}})
    for kind in KINDS:
        if kind.custom:
            definition = definition_of(kind, schema_of(kind))
            objects.create(kind_of("CustomResourceDefinition"), None, definition)
    labels = {"app.kubernetes.io/name": "kuberay-operator"}
    container = {"name": "kuberay-operator", "image": "quay.io/kuberay/operator:v1.7.0"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    operator = {
        "metadata": {"name": "kuberay-operator", "labels": labels},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }
    objects.create(kind_of("Deployment"), "kuberay-system", operator)
    objects.create(kind_of("Node"), None, {"metadata": {"name": "node-1"}})
    room = {"cpu": "64", "memory": "256Gi", "nvidia.com/gpu": "8", "pods": "110"}
    objects.set_status(kind_of("Node"), None, "node-1", allocatable=room, capacity=room)
