"""A user's own script, sent by the command line to a Ray cluster of separate nodes, and back."""

import json

import pytest

from tests.cli import fanflare, sweep_file
from tests.cluster.ray_cluster import ray_cluster
from tests.environment import FOLDER

pytest.importorskip("aiohttp_cors", reason="the Jobs API needs ray[default]")
pytestmark = pytest.mark.timeout(300)

__all__ = ["fanflare"]  # a fixture

SCRIPT = """
import json, sys
from pathlib import Path

rows = [json.loads(line) for line in open("rows.jsonl")]
score = sum(row["x"] for row in rows) * float(sys.argv[1]) + int(sys.argv[2])
Path(sys.argv[3], "metrics.json").write_text(json.dumps({"score": score}))
print("scored", score)
"""


@pytest.fixture
def own(tmp_path):
    """A folder with a script, its data, a sweep over them, and the results beside it."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "train.py").write_text(SCRIPT)
    (folder / "rows.jsonl").write_text('{"x": 1}\n{"x": 2}\n')

    def write(**keys):
        space = {
            "command": "{python} train.py {rate} {seed} {output_dir}",
            "files": "rows.jsonl",
            "rate": [1, 10],
        }
        return sweep_file(
            folder,
            {
                "name": "own-script",
                "pipeline": "command",
                "metric": {"name": "score", "mode": "max"},
                "tracking": "off",
                "space": space,
                **keys,
            },
        )

    return write


def test_there_and_back(fanflare, own, tmp_path, monkeypatch):
    with ray_cluster(FOLDER / "sent") as cluster:
        cluster.start_head()
        cluster.start_worker("w1", num_cpus=2)
        cluster.wait_for_workers()
        monkeypatch.setenv("RAY_AUTH_TOKEN", cluster.token)
        monkeypatch.setenv("FANFLARE_CACHE", str(tmp_path / "cache"))
        profile = sweep_file(
            tmp_path,
            {
                "target": {"ray": cluster.url},
                "storage": {"uri": (tmp_path / "results").as_uri()},
            },
            "ray.yaml",
        )
        assert fanflare("doctor", "--cluster", profile).code == 0
        sweep = own(seeds=2)
        sent = fanflare("submit", sweep, "--cluster", profile, "--wait")
        assert (sent.code, "4 finished" in sent.out) == (0, True), sent
        assert cluster.token not in sent.out + sent.err
        assert "Nothing to compute" in fanflare("submit", sweep, "--cluster", profile).out

        more = own(seeds=3)
        told = fanflare("submit", more, "--cluster", profile, "--wait", "--json").json
        assert told["counts"] == {"FINISHED": 6}
        assert told["submission"]["num_attempts"] == 2
        log = fanflare("logs", "--sweep", "own-script", "--cluster", profile).out
        assert "sweep own-script is FINISHED: 6 finished" in log

        for path in sorted((tmp_path / "own").iterdir()):
            path.unlink()  # from now on this is another machine
        status = fanflare("status", "own-script", "--cluster", profile, "--json").json
        assert status["state"] == "FINISHED"
        trial = status["trials"][0]["id"]
        printed = fanflare("logs", trial, "--sweep", "own-script", "--cluster", profile)
        assert "scored" in printed.out
        here = tmp_path / "here"
        pulled = fanflare("pull", "own-script", "--cluster", profile, "--to", here, "--json").json
        assert pulled["num_copied"] == pulled["num_results"] == 6
    report = json.loads(fanflare("report", "own-script", "--store", here, "--json").out)
    best = report["leaderboard"]["tasks"][""][0]
    assert best["params"] == {"rate": 10}
    assert best["scores"]["validation"]["mean"] == pytest.approx(31)
