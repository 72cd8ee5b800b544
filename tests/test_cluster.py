"""Balanced clusters of labels, and the label features they are made from."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import check_estimator

from skxmc import _cluster_nodes, cluster
from skxmc.cluster import BalancedKMeans
from skxmc.nn.labels import label_centroids


def random_features(n_labels, n_features=20, seed=0, density=0.4):
    rng = np.random.default_rng(seed)
    X = rng.random((n_labels, n_features)).astype("f4")
    return X * (rng.random(X.shape) < density)


def unit(X):
    norms = np.linalg.norm(X, axis=-1, keepdims=True)
    return X / np.where(norms > 0, norms, 1)


def reference_split(X, starts, tol):
    """The published procedure on one node, written for reading (float64)."""
    centres, gained, history = X[list(starts)], -np.inf, []
    while True:
        similarity = X @ centres.T
        ranked = np.argsort(similarity[:, 1] - similarity[:, 0], kind="stable")
        left = np.isin(np.arange(len(X)), ranked[: len(X) // 2])
        mean = np.where(left, similarity[:, 0], similarity[:, 1]).mean()
        history.append(mean)
        if mean - gained < tol:
            return left, history
        gained = mean
        centres = unit(np.stack([X[left].sum(0), X[~left].sum(0)]))


# --- the tree ---------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    n_labels=st.integers(1, 300),
    leaf=st.integers(1, 40),
    seed=st.integers(0, 10),
    density=st.sampled_from([0.0, 0.05, 0.5]),
    dense=st.booleans(),
)
def test_leaves_are_a_balanced_partition(n_labels, leaf, seed, density, dense):
    X = random_features(n_labels, seed=seed, density=density)
    model = BalancedKMeans(leaf, random_state=seed)
    labels = model.fit_predict(X if dense else sp.csr_array(X))

    assert labels.shape == (n_labels,) and labels.dtype == np.int32
    sizes = np.bincount(labels)
    assert len(sizes) == model.n_clusters_ and sizes.sum() == n_labels
    assert sizes.max() <= leaf
    if n_labels > leaf:
        assert 2 * sizes.min() >= leaf
    else:
        assert model.n_clusters_ == 1


@settings(max_examples=60, deadline=None)
@given(n_labels=st.integers(1, 200), data=st.data())
def test_exact_number_of_clusters(n_labels, data):
    n_clusters = data.draw(st.integers(1, n_labels))
    X = sp.csr_matrix(random_features(n_labels, seed=n_clusters))
    model = BalancedKMeans(n_clusters=n_clusters, random_state=0).fit(X)
    sizes = np.bincount(model.labels_)
    assert model.n_clusters_ == len(sizes) == n_clusters
    assert sizes.min() >= 1
    depth = int(np.log2(n_clusters))
    assert sizes.max() <= -(-n_labels // 2**depth)
    if n_clusters == 2**depth:
        assert sizes.max() - sizes.min() <= 1


def test_siblings_are_neighbours_of_equal_size():
    # Halving the clusters' numbers walks up the tree: same splits, same seed.
    X = sp.csr_array(random_features(203, seed=3))
    deep = BalancedKMeans(n_clusters=16, random_state=0).fit(X)
    flat = BalancedKMeans(n_clusters=8, random_state=0).fit(X)
    np.testing.assert_array_equal(deep.labels_ // 2, flat.labels_)
    left, right = np.bincount(deep.labels_).reshape(8, 2).T
    assert set(right - left) <= {0, 1}


def test_last_level_splits_the_largest_first():
    X = random_features(11)  # 11 -> 5, 6 -> the 6 is halved
    sizes = np.bincount(BalancedKMeans(n_clusters=3, random_state=0).fit_predict(X))
    np.testing.assert_array_equal(sizes, [5, 3, 3])


# --- the split --------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 80), seed=st.integers(0, 10**6), tol=st.sampled_from([1e-4, 0.01])
)
def test_split_is_the_published_one(n, seed, tol):
    X = unit(random_features(n, seed=seed).astype("f8"))
    starts = np.random.default_rng(seed).permutation(n)[:2]
    expected, history = reference_split(X, starts, tol)
    assert np.all(np.diff(history) > -1e-9)

    for root in (X.astype("f4"), sp.csr_matrix(X.astype("f4"))):
        nodes = cluster._root(root, "cpu")
        left, _ = cluster._two_means(nodes, starts[None], 100, tol)
        assert left.sum() == n // 2
        if not np.array_equal(left[0], expected):
            # Rounding may decide between equal margins: then quality is equal.
            found, wanted = (
                sum(np.linalg.norm(X[side].sum(0)) for side in (mask, ~mask)) / n
                for mask in (left[0], expected)
            )
            assert found == pytest.approx(wanted, abs=2 * tol + 1e-3)


def test_split_is_exactly_the_published_one_without_ties():
    X = unit(np.random.default_rng(0).random((101, 30)))
    for seed in range(10):
        starts = np.random.default_rng(seed).permutation(101)[:2]
        expected, history = reference_split(X, starts, 1e-4)
        nodes = cluster._root(sp.csr_matrix(X.astype("f4")), "cpu")
        left, n_iter = cluster._two_means(nodes, starts[None], 100, 1e-4)
        np.testing.assert_array_equal(left[0], expected)
        assert n_iter <= len(history)  # ends one earlier where no label moves


def test_equal_labels_are_split_in_their_order():
    labels = BalancedKMeans(2, random_state=0).fit_predict(np.ones((8, 3)))
    np.testing.assert_array_equal(labels, np.repeat(np.arange(4), 2))


def test_duplicated_rows_keep_together():
    X = np.repeat(np.eye(8, dtype="f4"), 6, axis=0)
    labels = BalancedKMeans(n_clusters=2, random_state=0).fit_predict(X)
    assert (np.sort(np.bincount(labels[::6], minlength=2)) == 4).all()
    assert (labels.reshape(8, 6) == labels[::6, None]).all()


@pytest.mark.parametrize("make", [np.asarray, sp.csr_matrix, sp.csr_array])
def test_zero_rows_are_placed(make):
    X = random_features(90, seed=1)
    X[::3] = 0
    labels = BalancedKMeans(10, random_state=0).fit_predict(make(X))
    assert np.bincount(labels).max() <= 10


def test_planted_clusters_are_found():
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.repeat(np.arange(8), 25))
    # Nested directions, as a tree of halves can separate: 3 bits of the truth.
    bits = (truth[:, None] >> np.arange(3)) & 1
    X = np.hstack([bits, 1 - bits]) * [4, 2, 1, 4, 2, 1.0]
    X = X + 0.05 * rng.random(X.shape)
    labels = BalancedKMeans(n_clusters=8, random_state=0).fit_predict(X)
    pairs = {*zip(labels, truth, strict=True)}
    assert len(pairs) == 8


def test_max_iter_and_tol_end_a_split():
    X = sp.csr_array(random_features(400, 60, density=0.1))
    once = BalancedKMeans(max_iter=1, random_state=0).fit(X)
    loose = BalancedKMeans(tol=0.1, random_state=0).fit(X)
    tight = BalancedKMeans(tol=0, random_state=0).fit(X)
    assert once.n_iter_ == 1
    assert 1 < loose.n_iter_ < tight.n_iter_ <= 100


# --- same result, whatever the road -----------------------------------------


def test_seed_and_threads():
    X = sp.csr_array(random_features(500, seed=5))
    first = BalancedKMeans(20, random_state=7).fit_predict(X)
    other = BalancedKMeans(20, random_state=8).fit_predict(X)
    assert (first != other).any()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        again = BalancedKMeans(20, random_state=7).fit_predict(X)
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(first, again)


def mean_cosine(X, labels):
    sums = [X[labels == c].sum(axis=0) for c in range(labels.max() + 1)]
    return np.linalg.norm(sums, axis=1).sum() / len(labels)


@pytest.mark.parametrize("n_labels", [61, 611])
def test_dense_sparse_blocks_and_gpu_layout_agree(n_labels, monkeypatch):
    X = unit(np.random.default_rng(0).random((n_labels, 40)).astype("f4"))
    model = BalancedKMeans(10, random_state=0)
    sparse = model.fit_predict(sp.csr_array(X))
    found = [model.fit_predict(X), model.fit_predict(4 * X)]
    monkeypatch.setattr(_cluster_nodes, "_BLOCK_NNZ", 500)
    found += [model.fit_predict(sp.csr_matrix(X))]
    valid = np.ones((1, n_labels), dtype=bool)
    layout = _cluster_nodes.GPUSparseNodes(sp.csr_matrix(X), valid, "cpu")
    monkeypatch.setattr(cluster, "_root", lambda *_: layout)
    found += [model.fit_predict(sp.csr_array(X))]

    for labels in found:
        if n_labels < 100:
            np.testing.assert_array_equal(labels, sparse)
        # With more labels rounding decides somewhere, and all below differs.
        quality = mean_cosine(X, labels)
        assert quality == pytest.approx(mean_cosine(X, sparse), rel=2e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
def test_gpu_agrees_and_repeats(make):
    X = make(np.random.default_rng(0).random((611, 40)).astype("f4"))
    on_cpu = BalancedKMeans(10, device="cpu", random_state=0).fit_predict(X)
    on_gpu = BalancedKMeans(10, device="cuda", random_state=0).fit_predict(X)
    again = BalancedKMeans(10, device="cuda", random_state=0).fit_predict(X)
    np.testing.assert_array_equal(on_gpu, again)
    np.testing.assert_array_equal(on_gpu, on_cpu)


# --- transform --------------------------------------------------------------


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csr_array])
@pytest.mark.parametrize("dtype", [np.float32, np.int8, bool])
def test_transform_sparse(kind, dtype):
    rng = np.random.default_rng(0)
    Y = rng.random((30, 50)) < 0.1
    model = BalancedKMeans(10, random_state=0).fit(random_features(50))
    source = kind(Y.astype(dtype))
    before = source.copy()
    Z = model.transform(source)
    expected = np.stack(
        [Y[:, model.labels_ == c].any(axis=1) for c in range(model.n_clusters_)], axis=1
    )
    assert type(Z) is kind and Z.dtype == dtype and Z.has_sorted_indices
    np.testing.assert_array_equal(Z.toarray(), expected)
    np.testing.assert_array_equal(source.toarray(), before.toarray())
    np.testing.assert_array_equal(model.transform(Y.astype(int)).toarray(), expected)


def test_transform_counts_every_non_zero_as_one():
    model = BalancedKMeans(n_clusters=1).fit(random_features(3))
    Y = sp.csr_array(np.array([[1.0, -1.0, 0.0], [0.0, 0.5, 0.5], [0, 0, 0]]))
    Y.data[1] = -1
    np.testing.assert_array_equal(model.transform(Y).toarray(), [[1], [1], [0]])
    stored_zero = sp.csr_array(([0.0], ([0], [2])), shape=(1, 3))
    assert model.transform(stored_zero).nnz == 0
    assert model.transform(sp.csr_array((0, 3))).shape == (0, 1)


# --- scikit-learn's manners -------------------------------------------------


@pytest.mark.parametrize(
    "params, message",
    [
        ({"max_leaf_size": 0}, "max_leaf_size must be a whole number of at least 1"),
        ({"max_leaf_size": 2.5}, "max_leaf_size must be a whole number"),
        ({"n_clusters": 0}, "n_clusters must be a whole number of at least 1, got 0"),
        ({"n_clusters": 6}, "n_clusters=6 for the 5 rows of X"),
        ({"max_iter": 0}, "max_iter must be a whole number of at least 1"),
        ({"tol": -1}, "tol must be a number of at least 0, got -1"),
        ({"tol": "small"}, "tol must be a number of at least 0"),
        ({"device": "abacus"}, "device='abacus' cannot be used here"),
    ],
)
def test_parameters_out_of_range(params, message):
    with pytest.raises(ValueError, match=message):
        BalancedKMeans(**params).fit(random_features(5))


def test_bad_input():
    model = BalancedKMeans()
    with pytest.raises(ValueError, match="Expected 2D array"):
        model.fit(np.ones(4))
    with pytest.raises(ValueError, match="contains NaN"):
        model.fit(np.array([[1.0, np.nan], [0, 1]]))
    with pytest.raises(ValueError, match="0 sample"):
        model.fit(np.empty((0, 3)))
    with pytest.raises(NotFittedError):
        model.transform(sp.csr_array((2, 3)))
    model.fit(random_features(5))
    with pytest.raises(ValueError, match="each of the 5 labels.* got 4 columns"):
        model.transform(sp.csr_array((2, 4)))


def test_clone_pickle_params():
    model = BalancedKMeans(7, tol=0.01, random_state=1)
    assert clone(model).get_params() == model.get_params()
    model.fit(random_features(30))
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.labels_, model.labels_)
    assert model.n_features_in_ == 20


def test_check_estimator():
    takes_y = "transform takes documents' labels, one column per row of fit's X"
    expected = dict.fromkeys(
        (
            "check_dict_unchanged",
            "check_dtype_object",
            "check_estimators_dtypes",
            "check_estimators_pickle",
            "check_f_contiguous_array_estimator",
            "check_fit_idempotent",
            "check_methods_sample_order_invariance",
            "check_methods_subset_invariance",
            "check_n_features_in_after_fitting",
            "check_transformer_data_not_an_array",
            "check_transformer_general",
        ),
        takes_y,
    )
    array_api = "check_array_api_input"  # skipped without SCIPY_ARRAY_API=1
    expected[array_api] = takes_y
    expected["check_clustering"] = "equal halves by cosine, not three blobs"
    results = check_estimator(
        BalancedKMeans(), on_fail=None, on_skip=None, expected_failed_checks=expected
    )
    assert [r["check_name"] for r in results if r["status"] == "failed"] == []
    # none is excused that would pass
    excused = {r["check_name"] for r in results if r["status"] == "xfail"}
    assert excused | {array_api} == {*expected}


# --- label features ---------------------------------------------------------


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csr_array])
@pytest.mark.parametrize("dense", [True, False])
def test_label_centroids(kind, dense):
    X = random_features(40, seed=2)
    X[3] = 0
    Y = (np.random.default_rng(0).random((40, 15)) < 0.1).astype("i1")
    Y[:, 4] = 0  # a label without documents
    Y[:, 5] = 0
    Y[3, 5] = 1  # a label whose only document is empty
    expected = unit(Y.T.astype("f8") @ unit(X.astype("f8")))
    found = label_centroids(X if dense else kind(X), kind(Y))
    assert found.dtype == np.float32
    if not dense:
        assert sp.issparse(found) and found.format == "csr"
        found = found.toarray()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert not found[4].any() and not found[5].any()


def test_label_centroids_of_int8_labels_do_not_overflow():
    found = label_centroids(np.ones((300, 4)), sp.csr_array(np.ones((300, 1), "i1")))
    np.testing.assert_allclose(found, 0.5, rtol=1e-6)


def test_label_centroids_need_the_same_documents():
    with pytest.raises(ValueError, match="got 3 and 2 rows"):
        label_centroids(np.ones((3, 2)), sp.csr_array((2, 5)))
