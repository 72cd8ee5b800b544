"""Checks that every classifier of this package passes, besides scikit-learn's own."""

import io
import itertools
import pickle
import re

import joblib
import numpy as np
import scipy.sparse as sp
from scipy.special import logit
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from ._testing import (
    METHODS,
    N_DOCS,
    N_LABELS,
    WORDS,
    assert_fit_refused,
    assert_fits_small,
    assert_probabilities,
    assert_refused,
    assert_same,
    assert_unfitted,
    clone_seeded,
    fit_clone,
    fit_until_error,
    make_data,
    predict_all,
    raise_at_step,
    random_states,
    reset_to_defaults,
    seed_globally,
    small_features,
    small_texts,
    text_containers,
    text_features,
    to_dense,
)
from ._weight_checks import check_sample_weight, check_score  # noqa: F401
from .metrics import ranking_scorer

__all__ = ["check_xmc_estimator"]


def check_xmc_estimator(estimator):
    """Check that a classifier behaves as all classifiers of this package do.

    These checks cover what `sklearn.utils.estimator_checks.check_estimator` does not:
    texts, sparse labels, rankings, interruption, errors that name what is wrong, and
    few or unusual data, such as one document, empty texts, one feature, or more labels
    than documents. Such data are tried twice: with the parameters of `estimator`, and
    with all parameters at their defaults except ``encoder``, ``max_epochs``, ``device``
    and ``random_state``.

    Parameters
    ----------
    estimator : BaseXMCClassifier
        An unfitted classifier with ``label_texts=None``. It should be tiny: it is
        fitted about 150 times, on up to 24 texts of a few words and 6 labels.

    Raises
    ------
    Exception
        The error of the first check that fails, most often an AssertionError. A note
        names the check and says what it demands.

    Examples
    --------
    >>> from skxmc import GRankClassifier
    >>> from skxmc.estimator_checks import check_xmc_estimator
    >>> model = GRankClassifier("path/to/a/tiny/encoder", n_layers=1, max_epochs=2)
    >>> check_xmc_estimator(model)  # doctest: +SKIP
    """
    for check in CHECKS:
        try:
            check(estimator)
        except Exception as error:
            demand = check.__doc__.partition("\n")[0]
            error.add_note(f"{type(estimator).__name__}, {check.__name__}: {demand}")
            raise


def check_text_containers(estimator):
    """Any container of the same texts gives the same predictions."""
    texts, Y = make_data()
    expected = predict_all(fit_clone(estimator, texts, Y), texts)
    for name, X in text_containers(texts):
        assert_same(predict_all(fit_clone(estimator, X, Y), X), expected, name)


def check_label_containers(estimator):
    """Any container and dtype of the same labels gives the same rankings."""
    texts, Y = make_data()
    expected = fit_clone(estimator, texts, Y).predict_topk(texts)
    containers = (sp.csr_matrix, sp.csc_array, sp.coo_array, sp.csr_array.toarray)
    for container, dtype in itertools.product(containers, ("int64", "bool", "f8")):
        got = fit_clone(estimator, texts, container(Y.astype(dtype))).predict_topk(
            texts
        )
        assert_same(got, expected, f"{container.__name__} of {dtype}")


def check_stored_labels(estimator):
    """Explicit zeros, unsorted indices and repeated entries of y change nothing."""
    texts, Y = make_data()
    expected = fit_clone(estimator, texts, Y).predict_topk(texts)
    counts = np.diff(Y.indptr)
    rows = np.repeat(np.arange(N_DOCS), counts)
    zeros = sp.csr_array(np.ones(Y.shape))
    zeros.data = Y.toarray().ravel()
    order = np.lexsort((-Y.indices, rows))
    unsorted = sp.csr_array((Y.data, Y.indices[order], Y.indptr), Y.shape)
    twice = np.ones(2 * Y.nnz, bool), np.repeat(Y.indices, 2), 2 * Y.indptr
    twice = sp.csr_array(twice, Y.shape)
    for name, y in [("zeros", zeros), ("unsorted", unsorted), ("twice", twice)]:
        assert_same(fit_clone(estimator, texts, y).predict_topk(texts), expected, name)


def check_sparse_output(estimator):
    """Fitted on a sparse y, predictions are CSR, with at most top_k labels a row."""
    texts, Y = make_data()
    for container in (sp.csr_matrix, sp.csr_array):
        model = fit_clone(estimator, texts, container(Y), top_k=3)
        for name in METHODS[:3]:
            got = getattr(model, name)(texts)
            assert type(got) is container, f"{name} returned a {type(got).__name__}"
            assert got.shape == Y.shape, f"{name}: shape {got.shape}, not {Y.shape}"
            assert got.has_canonical_format, f"{name}: unsorted or repeated indices"
            assert (got.data != 0).all(), f"{name}: explicit zeros"
            assert np.diff(got.indptr).max() <= 3, (
                f"{name}: more than top_k labels in a row"
            )
            assert np.isfinite(got.data).all(), f"{name}: not finite"
            dtype = Y.dtype if name == "predict" else np.float32
            assert got.dtype == dtype, f"{name}: {got.dtype}, not {dtype}"
        assert_probabilities(model.predict_proba(texts).data)
        assert (model.predict(texts).data == 1).all()


def check_dense_output(estimator):
    """Fitted on a dense y, predictions are arrays with a value for every label."""
    texts, Y = make_data()
    model = fit_clone(estimator, texts, Y.toarray())
    for name in METHODS[:3]:
        got = getattr(model, name)(texts)
        assert isinstance(got, np.ndarray), f"{name} returned a {type(got).__name__}"
        assert got.shape == Y.shape, f"{name}: shape {got.shape}, not {Y.shape}"
        assert np.isfinite(got).all(), f"{name}: not finite"
    assert_probabilities(model.predict_proba(texts))


def check_single_labels(estimator):
    """For a 1-D y, classes are predicted, with probabilities that sum to 1."""
    texts, Y = make_data()
    for y in (np.array(["b", "a", "c"])[np.arange(N_DOCS) % 3], Y.toarray()[:, 0]):
        model = fit_clone(estimator, texts, y)
        n_classes = len(np.unique(y))
        np.testing.assert_array_equal(model.classes_, np.unique(y))
        got = model.predict(texts)
        assert got.shape == y.shape and set(got) <= set(y), f"predict: {got}"
        proba = model.predict_proba(texts)
        assert proba.shape == (N_DOCS, n_classes)
        np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
        shape = (N_DOCS,) if n_classes == 2 else proba.shape
        assert model.decision_function(texts).shape == shape
        ids, scores = model.predict_topk(texts, k=n_classes)
        found = np.take_along_axis(proba, ids, axis=1)
        np.testing.assert_allclose(scores, found, rtol=1e-4, atol=1e-6)
        assert model.score(texts, y) == np.mean(got == y)


def check_topk(estimator):
    """predict_topk has shape (n_docs, k), is sorted, and agrees with predict_proba."""
    texts, Y = make_data()
    model = fit_clone(estimator, texts, Y, top_k=N_LABELS)
    k = N_LABELS + 2
    ids, scores = model.predict_topk(texts, k=k)
    assert ids.shape == scores.shape == (N_DOCS, k)
    assert ids.dtype == np.int64 and scores.dtype == np.float32
    assert (np.diff(scores, axis=1) <= 0).all(), "scores are not best first"
    assert (ids[:, N_LABELS:] == -1).all(), (
        "places beyond n_labels are not padded with -1"
    )
    assert (scores[ids < 0] == 0).all() and (ids[:, 0] >= 0).all()
    proba = model.predict_proba(texts)
    for row, (found, score) in enumerate(zip(ids, scores, strict=True)):
        found, score = found[found >= 0], score[found >= 0]
        assert len(np.unique(found)) == len(found), "a label is ranked twice"
        values = proba[[row]].toarray()[0]
        np.testing.assert_allclose(values[found], score, rtol=1e-5, atol=1e-30)
        assert np.count_nonzero(values) == len(found)
    few_ids, few_scores = model.predict_topk(texts, k=2)
    assert_same(
        (few_ids, few_scores), (ids[:, :2], scores[:, :2]), "k=2 and a larger k"
    )
    for k in (0, -1, 2.0, "2", None):
        assert_refused(lambda k=k: model.predict_topk(texts, k=k), r"\bk\b")


def check_thresholds(estimator):
    """A label is predicted if its probability is above 1/2 and its score above 0."""
    texts, Y = make_data()
    for y in (Y, Y.toarray()):
        model = fit_clone(estimator, texts, y, top_k=N_LABELS)
        predicted, proba, odds = (
            to_dense(getattr(model, name)(texts)) for name in METHODS[:3]
        )
        ranked = proba != 0
        clear = np.abs(proba - 0.5) > 1e-5
        np.testing.assert_array_equal((predicted == 1)[clear], (proba > 0.5)[clear])
        inner = ranked & (proba > 1e-6) & (proba < 1 - 1e-3)
        np.testing.assert_allclose(odds[inner], logit(proba[inner]), atol=1e-2)


def check_nothing_mutated(estimator):
    """Parameters and input do not change, and a clone predicts the same."""
    texts, Y = make_data()
    Y.data[0] = 0  # an explicit zero, which must not be eliminated
    model = clone_seeded(estimator)
    params = model.get_params()
    seen, parts = list(texts), [part.copy() for part in (Y.data, Y.indices, Y.indptr)]
    model.fit(texts, Y)
    for name in METHODS:
        getattr(model, name)(texts)
    model.score(texts, Y)
    assert texts == seen, "the texts were changed"
    assert_same((Y.data, Y.indices, Y.indptr), parts, "y was changed")
    after = model.get_params()
    changed = [name for name in params if after[name] is not params[name]]
    assert not changed, f"fit changed the parameters {changed}"
    expected = predict_all(model, texts)
    Y.eliminate_zeros()
    assert_same(predict_all(clone(model).fit(texts, Y), texts), expected, "a clone")


def check_pickle(estimator):
    """Predictions are the same after pickling and after joblib."""
    texts, Y = make_data()
    for X in (texts, text_features(texts)):
        model = fit_clone(estimator, X, Y)
        expected = predict_all(model, X)
        again = pickle.loads(pickle.dumps(model))
        assert_same(predict_all(again, X), expected, "after pickle")
        file = io.BytesIO()
        joblib.dump(model, file)
        file.seek(0)
        assert_same(predict_all(joblib.load(file), X), expected, "after joblib")
    pickle.loads(pickle.dumps(clone_seeded(estimator))).fit(texts, Y)


def check_random_state(estimator):
    """The same random_state gives the same bits; global generators are not used."""
    texts, Y = make_data()
    expected = predict_all(fit_clone(estimator, texts, Y), texts)
    for seed in (20_241, 20_242):
        with seed_globally(seed):
            before = random_states()
            got = predict_all(fit_clone(estimator, texts, Y), texts)
            assert random_states() == before, "a global random generator was used"
        assert_same(got, expected, "a second fit")
    state = np.random.RandomState(0)
    got = predict_all(fit_clone(estimator, texts, Y, random_state=state), texts)
    assert_same(got, expected, "RandomState(0) and 0")


def check_refit(estimator):
    """A second fit does not depend on the first."""
    texts, Y = make_data()
    X, few = text_features(texts), Y[:, :3].toarray()
    model = fit_clone(estimator, X, Y)
    model.fit(texts, few)
    assert_same(
        predict_all(model, texts), predict_all(fit_clone(estimator, texts, few), texts)
    )
    assert not hasattr(model, "n_features_in_"), "n_features_in_ is of the first fit"
    assert model.n_labels_ == 3 and len(model.classes_) == 3
    model.fit(X, Y)
    assert_same(predict_all(model, X), predict_all(fit_clone(estimator, X, Y), X))


def check_odd_documents(estimator):
    """Empty, long, repeated and unclean texts and empty labels are accepted."""
    texts, Y = make_data()
    texts[:6] = ["", " \n\t", "red " * 500, "fox \ud800 dog", "\x00\x07cat\x1b", "😀中"]
    texts[6:9] = [texts[9]] * 3
    Y = Y.toarray()
    Y[10:13] = 0  # documents without labels
    Y[:, 5] = 0  # a label without documents
    for y in (sp.csr_array(Y), Y):
        model = fit_clone(estimator, texts, y)
        ids, scores = model.predict_topk(texts)
        assert (ids[:, 0] >= 0).all() and np.isfinite(scores).all()
        one_by_one = np.concatenate([model.predict_topk([t])[1] for t in texts[:6]])
        np.testing.assert_allclose(one_by_one, scores[:6], atol=0.05)
        proba = to_dense(model.predict_proba(texts))
        assert proba.shape == Y.shape and np.isfinite(proba).all()
        assert model.n_labels_ == N_LABELS and model.label_counts_[5] == 0


def check_small_texts(estimator):
    """Few or unusual texts and labels are accepted; predictions are valid."""
    for name, X, y in small_texts():
        assert_fits_small(estimator, X, y, name)


def check_small_features(estimator):
    """Few or unusual features and labels are accepted; predictions are valid."""
    for name, X, y in small_features():
        assert_fits_small(estimator, X, y, name)


def check_defaults(estimator):
    """Few, unusual and long documents are accepted with default parameters too."""
    estimator = reset_to_defaults(estimator)
    texts, Y = make_data()
    long = [f"{text} " * 50 for text in texts[:4]]
    assert_fits_small(estimator, long, Y[:4], "long texts")
    check_small_texts(estimator)
    check_small_features(estimator)


def check_bad_texts(estimator):
    """Errors about texts name the place and the type of what is wrong."""
    texts, Y = make_data()
    model = fit_clone(estimator, texts, Y)
    nan = float("nan")
    bad = [(None, r"\[2\].*NoneType"), (nan, r"\[2\].*NaN"), (3, r"\[2\].*int")]
    bad += [(b"a", r"\[2\].*bytes"), (["a"], r"\[2\].*list")]
    for value, message in bad:
        X = [*texts[:2], value, *texts[3:]]
        assert_fit_refused(estimator, X, Y, message)
        if not isinstance(value, list):
            column = np.array(X, dtype=object)
            assert_fit_refused(estimator, column, Y, message)
            assert_fit_refused(estimator, column[:, None], Y, message)
        assert_refused(lambda X=X: model.predict(X), message)
    assert_fit_refused(estimator, [None, *texts[1:]], Y, r"\[0\].*NoneType")
    assert_fit_refused(estimator, [], Y[:0], "X is empty")
    assert_fit_refused(estimator, texts[0], Y, "X is one str")
    for X in (None, iter(texts), set(texts), dict.fromkeys(texts)):
        assert_fit_refused(estimator, X, Y, f"X must.*{type(X).__name__}")
    assert_fit_refused(estimator, texts[:-1], Y, "23.*24")


def check_bad_labels(estimator):
    """Labels other than 0 and 1, and too few labels, are refused."""
    texts, Y = make_data()
    dense = Y.toarray()
    for value, message in [(2, "2"), (-1, "-1"), (0.5, "0.5"), (np.nan, "NaN")]:
        wrong = dense.copy()
        wrong[1, 1] = value
        for y in (wrong, sp.csr_matrix(wrong), sp.csr_array(wrong)):
            assert_fit_refused(estimator, texts, y, rf"\by\b.*{message}")
    for y in (0 * dense, 0 * Y):
        assert_fit_refused(estimator, texts, y, r"\by\b.*no label")
    for n_labels in (0, 1):
        assert_fit_refused(estimator, texts, Y[:, :n_labels], f"y has {n_labels} ")
    assert_fit_refused(estimator, texts, dense[:, :0], "y has 0 ")
    assert_fit_refused(estimator, texts, ["a"] * N_DOCS, r"\by\b.*one class")
    assert_fit_refused(estimator, texts, None, r"\by\b.*None")
    lists = [["a", "b"], ["a"]] * (N_DOCS // 2)
    assert_fit_refused(estimator, texts, lists, "MultiLabelBinarizer")
    for y in (Y[:-1], dense[:-1], dense[:-1, 0]):
        assert_fit_refused(estimator, texts, y, "24.*23")


def check_bad_parameters(estimator):
    """Errors about the shared parameters name the parameter."""
    texts, Y = make_data()
    counts = [("max_epochs", 0), ("batch_size", 1.5), ("batch_size", True)]
    rates = [("learning_rate", -1), ("dropout", 1), ("warmup", 2)]
    names = [("weight_decay", "no"), ("top_k", "all"), ("device", "abacus")]
    for name, value in [*counts, *rates, *names, ("precision", "fp8")]:
        assert_fit_refused(estimator, texts, Y, name, **{name: value})
    with_length = dict(label_texts=WORDS[:5])
    assert_fit_refused(estimator, texts, Y, "label_texts.*5.*6", **with_length)
    missing = dict(label_texts=[*WORDS[:5], None])
    assert_fit_refused(estimator, texts, Y, r"label_texts\[5\]", **missing)
    assert_fit_refused(estimator, texts, Y, "label_texts", label_texts="abcdef")


def check_unfitted(estimator):
    """Before fit, every method that predicts raises NotFittedError."""
    texts, Y = make_data()
    assert_unfitted(clone_seeded(estimator))
    unfitted = clone_seeded(estimator)
    assert_refused(lambda: unfitted.score(texts, Y), "not fitted", NotFittedError)


def check_features(estimator):
    """Features may have any container and dtype; NaN and other widths are refused."""
    texts, Y = make_data()
    X = text_features(texts)
    model = fit_clone(estimator, X, Y)
    expected = predict_all(model, X)
    containers = (sp.csr_array, sp.csr_matrix, sp.csc_matrix, sp.coo_array)
    others = [container(X) for container in containers]
    others += [X.astype(dtype) for dtype in ("float32", "int64", "uint8", "bool")]
    for other in others:
        got = predict_all(fit_clone(estimator, other, Y), other)
        assert_same(got, expected, f"{type(other).__name__} of {other.dtype}")
    assert model.n_features_in_ == X.shape[1]
    for wrong in (X[:, :-1], sp.csr_array(X[:, :-1])):
        assert_refused(lambda: model.predict(wrong), "features")  # noqa: B023
    assert_refused(lambda: model.predict(texts), "X must be a feature matrix")
    of_texts = fit_clone(estimator, texts, Y)
    assert_refused(lambda: of_texts.predict(X), "X must be texts")
    X[3, 3] = np.nan
    for wrong in (X, sp.csr_array(X)):
        assert_fit_refused(estimator, wrong, Y, "NaN")
        assert_refused(lambda: model.predict(wrong), "NaN")  # noqa: B023


def check_pipeline(estimator):
    """In a pipeline, predictions are the same."""
    texts, Y = make_data()
    expected = predict_all(fit_clone(estimator, texts, Y), texts)
    model = make_pipeline(FunctionTransformer(), clone_seeded(estimator)).fit(texts, Y)
    proba = to_dense(model.predict_proba(texts))
    assert_same((proba,), expected[2:3], "in a pipeline")
    assert model.score(texts, Y) == model[-1].score(texts, Y)


def check_grid_search(estimator):
    """GridSearchCV accepts texts and a sparse y, also with as many labels as texts."""
    texts, Y = make_data()
    square = sp.csr_matrix(sp.hstack([Y, sp.eye_array(N_DOCS)], format="csr"))
    square = square[:, :N_DOCS]
    label_texts = [f"label {j}" for j in range(N_DOCS)]
    for y, names in ((Y, None), (square, label_texts)):
        search = GridSearchCV(
            clone_seeded(estimator).set_params(label_texts=names),
            {"max_epochs": [1, 2]},
            cv=2,
            scoring=ranking_scorer("psp", 1),
            error_score="raise",
        )
        search.fit(texts, y)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
        assert search.best_estimator_.label_texts == names
        assert search.predict_proba(texts[:5]).shape == (5, y.shape[1])


def check_interruption(estimator):
    """Fit raises KeyboardInterrupt again, and leaves a classifier that predicts."""
    texts, Y = make_data()
    model = clone_seeded(estimator).set_params(batch_size=4)
    try:
        with raise_at_step(2, KeyboardInterrupt()):
            model.fit(texts, Y)
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("fit swallowed a KeyboardInterrupt")
    ids, scores = model.predict_topk(texts)
    assert (ids[:, 0] >= 0).all() and np.isfinite(scores).all()
    assert model.n_iter_ == len(model.history_) <= model.max_epochs
    to_dense(model.predict_proba(texts)), pickle.loads(pickle.dumps(model))


def check_failure(estimator):
    """After an error in fit, the classifier is as it was before."""
    texts, Y = make_data()
    model = clone_seeded(estimator)
    assert_refused(
        lambda: fit_until_error(model, texts, Y), "out of luck", RuntimeError
    )
    assert_unfitted(model)
    expected = predict_all(model.fit(texts, Y), texts)
    y = Y[:, :3].toarray()
    assert_refused(
        lambda: fit_until_error(model, texts, y), "out of luck", RuntimeError
    )
    assert_refused(lambda: model.fit(texts, 2 * Y), "0 and 1")
    assert_refused(lambda: model.fit(text_features(texts), y[:-1]), "24.*23")
    assert_same(predict_all(model, texts), expected, "after a fit that failed")


# All checks above, in the order of their names' appearance.
CHECKS = tuple(
    value for name, value in list(globals().items()) if re.match("check_(?!xmc)", name)
)
