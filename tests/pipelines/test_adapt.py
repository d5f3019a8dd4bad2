"""Methods that adapt the model first: what is shared, what is learnt, and what goes on from it."""

import pytest
from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline

from cluster.job import Resources
from cluster.store import Store
from orchestrator import plan, run
from orchestrator.errors import InvalidSweepError
from orchestrator.running.checkpoint import StoreCheckpoint
from orchestrator.running.worker_context import WorkerContext
from orchestrator.running.workspace import open_sweep
from pipelines.models.files import write_model
from pipelines.transfer.adapting import adapt
from tests.pipelines.tiny_language import (
    NUM_USED,
    save_encoder,
    save_gpt2,
    save_labelled,
    save_text,
)

ADAPT = {
    "adapt_epochs": 10,
    "adapt_batch_size": 4,
    "adapt_learning_rate": 1e-2,
    "adapt_max_length": 16,
    "adapt_mask_ratio": 0.25,
}
SPACE = [
    {"method": "adapt+probe", "epochs": [2, 3], **ADAPT},
    {"method": ["adapt+full", "adapt+partial"], "epochs": 1, **ADAPT},
    {"method": "adapt+lora", "epochs": 1, "learning_rate": [1e-3, 1e-2], **ADAPT},
    {"method": "probe", "epochs": 2},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapt")
    save_encoder(folder / "encoder")
    save_gpt2(folder / "decoder")
    save_labelled(folder / "task.csv")
    save_text(folder / "corpus.txt", num=80)
    return folder


def sweep_of(folder, space, **changes):
    return {
        "name": "adapting",
        "models": {"name": "encoder", "source": str(folder / "encoder")},
        "tasks": {"name": "task", "source": str(folder / "task.csv")},
        "train_size": 40,
        "seeds": 2,
        "space": space,
        "tracking": "off",
        **changes,
    }


@pytest.fixture(scope="module")
def swept(folder):
    sweep, store = sweep_of(folder, SPACE), str(folder / "store")
    return run(sweep, backend="inline", store=store), open_sweep(sweep, store)


def nodes_of(workspace, name):
    return [node for node in workspace.nodes.values() if node.stage.name == name]


def artifact_of(workspace, node):
    return workspace.store.open(workspace.store.find([node.digest])[node.digest])


def test_all_methods_seeds_and_params_share_one_adapted_model(swept):
    report, workspace = swept
    assert report.counts == {"FINISHED": 14}
    assert len(nodes_of(workspace, "transfer/adapt")) == 1
    assert len(nodes_of(workspace, "transfer/tokenize")) == 1
    assert len(nodes_of(workspace, "transfer/encode")) == 2  # adapted, and as it was


def test_adapting_lowers_the_masked_loss_on_texts_that_it_has_not_seen(swept):
    _, workspace = swept
    (node,) = nodes_of(workspace, "transfer/adapt")
    value = artifact_of(workspace, node).value
    assert value["objective"] == "masked"
    assert value["validation_loss"] < value["curve"][0]["validation_loss"] - 0.5


def test_what_adapts_are_all_training_texts_and_no_others(swept):
    _, workspace = swept
    (node,) = nodes_of(workspace, "transfer/adapt")
    texts = artifact_of(workspace, node.inputs["blocks"].inputs["examples"])
    (small,) = [n for n in nodes_of(workspace, "transfer/load") if n.params["train_size"] == 40]
    small = artifact_of(workspace, small)
    assert len(texts.table("train")) > 100
    for split in ("validation", "test"):
        held_out = set(small.table(split)["text"].to_pylist())
        assert not held_out & set(texts.table("train")["text"].to_pylist())


def test_the_adapted_model_is_in_the_layout_of_the_hub(swept, tmp_path):
    _, workspace = swept
    (node,) = nodes_of(workspace, "transfer/adapt")
    write_model(artifact_of(workspace, node), tmp_path)
    model, info = AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert AutoTokenizer.from_pretrained(tmp_path).mask_token == "[MASK]"
    fill = pipeline("fill-mask", model=model, tokenizer=AutoTokenizer.from_pretrained(tmp_path))
    likely = {guess["token_str"] for guess in fill("w1 w2 [MASK] w4")}
    assert likely <= {f"w{number}" for number in range(NUM_USED)}


class CutError(Exception):
    """Stands for a power cut."""


class CuttingCheckpoint(StoreCheckpoint):
    """Saves at every step and is cut after some."""

    left = 7

    def is_due(self):
        return True

    def save(self, arrays, value):
        super().save(arrays, value)
        self.left -= 1
        if not self.left:
            raise CutError


def test_adapting_that_was_cut_goes_on_to_the_same_bits(swept, tmp_path):
    _, workspace = swept
    (node,) = nodes_of(workspace, "transfer/adapt")
    inputs = {"blocks": artifact_of(workspace, node.inputs["blocks"])}
    arguments = ([{**node.params, "epochs": 2}], inputs, node.sources)
    context = WorkerContext(Resources())
    context.scratch = tmp_path
    store = Store(str(tmp_path / "cut"))
    context.checkpoint = lambda _: StoreCheckpoint(store, "2" * 64, 0)
    (undisturbed,) = adapt(context, *arguments)
    context.checkpoint = lambda _: CuttingCheckpoint(store, "1" * 64, 0)
    with pytest.raises(CutError):
        adapt(context, *arguments)
    context.checkpoint = lambda _: StoreCheckpoint(store, "1" * 64, 0)
    (resumed,) = adapt(context, *arguments)
    assert resumed.value == undisturbed.value  # which holds the digest of all weights


def test_a_decoder_adapts_to_a_corpus_and_then_models_language(folder):
    space = {"method": "adapt+lora", "epochs": 1, "max_length": 16, **ADAPT}
    tasks = {"name": "text", "source": str(folder / "task.csv"), "kind": "language-modeling"}
    corpus = {"adapt_corpus": str(folder / "corpus.txt")}
    sweep = sweep_of(
        folder,
        {**space, **corpus},
        models={"name": "decoder", "source": str(folder / "decoder")},
        tasks=tasks,
    )
    report = run(sweep, backend="inline", store=str(folder / "store"))
    assert report.counts == {"FINISHED": 2}
    workspace = open_sweep(sweep, str(folder / "store"))
    (adapted,) = nodes_of(workspace, "transfer/adapt")
    assert artifact_of(workspace, adapted).value["objective"] == "causal"
    assert adapted.inputs["blocks"].inputs["examples"].stage.name == "language/texts"
    (later, _) = nodes_of(workspace, "transfer/language-modeling")
    start = artifact_of(workspace, later).value["curve"][0]["validation_loss"]
    assert start < artifact_of(workspace, adapted).value["curve"][0]["validation_loss"] - 0.5


@pytest.mark.parametrize(
    ("params", "key", "message"),
    [
        ({"adapt_corpus": "./nowhere.txt"}, "adapt_corpus", "no file"),
        ({"adapt_corpus": "{folder}/task.csv"}, "adapt_corpus", "task 'task' itself"),
        ({"adapt_max_length": 129}, "adapt_max_length", "128"),
        ({"adapt_mask_ratio": 1.0}, "adapt_mask_ratio", "less than 1"),
    ],
)
def test_what_cannot_adapt_is_a_fault_of_the_plan(folder, tmp_path, params, key, message):
    given = {n: v.format(folder=folder) if isinstance(v, str) else v for n, v in params.items()}
    with pytest.raises(InvalidSweepError) as caught:
        plan(sweep_of(folder, {"method": "adapt+probe", **given}), store=str(tmp_path))
    (fault,) = caught.value.faults
    assert fault.key == f"space.{key}"
    assert message in fault.message


def test_a_corpus_is_read_anew_when_its_file_changes(folder, tmp_path):
    path = save_text(tmp_path / "mine.txt", num=20)
    space = {"method": "adapt+probe", "adapt_max_length": 16, "adapt_corpus": str(path)}
    first = plan(sweep_of(folder, space), store=str(tmp_path)).trials[0].result_digest
    path.write_text(path.read_text() + "w1 w2 w3\n")
    second = plan(sweep_of(folder, space), store=str(tmp_path)).trials[0].result_digest
    assert first != second


def test_a_model_that_a_stage_made_can_be_adapted_again(swept, tmp_path):
    _, workspace = swept
    (node,) = nodes_of(workspace, "transfer/adapt")
    made = artifact_of(workspace, node)
    inputs = {"blocks": artifact_of(workspace, node.inputs["blocks"]), "model": made}
    context = WorkerContext(Resources())
    context.scratch = tmp_path
    context.checkpoint = lambda _: StoreCheckpoint(Store(str(tmp_path / "store")), "1" * 64, 0)
    (again,) = adapt(context, [{**node.params, "epochs": 1}], inputs, {})
    start = again.value["curve"][0]["validation_loss"]
    assert start == pytest.approx(made.value["validation_loss"], rel=1e-5)
