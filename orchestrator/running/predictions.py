"""Reads what trials predicted for single test examples from the store; scores none itself."""

from __future__ import annotations

from cluster.artifact import StoreError
from orchestrator.planning.trial import TrialResult
from orchestrator.running.workspace import Workspace
from pipelines.contract import load_object
from pipelines.example_scores import ExampleScores, ExampleScoresFunction, ScoresExamples
from pipelines.registry import load_pipeline


class StoredExamples:
    """Finds the scores of a trial's test examples, by the code of its pipeline.

    Args:
        workspace: The sweep.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def __call__(self, result: TrialResult) -> ExampleScores | None:
        """Return what each test example adds to the metric that ranks a finished trial.

        Returns:
            None where the pipeline keeps no predictions, the metric has no such scores, or the
            store has no longer what they are made of.
        """
        trial, store = result.trial, self._workspace.store
        pipeline = load_pipeline(self._workspace.sweep.pipeline)
        node = self._workspace.nodes.get(trial.result_digest)
        if node is None or not isinstance(pipeline, ScoresExamples):
            return None
        score: ExampleScoresFunction = load_object(pipeline.example_scores)
        try:
            records = store.find(earlier.digest for earlier in node.inputs.values())
            if len(records) < len(node.inputs):
                return None
            inputs = {role: store.open(records[n.digest]) for role, n in node.inputs.items()}
            return score(trial.metric, "test", node.params, inputs)
        except StoreError:
            return None  # a report that needs it for a test only is better without than not at all
