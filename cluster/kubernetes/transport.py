"""One request to the API server: its errors by name, tried again while that may help.

Knows no kind of object. The official client below gives credentials, connections and encoding; its
own retries are off, since they would neither wait nor be bounded together with these.
"""

from __future__ import annotations

import json
import random
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import urllib3
from kubernetes.client import ApiException
from kubernetes.stream.ws_client import create_websocket, get_websocket_url
from websocket import WebSocketBadStatusException, WebSocketException

from cluster.kubernetes.kubeconfig import load_client
from cluster.target import TargetError

Object = dict[str, Any]
"""One object of the API as JSON."""

PATIENCE_S = 60.0
"""How long one request is tried again before it counts as failed."""
STREAM_IDLE_S = 60.0
"""A log stream that is silent for so long is opened anew, since a dead one is silent as well."""
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_PASSING = frozenset({429, 500, 502, 503, 504})


class ApiError(TargetError):
    """The server answered, and refused; `status` is its HTTP status."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class NotFoundError(ApiError):
    """There is no such object, namespace or kind."""


class TakenError(ApiError):
    """The name is taken, or the object has changed in the meantime."""


class InvalidError(ApiError):
    """The object is not one that the server accepts."""


class CutError(TargetError):
    """The connection broke while an answer was read."""


class ForbiddenError(ApiError):
    """A right is missing."""


_ERRORS = {
    400: InvalidError,
    403: ForbiddenError,
    404: NotFoundError,
    409: TakenError,
    422: InvalidError,
}


class Transport:
    """One way to one API server.

    What may pass is tried again for a minute with growing pauses: throttling, errors of the server,
    a broken connection. A token that is refused is renewed once from the kubeconfig.

    Args:
        context: One of the kubeconfig; None means the current one.
        sleep: Waits for that many seconds.

    Raises:
        TargetError: There is no kubeconfig, or no such context.
    """

    def __init__(
        self, context: str | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.sleep = sleep
        self._context = context
        self._client, self.access = load_client(context)

    def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        *,
        patience_s: float = PATIENCE_S,
    ) -> Object:
        """Return the server's answer to one request, tried again while that may help.

        Raises:
            TargetError: It was refused, or there was no answer within the patience.
        """
        response = self.open(method, path, query or {}, body, patience_s=patience_s)
        return cast(Object, json.loads(response.response.data))

    def open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        *,
        patience_s: float = PATIENCE_S,
    ) -> Any:
        """Return the client's response to one request, as :meth:`ask` does; a log is not yet read.

        Raises:
            TargetError: As :meth:`ask`.
        """
        return self._tried(lambda: self._send(method, path, query, body), patience_s)

    def connect(self, path: str, query: Sequence[tuple[str, str]]) -> Any:
        """Return an open websocket, as `exec` speaks through; it is tried again as :meth:`ask` is.

        Raises:
            TargetError: As :meth:`ask`.
        """
        return self._tried(lambda: self._upgrade(path, query), PATIENCE_S).response

    def _tried(self, send: Callable[[], Any], patience_s: float) -> Any:
        pause, waited, renewed = _FIRST_PAUSE_S, 0.0, False
        while True:
            began = time.monotonic()
            try:
                response = send()
            except (urllib3.exceptions.HTTPError, ApiException) as error:
                fault: TargetError = self._unreachable(error)
                least = 0.0
                if isinstance(error, ApiException) or _is_lasting(error):
                    raise fault from error
            else:
                if response.status < 300:
                    return response
                fault, least = self._refusal(response), _retry_after(response)
                if response.status == 401 and not renewed:
                    (self._client, self.access), renewed = load_client(self._context), True
                    continue
                if response.status not in _PASSING:
                    raise fault
            wait = max(least, pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries
            waited += wait + time.monotonic() - began
            if waited > patience_s:
                raise fault
            self.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
    ) -> Any:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = self._client.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={"Accept": "application/json, */*", "Content-Type": kind},
            body=body,
            auth_settings=["BearerToken"],
        )
        is_log = path.endswith("/log")
        timeout = (5.0, STREAM_IDLE_S if is_log else 30.0)
        response = self._client.call_api(*request, _request_timeout=timeout)
        if response.status >= 300 or not is_log:
            _ = response.response.data  # read here, where a broken connection is tried again
        return response

    def _upgrade(self, path: str, query: Sequence[tuple[str, str]]) -> Any:
        """Return an open websocket, or the refusal, as a response."""
        _, url, headers, *_ = self._client.param_serialize(
            "GET", path, query_params=list(query), auth_settings=["BearerToken"]
        )
        try:
            socket = create_websocket(self._client.configuration, get_websocket_url(url), headers)
        except WebSocketBadStatusException as error:
            return SimpleNamespace(
                status=error.status_code,
                reason="the connection cannot be upgraded",
                headers=urllib3.HTTPHeaderDict(error.resp_headers or {}),
                response=SimpleNamespace(data=error.resp_body or b""),
            )
        except ssl.SSLCertVerificationError as error:
            raise urllib3.exceptions.SSLError(str(error)) from error
        except (WebSocketException, OSError) as error:
            raise urllib3.exceptions.ProtocolError(str(error)) from error
        socket.settimeout(STREAM_IDLE_S)
        return SimpleNamespace(status=200, response=socket)

    def _refusal(self, response: Any) -> TargetError:
        said = _message(response)
        if response.status == 401:
            return ApiError(
                f"the API server no longer accepts the token of {self.access.user}: log in again "
                f"with `{self.access.login}`",
                401,
            )
        if response.status == 403:
            said = (
                f"a right is missing: {said}; whoever runs the cluster gives it by a Role and a "
                "RoleBinding in the namespace"
            )
        if response.status in _PASSING:
            said = f"the API server at {self.access.server} is in trouble ({said}); try again later"
        return _ERRORS.get(response.status, ApiError)(said, response.status)

    def _unreachable(self, error: Exception) -> TargetError:
        return TargetError(
            f"the API server at {self.access.server} ({self.access.context}) cannot be reached: "
            f"{_brief(error)}; is the VPN up, and `context` the right one?"
        )


def _message(response: Any) -> str:
    """Return what a Status object says, or the bare HTTP reason."""
    text = response.response.data.decode(errors="replace")
    try:
        status = json.loads(text)
        return str(status["message"])
    except (ValueError, KeyError, TypeError):
        return f"{response.status} {response.reason}: {text[:200].strip()}".rstrip(": ")


def _retry_after(response: Any) -> float:
    value = response.headers.get("Retry-After", "")
    return min(float(value), PATIENCE_S) if value.isdigit() else 0.0


def _is_lasting(error: Exception) -> bool:
    """Return whether trying again is vain: a certificate or a URL that is wrong."""
    return isinstance(
        error,
        urllib3.exceptions.SSLError | urllib3.exceptions.LocationValueError,
    )


def _brief(error: Exception) -> str:
    text = str(error.reason) if isinstance(error, ApiException) else str(error)
    return " ".join(text.split())[:300]
