"""A command in a running container by the API server's `exec`; knows no pod's state.

The connection is a websocket whose messages begin with the number of a channel. Source: Kubernetes,
KEP-4006, subprotocols v4.channel.k8s.io and v5.channel.k8s.io.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

from websocket import ABNF, WebSocketException

from cluster.kubernetes.findings import at, last_line
from cluster.kubernetes.transport import CutError, Transport
from cluster.target import TargetError

_STDIN, _STDOUT, _STDERR, _STATUS = range(4)
_MAX_MESSAGE = 2**15
_MAX_STDERR = 2**14


class CommandFailedError(TargetError):
    """The command ran, or could not be started, and did not end well."""


class Command(io.RawIOBase):
    """A command that runs in a container, read as the file of its standard output.

    Its end is that of the command when that ended well.

    Args:
        transport: The API server.
        path: The path of the pod's `exec`.
        container: The container's name.
        command: The program and its arguments.
        stdin: What it reads; it is not told that nothing more comes.

    Raises:
        TargetError: It cannot be started, or its output not be read.
    """

    def __init__(
        self,
        transport: Transport,
        path: str,
        container: str,
        command: Sequence[str],
        stdin: bytes,
    ) -> None:
        super().__init__()
        streams = [(name, "true") for name in ("stdin", "stdout", "stderr")]
        words = [("command", word) for word in command]
        self._rest = memoryview(b"")
        self._stderr = b""
        self._is_over = False
        self._socket: Any = None
        self._socket = transport.connect(path, [("container", container), *streams, *words])
        try:
            for start in range(0, len(stdin), _MAX_MESSAGE):
                self._socket.send_binary(bytes([_STDIN]) + stdin[start : start + _MAX_MESSAGE])
        except (WebSocketException, OSError) as error:
            self.close()
            raise CutError(f"the connection to the pod broke off: {error}") from error

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some of the output; 0 is its end.

        Raises:
            CutError: The connection broke; what came before stands.
            CommandFailedError: The command did not end well.
        """
        while not self._rest and not self._is_over:
            self._receive()
        part = self._rest[: len(buffer)]
        buffer[: len(part)] = part
        self._rest = self._rest[len(part) :]
        return len(part)

    def close(self) -> None:
        """Leave the command, wherever it is."""
        if self._socket is not None:
            self._socket.shutdown()
        super().close()

    def _receive(self) -> None:
        try:
            code, frame = self._socket.recv_data_frame(True)
        except (WebSocketException, OSError) as error:
            raise CutError(f"the connection to the pod broke off: {error}") from error
        if code == ABNF.OPCODE_CLOSE:
            raise CutError("the connection to the pod was closed before the command's end")
        if code not in (ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT) or not frame.data:
            return
        channel, content = frame.data[0], memoryview(frame.data)[1:]
        if channel == _STDOUT:
            self._rest = content
        elif channel == _STDERR:
            self._stderr = (self._stderr + content)[-_MAX_STDERR:]
        elif channel == _STATUS:
            self._end(json.loads(bytes(content)))

    def _end(self, status: dict[str, Any]) -> None:
        self._is_over = True
        if status.get("status") != "Success":
            causes = at(status, "details", "causes") or []
            code = next(
                (each["message"] for each in causes if each.get("reason") == "ExitCode"), ""
            )
            said = last_line(self._stderr.decode(errors="replace")) or status.get("message")
            raise CommandFailedError(f"exit code {code}: {said}" if code else str(said))
