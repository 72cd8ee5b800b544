"""Data, containers and assertions for `skxmc.estimator_checks` and the tests."""

import contextlib
import importlib
import inspect
import itertools
import pickle
import random
import re
import warnings
from unittest import mock

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

WORDS = "red green blue fox dog cat tree house".split()
N_DOCS, N_LABELS = 24, 6
METHODS = ("predict", "predict_proba", "decision_function", "predict_topk")
# Parameters whose values `reset_to_defaults` keeps.
_KEPT = ("encoder", "max_epochs", "device", "random_state")


def make_data():
    """Return 24 texts of 3 words, and labels: label j means that word j occurs.

    Of the 8 words, 6 have a label.
    """
    rng = np.random.default_rng(0)
    chosen = [rng.choice(len(WORDS), 3, replace=False) for _ in range(N_DOCS)]
    texts = [" ".join(WORDS[j] for j in row) for row in chosen]
    Y = [[float(j in row) for j in range(N_LABELS)] for row in chosen]
    return texts, sp.csr_array(np.array(Y, dtype=np.float32))


def text_features(texts):
    """Count the words of each text: float64 ndarray of shape (n_texts, 8)."""
    return np.array([[t.split().count(w) for w in WORDS] for t in texts], float)


def text_containers(texts):
    """Yield the same texts in other containers, each with the container's name."""
    yield "tuple", tuple(texts)
    yield "object array", np.array(texts, dtype=object)
    yield "str array", np.array(texts)
    yield "column of an object array", np.array(texts, dtype=object)[:, None]
    yield "column of a str array", np.array(texts)[:, None]
    for name in ("pandas", "polars"):
        with contextlib.suppress(ImportError):
            library = importlib.import_module(name)
            yield f"{name} Series", library.Series(texts)
            yield f"{name} DataFrame", library.DataFrame({"text": texts})


def small_labels():
    """Return unusual labels of 4 documents, by a name."""
    return {
        "a label for each document": sp.csr_array(np.eye(3)[[0, 1, 2, 0]]),
        "every label for every document": np.ones((4, 2)),
        "more labels than documents": sp.csr_array(np.eye(4, 40, 7)),
        "one document with labels": sp.csr_array(np.diag([0.0, 1, 0, 0])),
        "a class for each document": np.array(["d", "b", "a", "c"]),
    }


def small_texts():
    """Yield few or unusual texts and their labels, each with a name."""
    one = sp.csr_array([[0.0, 1.0]])
    yield "one document", ["red fox"], one
    yield "one empty document", [""], one
    yield "two classes of a document", ["red fox", "dog"], np.array([1, 0])
    four = ["red fox", "green dog", "blue", "tree house"]
    labels = small_labels()
    for name, y in labels.items():
        yield name, four, y
    y = labels["a label for each document"]
    yield "empty texts", [""] * 4, y
    yield "a last text that is empty", [*four[:3], ""], y
    yield "punctuation marks", [".", "!", "?", "."], y
    yield "the same text", ["red fox"] * 4, y


def small_features():
    """Yield few or unusual features and their labels, each with a name."""
    one = sp.csr_array([[0.0, 1.0]])
    for value in (1.0, 0.0, -1.0):
        yield f"one document of one feature, {value}", np.array([[value]]), one
    yield "two classes of a document", np.array([[1.0], [2.0]]), np.array([1, 0])
    X = np.array([[2.0, 0, -1], [0, 0, 0], [1, 0, 1], [0, 0, 3]])
    labels = small_labels()
    for name, y in labels.items():
        yield name, X, y
    y = labels["a label for each document"]
    yield "one feature", X[:, :1], y
    yield "zeros", 0 * X, y
    yield "the same rows", np.ones((4, 2)), y
    yield "values of a million", 1e6 * X, y


def reset_to_defaults(estimator):
    """Clone an estimator, all parameters but those in `_KEPT` at their defaults."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(type(estimator)).parameters.items()
        if name not in _KEPT and parameter.default is not inspect.Parameter.empty
    }
    return clone(estimator).set_params(**defaults)


def assert_fits_small(estimator, X, y, what):
    """Fit on few or unusual data; demand finite predictions with valid ids."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as: nothing can be held out
        model = clone_seeded(estimator).fit(X, y)
    ids, scores = model.predict_topk(X, k=3)
    n_labels = model.n_labels_
    assert ((ids >= -1) & (ids < n_labels)).all(), f"{what}: ids out of range"
    assert (ids[:, 0] >= 0).all(), f"{what}: nothing is ranked for a document"
    assert np.isfinite(scores).all(), f"{what}: scores are not finite"
    for name in METHODS[1:3]:
        values = getattr(model, name)(X)
        values = values.data if sp.issparse(values) else values
        assert np.isfinite(values).all(), f"{what}: {name} is not finite"
    assert len(to_dense(model.predict(X))) == len(ids), (
        f"{what}: predict returned another number of documents"
    )


def clone_seeded(estimator):
    """Clone an estimator and set random_state=0."""
    return clone(estimator).set_params(random_state=0)


def fit_clone(estimator, X, y, **params):
    """Fit a clone with random_state=0 and the given parameters."""
    return clone_seeded(estimator).set_params(**params).fit(X, y)


def to_dense(values):
    """Return a sparse matrix as an array, and an array as it is."""
    return values.toarray() if sp.issparse(values) else values


def predict_all(model, X):
    """Call every method that predicts; return dense arrays.

    They are the ids and scores of predict_topk, then the results of predict_proba,
    decision_function and predict.
    """
    proba, odds = model.predict_proba(X), model.decision_function(X)
    return (
        *model.predict_topk(X),
        to_dense(proba),
        to_dense(odds),
        to_dense(model.predict(X)),
    )


def assert_same(got, expected, what=""):
    """Demand that arrays are equal, pair by pair, to the bit."""
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=what)


def assert_probabilities(probabilities):
    """Demand probabilities strictly between 0 and 1."""
    assert ((probabilities > 0) & (probabilities < 1)).all(), (
        "a probability is not strictly between 0 and 1"
    )


def assert_refused(call, message, kinds=(ValueError, TypeError)):
    """Demand that a call raises an error whose message matches a pattern."""
    try:
        call()
    except kinds as error:
        found = re.search(message, str(error), re.DOTALL)
        assert found, f"the message {str(error)!r} does not match {message!r}"
        return
    raise AssertionError(f"no error was raised; expected one that matches {message!r}")


def assert_fit_refused(estimator, X, y, message, **params):
    """Demand that fit raises an error before training, and leaves nothing fitted."""
    model = clone_seeded(estimator).set_params(**params)
    with raise_at_step(
        1, AssertionError("bad input was noticed only after training began")
    ):
        assert_refused(lambda: model.fit(X, y), message)
    assert_unfitted(model)


def assert_unfitted(model):
    """Demand that every method that predicts raises NotFittedError."""
    for name in METHODS:
        try:
            getattr(model, name)(["red"])
        except NotFittedError:
            continue
        raise AssertionError(
            f"{name} of an unfitted estimator raises no NotFittedError"
        )


def fit_until_error(model, X, y):
    """Fit, with a RuntimeError in the second training step."""
    with raise_at_step(2, RuntimeError("out of luck")):
        model.set_params(batch_size=4).fit(X, y)


@contextlib.contextmanager
def raise_at_step(number, error):
    """Raise an error in place of an optimizer step; the first has number 1."""
    count, original = itertools.count(1), torch.optim.AdamW.step

    def step(self, closure=None):
        if next(count) == number:
            raise error
        return original(self, closure)

    with mock.patch.object(torch.optim.AdamW, "step", step):
        yield


@contextlib.contextmanager
def seed_globally(seed):
    """Seed the global random generators, and restore their states afterwards."""
    numpy_state, state = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        np.random.seed(seed)  # noqa: NPY002
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(state)


def random_states():
    """Return the states of the global random generators, as bytes to compare."""
    numpy_state = np.random.get_state()  # noqa: NPY002
    return pickle.dumps((numpy_state, random.getstate(), torch.get_rng_state().numpy()))
