"""The F1 of entities, against seqeval and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score as seqeval_f1

from pipelines.sources.tags import marks_entities
from pipelines.transfer.entities import entities, entity_f1, num_malformed
from pipelines.transfer.metrics import compute_word_metrics

TAGS = ["B-a", "B-b", "I-a", "I-b", "O"]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O O", []),
        ("B-a I-a O B-b", [("a", 0, 1), ("b", 3, 3)]),
        ("B-a B-a I-a", [("a", 0, 0), ("a", 1, 2)]),
        ("O I-a I-a O", [("a", 1, 2)]),  # begins with I: seqeval is lenient
        ("B-a I-b", [("a", 0, 0), ("b", 1, 1)]),
        ("I-a I-b I-b", [("a", 0, 0), ("b", 1, 2)]),
        ("B-geo-loc I-geo-loc", [("geo-loc", 0, 1)]),
        ("B I O I", [("_", 0, 1), ("_", 3, 3)]),
        ("S-a E-a B-a E-a E-a", [("a", 0, 0), ("a", 1, 1), ("a", 2, 3), ("a", 4, 4)]),
    ],
)
def test_entities_are_those_of_seqeval(tags, expected):
    assert list(entities(tags.split())) == expected


tag_lists = st.lists(st.lists(st.sampled_from([*TAGS, "E-a", "S-a"]), max_size=8), max_size=6)


@given(tag_lists, st.randoms(use_true_random=False))
def test_entity_f1_equals_seqeval(truth, rng):
    guesses = [[tag if rng.random() < 0.7 else rng.choice(TAGS) for tag in row] for row in truth]
    if any(map(len, truth)):
        theirs = seqeval_f1(truth, guesses, zero_division=0)
        assert entity_f1(truth, guesses) == pytest.approx(float(theirs))


@given(tag_lists, tag_lists)
def test_entity_f1_is_a_score(truth, guesses):
    guesses = [
        (guesses[i % len(guesses)] + ["O"] * 8 if guesses else ["O"] * 8)[: len(row)]
        for i, row in enumerate(truth)
    ]
    score = entity_f1(truth, guesses)
    assert 0 <= score <= 1
    assert score == entity_f1(guesses, truth)
    has_entities = any(True for row in truth for _ in entities(row))
    assert entity_f1(truth, truth) == (1.0 if has_entities else 0.0)


@given(tag_lists)
def test_entities_do_not_overlap_and_leave_out_only_outside(truth):
    for tags in truth:
        covered = [p for _, first, last in entities(tags) for p in range(first, last + 1)]
        assert covered == [place for place, tag in enumerate(tags) if tag != "O"]


def test_malformed_tags_and_tags_of_no_entities():
    assert num_malformed(["B-a", "I-a", "I-b", "O", "I-a"]) == 2
    assert marks_entities(["O", "B-a", "I-a"])
    assert not marks_entities(["NOUN", "VERB", "O"])
    assert not marks_entities(["O"])


def test_metrics_of_words_by_hand():
    truth, guesses = np.array([0, 2, 4, 1, 4]), np.array([0, 2, 4, -1, 4])
    found = compute_word_metrics(truth, guesses, np.array([5, 5, 5, 2, 2]), TAGS)
    assert found == {
        "accuracy": pytest.approx(4 / 5),
        "f1": pytest.approx(2 / 3),  # one entity right, none wrong, one not found
        "f1_macro": pytest.approx(3 / 4),  # of the four tags that there are, one is never found
    }
    of_speech = compute_word_metrics(truth, guesses, np.zeros(5), ["V", "W", "X", "Y", "Z"])
    assert of_speech["f1"] == of_speech["f1_macro"] == pytest.approx(3 / 4)
