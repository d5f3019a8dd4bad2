"""A student learns from its teacher: a trial that is trained once, or a saved model."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel

from orchestrator import plan, report, run
from orchestrator.running.checkpoint import StoreCheckpoint
from orchestrator.running.export import ExportOptions, export_trial
from orchestrator.running.workspace import open_sweep
from pipelines.contract import InputError
from pipelines.transfer.data.truth import Truth
from pipelines.transfer.distilling import TaughtTargets, scores_of
from pipelines.transfer.teaching import outputs_in_order
from tests.pipelines.tiny import save_bert, save_tagged, save_task

TRAINING = {"learning_rate": 2e-3, "epochs": 3, "batch_size": 16}
TEACHER = {"method": "full", **TRAINING}
DISTILL = {"method": "distill", "teacher": TEACHER, **TRAINING}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The folder with a model of two layers, one of one layer, and the tasks."""
    folder = tmp_path_factory.mktemp("distill")
    save_bert(folder / "bert")
    save_bert(folder / "small", width=16, layers=1)
    save_task(folder / "classes.csv")
    save_task(folder / "numbers.csv", kind="number")
    save_tagged(folder / "words.jsonl")
    return folder


def sweep_of(places, store, *space, tasks=("classes",), model="bert"):
    known = {
        "classes": {"name": "classes", "source": str(places / "classes.csv")},
        "numbers": {"name": "numbers", "source": str(places / "numbers.csv")},
        "words": {
            "name": "words",
            "source": str(places / "words.jsonl"),
            "kind": "token-classification",
            "text": "words",
            "label": "tags",
        },
    }
    return {
        "name": "distill",
        "models": {"name": model, "source": str(places / model)},
        "tasks": [known[task] for task in tasks],
        "train_size": 64,
        "validation_size": 32,
        "test_size": 32,
        "space": [dict(mapping) for mapping in space],
        "tracking": "off",
        "store": str(store),
    }


def finetunings(sweep):
    """Return the artifacts of the stages that train, by method, then by task."""
    workspace = open_sweep(sweep)
    found = {}
    for trial in workspace.trials:
        trained = workspace.nodes[trial.result_digest].inputs["predictions"].digest
        record = workspace.store.find([trained])[trained]
        found.setdefault(trial.method, {})[trial.task] = workspace.store.open(record)
    return found


def scores(artifact, split="test"):
    table = artifact.table("predictions" if split != "train" else "train_scores")
    part = table.filter(pc.equal(table["split"], split))
    return np.array(part["scores"].drop_null().to_pylist())


# The loss


def test_the_loss_by_hand():
    outputs = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 3.0]])
    labels = torch.tensor([0, 2])
    temperature, weight = 2.0, 0.3

    def softmax(row, t):
        powers = [np.exp(value / t) for value in row]
        return [power / sum(powers) for power in powers]

    expected = 0.0
    for own, wanted, label in zip(outputs.tolist(), teacher.tolist(), labels.tolist(), strict=True):
        p, q = softmax(wanted, temperature), softmax(own, temperature)
        divergence = sum(a * np.log(a / b) for a, b in zip(p, q, strict=True))
        hard = -np.log(softmax(own, 1.0)[label])
        expected += (weight * temperature**2 * divergence + (1 - weight) * hard) / 2
    targets = TaughtTargets(
        labels=labels, teacher=teacher, weights=torch.full((2,), weight), temperature=temperature
    )
    loss = targets.loss(outputs)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    loss.backward()
    step = 1e-3
    moved = outputs.detach().clone()
    moved[0, 1] += step
    slope = (targets.loss(moved).item() - loss.item()) / step
    assert float(outputs.grad[0, 1]) == pytest.approx(slope, abs=1e-3)


def test_the_loss_of_numbers_by_hand():
    targets = TaughtTargets(
        labels=torch.tensor([1.0, 0.0]),
        teacher=torch.tensor([[0.5], [0.5]]),
        weights=torch.tensor([0.25, 0.0]),
        temperature=2.0,
    )
    loss = targets.loss(torch.tensor([[0.0], [2.0]]))
    assert float(loss) == pytest.approx((0.25 * 0.25 + 0.75 * 1.0 + 4.0) / 2)


# Scores and rows


def test_scores_find_their_rows_whatever_the_order():
    table = pa.table(
        {
            "row": [7, 3, 5],
            "prediction": pa.array([0, 1, 0], pa.int32()),
            "scores": pa.array([[7.0, 0], [3.0, 1], [5.0, 0]], pa.list_(pa.float32(), 2)),
        }
    )
    truth = Truth(rows=np.array([3, 7]), labels=np.array([0, 1]))
    assert scores_of(table, truth).tolist() == [[3, 1], [7, 0]]
    lacking = Truth(rows=np.array([3, 4, 9]), labels=np.array([0, 1, 1]))
    with pytest.raises(InputError, match="no scores for 2 training rows, as row 4"):
        scores_of(table, lacking)


def test_a_word_that_the_teacher_cut_off_has_no_score():
    table = pa.table(
        {
            "row": [2, 2, 9],
            "position": [0, 1, 0],
            "prediction": pa.array([0, -1, 0], pa.int32()),
            "scores": pa.array([[1.0, 0], None, [2.0, 1]], pa.list_(pa.float32(), 2)),
        }
    )
    truth = Truth(
        rows=np.array([9, 2, 2]),
        labels=np.array([0, 1, 1]),
        positions=np.array([0, 0, 1]),
        kept=np.array([0, 1, 2]),
    )
    found = scores_of(table, truth)
    assert found[:2].tolist() == [[2, 1], [1, 0]]
    assert np.isnan(found[2]).all()


# A trial as the teacher


def test_a_student_without_weight_on_its_teacher_is_a_full_fine_tuning(places, tmp_path):
    space = ({"method": "full", **TRAINING}, {**DISTILL, "teacher": "probe", "teacher_weight": 0})
    sweep = sweep_of(places, tmp_path, *space, tasks=("classes", "numbers", "words"))
    assert run(sweep, backend="inline").counts == {"FINISHED": 6}
    found = finetunings(sweep)
    for task in ("classes", "numbers", "words"):
        full, student = scores(found["full"][task]), scores(found["distill"][task])
        np.testing.assert_allclose(student, full, atol=1e-6, err_msg=task)


def test_a_teacher_that_is_a_trial_of_the_sweep_is_trained_once(places, tmp_path):
    space = (TEACHER, {**DISTILL, "temperature": [1, 4]}, {**DISTILL, "teacher": TEACHER})
    sweep = sweep_of(places, tmp_path, *space)
    names = [stage.stage.name for stage in plan(sweep).stages.values()]
    assert names.count("transfer/finetune") == 1 + 3
    assert [names.count(f"transfer/{name}") for name in ("load", "tokenize")] == [1, 1]
    made = run(sweep, backend="inline")
    assert made.counts == {"FINISHED": 4}
    assert [len(r.curve) for r in report(sweep).results] == [15, 15, 15, 15]


def test_students_added_to_a_finished_sweep_have_only_their_teacher_trained_again(places, tmp_path):
    alone = sweep_of(places, tmp_path, TEACHER)
    (before,) = run(alone, backend="inline").results
    first = finetunings(alone)["full"]["classes"]
    grown = sweep_of(places, tmp_path, TEACHER, DISTILL)
    computed = [name for name in _computed(grown) if name != "transfer/evaluate"]
    assert computed == ["transfer/finetune", "transfer/finetune"]
    made = run(grown, backend="inline")
    assert made.counts == {"FINISHED": 2}
    assert made.results[0].metrics == before.metrics
    again = finetunings(grown)["full"]["classes"]
    assert again.value == {**first.value, "kept": ["train_scores"]}
    assert again.table("predictions").equals(first.table("predictions"))
    assert len(scores(again, "train")) == 64
    assert _computed(grown) == []
    assert _computed(sweep_of(places, tmp_path, {**DISTILL, "epochs": 1})) == [
        "transfer/finetune",
        "transfer/evaluate",
    ]


def _computed(sweep):
    """Return the names of the stages that a plan would compute."""
    made = plan(sweep)
    return [made.stages[digest].stage.name for job in made.jobs for digest in job.stages]


@pytest.mark.parametrize(
    ("teacher", "tasks"), [("full", ["classes", "words"]), ("probe", ["numbers"])]
)
def test_a_student_that_sees_no_label_becomes_like_its_teacher(places, tmp_path, teacher, tasks):
    taught = {**TEACHER, "method": teacher, "epochs": 6}
    student = {**DISTILL, "teacher": taught, "teacher_weight": 1, "epochs": 10}
    sweep = sweep_of(places, tmp_path, taught, student, tasks=tasks)
    assert set(run(sweep, backend="inline").counts) == {"FINISHED"}
    found = finetunings(sweep)
    for task in tasks:
        own, wanted = scores(found["distill"][task]), scores(found[teacher][task])
        if task == "numbers":
            assert np.corrcoef(own[:, 0], wanted[:, 0])[0, 1] > 0.7
        else:
            assert (own.argmax(axis=1) == wanted.argmax(axis=1)).mean() > 0.8, task


def test_a_teacher_of_another_model_and_more_rows(places, tmp_path):
    teacher = {"model": "bert", "train_size": 80, **TEACHER}
    sweep = sweep_of(places, tmp_path, {**DISTILL, "teacher": teacher, "models": "small"})
    sweep["models"] = [{"name": n, "source": str(places / n)} for n in ("bert", "small")]
    sweep["space"].append({**TEACHER, "models": "bert", "train_size": 80})
    names = [stage.stage.name for stage in plan(sweep).stages.values()]
    assert names.count("transfer/finetune") == 2
    assert run(sweep, backend="inline").counts == {"FINISHED": 2}


def test_a_teacher_of_fewer_rows_than_its_student_is_told(places, tmp_path):
    sweep = sweep_of(places, tmp_path, {**DISTILL, "teacher": {**TEACHER, "train_size": 32}})
    (result,) = run(sweep, backend="inline").results
    assert "no scores for 32 training rows" in result.failure.message


def test_a_student_may_teach(places, tmp_path):
    sweep = sweep_of(places, tmp_path, DISTILL, {**DISTILL, "teacher": {**DISTILL}})
    names = [stage.stage.name for stage in plan(sweep).stages.values()]
    assert names.count("transfer/finetune") == 3
    assert run(sweep, backend="inline").counts == {"FINISHED": 2}


class CutError(Exception):
    """Training is interrupted."""


def test_a_student_that_is_cut_goes_on_to_the_same_scores(places, tmp_path, monkeypatch):
    whole = sweep_of(places, tmp_path / "whole", DISTILL)
    run(whole, backend="inline")
    cut = sweep_of(places, tmp_path / "cut", TEACHER, DISTILL)
    run(sweep_of(places, tmp_path / "cut", TEACHER), backend="inline")
    saved = []

    def save_and_break(self, arrays, value, save=StoreCheckpoint.save):
        save(self, arrays, value)
        saved.append(value["at"]["step"])
        if len(saved) == 18:  # the teacher is trained again first, in 12 steps
            raise CutError

    with monkeypatch.context() as patch:
        patch.setattr(StoreCheckpoint, "is_due", lambda self: True)
        patch.setattr(StoreCheckpoint, "save", save_and_break)
        made = run(cut, backend="inline")
    assert made.counts == {"FINISHED": 1, "FAILED": 1}
    assert saved[-1] == 6
    assert _computed(cut) == ["transfer/finetune", "transfer/evaluate"]
    assert run(cut, backend="inline").counts == {"FINISHED": 2}
    one, other = (finetunings(s)["distill"]["classes"] for s in (whole, cut))
    assert np.array_equal(scores(one), scores(other))


# A saved model as the teacher


@pytest.fixture(scope="module")
def saved(places):
    """A classifier with classes in another order than the task's, and its tokenizer."""
    names = {0: "good", 1: "bad"}
    return _saved(places, "saved", id2label=names, label2id={n: i for i, n in names.items()})


def _saved(places, name, **config):
    folder = places / name
    inner = BertConfig.from_pretrained(places / "bert", **config)
    torch.manual_seed(3)
    BertForSequenceClassification(inner).save_pretrained(folder)
    AutoTokenizer.from_pretrained(places / "bert").save_pretrained(folder)
    return folder


def test_a_saved_classifier_teaches_by_the_names_of_its_classes(places, saved, tmp_path):
    sweep = sweep_of(places, tmp_path, {**DISTILL, "teacher": str(saved)})
    assert run(sweep, backend="inline").counts == {"FINISHED": 1}
    workspace = open_sweep(sweep)
    nodes = {node.stage.name: digest for digest, node in workspace.nodes.items()}
    opened = {name: workspace.store.open(workspace.store.find([d])[d]) for name, d in nodes.items()}
    table = opened["transfer/teach"].table("train_scores")
    text = opened["transfer/load"].table("train")["text"][5].as_py()
    model = BertForSequenceClassification.from_pretrained(saved).eval()
    tokens = AutoTokenizer.from_pretrained(saved)(text, return_tensors="pt")
    logits = model(**tokens).logits[0].tolist()
    assert table["scores"][5].as_py() == pytest.approx(logits[::-1], abs=1e-5)  # bad, good


def test_an_export_teaches_what_its_trial_knew(places, tmp_path):
    teacher = {**TEACHER, "epochs": 8, "max_length": 20}
    tasks = ("classes", "numbers")
    for task in tasks:
        taught = sweep_of(places, tmp_path / "store", teacher, tasks=[task])
        (result,) = run(taught, backend="inline").results
        folder = tmp_path / f"{task}-export"
        export_trial(result.trial.id, folder, ExportOptions(store=str(tmp_path / "store")))
        by_trial = {**DISTILL, "teacher": teacher, "max_length": 20}
        by_export = {**by_trial, "teacher": str(folder)}
        sweep = sweep_of(places, tmp_path / "store", by_trial, by_export, tasks=[task])
        run(sweep, backend="inline")
        one, other = (r.metrics for r in report(sweep).results)
        assert other == pytest.approx(one, abs=1e-3), task


def test_classes_that_do_not_match_are_told(places, tmp_path):
    folder = _saved(
        places, "moody", id2label={0: "happy", 1: "sad"}, label2id={"happy": 0, "sad": 1}
    )
    sweep = sweep_of(places, tmp_path, {**DISTILL, "teacher": str(folder)}, tasks=["classes"])
    (result,) = run(sweep, backend="inline").results
    assert "happy, sad" in result.failure.message
    assert "bad, good" in result.failure.message


def test_outputs_are_matched_by_name():
    config = {"id2label": {"0": "b", "1": "c", "2": "a"}}
    assert outputs_in_order(config, ["a", "b", "c"]) == [2, 0, 1]
    assert outputs_in_order({"id2label": {"0": "LABEL_0"}}, None) == [0]
    with pytest.raises(InputError, match="one output"):
        outputs_in_order(config, None)


def test_a_saved_model_without_a_classifying_head_is_told(places, tmp_path):
    folder = places / "headless"
    BertModel.from_pretrained(places / "bert").save_pretrained(folder)
    AutoTokenizer.from_pretrained(places / "bert").save_pretrained(folder)
    sweep = sweep_of(places, tmp_path, {**DISTILL, "teacher": {"source": str(folder)}})
    (result,) = run(sweep, backend="inline").results
    assert "no classifying head" in result.failure.message


def test_a_student_can_be_exported(places, tmp_path):
    sweep = sweep_of(places, tmp_path, {**DISTILL, "teacher": {"method": "probe"}})
    (result,) = run(sweep, backend="inline").results
    exported = export_trial(result.trial.id, tmp_path / "out", ExportOptions(store=str(tmp_path)))
    assert exported.verification.reloaded.num_same == 32
