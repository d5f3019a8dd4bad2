"""all-MiniLM-L6-v2 on a real task, against scikit-learn on the same features."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from orchestrator import run
from orchestrator.running.workspace import open_sweep

SWEEP = {
    "name": "real",
    "models": "all-MiniLM-L6-v2",
    "tasks": "rotten-tomatoes",
    "train_size": 400,
    "validation_size": 100,
    "test_size": 200,
    "seeds": 2,
    "space": {"method": "probe", "max_length": 48, "learning_rate": 0.003, "epochs": 30},
}


def test_a_probe_is_as_good_as_logistic_regression_on_the_same_features(ray_session, tmp_path):
    store = str(tmp_path / "store")
    report = run(SWEEP, store=store)
    assert report.exit_code == 0
    workspace = open_sweep(SWEEP, store)
    digest = next(d for d, n in workspace.nodes.items() if n.stage.name == "transfer/encode")
    features = workspace.store.open(workspace.store.find([digest])[digest])
    x, y = (
        [features.array(f"{s}/{part}") for s in ("train", "test")]
        for part in ("features", "labels")
    )
    reference = LogisticRegression(max_iter=2000).fit(x[0], y[0]).score(x[1], y[1])
    (row,) = report.leaderboard.tasks["rotten-tomatoes"]
    assert row.scores["test"].n == 2
    assert abs(row.scores["test"].mean - reference) < 0.04  # 2 standard errors of 200 rows are 0.06
    assert reference > 0.64  # the majority class has 0.578
    assert np.isfinite(x[0]).all()
    again = run(SWEEP, store=store)
    assert again.num_reused == 2
