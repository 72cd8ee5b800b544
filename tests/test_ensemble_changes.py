"""Ensembles that remember and forget documents, and that go on with a fit."""

import copy

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from persistence_examples import D, G, T, make, together
from sklearn.base import clone

import skxmc
from skxmc import EnsembleClassifier

N_LABELS = 12
VOTING = dict(neighbor_weight=1.5, n_voters=3)


@pytest.fixture(scope="module")
def data(colours):
    texts, Y, words = colours
    return texts, Y.tocsr(), words


def predicted(model, texts):
    return [part.tobytes() for part in model.predict_topk(texts, 4)]


# --- documents that come and go ---------------------------------------------


def fit_voting(data, *more, weights=None, **params):
    texts, Y, _ = data
    params = VOTING | params
    members = (
        make(D, validation_fraction=0.3, **params),
        make(T, validation_fraction=0.3, **params).set_params(random_state=1),
        make(D, neighbor_weight=0),
        *more,
    )
    return together(*members).fit(texts[:40], Y[:40], weights)


def test_documents_join_the_memory_of_members_that_vote(data, tmp_path):
    texts, Y, _ = data
    model = fit_voting(data)
    alone = [copy.deepcopy(member) for member in model.estimators_]
    model.add_documents(texts[40:50], Y[40:50])
    for member, other in zip(model.estimators_[:2], alone, strict=False):
        other.add_documents(texts[40:50], Y[40:50])
        assert predicted(member, texts) == predicted(other, texts)
        assert member.kneighbors([texts[45]], 1)[1].tolist() == [[45]]
    assert predicted(model.estimators_[2], texts) == predicted(alone[2], texts)
    assert {one.n_docs_ for one in (model, *model.estimators_)} == {50}
    assert_array_equal(model.label_counts_, Y[:50].sum(axis=0))
    model.save_pretrained(tmp_path / "model")
    loaded = skxmc.load(tmp_path / "model").forget_documents(45)
    assert predicted(loaded, texts) == predicted(model.forget_documents(45), texts)
    for member in loaded.estimators_[:2]:
        assert member.kneighbors([texts[45]], 1)[1].tolist() != [[45]]


def test_forgotten_documents_are_held_out_by_other_members(data):
    model = fit_voting(data)
    Y = data[1][:40].toarray()
    known = [set(m.network_.neighbors.rows.tolist()) for m in model.estimators_[:2]]
    both = min(known[0] & known[1])
    first, second = min(known[0] - known[1]), min(known[1] - known[0])
    model.forget_documents([first, both, second])
    for member, rows in zip(model.estimators_[:2], known, strict=True):
        left = set(member.network_.neighbors.rows.tolist())
        assert left == rows - {first, both, second}
    expected = Y.sum(axis=0) - Y[[first, both, second]].sum(axis=0)
    assert_array_equal(model.label_counts_, expected)
    held_out = min(set(range(40)) - known[0] - known[1])
    for rows in (held_out, both, 40, -1):
        with pytest.raises(ValueError, match=rf"Rows \[{rows}\] are not in the memory"):
            model.forget_documents(rows)
    with pytest.raises(ValueError, match="mask of True"):
        model.forget_documents(np.arange(40) == both)


def test_rows_are_those_of_documents_with_weights(data):
    weights = np.ones(40)
    weights[:10], weights[10:20] = 0, 2
    model = fit_voting(data, weights=weights)
    assert {one.n_docs_ for one in (model, *model.estimators_)} == {40}
    known = model.estimators_[0].network_.neighbors.rows
    row = int(known[(known >= 10) & (known < 20)][0])
    before = model.label_counts_.copy()
    model.forget_documents(row)
    assert row not in model.estimators_[0].network_.neighbors.rows
    assert_array_equal(model.label_counts_, before - 2 * data[1].toarray()[row])
    with pytest.raises(ValueError, match=r"Rows \[3\] are not in the memory"):
        model.forget_documents(3)


def test_members_of_other_packages_get_the_documents_with_weights(data):
    texts, y = data[0], np.array(["a", "b", "c"] * 20)
    given = {}

    class Other:
        def get_params(self, deep=True):
            return {}

        def fit(self, X, y, sample_weight=None):
            given.update(X=X, y=y, weights=sample_weight)
            return self

        def predict_topk(self, X, k):
            return np.zeros((len(X), k), int), np.zeros((len(X), k))

    weights = np.where(y == "c", 0, 2)
    model = EnsembleClassifier([("a", make(D)), ("b", Other())])
    model.fit(texts, y, weights)
    assert model.classes_.tolist() == ["a", "b"]
    assert given["X"] == [t for t, one in zip(texts, y, strict=True) if one != "c"]
    assert given["y"].tolist() == y[y != "c"].tolist()
    assert given["weights"].tolist() == [2] * 40
    assert model.estimators_[0].n_docs_ == model.n_docs_ == 60


def test_labels_come_with_documents(data):
    texts, Y, _ = data
    more = sp.hstack([Y[:10], Y[:10, :1]]).tocsr()
    model = fit_voting(data).add_documents(texts[:10], more, ["crimson"])
    for one in (model, *model.estimators_):
        assert (one.n_labels_, one.n_docs_) == (N_LABELS + 1, 50)
        assert one.label_names_[-1] == "crimson"
        assert one.label_counts_[-1] == more[:, -1].sum()
    with pytest.raises(ValueError, match="14 label columns, 1 more"):
        model.add_documents(texts[:10], np.ones((10, 14)))


def test_classes_of_documents(data):
    texts, y = data[0], np.array(["a", "b", "c"] * 20)
    model = together(make(D, **VOTING), make(T)).fit(texts[:40], y[:40])
    model.add_documents(texts[40:], y[40:])
    assert model.n_docs_ == 60 and model.label_counts_.sum() == 60
    with pytest.raises(ValueError, match="fit has not seen"):
        model.add_documents(texts[:1], ["d"])


def test_ensembles_of_ensembles_remember(data):
    texts, Y, _ = data
    model = fit_voting(data, together(make(D, **VOTING), make(D)))
    model.add_documents(texts[40:], Y[40:]).forget_documents([50])
    inner = model.estimators_[3]
    assert inner.n_docs_ == inner.estimators_[0].n_docs_ == 60
    assert 50 not in inner.estimators_[0].network_.neighbors.rows
    assert_array_equal(inner.label_counts_, model.label_counts_)


def test_what_has_no_memory_is_refused(data):
    texts, Y, _ = data
    model = together(make(D), make(T)).fit(texts, Y)
    for change in (
        lambda: model.add_documents(texts[:1], Y[:1]),
        lambda: model.forget_documents(0),
    ):
        with pytest.raises(ValueError, match="No member of this ensemble holds"):
            change()
    model = fit_voting(data)
    model.estimators_[0].add_documents(texts[:1], Y[:1])
    with pytest.raises(ValueError, match="counts 41 documents and the ensemble 40"):
        model.forget_documents(0)
    model = fit_voting(data)
    known = model.estimators_[0].network_.neighbors.rows.numpy()
    before = predicted(model, texts)
    with pytest.raises(ValueError, match="one must remain"):
        model.forget_documents(known)
    assert predicted(model, texts) == before and model.n_docs_ == 40


# --- going on with a fit ----------------------------------------------------


def test_each_member_goes_on(tiny_encoder, data):
    texts, Y, words = data
    members = (
        make(D, neighbor_weight=1),
        make(G, tiny_encoder, label_texts=words[:9]),
    )
    model = together(*members).fit(texts[:40], Y[:40, :9])
    alone = [copy.deepcopy(member) for member in model.estimators_]
    for other in alone:
        other.set_params(warm_start=True)
    model.set_params(warm_start=True, b__label_texts=words, b__max_epochs=2)
    alone[1].set_params(label_texts=words, max_epochs=2)
    before = model.estimators_
    kept = predicted(before[0], texts)
    model.fit(texts, Y)
    for member, other in zip(model.estimators_, alone, strict=True):
        assert predicted(member, texts) == predicted(other.fit(texts, Y), texts)
        assert not member.warm_start  # as the parameter of the member says
    assert model.estimators_[1].max_epochs == 2
    assert before[0].n_labels_ == 9 and predicted(before[0], texts) == kept
    assert model.n_labels_ == N_LABELS and model.n_docs_ == 60
    # A clone, and a fit with warm_start=False, start anew.
    anew = clone(model).fit(texts, Y)
    model.set_params(warm_start=False).fit(texts, Y)
    assert predicted(model, texts) == predicted(anew, texts)


def test_loaded_ensembles_go_on(tiny_encoder, data, tmp_path):
    texts, Y, words = data
    members = make(D), make(G, tiny_encoder, label_texts=words[:9])
    model = together(*members, warm_start=True).fit(texts[:40], Y[:40, :9])
    model.save_pretrained(tmp_path / "model")
    loaded = skxmc.load(tmp_path / "model")
    for one in (model, loaded):
        one.set_params(b__label_texts=words).fit(texts, Y)
    assert predicted(loaded, texts) == predicted(model, texts)


def test_loaded_encoders_are_the_same_encoder(tiny_model, tiny_tokenizer, data):
    texts, Y, _ = data
    model = together(make(G, (tiny_model, tiny_tokenizer)), warm_start=True)
    model.fit(texts[:40], Y[:40]).fit(texts, Y)
    other = copy.deepcopy(tiny_model), tiny_tokenizer
    with pytest.raises(ValueError, match="had encoder=a tuple"):
        model.set_params(a__encoder=other).fit(texts, Y)
    assert model.n_docs_ == 60


def test_members_that_are_new_start_anew(data):
    texts, Y, _ = data
    model = together(make(D), make(T), warm_start=True).fit(texts[:40], Y[:40])
    model.set_params(a="drop", b=make(D)).fit(texts, Y)
    expected = make(D).fit(texts, Y)
    assert predicted(model.named_estimators_.b, texts) == predicted(expected, texts)
    model.set_params(a=make(D)).fit(texts, Y)
    assert predicted(model.named_estimators_.a, texts) == predicted(expected, texts)
    assert predicted(model.named_estimators_.b, texts) != predicted(expected, texts)


def test_classes_stay(data):
    texts, y = data[0], np.array(["a", "c", "d"] * 20)
    model = together(make(D), make(T), warm_start=True).fit(texts, y)
    y = np.array(["b", "c"] * 30)
    model.fit(texts, y, np.arange(60) % 2)  # weights that leave out every "b"
    assert model.classes_.tolist() == [*"abcd"]
    assert model.predict_proba(texts).shape == (60, 4)
    assert {len(member.classes_) for member in model.estimators_} == {4}


def test_labels_that_members_cannot_find_are_refused(data):
    texts, Y, words = data
    model = together(make(D), warm_start=True, label_names=words).fit(texts, Y)
    model.set_params(label_names=words[::-1])
    with pytest.raises(ValueError, match="'dark' had column .* The estimator 'a'"):
        model.fit(texts, Y[:, ::-1])
    model = together(make(D, label_names=words), warm_start=True, label_names=words)
    model.fit(texts, Y).set_params(label_names=words[::-1], a__label_names=words[::-1])
    model.fit(texts, Y[:, ::-1])
    assert model.label_names_.tolist() == words[::-1]
    with pytest.raises(ValueError, match="y has 11 label columns"):
        together(make(D), warm_start=True).fit(texts, Y).fit(texts, Y[:, :11])


def test_what_cannot_go_on_is_refused(data):
    texts, Y, _ = data

    class Other:
        def get_params(self, deep=True):
            return {}

        def fit(self, X, y):
            return self

        def predict_topk(self, X, k):
            return np.zeros((len(X), k), int), np.zeros((len(X), k))

    model = EnsembleClassifier([("a", make(D)), ("b", Other())], warm_start=True)
    model.fit(texts, Y)
    before = model.estimators_
    with pytest.raises(TypeError, match="'b' is Other, which cannot go on"):
        model.fit(texts, Y)
    assert model.estimators_ is before
    with pytest.raises(ValueError, match="warm_start must be True or False"):
        model.set_params(warm_start=1).fit(texts, Y)
