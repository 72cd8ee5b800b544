"""Checks that every classifier here must pass, after scikit-learn's own."""

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

from ._checking import (
    METHODS,
    N_DOCS,
    N_LABELS,
    WORDS,
    answers,
    assert_fit_refused,
    assert_fits_small,
    assert_inside,
    assert_refused,
    assert_same,
    assert_unfitted,
    at_step,
    failing_fit,
    fitted,
    generators,
    make_data,
    reseeded,
    seeded,
    small_features,
    small_texts,
    text_containers,
    text_features,
    to_dense,
    with_defaults,
)
from .metrics import precision_at_k, ranking_scorer

__all__ = ["check_xmc_estimator"]


def check_xmc_estimator(estimator):
    """Check that a classifier keeps the promises that all of them make.

    What `sklearn.utils.estimator_checks.check_estimator` cannot see: texts, sparse
    labels, rankings, few and odd documents, interruption, and input that must be
    refused by name. Few and odd are one document, empty texts, one feature, more
    labels than documents and their like. They are tried with the parameters of
    `estimator`, and again with every parameter at its default but ``encoder``,
    ``max_epochs``, ``device`` and ``random_state``.

    Parameters
    ----------
    estimator : BaseXMCClassifier
        Not fitted, and tiny: it is fitted some hundred and fifty times, on up to 24
        texts of a few words and 6 labels. Its ``label_texts`` must be None.

    Raises
    ------
    Exception
        Whatever the first check that fails raises, most often AssertionError, with
        a note that names the check and says what it demands.

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
    expected = answers(fitted(estimator, texts, Y), texts)
    for name, X in text_containers(texts):
        assert_same(answers(fitted(estimator, X, Y), X), expected, name)


def check_label_containers(estimator):
    """Any container and dtype of the same labels gives the same ranking."""
    texts, Y = make_data()
    expected = fitted(estimator, texts, Y).predict_topk(texts)
    containers = (sp.csr_matrix, sp.csc_array, sp.coo_array, sp.csr_array.toarray)
    for container, dtype in itertools.product(containers, ("int64", "bool", "f8")):
        got = fitted(estimator, texts, container(Y.astype(dtype))).predict_topk(texts)
        assert_same(got, expected, f"{container.__name__} of {dtype}")


def check_stored_labels(estimator):
    """Explicit zeros, unsorted indices and repeated True in y change nothing."""
    texts, Y = make_data()
    expected = fitted(estimator, texts, Y).predict_topk(texts)
    counts = np.diff(Y.indptr)
    rows = np.repeat(np.arange(N_DOCS), counts)
    zeros = sp.csr_array(np.ones(Y.shape))
    zeros.data = Y.toarray().ravel()
    order = np.lexsort((-Y.indices, rows))
    unsorted = sp.csr_array((Y.data, Y.indices[order], Y.indptr), Y.shape)
    twice = np.ones(2 * Y.nnz, bool), np.repeat(Y.indices, 2), 2 * Y.indptr
    twice = sp.csr_array(twice, Y.shape)
    for name, y in [("zeros", zeros), ("unsorted", unsorted), ("twice", twice)]:
        assert_same(fitted(estimator, texts, y).predict_topk(texts), expected, name)


def check_sparse_output(estimator):
    """Fitted on a sparse y, predictions are CSR of its kind, top_k a row."""
    texts, Y = make_data()
    for container in (sp.csr_matrix, sp.csr_array):
        model = fitted(estimator, texts, container(Y), top_k=3)
        for name in METHODS[:3]:
            got = getattr(model, name)(texts)
            assert type(got) is container, f"{name} returned a {type(got).__name__}"
            assert got.shape == Y.shape, f"{name}: shape {got.shape}, not {Y.shape}"
            assert got.has_canonical_format, f"{name}: unsorted or repeated indices"
            assert (got.data != 0).all(), f"{name}: explicit zeros"
            assert np.diff(got.indptr).max() <= 3, f"{name}: more than top_k a row"
            assert np.isfinite(got.data).all(), f"{name}: not finite"
            dtype = Y.dtype if name == "predict" else np.float32
            assert got.dtype == dtype, f"{name}: {got.dtype}, not {dtype}"
        assert_inside(model.predict_proba(texts).data)
        assert (model.predict(texts).data == 1).all()


def check_dense_output(estimator):
    """Fitted on a dense y, predictions are arrays with a value for every label."""
    texts, Y = make_data()
    model = fitted(estimator, texts, Y.toarray())
    for name in METHODS[:3]:
        got = getattr(model, name)(texts)
        assert isinstance(got, np.ndarray), f"{name} returned a {type(got).__name__}"
        assert got.shape == Y.shape, f"{name}: shape {got.shape}, not {Y.shape}"
        assert np.isfinite(got).all(), f"{name}: not finite"
    assert_inside(model.predict_proba(texts))


def check_single_labels(estimator):
    """A 1-D y gives its own classes back, and probabilities that sum to 1."""
    texts, Y = make_data()
    for y in (np.array(["b", "a", "c"])[np.arange(N_DOCS) % 3], Y.toarray()[:, 0]):
        model = fitted(estimator, texts, y)
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
    """predict_topk is (n_docs, k), best first, padded with -1, as predict_proba."""
    texts, Y = make_data()
    model = fitted(estimator, texts, Y, top_k=N_LABELS)
    k = N_LABELS + 2
    ids, scores = model.predict_topk(texts, k=k)
    assert ids.shape == scores.shape == (N_DOCS, k)
    assert ids.dtype == np.int64 and scores.dtype == np.float32
    assert (np.diff(scores, axis=1) <= 0).all(), "scores are not best first"
    assert (ids[:, N_LABELS:] == -1).all(), "no padding with -1 beyond all labels"
    assert (scores[ids < 0] == 0).all() and (ids[:, 0] >= 0).all()
    proba = model.predict_proba(texts)
    for row, (found, score) in enumerate(zip(ids, scores, strict=True)):
        found, score = found[found >= 0], score[found >= 0]
        assert len(np.unique(found)) == len(found), "a label stands there twice"
        values = proba[[row]].toarray()[0]
        np.testing.assert_allclose(values[found], score, rtol=1e-5, atol=1e-30)
        assert np.count_nonzero(values) == len(found)
    few_ids, few_scores = model.predict_topk(texts, k=2)
    assert_same((few_ids, few_scores), (ids[:, :2], scores[:, :2]), "k=2 against more")
    for k in (0, -1, 2.0, "2", None):
        assert_refused(lambda k=k: model.predict_topk(texts, k=k), r"\bk\b")


def check_thresholds(estimator):
    """Labels are predicted where predict_proba passes 1/2, decision_function 0."""
    texts, Y = make_data()
    for y in (Y, Y.toarray()):
        model = fitted(estimator, texts, y, top_k=N_LABELS)
        predicted, proba, odds = (
            to_dense(getattr(model, name)(texts)) for name in METHODS[:3]
        )
        ranked = proba != 0
        clear = np.abs(proba - 0.5) > 1e-5
        np.testing.assert_array_equal((predicted == 1)[clear], (proba > 0.5)[clear])
        inner = ranked & (proba > 1e-6) & (proba < 1 - 1e-3)
        np.testing.assert_allclose(odds[inner], logit(proba[inner]), atol=1e-2)


def check_score(estimator):
    """The score is precision at 1, and takes weights."""
    texts, Y = make_data()
    model = fitted(estimator, texts, Y)
    best = model.predict_topk(texts, k=1)[0]
    assert model.score(texts, Y) == precision_at_k(Y, best, 1)
    hits = Y.toarray()[np.arange(N_DOCS), best[:, 0]]
    weights = np.arange(1.0, N_DOCS + 1)
    expected = np.average(hits, weights=weights)
    np.testing.assert_allclose(model.score(texts, Y, sample_weight=weights), expected)
    for wrong in (dict(y=Y[:-1]), dict(y=Y[:, :-1]), dict(y=Y[:-1], sample_weight=1)):
        assert_refused(lambda wrong=wrong: model.score(texts, **wrong), "")


def check_nothing_mutated(estimator):
    """Neither parameters nor what is passed in change; clones are alike."""
    texts, Y = make_data()
    Y.data[0] = 0  # an explicit zero, which must stay
    model = seeded(estimator)
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
    expected = answers(model, texts)
    Y.eliminate_zeros()
    assert_same(answers(clone(model).fit(texts, Y), texts), expected, "a clone")


def check_pickle(estimator):
    """Pickle and joblib round trips give identical predictions."""
    texts, Y = make_data()
    for X in (texts, text_features(texts)):
        model = fitted(estimator, X, Y)
        expected = answers(model, X)
        again = pickle.loads(pickle.dumps(model))
        assert_same(answers(again, X), expected, "after pickle")
        file = io.BytesIO()
        joblib.dump(model, file)
        file.seek(0)
        assert_same(answers(joblib.load(file), X), expected, "after joblib")
    pickle.loads(pickle.dumps(seeded(estimator))).fit(texts, Y)


def check_random_state(estimator):
    """Same random_state, same bits; the global generators stay as they were."""
    texts, Y = make_data()
    expected = answers(fitted(estimator, texts, Y), texts)
    for seed in (20_241, 20_242):
        with reseeded(seed):
            before = generators()
            got = answers(fitted(estimator, texts, Y), texts)
            assert generators() == before, "a global random generator was moved"
        assert_same(got, expected, "a second fit")
    state = np.random.RandomState(0)
    got = answers(fitted(estimator, texts, Y, random_state=state), texts)
    assert_same(got, expected, "RandomState(0) against 0")


def check_refit(estimator):
    """A second fit forgets the first."""
    texts, Y = make_data()
    X, few = text_features(texts), Y[:, :3].toarray()
    model = fitted(estimator, X, Y)
    model.fit(texts, few)
    assert_same(answers(model, texts), answers(fitted(estimator, texts, few), texts))
    assert not hasattr(model, "n_features_in_"), "n_features_in_ is of the first fit"
    assert model.n_labels_ == 3 and len(model.classes_) == 3
    model.fit(X, Y)
    assert_same(answers(model, X), answers(fitted(estimator, X, Y), X))


def check_odd_documents(estimator):
    """Empty, long, repeated and dirty texts and empty labels are fine."""
    texts, Y = make_data()
    texts[:6] = ["", " \n\t", "red " * 500, "fox \ud800 dog", "\x00\x07cat\x1b", "😀中"]
    texts[6:9] = [texts[9]] * 3
    Y = Y.toarray()
    Y[10:13] = 0  # documents without labels
    Y[:, 5] = 0  # a label without documents
    for y in (sp.csr_array(Y), Y):
        model = fitted(estimator, texts, y)
        ids, scores = model.predict_topk(texts)
        assert (ids[:, 0] >= 0).all() and np.isfinite(scores).all()
        one_by_one = np.concatenate([model.predict_topk([t])[1] for t in texts[:6]])
        np.testing.assert_allclose(one_by_one, scores[:6], atol=0.05)
        proba = to_dense(model.predict_proba(texts))
        assert proba.shape == Y.shape and np.isfinite(proba).all()
        assert model.n_labels_ == N_LABELS and model.label_counts_[5] == 0


def check_small_texts(estimator):
    """Few and odd texts and labels are no error, and what is predicted is sound."""
    for name, X, y in small_texts():
        assert_fits_small(estimator, X, y, name)


def check_small_features(estimator):
    """Few and odd features and labels are no error, and what is predicted is sound."""
    for name, X, y in small_features():
        assert_fits_small(estimator, X, y, name)


def check_defaults(estimator):
    """Whatever is legal is so with the defaults."""
    estimator = with_defaults(estimator)
    texts, Y = make_data()
    long = [f"{text} " * 50 for text in texts[:4]]
    assert_fits_small(estimator, long, Y[:4], "long texts")
    check_small_texts(estimator)
    check_small_features(estimator)


def check_bad_texts(estimator):
    """What is no sequence of texts is refused by index and type."""
    texts, Y = make_data()
    model = fitted(estimator, texts, Y)
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
    """Labels other than 0 and 1, or too few of them, are refused."""
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
    """Bad values of the shared parameters are refused by name."""
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
    """Every way to predict raises NotFittedError before fit."""
    texts, Y = make_data()
    assert_unfitted(seeded(estimator))
    unfitted = seeded(estimator)
    assert_refused(lambda: unfitted.score(texts, Y), "not fitted", NotFittedError)


def check_features(estimator):
    """Features may be of any container and dtype; NaN and other widths are refused."""
    texts, Y = make_data()
    X = text_features(texts)
    model = fitted(estimator, X, Y)
    expected = answers(model, X)
    containers = (sp.csr_array, sp.csr_matrix, sp.csc_matrix, sp.coo_array)
    others = [container(X) for container in containers]
    others += [X.astype(dtype) for dtype in ("float32", "int64", "uint8", "bool")]
    for other in others:
        got = answers(fitted(estimator, other, Y), other)
        assert_same(got, expected, f"{type(other).__name__} of {other.dtype}")
    assert model.n_features_in_ == X.shape[1]
    for wrong in (X[:, :-1], sp.csr_array(X[:, :-1])):
        assert_refused(lambda: model.predict(wrong), "features")  # noqa: B023
    assert_refused(lambda: model.predict(texts), "X must be a feature matrix")
    of_texts = fitted(estimator, texts, Y)
    assert_refused(lambda: of_texts.predict(X), "X must be texts")
    X[3, 3] = np.nan
    for wrong in (X, sp.csr_array(X)):
        assert_fit_refused(estimator, wrong, Y, "NaN")
        assert_refused(lambda: model.predict(wrong), "NaN")  # noqa: B023


def check_pipeline(estimator):
    """At the end of a pipeline predictions are the same."""
    texts, Y = make_data()
    expected = answers(fitted(estimator, texts, Y), texts)
    model = make_pipeline(FunctionTransformer(), seeded(estimator)).fit(texts, Y)
    proba = to_dense(model.predict_proba(texts))
    assert_same((proba,), expected[2:3], "in a pipeline")
    assert model.score(texts, Y) == model[-1].score(texts, Y)


def check_grid_search(estimator):
    """GridSearchCV works on raw texts and a sparse y, with as many labels as texts."""
    texts, Y = make_data()
    square = sp.csr_matrix(sp.hstack([Y, sp.eye_array(N_DOCS)], format="csr"))
    square = square[:, :N_DOCS]
    label_texts = [f"label {j}" for j in range(N_DOCS)]
    for y, names in ((Y, None), (square, label_texts)):
        search = GridSearchCV(
            seeded(estimator).set_params(label_texts=names),
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
    """KeyboardInterrupt is raised again and leaves a classifier that predicts."""
    texts, Y = make_data()
    model = seeded(estimator).set_params(batch_size=4)
    try:
        with at_step(2, KeyboardInterrupt()):
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
    """An error in training leaves the classifier as it was before."""
    texts, Y = make_data()
    model = seeded(estimator)
    assert_refused(lambda: failing_fit(model, texts, Y), "out of luck", RuntimeError)
    assert_unfitted(model)
    expected = answers(model.fit(texts, Y), texts)
    y = Y[:, :3].toarray()
    assert_refused(lambda: failing_fit(model, texts, y), "out of luck", RuntimeError)
    assert_refused(lambda: model.fit(texts, 2 * Y), "0 and 1")
    assert_refused(lambda: model.fit(text_features(texts), y[:-1]), "24.*23")
    assert_same(answers(model, texts), expected, "after a fit that failed")


# Every check above, in this order.
CHECKS = tuple(
    value for name, value in list(globals().items()) if re.match("check_(?!xmc)", name)
)
