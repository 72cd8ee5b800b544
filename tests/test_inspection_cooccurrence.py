"""Pictures of labels that occur together."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from inspection_examples import are_apart, tick_texts
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal

from skxmc.inspection import CooccurrenceDisplay

pytest_plugins = ["inspection_fixtures"]
pytestmark = pytest.mark.usefixtures("no_figures")

# Labels that occur together


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n_shown=st.integers(1, 8))
def test_shares_are_those_of_a_loop(seed, n_shown):
    rng = np.random.default_rng(seed)
    Y = rng.random(rng.integers(1, 8, 2)) < rng.choice([0.2, 0.5])
    Y[0, -1] = True
    display = CooccurrenceDisplay.from_labels(
        sp.csr_array(Y) if seed % 2 else Y.astype(int),
        n_labels=n_shown,
        ax=Figure().subplots(),
    )
    counts = Y.sum(axis=0)
    used = [j for j in range(Y.shape[1]) if counts[j]]
    expected = sorted(used, key=lambda j: (-counts[j], j))[:n_shown]  # ties: by column
    assert display.ids.tolist() == display.names == expected
    for a, i in enumerate(expected):
        for b, j in enumerate(expected):
            share = np.mean([row[j] for row in Y if row[i]])
            assert display.shares[a, b] == pytest.approx(share, rel=1e-12)
    assert_array_equal(display.image_.get_array(), display.shares)


def test_labels_without_documents_are_left_out():
    Y = sp.csr_array(np.array([[0, 1, 0, 1], [0, 0, 0, 1]]))
    Y[0, 1] = 0  # an explicit zero is no document
    display = CooccurrenceDisplay.from_labels(Y, label_names=list("abcd"))
    assert display.ids.tolist() == [3] and display.names == ["d"]
    assert display.shares.tolist() == [[1]]


def test_rows_and_columns_have_names():
    Y = np.array([[1, 1, 0], [0, 1, 1], [0, 1, 0]])
    display = CooccurrenceDisplay.from_labels(Y, label_names=["red", "fox", "dog"])
    assert display.names == ["fox", "red", "dog"]
    assert_allclose(display.shares, [[1, 1 / 3, 1 / 3], [1, 1, 0], [1, 0, 1]])
    for axis in (display.ax_.xaxis, display.ax_.yaxis):
        assert tick_texts(axis) == display.names
        assert_array_equal(axis.get_ticklocs(), range(3))
    assert len(display.figure_.axes) == 2  # with the bar of the colours


def test_long_names_are_cut():
    names = ["a" * 20, "b" * 21, 12345]
    display = CooccurrenceDisplay.from_labels(np.eye(3), label_names=names)
    assert display.names == names
    expected = ["a" * 20, "b" * 17 + "...", "12345"]
    assert tick_texts(display.ax_.xaxis) == tick_texts(display.ax_.yaxis) == expected


def test_twenty_long_names_leave_room_for_the_shares():
    display = CooccurrenceDisplay.from_labels(
        np.eye(20), label_names=["ab cd " * 13] * 20
    )
    assert are_apart(display.ax_.xaxis) and are_apart(display.ax_.yaxis)
    assert display.ax_.get_window_extent().height > 0.6 * display.figure_.bbox.height


def test_twenty_labels_are_shown(colours):
    assert len(CooccurrenceDisplay.from_labels(np.eye(25)).ids) == 20
    Y = colours[1]
    assert len(CooccurrenceDisplay.from_labels(sp.csc_matrix(Y)).ids) == 12


@pytest.mark.parametrize(
    "Y, n_labels, message",
    [
        (np.eye(3), 0, "n_labels must be an int, at least 1"),
        (np.eye(3), 2.0, "n_labels must be an int"),
        (2 * np.eye(3), 2, "Y must hold 0 and 1 only"),
        (np.ones(3), 2, "Y must be 2-D"),
    ],
)
def test_bad_input_to_cooccurrence(Y, n_labels, message):
    with pytest.raises(ValueError, match=message):
        CooccurrenceDisplay.from_labels(Y, n_labels=n_labels)


def test_names_of_a_series_are_by_place():
    names = pd.Series(["red", "fox", "dog"], index=[2, 1, 0])
    display = CooccurrenceDisplay.from_labels(np.eye(3), label_names=names)
    assert display.names == ["red", "fox", "dog"]


def test_too_few_names():
    with pytest.raises(ValueError, match="label_names"):
        CooccurrenceDisplay.from_labels(np.eye(3), label_names=["red", "fox"])


def test_too_many_names():
    with pytest.raises(ValueError, match="label_names"):
        CooccurrenceDisplay.from_labels(np.eye(3), label_names=list("abcd"))
