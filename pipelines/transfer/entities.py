"""Entities in tagged sentences, as seqeval's default mode finds them; trains and reads nothing.

seqeval's rules are the definition that results in the literature go by. The package itself is not
used: its last release is of 2020 and comes as source only, and the rules take a page. The tests
compare this module with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Entity = tuple[str, int, int]
"""Type, first word and last word."""


def entities(tags: Sequence[str]) -> Iterator[Entity]:
    """Yield the entities of a sentence.

    The prefixes are those of BIO and of BIOES. An entity begins at `B` or `S`, after `E` or `S`,
    after `O`, and wherever the type changes: so does one that begins with `I`.
    """
    start: int | None = None
    before, type_before = "O", ""
    for place, tag in enumerate([*tags, "O"]):
        prefix, kind = tag[0], tag[2:] or "_"
        is_new = prefix in "BS" or before in "OES" or kind != type_before
        if start is not None and (prefix == "O" or is_new):
            yield type_before, start, place - 1
            start = None
        if prefix != "O" and is_new:
            start = place
        before, type_before = prefix, kind


def num_malformed(tags: Sequence[str]) -> int:
    """Return how many tags continue an entity (`I`, `E`) that does not reach up to them."""
    count = 0
    for before, tag in zip(["O", *tags], tags, strict=False):
        continues = before[0] in "BI" and before[2:] == tag[2:]
        count += tag[0] in "IE" and not continues
    return count


def entity_f1(truth: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> float:
    """Return the micro F1 of entities: right are those with the right type, start and end.

    Args:
        truth: The tags of each sentence.
        predicted: As many tags for as many sentences.

    Returns:
        From 0 to 1; 0 where neither has an entity, as seqeval has it.
    """
    found, wanted, right = 0, 0, 0
    for tags, guesses in zip(truth, predicted, strict=True):
        there, guessed = set(entities(tags)), set(entities(guesses))
        wanted += len(there)
        found += len(guessed)
        right += len(there & guessed)
    return 2 * right / (found + wanted) if right else 0.0
