"""Hands a driver to a Ray head and prints what it says until it ends, whatever breaks in between.

Sent as text and run by `python -c TEXT ENTRYPOINT RUNTIME_ENV` in KubeRay's submitter pod, where
there is Ray and nothing of this house. KubeRay's own command ends when the log's stream is closed,
and a driver that still runs half a minute later counts as failed; this one asks again. A head that
has come back without the driver is given it anew: the driver goes on from its store.
"""

import asyncio
import json
import os
import sys
import time

import aiohttp
from ray.job_submission import JobSubmissionClient

PATIENCE_S = 600.0
"""How long a head may be gone; KubeRay gives up after 300 s by itself."""
PAUSE_S = 2.0
FAULTS = (OSError, RuntimeError, aiohttp.ClientError)


class Driver:
    """One job of Ray's Jobs API, by its id."""

    def __init__(self, address: str, job_id: str) -> None:
        self._address = address if "://" in address else f"http://{address}"
        self._job_id = job_id
        self._started_at: int | None = None
        self._num_printed = 0

    def attend(self, entrypoint: str, runtime_env: dict[str, object]) -> bool:
        """Start the job if the head does not know it, print its output; return whether it ended.

        Raises:
            OSError, RuntimeError, aiohttp.ClientError: The head cannot be asked.
        """
        client = JobSubmissionClient(self._address)
        known = {job.submission_id: job for job in client.list_jobs()}
        if self._job_id not in known:
            client.submit_job(
                entrypoint=entrypoint, submission_id=self._job_id, runtime_env=runtime_env
            )
        started_at = client.get_job_info(self._job_id).start_time
        if started_at != self._started_at:  # a new head, and a new log
            self._started_at, self._num_printed = started_at, 0
        asyncio.run(self._print_on(client))
        return bool(client.get_job_status(self._job_id).is_terminal())

    async def _print_on(self, client: JobSubmissionClient) -> None:
        """Print the log from where it was left; the stream always begins at its beginning."""
        num_seen = 0
        async for text in client.tail_job_logs(self._job_id):
            num_seen += len(text)
            sys.stdout.write(text[max(0, len(text) - (num_seen - self._num_printed)) :])
            sys.stdout.flush()
            self._num_printed = max(self._num_printed, num_seen)


def main() -> int:
    """Attend to the driver until it has ended, whatever its end: KubeRay asks the head for that."""
    driver = Driver(os.environ["RAY_DASHBOARD_ADDRESS"], os.environ["RAY_JOB_SUBMISSION_ID"])
    entrypoint, runtime_env = sys.argv[1], json.loads(sys.argv[2])
    last_heard = time.monotonic()
    while time.monotonic() - last_heard < PATIENCE_S:
        try:
            if driver.attend(entrypoint, runtime_env):
                return 0
            last_heard = time.monotonic()
        except FAULTS as error:
            said = " ".join(str(error).split())[:200] or type(error).__name__
            sys.stderr.write(f"the head does not answer, asking again: {said}\n")
        time.sleep(PAUSE_S)
    return 1


if __name__ == "__main__":
    sys.exit(main())
