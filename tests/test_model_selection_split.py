"""Splitters that share out labels."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from model_selection_examples import folds_of, quick, totals
from numpy.testing import assert_array_equal
from sklearn import model_selection as sk
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold

from skxmc.datasets import make_xmc
from skxmc.model_selection import MultilabelKFold, MultilabelShuffleSplit


def n_lost(Y, train):
    """Labels of two or more documents that a training part is without."""
    return int(((totals(Y) >= 2) & (totals(Y[train]) == 0)).sum())


@st.composite
def label_matrices(draw, min_docs=2, max_per_doc=6, max_labels=10):
    """CSR array and the same as ints; repeated and empty rows, explicit zeros."""
    n_docs = draw(st.integers(min_docs, 12))
    n_labels = draw(st.integers(1, max_labels))
    row = st.sets(st.integers(0, n_labels - 1), max_size=max_per_doc)
    kinds = draw(st.lists(row, min_size=1, max_size=n_docs))
    rows = draw(st.lists(st.sampled_from(kinds), min_size=n_docs, max_size=n_docs))
    table = np.array([[j in row for j in range(n_labels)] for row in rows], int)
    stored = table + draw(st.integers(0, 1)) * np.eye(n_docs, n_labels, dtype=int) > 0
    i, j = np.nonzero(stored)
    return sp.csr_array((table[i, j].astype(float), (i, j)), table.shape), table


@settings(max_examples=100, deadline=None)
@given(label_matrices(), st.integers(2, 5), st.booleans(), st.integers(0, 99))
def test_folds_partition_the_documents(case, n_splits, shuffle, seed):
    Y, table = case
    n_docs = len(table)
    n_splits = min(n_splits, n_docs)
    splitter = MultilabelKFold(n_splits, shuffle=shuffle, random_state=seed)
    assert splitter.get_n_splits(Y, Y) == n_splits
    splits = list(splitter.split(np.empty(n_docs), Y))
    assert len(splits) == n_splits
    for train, test in splits:
        assert train.dtype.kind == test.dtype.kind == "i"
        assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(n_docs))
    sizes = [len(test) for _, test in splits]
    assert sum(sizes) == n_docs and max(sizes) - min(sizes) <= 1
    for other in (table, table.astype(bool), sp.csc_matrix(table), pd.DataFrame(table)):
        for one, two in zip(splits, splitter.split(other, other), strict=True):
            assert_array_equal(one[0], two[0])
            assert_array_equal(one[1], two[1])


@settings(max_examples=100, deadline=None)
@given(label_matrices(max_per_doc=1), st.integers(2, 5), st.integers(0, 99))
def test_one_label_a_document_is_always_kept(case, n_splits, seed):
    Y = case[0]
    n_splits = min(n_splits, Y.shape[0])
    splitter = MultilabelKFold(n_splits, shuffle=True, random_state=seed)
    for train, _ in splitter.split(Y, Y):
        assert n_lost(Y, train) == 0
    splitter = MultilabelShuffleSplit(2, test_size=Y.shape[0] // 2, random_state=seed)
    for train, _ in splitter.split(Y, Y):
        assert n_lost(Y, train) == 0


@settings(max_examples=100, deadline=None)
@given(label_matrices(3, 2, 20), st.integers(3, 5), st.integers(0, 99))
def test_two_labels_a_document_are_kept_by_three_folds(case, n_splits, seed):
    Y = case[0]
    n_splits = min(n_splits, Y.shape[0])
    splitter = MultilabelKFold(n_splits, shuffle=True, random_state=seed)
    splits = list(splitter.split(Y, Y))
    assert [n_lost(Y, train) for train, _ in splits] == [0] * n_splits


@settings(max_examples=100, deadline=None)
@given(label_matrices(), st.data())
def test_random_splits_have_the_sizes_asked_for(case, data):
    Y, table = case
    n_docs = len(table)
    n_train = data.draw(st.integers(1, n_docs - 1))
    n_test = data.draw(st.integers(1, n_docs - n_train))
    splitter = MultilabelShuffleSplit(
        3, train_size=n_train, test_size=n_test, random_state=0
    )
    splits = list(splitter.split(Y, Y))
    assert len(splits) == splitter.get_n_splits() == 3
    for train, test in splits:
        assert (len(train), len(test)) == (n_train, n_test)
        both = np.concatenate([train, test])
        assert len(np.unique(both)) == len(both)
        assert both.min() >= 0 and both.max() < n_docs
    for one, two in zip(splits, splitter.split(table, table), strict=True):
        assert_array_equal(one[0], two[0])
        assert_array_equal(one[1], two[1])


def can_be_kept(table, sizes):
    """Whether any folds of these sizes leave every label to each training part."""
    several = table[:, table.sum(axis=0) >= 2].astype(bool)
    owners = [frozenset(np.flatnonzero(column)) for column in several.T]

    def search(rest, sizes):
        if not sizes:
            return True
        for size in set(sizes):
            others = list(sizes)
            others.remove(size)
            for more in itertools.combinations(rest[1:], size - 1):
                fold = {rest[0], *more}
                if any(docs <= fold for docs in owners):
                    continue
                if search([doc for doc in rest if doc not in fold], others):
                    return True
        return False

    return search(list(range(len(table))), sizes)


def can_be_kept_by(table, n_train):
    several = table[:, table.sum(axis=0) >= 2]
    parts = itertools.combinations(range(len(table)), n_train)
    return any(several[list(part)].any(axis=0).all() for part in parts)


def small_tables(n_tables):
    rng = np.random.default_rng(0)
    for _ in range(n_tables):
        shape = rng.integers(4, 9), rng.integers(1, 9)
        yield (rng.random(shape) < rng.choice([0.15, 0.25, 0.4, 0.6])).astype(int)


@pytest.mark.parametrize("n_splits", [2, 3, 4])
def test_folds_keep_labels_where_that_can_be(n_splits):
    failures, n_tables = 0, 300
    for table in small_tables(n_tables):
        splits = list(MultilabelKFold(n_splits).split(table, table))
        sizes = [len(test) for _, test in splits]
        assert max(sizes) - min(sizes) <= 1
        if any(n_lost(table, train) for train, _ in splits):
            failures += can_be_kept(table, sizes)
    assert failures <= 0.02 * n_tables


def test_random_splits_keep_labels_where_that_can_be():
    failures, n_tables = 0, 300
    for seed, table in enumerate(small_tables(n_tables)):
        n_test = len(table) // (2 + seed % 2)
        splitter = MultilabelShuffleSplit(1, test_size=n_test, random_state=seed)
        train, test = next(splitter.split(table, table))
        assert (len(train), len(test)) == (len(table) - n_test, n_test)
        if n_lost(table, train):
            failures += can_be_kept_by(table, len(train))
    assert failures <= 0.02 * n_tables


@pytest.mark.parametrize(
    "train_size, test_size",
    [(None, None), (None, 0.3), (None, 40), (0.6, None), (33, None), (0.5, 0.2)]
    + [(50, 0.101), (0.333, 7), (90, 10), (1, 1), (99, None), (None, 99)],
)
def test_sizes_are_those_of_shuffle_split(train_size, test_size):
    Y = make_xmc(100, 30, kind="features", random_state=0).Y
    options = dict(train_size=train_size, test_size=test_size, random_state=0)
    expected = [
        (len(train), len(test))
        for train, test in sk.ShuffleSplit(3, **options).split(Y)
    ]
    splits = list(MultilabelShuffleSplit(3, **options).split(Y, Y))
    assert [(len(train), len(test)) for train, test in splits] == expected
    for train, test in splits:
        assert len(np.union1d(train, test)) == len(train) + len(test)


@pytest.mark.parametrize("test_size", [0.1, 0.5, 0.9])
def test_sizes_where_labels_are_many(test_size):
    Y = make_xmc(200, 2000, kind="features", n_labels_per_doc=8, random_state=0).Y
    splitter = MultilabelShuffleSplit(2, test_size=test_size, random_state=0)
    n_test = round(200 * test_size)
    for train, test in splitter.split(Y, Y):
        assert (len(train), len(test)) == (200 - n_test, n_test)
        assert not np.intersect1d(train, test).size
    for n_splits in (2, 7):
        sizes = [len(test) for test in folds_of(MultilabelKFold(n_splits), Y)]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("n_splits", [2, 5, 10])
def test_frequent_labels_are_shared_out(n_splits):
    Y = make_xmc(600, 100, kind="features", random_state=0).Y
    frequent = np.argsort(-totals(Y))[:20]

    def distance(splitter):
        shares = [
            totals(Y[test])[frequent] / totals(Y)[frequent]
            for test in folds_of(splitter, Y)
        ]
        return np.abs(np.array(shares) - 1 / n_splits).mean()

    def mean(kind):
        splitters = [kind(n_splits, shuffle=True, random_state=i) for i in range(5)]
        return np.mean([distance(splitter) for splitter in splitters])

    expected = mean(KFold)
    assert mean(MultilabelKFold) < 0.9 * expected
    assert distance(MultilabelKFold(n_splits)) < 0.9 * expected


def test_random_splits_share_labels_out():
    Y = make_xmc(600, 100, kind="features", random_state=0).Y
    frequent = np.argsort(-totals(Y))[:20]

    def distance(kind):
        splits = kind(10, test_size=0.2, random_state=0).split(Y, Y)
        shares = [totals(Y[test])[frequent] / totals(Y)[frequent] for _, test in splits]
        return np.abs(np.array(shares) - 0.2).mean()

    assert distance(MultilabelShuffleSplit) < 0.9 * distance(sk.ShuffleSplit)


@pytest.mark.parametrize(
    "splitter",
    [
        lambda seed: MultilabelKFold(3, shuffle=True, random_state=seed),
        lambda seed: MultilabelShuffleSplit(2, random_state=seed),
    ],
    ids=["folds", "random splits"],
)
def test_random_state(splitter):
    Y = make_xmc(60, 30, kind="features", random_state=0).Y
    got, again, other = (folds_of(splitter(seed), Y) for seed in (0, 0, 1))
    for one, two in zip(got, again, strict=True):
        assert_array_equal(one, two)
    assert any(set(one) != set(two) for one, two in zip(got, other, strict=True))
    drawn = splitter(np.random.RandomState(0))
    first, second = folds_of(drawn, Y), folds_of(drawn, Y)
    assert any(set(one) != set(two) for one, two in zip(first, second, strict=True))


def test_each_random_split_is_another():
    Y = make_xmc(60, 30, kind="features", random_state=0).Y
    one, two = folds_of(MultilabelShuffleSplit(2, random_state=0), Y)
    assert set(one) != set(two)


def test_without_shuffle_folds_are_the_same_each_time():
    Y = make_xmc(60, 30, kind="features", random_state=0).Y
    got = folds_of(MultilabelKFold(3), Y)
    for one, two in zip(got, folds_of(MultilabelKFold(3), Y), strict=True):
        assert_array_equal(one, two)


@pytest.mark.parametrize("kind", [MultilabelKFold, MultilabelShuffleSplit])
@pytest.mark.parametrize(
    "y, message",
    [
        (np.array([0, 1, 0, 1, 1]), r"shape \(5,\).*StratifiedKFold"),
        (np.full((5, 2), 2), "0 and 1 only, got 2"),
        (sp.csr_array(np.full((5, 2), 0.5)), "0 and 1 only, got 0.5"),
        (np.full((5, 2), np.nan), "0 and 1 only, got nan"),
        (np.full((5, 2), "a"), "numbers 0 and 1"),
        (sp.csr_array((5, 0)), "at least one"),
    ],
)
def test_bad_y(kind, y, message):
    with pytest.raises(ValueError, match=message):
        list(kind(2).split(np.empty(5), y))


@pytest.mark.parametrize("kind", [MultilabelKFold, MultilabelShuffleSplit])
def test_other_numbers_of_documents(kind):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        list(kind(2).split(np.empty(5), np.eye(4)))


@pytest.mark.parametrize("n_splits", [1, 0, 2.0, None])
def test_bad_numbers_of_folds(n_splits):
    with pytest.raises((ValueError, TypeError), match="n_splits must be an int"):
        MultilabelKFold(n_splits).split(np.eye(5), np.eye(5))


def test_more_folds_than_documents():
    with pytest.raises(ValueError, match="n_splits=6, but there are 5 documents"):
        list(MultilabelKFold(6).split(np.eye(5), np.eye(5)))
    folds = folds_of(MultilabelKFold(5), np.eye(5))
    assert sorted(np.concatenate(folds)) == list(range(5))


@pytest.mark.parametrize(
    "sizes",
    [
        dict(test_size=0),
        dict(test_size=1.0),
        dict(test_size=5),
        dict(train_size=-1),
        dict(train_size=3, test_size=3),
        dict(train_size=0.6, test_size=0.6),
        dict(train_size=0.1),  # no document at all
        dict(test_size="a"),
    ],
    ids=str,
)
def test_bad_sizes(sizes):
    with pytest.raises(ValueError, match="size|train|test"):
        list(MultilabelShuffleSplit(2, **sizes).split(np.eye(5), np.eye(5)))


def test_100_000_labels():
    Y = make_xmc(50_000, 100_000, kind="features", words_per_doc=1, random_state=0).Y
    splits = list(MultilabelKFold(5).split(Y, Y))
    assert [len(test) for _, test in splits] == [10_000] * 5
    splits += MultilabelShuffleSplit(1, random_state=0).split(Y, Y)
    assert (len(splits[-1][0]), len(splits[-1][1])) == (45_000, 5_000)
    assert [n_lost(Y, train) for train, _ in splits] == [0] * 6


def test_repr_and_clone_of_splitters(colours):
    folds = MultilabelKFold(3, shuffle=True, random_state=1)
    text = "MultilabelKFold(n_splits=3, random_state=1, shuffle=True)"
    assert repr(folds) == text
    text = " ".join(repr(MultilabelShuffleSplit(3, test_size=0.2)).split())
    expected = "n_splits=3, random_state=None, test_size=0.2, train_size=None"
    assert text == f"MultilabelShuffleSplit({expected})"
    search = clone(GridSearchCV(quick(), {"beta": [0.5]}, cv=folds))
    for one, two in zip(
        folds_of(search.cv, colours[1]), folds_of(folds, colours[1]), strict=True
    ):
        assert_array_equal(one, two)
