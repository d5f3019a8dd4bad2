"""What a plan refuses before anything runs, and that it needs no torch to know."""

import subprocess
import sys
from dataclasses import replace

import pytest
import transformers as hf

from orchestrator.errors import InvalidSweepError
from orchestrator.planning.grid import expand, parse
from orchestrator.planning.sweep_file import SweepFile
from pipelines.catalogue import MODELS
from pipelines.contract import InputError, Node, Stage
from pipelines.models.facts import facts_of
from pipelines.models.made import MadeModel
from pipelines.pipeline import TrialSettings
from pipelines.sources import Model, Origin, Source, fetch_model, resolve_model, resolve_task
from pipelines.sources.local import folder_digest
from pipelines.transfer.graph import TRANSFER
from pipelines.transfer.params import METHODS
from tests.pipelines.architectures import POSITIONS, save_architecture
from tests.pipelines.tiny import save_tagged, save_task


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Saved models and tasks side by side."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("bert", "roberta", "gpt2"):
        save_architecture(folder / name, name)
    save_task(folder / "reviews.csv", 32)
    save_tagged(folder / "words.jsonl", 32)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache without any notes."""
    monkeypatch.setenv("FANFLARE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def asked(folder, model, method="full", **params):
    """Plan a trial of the reviews."""
    if isinstance(model, str):
        model = resolve_model(f"./{model}", folder)
    task = resolve_task("./reviews.csv", folder)
    chosen = METHODS[method](**{"max_length": 32, **params})
    return TRANSFER.graph(TrialSettings(model=model, task=task, params=chosen, seed=0))


def refusal(*args, **kwargs):
    with pytest.raises(InputError) as error:
        asked(*args, **kwargs)
    return error.value


class TestRefusals:
    @pytest.mark.parametrize(
        ("model", "limit"), [("bert", POSITIONS), ("gpt2", POSITIONS), ("roberta", POSITIONS - 2)]
    )
    def test_texts_longer_than_the_positions(self, folder, model, limit):
        assert asked(folder, model, max_length=limit)
        error = refusal(folder, model, max_length=limit + 1)
        assert (error.key, error.nearest) == ("max_length", str(limit))
        # The limit is that of the model itself, not only what its configuration says.
        files = fetch_model(resolve_model(f"./{model}", folder))
        backbone = hf.AutoModel.from_pretrained(files)
        ids = hf.AutoTokenizer.from_pretrained(files)("fine " * 99, return_tensors="pt").input_ids
        assert backbone(input_ids=ids[:, :limit]).last_hidden_state.shape[1] == limit
        with pytest.raises((IndexError, RuntimeError)):
            backbone(input_ids=ids[:, : limit + 1])

    def test_more_frozen_layers_than_there_are(self, folder):
        assert asked(folder, "bert", "partial", frozen_layers=2)
        error = refusal(folder, "bert", "partial", frozen_layers=3)
        assert (error.key, error.nearest) == ("frozen_layers", "2")
        assert "'bert'" in str(error)
        assert "has 2" in str(error)

    def test_adapters_above_all_layers(self, folder):
        assert asked(folder, "bert", "lora", frozen_layers=1)
        for count in (2, 3):
            error = refusal(folder, "bert", "lora", frozen_layers=count)
            assert (error.key, error.nearest) == ("frozen_layers", "1")

    @pytest.mark.parametrize("method", ["probe", "full", "lora"])
    def test_the_first_token_of_a_decoder(self, folder, method):
        assert asked(folder, "bert", method, pooling="cls")
        error = refusal(folder, "gpt2", method, pooling="cls")
        assert (error.key, error.nearest) == ("pooling", "mean")

    @pytest.mark.parametrize(
        ("config", "words"),
        [
            (hf.T5Config(num_layers=2, d_model=16, num_heads=2, d_ff=16), "encoder-decoder"),
            (hf.ASTConfig(num_hidden_layers=1, hidden_size=16, num_attention_heads=2), "it takes"),
        ],
    )
    def test_models_that_no_method_knows(self, folder, tmp_path, config, words):
        config.save_pretrained(tmp_path / "odd")
        error = refusal(folder, unpinned(tmp_path / "odd"))
        assert error.key == "models"
        assert words in str(error)

    def test_an_architecture_that_transformers_does_not_know(self, folder, tmp_path):
        (tmp_path / "odd").mkdir()
        (tmp_path / "odd" / "config.json").write_text('{"model_type": "mystery"}')
        error = refusal(folder, unpinned(tmp_path / "odd"))
        assert error.key == "models"
        assert "mystery" in str(error)

    def test_a_network_without_linear_maps_and_attention(self, folder):
        bare = replace(
            facts_of(resolve_model("./bert", folder)),
            has_linear_layers=False,
            has_attention=False,
            num_layers=0,
        )
        model = replace(resolve_model("./bert", folder), facts=bare)
        assert refusal(folder, model, "lora").key == "method"
        assert refusal(folder, model, "partial").key == "method"
        assert refusal(folder, model, "full", layer_decay=0.9).key == "method"
        assert asked(folder, model, "full")
        mixer = replace(model, facts=replace(bare, has_linear_layers=True, num_layers=2))
        assert refusal(folder, mixer, "lora").key == "target_modules"
        assert asked(folder, mixer, "lora", target_modules="all-linear")


def unpinned(folder):
    """Return a model of which there is a configuration and nothing else."""
    source = Source(origin=Origin.PATH, location=str(folder), digest=folder_digest(folder))
    return Model(name=folder.name, source=source)


def test_a_model_that_is_not_made_yet_is_checked_by_what_is_known_of_it(folder):
    stage = Stage(name="toy/make", version=1, function="", typical_s=1)
    made = MadeModel(name="made", node=Node(stage=stage))
    assert asked(folder, made, "partial", frozen_layers=9)
    known = replace(made, facts=facts_of(resolve_model("./bert", folder)))
    assert refusal(folder, known, "partial", frozen_layers=9).key == "frozen_layers"


# Sweeps


def faults(folder, models, space, **sweep):
    space = [{**mapping, "max_length": 32} for mapping in space]
    data = {"name": "s", "models": models, "tasks": "./reviews.csv", "space": space, **sweep}
    file = SweepFile(data, folder / "sweep.yaml")
    try:
        expand(parse(file), file)
    except InvalidSweepError as error:
        return error.faults
    return ()


def test_a_fault_is_told_once_whatever_the_number_of_points_and_seeds(folder):
    found = faults(
        folder,
        models=["./bert", "./roberta", "./gpt2"],
        seeds=5,
        space=[
            {
                "method": ["probe", "full", "lora", "scratch"],
                "pooling": ["mean", "cls"],
                "learning_rate": [1e-3, 1e-2],
            },
            {"method": "partial", "frozen_layers": [1, 7]},
        ],
    )
    assert [fault.key for fault in found if "gpt2" in fault.message] == [
        "space[0].pooling",
        "space[1].frozen_layers",
    ]
    assert len(found) == 4  # and too many frozen layers of each of the other two


def test_a_mapping_may_keep_to_the_models_that_it_is_for(folder):
    space = [
        {"method": "probe", "pooling": ["mean", "cls"], "models": ["bert", "roberta"]},
        {"method": "probe", "models": "gpt2"},
    ]
    assert not faults(folder, models=["./bert", "./roberta", "./gpt2"], space=space)


PLAN = """
import sys
from pathlib import Path
from pipelines.models.facts import facts_of
from pipelines.sources import resolve_model
facts = facts_of(resolve_model({source!r}, Path()))
print(facts.num_layers, "torch" in sys.modules, "transformers" in sys.modules)
"""


def test_what_is_noted_or_in_the_catalogue_needs_no_torch(folder):
    noted = facts_of(resolve_model("./bert", folder))
    program = PLAN.format(source=str(folder / "bert"))
    told = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert told.split() == [str(noted.num_layers), "False", "False"]
    assert facts_of(replace(MODELS["all-MiniLM-L6-v2"], source=None)).num_layers == 6


def test_a_note_is_of_one_content(folder, tmp_path, cache):
    first = facts_of(resolve_model("./bert", folder))
    save_architecture(tmp_path / "bert", "gpt2")
    second = facts_of(resolve_model("./bert", tmp_path))
    assert (first.is_causal, second.is_causal) == (False, True)
    assert len(list((cache / "facts").iterdir())) == 2
