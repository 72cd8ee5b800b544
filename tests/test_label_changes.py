"""Labels that are added, removed and renamed after a fit, in every system."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose, assert_array_equal
from persistence_examples import FEW, D, G, L, T, U, make
from saved_models import documents, written
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer

import skxmc
from skxmc import EnsembleClassifier
from skxmc.inspection import explain
from skxmc.metrics import propensity_from_counts
from skxmc.nn import label_changes
from skxmc.nn.heads import LinearHead
from skxmc.nn.label_changes import train_rows, typical_rows
from skxmc.onnx import export_onnx
from skxmc.persistence._estimators import check_estimator

N_OLD, N_LABELS = 10, 12
ONCE = dict(trained_layers=0, bag_of_words=True)
SYSTEMS = {
    "GRank": (G, {}),
    "GRank, read once": (G, ONCE),
    "GRank, clustered": (G, FEW),
    "GRank, all": (G, ONCE | dict(head="all")),
    "GRank, dual": (G, dict(small_label_mode="dual")),
    "GRank, bce": (G, ONCE | dict(loss="bce", head="all")),
    "GRank, fp64": (G, ONCE | dict(precision="fp64")),
    "GRank, bf16": (G, ONCE | FEW | dict(label_precision="bf16")),
    "GRank, votes": (G, ONCE | dict(neighbor_weight=1.5, n_voters=3)),
    "LightXML": (L, {}),
    "LightXML, bag": (L, ONCE),
    "LightXML, clustered": (L, FEW | ONCE),
    "LightXML, static": (L, FEW | dict(negatives="static")),
    "LightXML, all": (L, dict(head="all")),
    "LightDXML": (D, dict(label_epochs=1)),
    "LightDXML, fp64": (D, dict(precision="fp64")),
    "LightDXML, few frequent": (D, dict(n_frequent=3, predict_shortlist=20)),
    "TReaderXML": (T, {}),
    "TReaderXML, clustered": (T, FEW),
    "TReaderXML, no teacher": (T, dict(use_teacher=False)),
    "GUDN": (U, {}),
    "GUDN, clustered": (U, FEW),
}
# Their label vectors start at random, so that labels need documents.
RANDOM = {
    "GRank, random": (G, dict(label_init="random")),
    "LightXML, random": (L, dict(label_init="random")),
    "LightXML, random and clustered": (L, FEW | dict(label_init="random")),
    "TReaderXML, random": (T, dict(label_init="random")),
    "GUDN, paper": (U, dict(variant="paper")),
}
every_system = pytest.mark.parametrize("name", SYSTEMS)


@pytest.fixture(scope="module")
def data(colours):
    texts, Y, words = colours
    old = Y[:, :N_OLD].tocsr()
    return dict(texts=texts, words=words, Y=Y.tocsr(), old=old)


def build(name, encoder, data, **params):
    kind, options = (SYSTEMS | RANDOM)[name]
    known = dict(label_texts=data["words"][:N_OLD])
    model = make(kind, encoder, **known | options | params)
    return model.fit(data["texts"], data["old"])


@pytest.fixture(scope="module")
def fitted(tiny_encoder, data):
    """Function that returns a copy of a system that is fitted once."""
    known = {}

    def copy_of(name, **params):
        key = name, *params.items()
        if key not in known:
            known[key] = pickle.dumps(build(name, tiny_encoder, data, **params))
        return pickle.loads(known[key])

    return copy_of


def old_ranking(model, texts):
    """The labels of the fit in the order in which they are ranked."""
    ids = model.predict_topk(texts, model.n_labels_)[0]
    return [[j for j in row if 0 <= j < N_OLD] for row in ids.tolist()]


def everything(model):
    """Bits of what the classifier knows and predicts."""
    arrays = {n: t.numpy().tobytes() for n, t in model.network_.state_dict().items()}
    fitted = {n: v for n, v in vars(model).items() if n not in ("network_", "teacher_")}
    return pickle.dumps([arrays, sorted(fitted.items(), key=lambda item: item[0])])


# --- labels that are added --------------------------------------------------


@every_system
def test_labels_are_added_by_their_texts(name, fitted, data):
    model, texts = fitted(name), data["texts"]
    before = old_ranking(model, texts)
    clusters = getattr(model, "label_groups_", None)
    parameters = model.get_params()
    new = data["words"][N_OLD:]
    assert model.add_labels(new) is model
    assert model.n_labels_ == model.network_.n_labels == N_LABELS
    assert model.label_names_.tolist() == model.label_texts_ == data["words"]
    assert model.classes_.tolist() == list(range(N_LABELS))
    assert model.label_counts_[N_OLD:].tolist() == [0, 0]
    assert model.label_counts_[:N_OLD].sum() == data["old"].nnz
    if clusters is not None:
        assert_array_equal(model.label_groups_[:N_OLD], clusters)
        assert (model.label_groups_.max() > N_OLD) == (model.network_.clusters is None)
    assert model.predict(texts).shape == (60, N_LABELS)
    # What there was is ranked as before, but for votes and clusters that are cut off.
    if "votes" not in name:
        assert old_ranking(model, texts) == before
    assert model.get_params() == parameters
    check_estimator(model)


@pytest.mark.parametrize("name", ["GRank, read once", "GRank, clustered", "GRank, all"])
def test_the_vector_of_a_label_is_that_of_its_text(name, fitted, data):
    model, new = fitted(name), data["words"][N_OLD:]
    known = model.network_.ranker.read_rows()[0]
    model.add_labels(new)
    rows = model.network_.ranker.read_rows()[0][N_OLD:]
    vectors = model._encode_parts(model._make_label_docs(new))[1]
    lengths = known.norm(dim=1).mean() / vectors.norm(dim=1, keepdim=True)
    assert_allclose(rows, vectors * lengths, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name, weight", [("LightDXML", 0), ("GRank, votes", 20)])
def test_added_labels_are_found_at_once(name, weight, fitted, data):
    model, new = fitted(name, neighbor_weight=weight), data["words"][N_OLD:]
    model.add_labels(new)
    names, _ = model.predict_topk(new, 3, return_names=True)
    assert all(word in found for word, found in zip(new, names.tolist(), strict=True))


@pytest.mark.parametrize(
    "name, params, text, same",
    [
        ("GUDN", {}, "river_stone", "river stone"),
        ("GRank", dict(label_prompt="dark ", bag_of_words=False), "slow", "dark slow"),
    ],
)
def test_new_texts_are_read_as_those_of_the_fit(name, params, text, same, fitted, data):
    model = fitted(name, neighbor_weight=0, **params).add_labels([text])
    head, _ = model.network_.label_head((torch.zeros(1, 1),) * 2)
    row = head.read_rows()[0][-1]
    vector = model._encode_parts(model._make_docs([same]))[1][0]
    row = row[-len(vector) :]
    assert_allclose(row / row.norm(), vector / vector.norm(), rtol=1e-4, atol=1e-5)


def test_a_label_joins_the_cluster_that_its_text_is_sent_to(fitted, data):
    model, new = fitted("GRank, clustered"), data["words"][N_OLD:]
    order = model.label_groups_.max() + 1
    shortlist = model.shortlist(new, order * 3)
    best = model.label_groups_[shortlist[:, 0]]
    assert_array_equal(model.add_labels(new).label_groups_[N_OLD:], best)


@pytest.mark.parametrize("name", [*SYSTEMS, *RANDOM])
def test_documents_train_added_labels(name, fitted, data):
    texts, Y = data["texts"], data["Y"]
    both = []
    for _ in range(2):
        model = fitted(name)
        tensors = {n: t.clone() for n, t in model.network_.state_dict().items()}
        model.add_labels(data["words"][N_OLD:], X=texts, y=Y)
        both.append(model)
        assert model.n_docs_ == 120
        assert_array_equal(model.label_counts_[N_OLD:], Y[:, N_OLD:].sum(axis=0))
    # Everything but what knows of labels has its bits; the same seed gives the same.
    one, other = (model.network_.state_dict() for model in both)
    for key, before in tensors.items():
        assert torch.equal(one[key], other[key]), key
        if one[key].shape == before.shape:
            assert torch.equal(one[key], before), key
    ids, scores = both[0].predict_topk(texts, 5)
    assert ids.shape == (60, 5) and np.isfinite(scores).all()
    check_estimator(both[0])


@pytest.mark.parametrize(
    "name", ["GRank, read once", "LightXML, bag", "LightDXML", "GRank, clustered"]
)
def test_training_ranks_new_labels_higher(name, fitted, data, monkeypatch):
    texts, Y = data["texts"], data["Y"]

    def recall(n_epochs):
        monkeypatch.setattr(label_changes, "_N_EPOCHS", n_epochs)
        model = fitted(name).add_labels(data["words"][N_OLD:], X=texts, y=Y)
        ids = model.predict_topk(texts, N_LABELS)[0]
        places = [(ids == j).argmax(axis=1) for j in (N_OLD, N_OLD + 1)]
        has = Y[:, N_OLD:].toarray().T > 0
        return -np.mean(np.array(places)[has])

    assert recall(40) > recall(0) + 0.5


@pytest.mark.parametrize("columns", ["new", "all"])
def test_columns_of_y(columns, fitted, data):
    Y = data["Y"] if columns == "all" else data["Y"][:, N_OLD:]
    for given in (Y, Y.toarray(), sp.csc_matrix(Y)):
        model = fitted("LightDXML")
        model.add_labels(data["words"][N_OLD:], X=data["texts"], y=given)
        n_old = data["old"].nnz * (2 if columns == "all" else 1)
        assert model.label_counts_[:N_OLD].sum() == n_old
    one = fitted("LightDXML").add_labels(
        ["dark"], X=data["texts"], y=data["Y"][:, [11]].toarray()
    )
    assert one.n_labels_ == 11


@pytest.mark.parametrize("kind", [G, L, D, T])
def test_feature_matrices_need_documents(kind, data):
    X = TfidfVectorizer(dtype=np.float32).fit_transform(data["texts"])
    model = make(kind).fit(X, data["old"])
    with pytest.raises(ValueError, match="New label 0 has no document.*feature matrix"):
        model.add_labels(["bright", "dark"])
    model.add_labels(None, ["bright", "dark"], X=X, y=data["Y"])
    assert model.n_labels_ == N_LABELS
    assert model.label_names_.tolist() == [*range(N_OLD), "bright", "dark"]
    assert model.label_texts_ is None
    assert model.predict_topk(X, 12)[0].shape == (60, 12)
    check_estimator(model)


@pytest.mark.parametrize("name", RANDOM)
def test_random_label_vectors_need_documents(name, fitted, data):
    model = fitted(name)
    with pytest.raises(ValueError, match="started at random.*Give documents"):
        model.add_labels(["bright"])
    assert model.n_labels_ == N_OLD


def test_typical_rows():
    head = LinearHead(4, 3)
    head.weight.data = torch.tensor([[9.0, 9, 3, 4], [9, 9, 0, 1], [9, 9, 6, 8]])
    head.bias.data = torch.tensor([1.0, 2, 6])
    directions = torch.tensor([[2.0, 0.0]])
    rows, biases = typical_rows(head, directions, n_new=1)
    lengths = (5 + 1 + 10) / 3
    assert_allclose(rows.numpy(), [[0, 0, lengths, 0]], rtol=1e-6)
    assert biases.tolist() == [3.0]
    rows, _ = typical_rows(head, n_new=2)
    assert_allclose(rows.numpy(), 2 * [[9, 9, 3, 13 / 3]], rtol=1e-6)


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("all_columns", [False, True])
def test_steps_are_those_of_the_loss_over_all_labels(has_bias, all_columns):
    # A single batch and epoch: the gradient by autograd, over every label.
    torch.manual_seed(0)
    n_docs, n_old, n_new, dim = 9, 6, 3, 4
    head = LinearHead(dim, n_old)
    head.bias.data *= has_bias
    docs = torch.randn(n_docs, dim)
    rng = np.random.default_rng(0)
    Y = sp.csr_array((rng.random((n_docs, n_old + n_new)) < 0.4).astype(np.float32))
    if not all_columns:
        Y = sp.csr_array(Y.toarray() * (np.arange(n_old + n_new) >= n_old))

    class Known:
        def label_head(self, vectors):
            return head, vectors[0]

    rows = torch.randn(n_new, dim)
    biases = torch.ones(n_new) if has_bias else None
    moved = train_rows(
        Known(),
        (docs,),
        Y[:, :n_old].tocsr(),
        Y[:, n_old:].tocsr(),
        rows,
        biases,
        np.random.default_rng(1),
    )
    rate = 0.3 * 400 / docs.square().sum(dim=1).mean()
    expected = rows
    for factor in (1, 0.5):  # two epochs of one batch, at a rate that falls to 0
        own = expected.clone().requires_grad_()
        scores = torch.cat([head(docs).detach(), docs @ own.T + has_bias], dim=1)
        good = torch.from_numpy(Y.toarray() > 0)
        high = scores.masked_fill(good, -1e9).logsumexp(dim=1)
        low = (-scores).masked_fill(~good, -1e9).logsumexp(dim=1)
        loss = torch.nn.functional.softplus(high + low)[good.any(dim=1)].sum() / 64
        loss.backward()
        expected = expected - rate * factor * own.grad
    assert_allclose(moved.numpy(), expected.numpy(), rtol=1e-3, atol=1e-5)


# --- labels that are removed ------------------------------------------------


@every_system
def test_removing_what_was_added_restores_the_predictions(name, fitted, data):
    model, texts = fitted(name), data["texts"]
    before = model.predict_topk(texts, N_OLD)
    names = model.label_names_.tolist()
    model.add_labels(data["words"][N_OLD:]).remove_labels([10, "dark"])
    assert model.label_names_.tolist() == names == model.label_texts_
    for found, expected in zip(model.predict_topk(texts, N_OLD), before, strict=True):
        assert_array_equal(found, expected)
    assert_array_equal(model.label_counts_, fitted(name).label_counts_)
    check_estimator(model)


@pytest.mark.parametrize("name", [*SYSTEMS, *RANDOM])
def test_others_are_ranked_without_the_removed_ones(name, fitted, data):
    model, texts = fitted(name, neighbor_weight=0), data["texts"]
    before = model.predict_topk(texts, N_OLD)[0]
    removed = [0, 4, 5]
    model.remove_labels(removed)
    kept = np.setdiff1d(np.arange(N_OLD), removed)
    assert model.n_labels_ == model.network_.n_labels == 7
    assert model.label_names_.tolist() == [data["words"][j] for j in kept]
    assert_array_equal(model.label_counts_, data["old"].sum(axis=0)[kept])
    # Clusters may be others, and TReaderXML's teacher teaches the removed no more.
    if not model.network_.has_shortlist and getattr(model, "teacher_", None) is None:
        expected = [[j for j in row if j in kept] for row in before.tolist()]
        found = kept[model.predict_topk(texts, 7)[0]].tolist()
        assert found == expected
    propensity = propensity_from_counts(model.label_counts_, model.n_docs_)
    assert propensity.shape == (7,)
    assert model.predict_proba(texts).shape == (60, 7)
    check_estimator(model)


def test_clusters_without_labels_are_dropped(fitted, data):
    model = fitted("GRank, clustered")
    groups = model.label_groups_
    model.remove_labels(np.flatnonzero(groups == groups[0]).tolist())
    assert model.label_groups_.max() == groups.max() - 1
    assert model.network_.retriever.n_outputs == groups.max()
    ids = model.predict_topk(data["texts"], 5)[0]
    assert ids.max() < model.n_labels_ and (ids[:, 0] >= 0).all()


def test_labels_without_documents_alone_cannot_remain(data):
    Y = sp.csr_array(data["Y"].toarray() * (np.arange(N_LABELS) < 4))
    model = make(D).fit(data["texts"], Y)
    with pytest.raises(ValueError, match="None of the labels that would remain"):
        model.remove_labels(list(range(4)))
    assert model.n_labels_ == N_LABELS


def test_classes_of_a_single_label(data):
    y = np.array([data["words"][row.argmax()] for row in data["Y"].toarray()])
    model = make(D).fit(data["texts"], y)
    classes = model.classes_.tolist()
    with pytest.raises(ValueError, match="y was 1-D"):
        model.add_labels(["dark"])
    model.remove_labels([classes[1]])
    assert model.classes_.tolist() == [classes[0], *classes[2:]]
    assert set(model.predict(data["texts"])) <= set(model.classes_)
    check_estimator(model)


# --- names ------------------------------------------------------------------


def test_labels_are_renamed(fitted, data):
    model = fitted("LightDXML")
    before = model.predict_topk(data["texts"], 3)
    names = {"red": "green", "green": "red", 2: ("a", 1)}
    assert model.rename_labels(names) is model
    assert model.label_names_[:4].tolist() == ["green", "red", ("a", 1), "fox"]
    for found, expected in zip(
        model.predict_topk(data["texts"], 3), before, strict=True
    ):
        assert_array_equal(found, expected)
    assert model.label_texts_[:2] == ["red", "green"]
    assert explain(model, "red fox", "green").label == "green"
    check_estimator(model)


@pytest.mark.parametrize(
    "names, match",
    [
        ({"red": "fox"}, "There is a label called 'fox' already"),
        ({"red": "x", "green": "x"}, "both called 'x'"),
        ({"red": "x", 0: "y"}, "one label two new names"),
        ({"crimson": "x"}, "There is no label 'crimson'"),
        ({10: "x"}, "There is no label 10: columns go from 0 to 9"),
        (["x"], "must be a dict"),
    ],
)
def test_wrong_names(names, match, fitted):
    model = fitted("LightDXML")
    with pytest.raises(ValueError, match=match):
        model.rename_labels(names)
    assert model.label_names_.tolist() == model.label_texts_


def test_names_that_two_labels_have(data):
    names = ["a", "a", *"cdefghij"]
    model = make(D, label_names=names).fit(data["texts"], data["old"])
    with pytest.raises(ValueError, match=r"Labels \[0, 1\] are called 'a'"):
        model.remove_labels("a")
    assert model.remove_labels(1).label_names_.tolist() == [*"acdefghij"]


@pytest.mark.parametrize(
    "labels",
    [
        np.array(1),
        np.int16(1),
        iter([1, 1]),
        {"green"},
        np.array(["green"]),
        ("green", 1),
        range(1, 2),
        np.arange(N_OLD) == 1,
    ],
)
def test_labels_in_any_form(labels, fitted, data):
    model = fitted("LightDXML").remove_labels(labels)
    assert model.label_names_.tolist() == [
        name for name in data["words"][:N_OLD] if name != "green"
    ]


def test_numbers_that_are_names_too(data):
    texts, old = data["texts"], data["old"]
    model = make(D, label_names=range(1, 11)).fit(texts, old)
    for change in (lambda: model.remove_labels(3), lambda: model.rename_labels({3: 0})):
        with pytest.raises(ValueError, match="3 is the column of the label 4 and the"):
            change()
    model.remove_labels(model.label_names_ == 3).remove_labels([10, 0])
    assert model.label_names_.tolist() == [2, 4, 5, 6, 7, 8, 9]
    classes = make(D).fit(texts, np.array([1, 2, 3] * 20))
    with pytest.raises(ValueError, match=r"label_names_ == 1"):
        classes.remove_labels(1)
    assert classes.remove_labels(classes.classes_ == 1).classes_.tolist() == [2, 3]
    # Names that nobody has chosen are no names.
    model = make(D).fit(texts, old).remove_labels([0]).remove_labels([1])
    assert model.label_names_.tolist() == [1, *range(3, 10)]


def test_forms_of_unicode_are_one_name(data):
    names = ["caf\u00e9", *"bcdefghij"]
    model = make(D, label_names=names).fit(data["texts"], data["old"])
    with pytest.raises(ValueError, match="already"):
        model.add_labels(["cafe\u0301"])
    assert model.remove_labels("cafe\u0301").n_labels_ == 9


# --- what is refused --------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, match",
    [
        (dict(label_texts=["red"]), "called 'red' already"),
        (dict(label_texts=["x", "x"]), "both called 'x'"),
        (dict(label_texts=["x", " "]), "New label 1 has neither a text nor a document"),
        (dict(label_texts=["x", 5]), r"label_texts\[1\] must be a str"),
        (dict(label_texts=[]), "label_texts is empty"),
        (dict(label_texts="dark"), "label_texts is one str"),
        (dict(label_texts=["x"], label_names=["a", "b"]), "2 names and label_texts 1"),
        (dict(label_texts=["x"], label_names="a"), "label_names must be a sequence"),
        (dict(label_texts=["x"], X=["a"]), "X and y belong together"),
        (dict(label_texts=None, label_names=["x"]), "need label_names, and documents"),
        (dict(label_texts=["x"], X=["a"], y=np.ones((1, 3))), "1 rows and 1 or 11 col"),
        (dict(label_texts=["x"], X=["a"], y=np.ones((2, 1))), "1 rows"),
        (dict(label_texts=["x"], X=["a"], y=[[2]]), "0 and 1 only"),
        (dict(label_texts=["x"], X=["a"], y=[["x", "red"]]), "pass classes=label_nam"),
        (dict(label_texts=["x"], X=["a"], y=[[np.nan]]), "NaN"),
        (dict(label_texts=["x"], X=[5], y=[[1]]), "must be"),
        (dict(label_texts=[""], X=["a"], y=[[0]]), "neither a text nor a document"),
    ],
)
def test_wrong_labels_are_refused(arguments, match, fitted):
    model = fitted("LightDXML")
    before = everything(model)
    with pytest.raises(ValueError, match=match):
        model.add_labels(**arguments)
    assert everything(model) == before


@pytest.mark.parametrize(
    "labels, match",
    [
        ([3, "crimson"], "There is no label 'crimson'"),
        ([-1], "There is no label -1"),
        (10, "There is no label 10"),
        ([True], "A mask must have 10 values, one for each label; got 1"),
        (np.arange(10) < 9, "Removing 9 of 10"),
        ([1.5], "There is no label 1.5"),
        (np.array([[1, 2]]), "There is no label array"),
        (list(range(9)), "Removing 9 of 10 labels would leave 1"),
        (list(range(10)), "would leave 0"),
    ],
)
def test_wrong_removals_are_refused(labels, match, fitted):
    model = fitted("LightDXML")
    before = everything(model)
    with pytest.raises(ValueError, match=match):
        model.remove_labels(labels)
    assert everything(model) == before
    assert model.remove_labels([]) is model and everything(model) == before


@pytest.mark.parametrize("change", ["add_labels", "remove_labels"])
@pytest.mark.parametrize("name", ["GRank, votes", "TReaderXML, clustered", "LightDXML"])
def test_failures_leave_the_model_as_it_was(change, name, fitted, data, monkeypatch):
    model = fitted(name)
    before, ranked = everything(model), model.predict_topk(data["texts"], 4)
    votes = model.network_.neighbors

    def fail(self):
        raise MemoryError

    monkeypatch.setattr(type(model), "_group_labels", fail)
    arguments = (["dark"],) if change == "add_labels" else ([1],)
    with pytest.raises(MemoryError):
        getattr(model, change)(*arguments)
    assert everything(model) == before and model.network_.neighbors is votes
    for found, expected in zip(
        model.predict_topk(data["texts"], 4), ranked, strict=True
    ):
        assert_array_equal(found, expected)


def test_unfitted_classifiers_have_no_labels():
    for change in (
        lambda model: model.add_labels(["a"]),
        lambda model: model.remove_labels([0]),
        lambda model: model.rename_labels({0: "a"}),
    ):
        with pytest.raises(ValueError, match="not fitted"):
            change(make(D))


# --- folders, copies, ensembles, ONNX ---------------------------------------


@pytest.mark.parametrize("name", [*SYSTEMS, *RANDOM])
def test_folders_keep_changed_labels(name, fitted, data, tmp_path):
    model, texts = fitted(name), data["texts"]
    model.remove_labels([3]).add_labels(
        data["words"][N_OLD:], ["x", "y"], X=texts, y=data["Y"][:, [10, 11]]
    )
    model.rename_labels({"x": "z"}).save_pretrained(tmp_path / "model")
    loaded = skxmc.load(tmp_path / "model")
    for method in ("predict_proba", "decision_function"):
        one, other = (getattr(m, method)(texts).toarray() for m in (model, loaded))
        assert_array_equal(one, other)
    assert loaded.label_names_.tolist() == model.label_names_.tolist()
    assert loaded.label_names_.tolist()[-2:] == ["z", "y"]
    assert loaded.label_texts_ == model.label_texts_
    assert loaded.label_texts == data["words"][:N_OLD]
    loaded.add_labels(["river stone"], X=texts[:3], y=[[1], [0], [1]])
    assert loaded.n_labels_ == model.n_labels_ + 1


def test_a_clone_is_fitted_as_the_classifier_was(fitted, data):
    model = fitted("LightDXML").add_labels(["bright"])
    again = clone(model)
    assert again.label_texts == data["words"][:N_OLD]
    again.fit(data["texts"], data["old"])
    assert again.n_labels_ == N_OLD and not again._labels_changed
    # The list as it is now makes the next fit.
    again.set_params(label_texts=model.label_texts_)
    again.fit(data["texts"], data["Y"][:, :11])
    assert again.label_names_.tolist() == model.label_names_.tolist()
    # A fit forgets that labels had changed.
    model.fit(data["texts"], data["old"])
    assert not model._labels_changed and model.n_labels_ == N_OLD


def test_folders_of_older_versions_grow(fitted, data):
    model = fitted("GRank, votes")
    del model.label_texts_  # as their models
    model.add_labels(["bright"])
    assert model.label_texts_ == data["words"][:11]
    assert model.kneighbors(["bright"], 1)[1].tolist() == [[60 + 10]]


@pytest.mark.parametrize("folder", written(), ids=lambda path: path.name)
def test_folders_of_every_format_can_change(folder, tmp_path):
    X, Y = documents(folder.name)
    model = skxmc.load(folder, device="cpu")
    names = model.label_names_.tolist()
    if model._y_kind != "single":
        model.add_labels(None, ["new"], X=X, y=Y[:, [0]])
    model.remove_labels([1])
    model.save_pretrained(tmp_path / "model")
    loaded = skxmc.load(tmp_path / "model")
    ids, scores = loaded.predict_topk(X, 3)
    assert_array_equal(ids, model.predict_topk(X, 3)[0])
    new = [] if model._y_kind == "single" else ["new"]
    assert loaded.label_names_.tolist() == names[:1] + names[2:] + new


def test_ensembles_change_all_members(fitted, data, tmp_path):
    texts, new = data["texts"], data["words"][N_OLD:]
    members = [(str(i), fitted(n)) for i, n in enumerate(("LightDXML", "TReaderXML"))]
    model = EnsembleClassifier([*members, ("c", "drop")], weights=[1, 2, 0])
    model.fit(texts, data["old"])
    held = model.estimators_[0]
    model.add_labels(new, X=texts, y=data["Y"]).remove_labels([0, "dark"])
    model.rename_labels({"bright": "light"})
    assert model.estimators_[0] is held is model.named_estimators_["0"]
    assert model.n_labels_ == 10 and model.label_names_[-1] == "light"
    for member in model.estimators_:
        assert member.n_labels_ == 10
        assert member.label_names_[-1] == "light"
    assert_array_equal(model.label_counts_, model.estimators_[0].label_counts_)
    assert model.n_docs_ == 120
    model.save_pretrained(tmp_path / "model")
    assert_array_equal(
        skxmc.load(tmp_path / "model").predict_topk(texts, 4),
        model.predict_topk(texts, 4),
    )


def test_members_change_together_or_not_at_all(fitted, data):
    texts = data["texts"]
    members = [("a", fitted("LightDXML")), ("b", fitted("GRank, random"))]
    model = EnsembleClassifier(members).fit(texts, data["old"])
    with pytest.raises(ValueError, match="started at random"):
        model.add_labels(["bright"])
    assert {m.n_labels_ for m in (model, *model.estimators_)} == {N_OLD}
    assert model.predict_topk(texts, 3)[0].shape == (60, 3)


def test_members_of_other_packages_cannot_change(fitted, data):
    model = EnsembleClassifier([("a", fitted("LightDXML"))])
    model.fit(data["texts"], data["old"])
    model.estimators_[0] = object()
    with pytest.raises(TypeError, match="A member of the ensemble is a object"):
        model.remove_labels([1])


@pytest.mark.parametrize("name", ["GRank", "GRank, clustered", "LightXML", "GUDN"])
def test_added_labels_are_exported(name, fitted, data, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    options = dict(bag_of_words=False, trained_layers="all", neighbor_weight=0)
    model = fitted(name, **options)
    model.add_labels(data["words"][N_OLD:]).remove_labels([2])
    export_onnx(model, tmp_path / "model.onnx", k=11)
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
    tokens = model.tokenizer_(data["texts"][:5], padding=True, return_tensors="np")
    names = ("input_ids", "attention_mask")
    ids, scores = session.run(None, {n: tokens[n].astype(np.int64) for n in names})
    expected_ids, expected = model.predict_topk(data["texts"][:5], 11)
    assert_array_equal(ids, expected_ids)
    assert_allclose(scores, expected, atol=1e-4)
