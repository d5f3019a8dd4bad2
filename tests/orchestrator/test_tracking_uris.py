"""Tracking URIs: which are allowed, what is said of the others, and that no password is told."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.running.tracking import (
    check_tracking_uri,
    default_tracking_uri,
    mask_credentials,
)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("mlruns", "no scheme"),
        ("file:///tmp/mlruns", "plain files"),
        ("sqlit:///x.db", "did you mean 'sqlite'"),
        ("ftp://host/x", "'ftp' is not supported"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:////dev/null/x.db", "cannot be written"),
        ("http://", "names no host"),
        ("http://host:port/", "cannot be read"),
        ("postgresql://me:geheim@127.0.0.1:1/x", "cannot be opened"),
        ("http://me:geheim@127.0.0.1:1/x", "no MLflow server answers"),
    ],
)
def test_a_bad_tracking_uri_is_explained_without_its_password(uri: str, expected: str) -> None:
    fault = check_tracking_uri(uri, timeout_s=2)
    assert fault is not None
    assert expected in fault
    assert "geheim" not in fault


def test_files_that_are_no_databases_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("these are my notes, and they are longer than a header\n" * 10)
    assert "no database" in str(check_tracking_uri(f"sqlite:///{text}"))
    assert "folder" in str(check_tracking_uri(f"sqlite:///{tmp_path}"))
    assert check_tracking_uri(default_tracking_uri(tmp_path / "new" / "sweep")) is None
    assert not (tmp_path / "new").exists(), "a check writes nothing"
    assert check_tracking_uri("databricks") is None


def test_a_server_that_says_nothing_is_not_waited_for_long(silent_port: int) -> None:
    begun = time.monotonic()
    assert "within 1 s" in str(check_tracking_uri(f"http://127.0.0.1:{silent_port}", timeout_s=1))
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://me:pa@ss/word@host/db", "postgresql://***@host/db"),
        ("https://token@host/path", "https://***@host/path"),
        ("at http://a:b@h/x and s3://k:s@b/y", "at http://***@h/x and s3://***@b/y"),
        ("postgresql://host/db?user=me&password=pw", "postgresql://host/db?user=me&password=***"),
        ("hf://datasets/name@v1", "hf://datasets/name@v1"),
        ("mail me@example.org", "mail me@example.org"),
    ],
)
def test_credentials_are_masked(text: str, expected: str) -> None:
    assert mask_credentials(text) == expected
