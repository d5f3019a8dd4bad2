"""Sets the environment of the tests and of all their child processes when it is imported."""

import os
import tempfile
from pathlib import Path

# A socket's path may have about 100 characters, and Ray adds 70 to its folder's.
_PARENT = tempfile.gettempdir() if len(tempfile.gettempdir()) < 24 else "/tmp"
FOLDER = Path(tempfile.mkdtemp(prefix="ff-", dir=_PARENT))

os.environ.update(
    {
        "RAY_ADDRESS": "local",
        "RAY_AUTH_MODE": "disabled",
        "RAY_TMPDIR": str(FOLDER),
        "RAY_USAGE_STATS_ENABLED": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "TOY_FOLDER": str(FOLDER / "toy"),
    }
)
os.environ.pop("FANFLARE_STORE", None)
