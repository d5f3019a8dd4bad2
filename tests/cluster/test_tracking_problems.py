"""What a tracking URI has to be for a program that is sent elsewhere."""

import pytest

from cluster.tracking import tracking_problems


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("mlruns", "is a folder"),
        ("file:///home/ada/mlruns", "is a folder"),
        ("sqlite:///mlflow.db", "SQLite"),
        ("http://localhost:5000", "names this machine"),
        ("http://127.0.0.1:5000", "names this machine"),
        ("http://[::1]:5000", "names this machine"),
        ("http://mlflow.mlflow:5000", ""),
        ("postgresql://mlflow@db/mlflow", ""),
        ("postgresql://mlflow:hidden@db/mlflow", "'postgresql://***@db/mlflow' holds a password"),
        ("https://hidden@mlflow.example", "holds a password"),
        ("postgresql://db/mlflow?user=a&password=hidden", "user=a&password=***' holds a password"),
        ("postgresql://db/mlflow?sslmode=verify-full&user=a", ""),
        ("databricks", ""),
        (None, ""),
    ],
)
def test_a_tracking_uri_has_to_work_on_other_machines(uri, words):
    found = [problem.message for problem in tracking_problems(uri)]
    assert len(found) == bool(words)
    assert words in "".join(found)
    assert "hidden" not in "".join(found)
