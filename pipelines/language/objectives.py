"""What is hidden in a block of tokens and must be predicted: masked tokens, or each next one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.language.blocks import Vocabulary
from pipelines.models.token_batches import TokenBatches
from pipelines.seeding import stream_seed
from pipelines.training.learner import Learner, Rows

PLACES = "places"
"""In a batch: from which tokens, numbered `(batch * length,)`, something is predicted."""

BATCH_SIZE = 32
"""Blocks in one pass of inference."""


class BlockExamples(Protocol):
    """Blocks of tokens with something to predict; what :class:`Examples` asks, and the blocks."""

    blocks: TokenBatches

    def __len__(self) -> int:
        """Return the number of blocks."""

    def begin_epoch(self, epoch: int) -> None:
        """Draw anew what is hidden, where that is random."""

    def batch(self, rows: Rows) -> tuple[dict[str, Tensor], Tensor]:
        """Return the model's inputs with :data:`PLACES`, and `(places,)` tokens to predict."""

    def in_order(self) -> Iterator[Rows]:
        """Yield all blocks in batches fit for inference."""


class _Blocks:
    def __init__(self, blocks: TokenBatches) -> None:
        self.blocks = blocks

    def __len__(self) -> int:
        return len(self.blocks)

    def in_order(self) -> Iterator[Rows]:
        yield from self.blocks.by_length(BATCH_SIZE)


class CausalExamples(_Blocks):
    """Each next token is predicted from those before it."""

    def begin_epoch(self, epoch: int) -> None:
        """Do nothing: there is no chance in it."""

    def batch(self, rows: Rows) -> tuple[dict[str, Tensor], Tensor]:
        """Return the model's inputs, and the token after each but the last of its block."""
        inputs = self.blocks.batch(rows)
        has_next = torch.zeros_like(inputs["attention_mask"], dtype=torch.bool)
        has_next[:, :-1] = inputs["attention_mask"][:, 1:] == 1
        places = has_next.flatten().nonzero().squeeze(1)
        targets = inputs["input_ids"].flatten()[places + 1]
        return {**inputs, PLACES: places}, targets


class MaskedExamples(_Blocks):
    """Tokens chosen by chance are hidden and predicted from what stands around them.

    Of the chosen ones 80% become the mask token, 10% another token, 10% stay as they are.

    Source: J. Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers, 2019, 3.1;
    drawn anew in every epoch as in Y. Liu et al., RoBERTa, 2019.

    Args:
        blocks: The blocks of tokens.
        vocabulary: Of the tokenizer; it must have a mask token.
        ratio: The part of the tokens that is chosen; at least one in every block.
        seed: What is chosen in which block and epoch depends on it alone.
    """

    def __init__(
        self, blocks: TokenBatches, vocabulary: Vocabulary, *, ratio: float, seed: int
    ) -> None:
        super().__init__(blocks)
        self._vocabulary = vocabulary
        self._ratio = ratio
        self._seed = seed
        self._epoch = 0

    def begin_epoch(self, epoch: int) -> None:
        """Choose other tokens than in other epochs."""
        self._epoch = epoch

    def batch(self, rows: Rows) -> tuple[dict[str, Tensor], Tensor]:
        """Return the model's inputs with hidden tokens, and what was hidden."""
        inputs = self.blocks.batch(rows)
        device = inputs["input_ids"].device
        ids = inputs["input_ids"].cpu().numpy().copy()  # (batch, longest)
        places: list[np.ndarray] = []
        targets: list[np.ndarray] = []
        for index, row in enumerate(rows):
            chosen = self._hide(ids[index], int(self.blocks.lengths[row]), int(row), targets)
            places.append(index * ids.shape[1] + chosen)
        hidden = {
            "input_ids": torch.from_numpy(ids).to(device),
            PLACES: torch.from_numpy(np.concatenate(places)).to(device),
        }
        return {**inputs, **hidden}, torch.from_numpy(np.concatenate(targets)).to(device)

    def _hide(
        self, ids: np.ndarray, length: int, row: int, targets: list[np.ndarray]
    ) -> np.ndarray:
        """Hide tokens of one block in place; note what they were, and return where they are."""
        purpose = f"mask/{self._epoch}/{row}"
        draw = np.random.default_rng(stream_seed(self._seed, purpose))
        usable = np.flatnonzero(~np.isin(ids[:length], self._vocabulary.special_ids))
        usable = usable if len(usable) else np.arange(length)
        count = max(1, round(self._ratio * len(usable)))
        chosen = np.sort(draw.choice(usable, count, replace=False))
        targets.append(ids[chosen].copy())
        fate = draw.random(count)
        ids[chosen[fate < 0.8]] = self._vocabulary.mask_id
        others = chosen[fate >= 0.9]
        ids[others] = draw.integers(0, self._vocabulary.size, len(others))
        return chosen


def language_forward(model: nn.Module) -> Callable[[dict[str, Tensor]], Tensor]:
    """Return the forward pass of a model with a language-modelling head, at the places only.

    The head is the widest map of a small model: for most of the places of a masked block its
    outputs would be thrown away.

    Returns:
        A batch with :data:`PLACES` -> `(places, vocabulary)`.
    """
    head: nn.Module = model.get_output_embeddings()  # type: ignore[operator]
    places: list[Tensor] = []

    def only_places(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, *rest = args
        return (hidden.flatten(0, 1)[places[0]].unsqueeze(0), *rest)

    head.register_forward_pre_hook(only_places)

    def forward(batch: dict[str, Tensor]) -> Tensor:
        inputs: Mapping[str, Any] = {n: t for n, t in batch.items() if n != PLACES}
        places[:] = [batch[PLACES]]
        logits: Tensor = model(**inputs).logits  # (1, places, vocabulary)
        return logits.squeeze(0)

    return forward


@torch.inference_mode()
def block_losses(learner: Learner, examples: BlockExamples) -> tuple[np.ndarray, np.ndarray]:
    """Return what each block costs: the sum of its negative log likelihoods, and their number.

    Returns:
        `(blocks,)` in nats, and `(blocks,)` counts.
    """
    learner.module.eval()
    sums = np.zeros(len(examples))
    counts = np.zeros(len(examples), dtype=np.int64)
    for rows in examples.in_order():
        inputs, targets = examples.batch(rows)
        outputs = learner.outputs(inputs)
        losses = torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
        length = inputs["input_ids"].shape[1]
        blocks = rows[(inputs[PLACES] // length).cpu().numpy()]
        np.add.at(sums, blocks, losses.double().cpu().numpy())
        np.add.at(counts, blocks, 1)
    return sums, counts
