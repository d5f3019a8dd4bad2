"""Finished sweeps and the exports of their trials, for the tests of exports."""

import string

import pyarrow.compute as pc
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2Model, GPT2TokenizerFast

from orchestrator import run
from orchestrator.running.export import ExportOptions, export_trial
from orchestrator.running.trial_logs import find_trial
from tests.cli import sweep_file
from tests.fresh_processes import fresh_process
from tests.pipelines import stranger

TRAINING = {"epochs": 4, "learning_rate": 0.01, "batch_size": 8, "max_length": 20}
SIZES = {"train_size": 64, "validation_size": 24, "test_size": 24}


def save_gpt2(folder):
    """Save a random GPT-2 whose tokenizer takes words apart and marks the space before each."""
    alphabet = sorted({*pre_tokenizers.ByteLevel.alphabet(), "<|endoftext|>"})
    spaced = [f"Ġ{letter}" for letter in string.ascii_lowercase]
    vocabulary = {piece: number for number, piece in enumerate([*alphabet, *spaced])}
    raw = Tokenizer(models.BPE(vocabulary, [("Ġ", letter) for letter in string.ascii_lowercase]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    GPT2TokenizerFast(tokenizer_object=raw).save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(vocabulary),
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=64,
        bos_token_id=0,
        eos_token_id=0,
    )
    GPT2Model(config).save_pretrained(folder)
    return folder


class Exports:
    """A finished sweep, and the exports of its trials, each made once."""

    def __init__(self, folder, **content):
        self.folder = folder
        self.store = str(folder / "store")
        file = sweep_file(folder, {**SIZES, "name": "kinds", "tracking": "off", **content})
        self.report = run(file, backend="inline", store=self.store)
        failures = [result.failure for result in self.report.results if result.failure]
        assert not failures, failures
        self._done = {}

    def get(self, model, method, **options):
        key = (model, method, *options)
        if key not in self._done:
            (trial,) = (
                result.trial.id
                for result in self.report.results
                if (result.trial.model, result.trial.method) == (model, method)
            )
            target = self.folder / "-".join(map(str, key))
            self._done[key] = export_trial(
                trial, target, ExportOptions(store=self.store, **options)
            )
        return self._done[key]

    def kept(self, prefix):
        """Return the test examples, what the trial predicted for them, and the labels."""
        trial, workspace = find_trial(prefix, store=self.store)
        node = workspace.nodes[trial.result_digest].inputs["predictions"]
        inputs = node.inputs.get("features", node).inputs
        loaded = (inputs.get("prepared") or inputs["blocks"]).inputs["examples"]
        records = workspace.store.find([node.digest, loaded.digest])
        trained, examples = (workspace.store.open(records[n.digest]) for n in (node, loaded))
        table = trained.table("predictions")
        table = table.filter(pc.equal(table["split"], "test"))
        return examples.table("test"), table, trained.value["labels"]


def elsewhere(function, *args, **kwargs):
    """Return what a function of `stranger` gives in a process of its own, without fanflare."""
    with fresh_process() as pool:
        return pool.submit(stranger.alone, function, *args, **kwargs).result(timeout=120)


def page_of(done):
    return (done.folder / "README.md").read_text()
