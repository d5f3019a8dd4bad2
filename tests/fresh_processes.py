"""Processes that begin with slow libraries imported, and with nothing of fanflare or of the tests.

A server imports those once, which takes seconds, and forks each process: what one of them loads,
no other one sees.
"""

import functools
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver
from unittest import mock

from tests.environment import FOLDER

PRELOADED = ["transformers.pipelines", "mlflow.store.tracking.sqlalchemy_store"]
ENVIRONMENT = {"HF_MODULES_CACHE": str(FOLDER / "modules"), "HF_HUB_OFFLINE": "1"}


@functools.cache
def forked():
    """Return the multiprocessing context of such processes; its server lasts until the end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with mock.patch.dict(os.environ, ENVIRONMENT):
        forkserver.ensure_running()
    return context


def fresh_process():
    """Return an executor that runs functions in one such process; they are found by their names."""
    return ProcessPoolExecutor(1, mp_context=forked())
