"""Asks a Ray cluster over HTTP: token, time limits, retries and plain errors; nothing of jobs."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from cluster.target import TargetError

_T = TypeVar("_T")

TIMEOUT_S = 30.0
RETRY_S = (1.0, 2.0, 4.0)
"""Pauses before an answer is asked for again, seconds."""

_TALKATIVE = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk")

SILENCE_S = 60.0
"""Seconds after which a silent log stream is opened again: a cut one may never say so."""

LULL_S = 1.0
"""Seconds of silence in a log stream after which whoever reads it is told so."""


class RayApiError(TargetError):
    """A request that was not answered as hoped, and what to do about it."""

    def __init__(self, fault: str, remedy: str) -> None:
        super().__init__(f"{fault}: {remedy}")
        self.fault = fault
        self.remedy = remedy


class RefusedError(RayApiError):
    """The cluster was reached and says no."""

    def __init__(self, text: str) -> None:
        found = re.search(r"status code (\d+)", text)
        self.status = int(found[1]) if found else 0
        # What comes is a traceback, or one in another; the last line with words in it says it.
        lines = [line for line in text.splitlines() if re.search(r"\w", line)] or [text]
        remedy = "look at its dashboard and at the logs of its head"
        if self.status == 404:
            remedy = "a head that was started anew knows no earlier jobs; submit it again"
        super().__init__(f"the cluster refuses: {lines[-1].strip().rstrip('.')}", remedy)
        self.is_duplicate = "already exists" in text
        self.is_too_large = self.status == 413 or "exceeds the maximum" in text


class RayApi:
    """One cluster's dashboard.

    Args:
        url: Its address.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)

    def ask(
        self, call: Callable[[JobSubmissionClient], _T], pauses_s: Sequence[float] = RETRY_S
    ) -> _T:
        """Return what a call of Ray's own client gives, tried again where nobody answers.

        Args:
            call: What to ask.
            pauses_s: Before each new attempt.

        Raises:
            RefusedError: The cluster says no.
            RayApiError: It cannot be reached, or does not accept the token.
        """
        for pause_s in (*pauses_s, None):
            try:
                return call(self._client)
            except AuthenticationError as error:
                raise self._unauthorized() from error
            except OSError as error:  # requests' errors are such, too
                fault: RayApiError = self._unreachable(error)
            except RuntimeError as error:
                refused = RefusedError(str(error))
                if refused.status < 500 or refused.is_duplicate:
                    raise refused from error
                fault = refused
            if pause_s is None:
                raise fault
            time.sleep(pause_s)
        raise AssertionError

    def get(self, path: str) -> Any:
        """Return the `data` of an answer of the dashboard, asked once.

        Raises:
            RayApiError: As :meth:`ask`.
        """
        try:
            answer = requests.get(self.url + path, headers=self._headers, timeout=TIMEOUT_S)
            if answer.status_code in (401, 403):
                raise self._unauthorized()
            answer.raise_for_status()
            return answer.json()["data"]
        except (OSError, KeyError) as error:
            raise self._unreachable(error) from error

    def tail(self, job_id: str) -> Iterator[str]:
        """Yield a job's log in chunks, from its beginning until the stream ends or is cut.

        An empty chunk says that nothing has come for :data:`LULL_S`.
        """
        loop = asyncio.new_event_loop()
        stream = self.ask(lambda client: client.tail_job_logs(job_id))
        coming: asyncio.Future[str | None] | None = None
        last_heard = time.monotonic()
        try:
            while time.monotonic() < last_heard + SILENCE_S:
                coming = coming or asyncio.ensure_future(anext(stream, None), loop=loop)
                if not loop.run_until_complete(asyncio.wait({coming}, timeout=LULL_S))[0]:
                    yield ""
                    continue
                chunk, coming, last_heard = coming.result(), None, time.monotonic()
                if chunk is None:
                    return
                yield chunk
        except (OSError, RuntimeError, aiohttp.ClientError):
            return
        finally:
            if coming is not None:  # what still waits would keep the stream from being closed
                coming.cancel()
                loop.run_until_complete(asyncio.wait({coming}))
            loop.run_until_complete(stream.aclose())
            loop.close()

    @cached_property
    def _client(self) -> JobSubmissionClient:
        with _overriding(self.url):
            return _Client(self.url, headers=dict(self._headers))

    @cached_property
    def _token(self) -> tuple[str, str]:
        """The token and where it is from, in Ray's own order; both empty where there is none.

        Source: "Token authentication" in Ray's documentation on security.
        """
        if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
            return token, "RAY_AUTH_TOKEN"
        given = os.environ.get("RAY_AUTH_TOKEN_PATH")
        path = Path(given) if given else Path.home() / ".ray" / "auth_token"
        try:
            return path.read_text(encoding="utf-8").strip(), str(path)
        except FileNotFoundError:
            return "", ""

    @property
    def _headers(self) -> Mapping[str, str]:
        token, _ = self._token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _unauthorized(self) -> RayApiError:
        token, source = self._token
        if token:
            fault = f"the cluster at {self.url} does not accept the token from {source}"
            return RayApiError(fault, "ask its owner for the one of today")
        return RayApiError(
            f"the cluster at {self.url} wants a token",
            "set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, or write it to ~/.ray/auth_token",
        )

    def _unreachable(self, error: Exception) -> RayApiError:
        return RayApiError(
            f"no answer from Ray's dashboard at {self.url} ({type(error).__name__})",
            "see that the head is up and its port reachable from here, by `kubectl port-forward` "
            "or a tunnel if need be",
        )


class _Client(JobSubmissionClient):  # type: ignore[misc]
    """Ray's client, which waits for ever by itself."""

    def _do_request(self, *arguments: Any, **options: Any) -> requests.Response:
        answer: requests.Response = super()._do_request(*arguments, timeout=TIMEOUT_S, **options)
        return answer


@contextmanager
def _overriding(url: str) -> Iterator[None]:
    """Let Ray's client ask this address: it prefers the environment's to the one it is given."""
    name = "RAY_API_SERVER_ADDRESS"
    before = os.environ.get(name)
    os.environ[name] = url
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
