"""Names and labels: within Kubernetes' limits whatever a sweep is called, the same everywhere."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cluster import naming

DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
TEXTS = st.text(max_size=120)


@given(TEXTS, TEXTS, st.integers(1, 10**6))
@example("", "", 1)
@example("9-lives", "s3://b", 1)
@example("A" * 200, "/x", 99999)
@example("a" * 26 + "-" + "b" * 40, "/x", 1)
def test_a_name_is_taken_by_kuberay_and_tells_its_number(name, store, number):
    made = naming.job_name(name, store, number)
    assert len(made) <= 47
    assert DNS_1035.fullmatch(made)
    assert naming.number_of(made) == number


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_two_sweeps_have_two_names(name, store, other_name, other_store):
    same = (name, store) == (other_name, other_store)
    made = naming.job_name(name, store, 1), naming.job_name(other_name, other_store, 1)
    # A line break in a name could stand for the one between name and store; names have none.
    if "\n" not in name + other_name:
        assert (made[0] == made[1]) == same


@given(TEXTS, TEXTS, TEXTS)
def test_labels_are_taken_by_kubernetes(name, store, owner):
    for key, value in naming.labels(name, store, owner).items():
        assert len(value) <= 63
        assert LABEL_VALUE.fullmatch(value), (key, value)


@given(TEXTS, TEXTS, TEXTS)
def test_the_selector_finds_what_is_labelled_whoever_sent_it(name, store, owner):
    labels = naming.labels(name, store, owner)
    for part in naming.selector(name, store).split(","):
        key, value = part.split("=")
        assert labels[key] == value


def test_names_read_as_agreed():
    assert naming.slug("Learning curves, 2nd try!", 63) == "learning-curves-2nd-try"
    assert re.fullmatch(r"ff-quickstart-[0-9a-f]{8}-2", naming.job_name("quickstart", "s3://b", 2))
    assert naming.job_name("a", "s3://b", 1) != naming.job_name("a", "s3://c", 1)


@pytest.mark.parametrize("text", ["", "quickstart", "ff-a-1a2b3c4d-0", "ff-a-1", "ff-1a2b3c4d-1"])
def test_what_is_no_name_has_no_number(text):
    with pytest.raises(ValueError, match="no name of a submission"):
        naming.number_of(text)
