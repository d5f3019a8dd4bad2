"""Processes that begin with torch and transformers imported, and with nothing else of the tests.

A server imports them once, which takes seconds, and forks each process: what one of them loads,
no other one sees.
"""

import contextlib
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from unittest import mock

from tests.environment import FOLDER


@contextlib.contextmanager
def fresh_process():
    """Give an executor that runs functions in one such process; they are found by their names."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["transformers.pipelines"])
    settings = {"HF_MODULES_CACHE": str(FOLDER / "modules"), "HF_HUB_OFFLINE": "1"}
    with mock.patch.dict(os.environ, settings), ProcessPoolExecutor(1, mp_context=context) as pool:
        yield pool
