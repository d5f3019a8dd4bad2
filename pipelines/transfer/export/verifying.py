"""Compares what is loaded from a written folder with what the trial kept; writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from pipelines.contract import Artifact
from pipelines.exports import Agreement
from pipelines.sources.images import decoded
from pipelines.transfer.data.truth import LOST
from pipelines.transfer.data.word_tokens import first_tokens
from pipelines.transfer.export.agreement import comparable, compare, compare_best
from pipelines.transfer.export.trained import TrainedModel

MAX_VERIFIED_ROWS = 256
"""Test rows on which the written folder is compared with the trial: seconds, on a laptop."""

Artifacts = Mapping[str, Artifact]
"""By the digest of their node."""


def texts_again(pipeline: Any, trained: TrainedModel, artifacts: Artifacts) -> Agreement:
    """Compare the predictions of a loaded folder with those that the trial kept."""
    kept = trained.of_test().slice(0, MAX_VERIFIED_ROWS)
    table = _test_rows(trained, artifacts, kept["row"])
    columns = [name for name in ("text", "text_pair") if name in table.column_names]
    answers = pipeline(table.select(columns).to_pylist(), top_k=None)
    again = _scores_of(pipeline, answers)
    spread = 1.0 if trained.labels else float(np.std(kept["label"].to_pylist())) or 1.0
    return compare(comparable(kept), again, unit=spread)


def images_again(pipeline: Any, trained: TrainedModel, artifacts: Artifacts) -> Agreement:
    """Compare the predictions of a loaded folder with those that the trial kept."""
    kept = trained.of_test().slice(0, MAX_VERIFIED_ROWS)
    contents = _test_rows(trained, artifacts, kept["row"])["image"].to_pylist()
    images = [decoded(content, "RGB") for content in contents]
    answers = pipeline(images, top_k=pipeline.model.config.num_labels)
    return compare(comparable(kept), _scores_of(pipeline, answers))


def _scores_of(pipeline: Any, answers: list[list[dict[str, Any]]]) -> np.ndarray:
    index = pipeline.model.config.label2id
    scores = np.zeros((len(answers), len(index)))
    for row, answer in enumerate(answers):
        for score in answer:
            scores[row, index[score["label"]]] = score["score"]
    return scores


def words_again(pipeline: Any, trained: TrainedModel, artifacts: Artifacts) -> Agreement:
    """Compare, word by word, the tag of its first token with the one that the trial kept."""
    kept = trained.of_test()
    kept = kept.filter(pc.is_valid(kept["scores"]))
    rows = kept["row"].unique().slice(0, MAX_VERIFIED_ROWS)
    kept = kept.filter(pc.is_in(kept["row"], value_set=rows))
    sentences = _test_rows(trained, artifacts, rows)["tokens"].to_pylist()
    answers = pipeline(
        sentences, is_split_into_words=True, aggregation_strategy="none", ignore_labels=[]
    )
    again: dict[tuple[int, int], tuple[int, float]] = {}
    for row, words, tokens in zip(rows.to_pylist(), sentences, answers, strict=True):
        given = {token["index"]: token for token in tokens}
        for position, place in enumerate(_places(pipeline.tokenizer, words)):
            if place in given:
                tag = pipeline.model.config.label2id[given[place]["entity"]]
                again[row, position] = (tag, float(given[place]["score"]))
    places = zip(kept["row"].to_pylist(), kept["position"].to_pylist(), strict=True)
    found = np.array([again.get(place, (LOST, 0.0)) for place in places])
    return compare_best(comparable(kept), found[:, 0].astype(int), found[:, 1])


def _places(tokenizer: Any, words: list[str]) -> list[int]:
    encoded = tokenizer(words, is_split_into_words=True, truncation=True)
    return first_tokens(encoded.word_ids(), len(words))


def _test_rows(
    trained: TrainedModel, artifacts: Artifacts, rows: pa.ChunkedArray | pa.Array
) -> pa.Table:
    table = artifacts[trained.examples.digest].table("test")
    return table.take(pc.index_in(rows, value_set=table["row"]))


@torch.inference_mode()
def blocks_again(pipeline: Any, trained: TrainedModel, artifacts: Artifacts) -> Agreement:
    """Compare the loss of a loaded language model on each block with that of the trial."""
    kept = trained.of_test().slice(0, MAX_VERIFIED_ROWS)
    blocks = artifacts[trained.prepared.digest].table("test").slice(0, len(kept))
    losses = []
    for tokens in blocks["input_ids"].to_pylist():
        ids = torch.tensor([tokens], device=pipeline.model.device)
        logits = pipeline.model(input_ids=ids).logits[0, :-1].float()  # (length - 1, vocabulary)
        losses.append(float(F.cross_entropy(logits, ids[0, 1:])))
    return compare(comparable(kept), np.array(losses)[:, None])
