"""Repositories of the Hugging Face hub: a revision to a commit, a commit to a folder.

Code that a repository carries is never run. Tokens, mirrors, the cache's place and offline mode
are huggingface_hub's own configuration (`HF_TOKEN`, `HF_HOME`, `HF_HUB_OFFLINE`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pipelines.contract import InputError

DATASETS = "datasets/"
"""The prefix of a data set's location, as in the hub's own `hf://` addresses."""
CARD = ("config.json", "README.md", ".gitattributes")
"""Small files that nearly every repository has: enough to learn the commit."""
OTHER_FRAMEWORKS = (
    "*.h5", "*.msgpack", "*.ot", "*.onnx", "*.tflite", "*.gguf", "*.mlmodel",
    "onnx/*", "openvino/*", "coreml/*",
)  # fmt: skip
"""Copies of a model's weights that transformers on torch does not read."""
PICKLES = ("*.bin", "*.pth", "*.pt")
"""Weights in torch's older format, most often a second copy of the safetensors."""


def resolve_commit(location: str, revision: str) -> str:
    """Return the commit of a branch, tag or commit; offline, the one the local cache knows.

    Args:
        location: `owner/name` of a model, or `datasets/owner/name`.
        revision: A branch, tag or commit.

    Raises:
        InputError: There is no such repository or revision, or the hub cannot be reached and
            the cache does not know it.
    """
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    return _snapshot(location, revision, allow_patterns=list(CARD)).name


def fetch_card(location: str, commit: str) -> Path:
    """Download the small files of a commit, `config.json` among them, and return their folder.

    Raises:
        InputError: The repository cannot be had.
    """
    return _snapshot(location, commit, allow_patterns=list(CARD))


def fetch_snapshot(location: str, commit: str, paths: Mapping[str, str]) -> Path:
    """Download the files of a commit into huggingface_hub's cache and return their folder.

    Args:
        location: `owner/name` of a model, or `datasets/owner/name`.
        commit: The commit's 40 hex digits.
        paths: What is wanted by split; patterns among them (with a dot or a star, unlike the
            names of splits) limit the download of a data set.

    Raises:
        InputError: The repository cannot be had.
    """
    if not location.startswith(DATASETS):
        folder = _snapshot(location, commit, ignore_patterns=[*OTHER_FRAMEWORKS, *PICKLES])
        if any(folder.glob("*.safetensors")):
            return folder
        return _snapshot(location, commit, ignore_patterns=[*OTHER_FRAMEWORKS])
    patterns = [path for path in paths.values() if "." in path or "*" in path]
    whole = len(patterns) < len(paths) or not patterns
    return _snapshot(location, commit, allow_patterns=None if whole else [*patterns, *CARD])


def _snapshot(
    location: str,
    revision: str,
    *,
    allow_patterns: list[str] | None = None,
    ignore_patterns: list[str] | None = None,
) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - it takes 0.3 s to import
    from huggingface_hub.errors import HFValidationError, HTTPError  # noqa: PLC0415

    try:
        folder = snapshot_download(
            location.removeprefix(DATASETS),
            repo_type="dataset" if location.startswith(DATASETS) else "model",
            revision=revision,
            allow_patterns=allow_patterns,
            ignore_patterns=ignore_patterns,
        )
    except (OSError, HTTPError, HFValidationError) as error:
        raise InputError(
            f"cannot get hub:{location}@{revision}: {_reason(error)}", key="source"
        ) from error
    return Path(folder)


def _reason(error: Exception) -> str:
    from huggingface_hub.errors import (  # noqa: PLC0415
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return "its owner asks for consent; accept the terms on its page and set HF_TOKEN"
    if isinstance(error, RevisionNotFoundError):
        return "the repository has no such revision"
    if isinstance(error, RepositoryNotFoundError):
        return "there is no such repository, or it is private (set HF_TOKEN)"
    if isinstance(error, LocalEntryNotFoundError):
        return (
            "the hub cannot be reached and the local cache does not hold it; "
            "download it once on a machine with access, or name a local folder instead"
        )
    return str(error)
