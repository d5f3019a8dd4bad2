"""The server's side of a websocket with the channels of `exec`; runs no command.

Source: RFC 6455; Kubernetes, subprotocols v4.channel.k8s.io and v5.channel.k8s.io.
"""

import base64
import hashlib
import struct

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, STATUS = range(4)
_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BINARY, _CLOSE = 2, 8


def upgrade_headers(headers):
    """Return the headers that answer a handshake, None where the request is none."""
    asked = [each.strip() for each in headers.get("Sec-WebSocket-Protocol", "").split(",")]
    spoken = [each for each in PROTOCOLS if each in asked]
    key = headers.get("Sec-WebSocket-Key")
    if headers.get("Upgrade", "").lower() != "websocket" or not key or not spoken:
        return None
    digest = hashlib.sha1((key + _MAGIC).encode(), usedforsecurity=False).digest()
    return {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": base64.b64encode(digest).decode(),
        "Sec-WebSocket-Protocol": spoken[0],
    }


class Channels:
    """One connection after its handshake.

    Args:
        connection: The socket.
    """

    def __init__(self, connection):
        self._connection = connection
        self._received = bytearray()

    def send(self, channel, content):
        """Send bytes on a channel."""
        self._frame(_BINARY, bytes([channel]) + content)

    def end(self):
        """Say in good order that nothing more comes."""
        self._frame(_CLOSE, struct.pack("!H", 1000))

    def receive(self):
        """Read what is there; return pairs of channel and bytes, None when the client has gone."""
        content = self._connection.recv(2**16)
        self._received += content
        messages = []
        while (message := self._next_message()) is not None:
            code, body = message
            if code == _CLOSE:
                return None
            if code == _BINARY:
                messages.append((body[0], body[1:]))
        return messages if content else None

    def _frame(self, code, content):
        size = len(content)
        if size < 126:
            head = struct.pack("!BB", 0x80 | code, size)
        elif size < 2**16:
            head = struct.pack("!BBH", 0x80 | code, 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | code, 127, size)
        self._connection.sendall(head + content)

    def _next_message(self):
        """Take the first whole frame of what was received; clients mask theirs."""
        data = self._received
        if len(data) < 2:
            return None
        size, start = data[1] & 0x7F, 2
        if size == 126:
            size, start = struct.unpack_from("!H", data, 2)[0] if len(data) > 3 else 2**16, 4
        elif size == 127:
            size, start = struct.unpack_from("!Q", data, 2)[0] if len(data) > 9 else 2**63, 10
        if len(data) < start + 4 + size:
            return None
        mask, body = data[start : start + 4], data[start + 4 : start + 4 + size]
        plain = bytes(byte ^ mask[number % 4] for number, byte in enumerate(body))
        code = data[0] & 0x0F
        del data[: start + 4 + size]
        return code, plain
