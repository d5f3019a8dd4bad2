"""The toy's work in a module that takes note of its import."""

import os

from tests.toy import folder, work

__all__ = ["work"]

folder().mkdir(parents=True, exist_ok=True)
(folder() / f"imported-{os.getpid()}").touch()
