"""TReaderXMLClassifier through its public interface."""

import copy
import inspect
import pickle
import re
import sys
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from conftest import WORDS, kept_for_gradient
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer

from skxmc import TReaderXMLClassifier, _taught_documents
from skxmc._testing import assert_fit_refused, assert_same, raise_at_step
from skxmc.metrics import precision_at_k
from skxmc.nn.networks.treaderxml import READINGS
from skxmc.nn.search import has_hnswlib

N_TRAIN = 45
QUICK = dict(
    min_df=1,
    word_dim=32,
    n_neighbors=3,
    max_epochs=25,
    batch_size=8,
    learning_rate=1e-2,
    head_learning_rate=1e-2,
    dropout=0.0,
    validation_fraction=0,
    precision="fp32",
    random_state=0,
)
SHORT = QUICK | dict(max_epochs=2)
CLUSTERS = dict(max_leaf_size=3, n_shortlist=2)
NO_TEACHER = dict(use_teacher=False)
FAMILIES = ["warm", "cold", "warm", "cold"] * 3
IN_A_RING = sp.csr_array(np.eye(12, k=1))

needs_hnswlib = pytest.mark.skipif(not has_hnswlib(), reason="needs hnswlib")


@pytest.fixture(scope="module")
def features(colours):
    return TfidfVectorizer().fit_transform(colours[0])


@pytest.fixture(scope="module")
def fit(colours, features):
    """Function that fits on texts, or on features."""

    def fit_colours(params=SHORT, *, on_features=False, **more):
        X = features if on_features else colours[0]
        model = TReaderXMLClassifier(**params | more)
        return model.fit(X[:N_TRAIN], colours[1][:N_TRAIN])

    return fit_colours


@pytest.fixture(scope="module")
def base(fit, colours):
    """Scores of a short fit."""
    return fit().predict_topk(colours[0], 12)[1]


@pytest.fixture
def seen(monkeypatch):
    """Documents, training rows and held-out rows of each fit."""
    seen, train = [], TReaderXMLClassifier._train

    def observed(self, examples, Y, held_out, *args):
        seen.append((examples.docs, examples.rows, held_out))
        return train(self, examples, Y, held_out, *args)

    monkeypatch.setattr(TReaderXMLClassifier, "_train", observed)
    return seen


def sets_of(nodes):
    return [set(row.indices.tolist()) for row in nodes]


# Learning


@pytest.mark.parametrize(
    "params", [{}, NO_TEACHER, CLUSTERS, dict(on_features=True)], ids=str
)
def test_learns_what_words_mean(params, fit, features, colours):
    # Four labels of twelve are right: chance is 1/3.
    model = fit(QUICK, **params)
    X = features if params.get("on_features") else colours[0]
    ids, _ = model.predict_topk(X[N_TRAIN:], 4)
    assert precision_at_k(colours[1][N_TRAIN:], ids, 4) >= 0.5
    assert model.score(X[N_TRAIN:], colours[1][N_TRAIN:]) >= 0.6
    assert model.history_[-1]["loss"] < 0.8 * model.history_[0]["loss"]


@pytest.mark.parametrize("more", [{}, CLUSTERS, dict(on_features=True)], ids=str)
def test_labels_start_where_their_documents_are(more, fit, colours, features):
    still = dict(max_epochs=1, learning_rate=0, head_learning_rate=0) | more
    still["random_state"] = 1  # chance is 1/3, and labels of a cluster are chosen alike
    X = features if "on_features" in more else colours[0]
    scores = [
        fit(label_init=name, **still).score(X[N_TRAIN:], colours[1][N_TRAIN:])
        for name in ("documents", "random")
    ]
    assert scores[0] >= 0.9 > 0.5 > scores[1]


@pytest.mark.parametrize("label_init", ["documents", "random"])
@pytest.mark.parametrize("more", [{}, NO_TEACHER, dict(on_features=True)], ids=str)
def test_the_bottleneck_starts_standardized(more, label_init, fit, seen):
    still = dict(max_epochs=1, learning_rate=0, head_learning_rate=0) | more
    encoder = fit(**still, label_init=label_init).network_.encoder
    docs = seen[-1][0]
    pooled = encoder.pooled(docs.batch(np.arange(len(docs)))).detach()
    torch.testing.assert_close(encoder.center, pooled.mean(dim=0))
    spread = (pooled - encoder.center).square().mean().sqrt()
    torch.testing.assert_close(encoder.scale, 1 / spread)


@pytest.mark.parametrize("more", [{}, CLUSTERS, dict(head="all")], ids=str)
def test_random_label_vectors_start_at_the_labels_frequencies(more, colours):
    texts, Y = colours[0], colours[1].tolil()
    Y[:, 3], Y[50:] = 0, 0  # a label without documents, and documents without labels
    still = dict(max_epochs=1, learning_rate=0, head_learning_rate=0)
    model = TReaderXMLClassifier(**QUICK | still | more, label_init="random")
    model.fit(texts, Y.tocsr())
    groups = np.eye(model.label_groups_.max() + 1)[model.label_groups_]
    frequencies = ((Y[:50].toarray() @ groups > 0).sum(axis=0) + 0.5) / 51
    recall = model.network_.recall
    biases = recall.vectors[:-1, -1] if "head" in more else recall.bias.detach()
    np.testing.assert_allclose(biases.sigmoid(), frequencies, rtol=1e-5)


# Every parameter does something, or is refused


@pytest.mark.parametrize(
    "params, all_places",
    [
        ({}, False),
        (dict(mask=None), False),
        (dict(mask="upper"), True),
        (dict(pool_teacher=True), True),
        (dict(pool_teacher=np.False_), False),
        (dict(pool_teacher=False, mask="upper", use_teacher=False), False),
    ],
    ids=str,
)
def test_the_teacher_is_pooled_where_the_text_does_not_see_it(params, all_places, fit):
    assert fit(**params).network_.encoder.pools_teacher is all_places


@pytest.mark.parametrize(
    "changed",
    [
        *[dict(reading=name) for name in READINGS if name != "masked-full"],
        *[dict(mask=mask) for mask in (None, "upper")],
        dict(pooling="max"),
        dict(pooling="first", mask="upper"),
        dict(pool_teacher=True),
        dict(residual=False),
        dict(n_heads=8),
        dict(positional="sinusoidal"),
        dict(layer_norm=True),
        dict(output_activation="softmax"),
        dict(label_init="random"),
        dict(label_dim=6),
        dict(dropout=0.4),
        dict(train_vectors=False),
        dict(token_vectors=None),
        dict(token_vectors={"red": [1.0, 0, 0, 0], "fox": [0, 1.0, 0, 0]}, word_dim=4),
        dict(word_dim=16),
        dict(max_length=2),
        dict(label_length=1),
        dict(n_neighbors=9),
        dict(neighbor_weights="none"),
        dict(label_parents=None),
        dict(label_parents=IN_A_RING),
        dict(label_parents=12 * [12], parent_texts=["red fox"]),
        dict(label_texts=12 * ["red fox"]),
        dict(loss_reduction="sum", learning_rate=1e-3),
        NO_TEACHER,
        CLUSTERS,
        dict(precision="bf16"),
        dict(random_state=1),
    ],
    ids=str,
)
def test_parameter_changes_scores(changed, fit, base, colours):
    model = fit(**changed)
    ids, scores = model.predict_topk(colours[0], 12)
    assert np.isfinite(scores).all() and (ids[:, 0] >= 0).all()
    assert not np.array_equal(scores, base)


@pytest.mark.parametrize(
    "params, changed",
    [
        (dict(label_parents=IN_A_RING), dict(strict_algorithm1=True)),
        (CLUSTERS, dict(predict_shortlist=1)),
        (CLUSTERS, dict(label_precision="bf16")),
    ],
    ids=["strict", "shortlist", "bf16"],
)
def test_parameter_changes_scores_of_others(params, changed, fit, colours):
    one, two = (
        fit(**each).predict_topk(colours[0], 12)[1]
        for each in (params, params | changed)
    )
    assert not np.array_equal(one, two)


def test_the_most_frequent_words_are_kept(fit, colours):
    texts = colours[0][:N_TRAIN]
    vectorizer = TfidfVectorizer(token_pattern=r"\w+", max_features=5).fit(texts)
    model = fit(max_features=5)
    kept = set(model.vectorizer_.get_feature_names_out())
    assert kept == set(vectorizer.get_feature_names_out())
    assert len(model.network_.encoder.words.table) == 6  # and padding


def test_memory_is_checked_before_training(fit, monkeypatch):
    monkeypatch.setattr("skxmc.nn.devices._free_memory", lambda device: 1000)
    with pytest.raises(MemoryError, match=r"GiB.*Lower batch_size or max_length"):
        fit()


@pytest.mark.parametrize("length", [10, 60])
@pytest.mark.parametrize("more", [{}, NO_TEACHER, dict(reading="none")], ids=str)
def test_estimate_of_activations(length, more, fit, colours):
    texts = [" ".join((WORDS[:12] * 5)[:length])] * 8
    model = fit(max_length=60, dropout=0.1, **more)
    encoder, docs = model.network_.encoder, model._make_docs(texts)
    batch = docs.batch(np.arange(len(texts)))
    measured = kept_for_gradient(encoder, batch) / 4 / len(texts)
    assert encoder.floats_per_document(length) == pytest.approx(measured, rel=0.2)


@pytest.mark.parametrize(
    "params, message",
    [
        (dict(n_neighbors=0), "n_neighbors must be an int, at least 1; got 0"),
        (dict(label_length=0), "label_length must be an int, at least 1"),
        (dict(n_heads=0), "n_heads must be an int, at least 1"),
        (dict(min_df=0), "min_df must be an int, at least 1"),
        (dict(word_dim=1.5), "word_dim must be an int"),
        (dict(max_features=0), "max_features must be an int, at least 1"),
        (dict(reading="x"), "reading must be one of .*'masked-full'.*'x'"),
        (dict(mask="x"), "mask must be one of .*'causal'.*'x'"),
        (dict(positional="x"), "positional must be one of"),
        (dict(pooling="flatten"), "pooling must be one of .*'flatten'"),
        (dict(neighbor_weights=None), "neighbor_weights must be one of"),
        (dict(search="faiss"), "search must be one of"),
        (dict(output_activation="tanh"), "output_activation must be one of"),
        (dict(cluster_features="documents"), "cluster_features must be one of"),
        (dict(label_init="texts"), "label_init must be one of .*'texts'"),
        (CLUSTERS | dict(output_activation="softmax"), 'softmax" needs the scores'),
        (dict(pooling="first"), 'pooling="first" keeps .* no other word'),
        (dict(pool_teacher="text"), "pool_teacher must be one of .*'auto'.*'text'"),
        (dict(pool_teacher=False, mask="upper"), "no word of the text sees the"),
        (
            dict(strict_algorithm1=True, label_parents=None),
            "strict_algorithm1=True drops labels .* all of them",
        ),
        (dict(parent_texts=["a"]), "parent_texts is given without label_parents"),
        (dict(label_parents="cluster"), "label_parents must be .*'cluster'"),
        (dict(label_parents=[1, 0, *10 * [None]]), r"cycle among the labels \[0, 1\]"),
        (dict(label_texts=["red"]), "label_texts has 1 texts and y 12"),
        (dict(n_heads=5), "n_heads=5 does not divide .* 32"),
        (dict(token_vectors={"red": np.ones(6)}), "word_dim=32, but .* 6 numbers"),
        (dict(token_vectors={"red": np.ones(6)}, word_dim=None), "n_heads=4 .* 6"),
        (dict(token_vectors={"zebra": [1.0]}), "has a vector for none of"),
    ],
    ids=str,
)
def test_bad_parameter_is_refused(params, message, colours):
    model = TReaderXMLClassifier(**QUICK | params)
    assert_fit_refused(model, *colours[:2], message)


@pytest.mark.parametrize(
    "params",
    [
        dict(label_texts=12 * ["red"]),
        dict(parent_texts=["a"], label_parents=12 * [12]),
        dict(token_vectors={"red": [1.0]}),
    ],
)
def test_features_refuse_what_needs_texts(params, features, colours):
    model = TReaderXMLClassifier(**QUICK | params)
    message = f"{next(iter(params))} needs texts, and X is a feature"
    assert_fit_refused(model, features, colours[1], message)


def test_every_parameter_is_documented_and_no_other():
    text = inspect.getdoc(TReaderXMLClassifier)
    section = text.partition("\nParameters\n")[2].partition("\nAttributes\n")[0]
    lines = re.findall(r"^(\w[\w, ]*?)(?: :.*)?$", section, flags=re.MULTILINE)
    documented = {name for line in lines for name in line.split(", ")}
    assert documented == set(inspect.signature(TReaderXMLClassifier).parameters)


# What the teacher knows


@pytest.mark.parametrize("on_features", [False, True])
@pytest.mark.parametrize("n_neighbors", [1, 4])
def test_a_document_learns_from_others_alone(
    n_neighbors, on_features, seen, colours, features
):
    texts, rows = np.unique(colours[0], return_index=True)
    X, Y = features[rows] if on_features else texts, colours[1].toarray()[rows] > 0
    params = dict(n_neighbors=n_neighbors, label_parents=None, token_vectors=None)
    model = TReaderXMLClassifier(**SHORT | params).fit(X, Y)
    ((docs, *_),) = seen
    unit = docs.vectors / np.linalg.norm(docs.vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T - 3 * np.eye(len(rows))
    near = [Y[np.argsort(-row)[:n_neighbors]].any(axis=0) for row in cosines]
    assert sets_of(docs.nodes) == [set(np.flatnonzero(row)) for row in near]
    own = [set(np.flatnonzero(row)) for row in Y]
    again = sets_of(model._make_docs(model._check_X(X)).nodes)
    assert all(mine <= nodes for mine, nodes in zip(own, again, strict=True))
    assert (again == own) == (n_neighbors == 1)


@pytest.mark.parametrize("weights", ["idf", "none"])
@pytest.mark.parametrize("given", [False, True])
def test_neighbours_are_found_by_word_vectors(weights, given, fit, seen, colours):
    vectors, more = None, {}
    if given:  # of several lengths, of which Eq. 1 takes the mean
        rng = np.random.default_rng(0)
        vectors = {word: (rng.normal(size=8) * 2.0**i) for i, word in enumerate(WORDS)}
        more = dict(word_dim=8)
    params = dict(neighbor_weights=weights, token_vectors=vectors, train_vectors=False)
    model = fit(**params, **more)
    ((docs, *_),) = seen
    table, idf = model.network_.encoder.words.table[:-1].numpy(), np.ones(12)
    if weights == "idf":
        table = table / np.linalg.norm(table, axis=1, keepdims=True)
        idf = model.vectorizer_.idf_
    for text, found in zip(colours[0][:N_TRAIN], docs.vectors, strict=True):
        own = [model.vectorizer_.vocabulary_[word] for word in text.split()]
        expected = idf[own] @ table[own]  # up to its length: cosines are compared
        found, expected = (v / np.linalg.norm(v) for v in (found, expected))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_repeated_texts_do_not_tell_each_other(colours, seen):
    texts = colours[0][:10] * 2
    params = SHORT | dict(n_neighbors=1, label_parents=None)
    model = TReaderXMLClassifier(**params).fit(texts, np.eye(20))
    ((docs, *_),) = seen
    for i, nodes in enumerate(sets_of(docs.nodes)):
        assert len(nodes) == 2 and i % 10 not in {j % 10 for j in nodes}
    pairs = [{i, i + 10} for i in range(10)]
    assert sets_of(model._make_docs(texts).nodes) == 2 * pairs


def test_documents_that_are_held_out_or_without_labels_teach_nothing(colours, seen):
    texts, Y = list(colours[0]), colours[1].tolil()
    texts[50], Y[50:] = "", 0
    params = SHORT | dict(validation_fraction=0.3, label_parents=None)
    teacher = TReaderXMLClassifier(**params).fit(texts, Y.tocsr()).teacher_
    ((docs, rows, held_out),) = seen
    assert len(held_out) > 5
    assert teacher.index.n_vectors == len({texts[i] for i in rows})
    labels, knowledge = Y.toarray()[rows], teacher.knowledge.toarray()
    assert_same([np.unique(knowledge, axis=0)], [np.unique(labels, axis=0)])
    others = np.setdiff1d(np.arange(60), rows)
    taught = sets_of(teacher.teach(docs.vectors[others]))
    assert sets_of(docs.nodes[others]) == taught
    assert docs.nodes[50].nnz == 0 and all(taught[:5])


@pytest.mark.parametrize("on_features", [False, True])
@pytest.mark.parametrize(
    "given, n_nodes",
    [(None, 12), ("clusters", 13), (FAMILIES, 14), (IN_A_RING, 12)],
    ids=["none", "clusters", "names", "matrix"],
)
def test_nodes_are_labels_and_their_parents(given, n_nodes, on_features, fit, colours):
    knowledge = fit(label_parents=given, on_features=on_features).teacher_.knowledge
    Y = colours[1][:N_TRAIN].toarray()
    parents = np.zeros((12, n_nodes))
    if given is IN_A_RING:
        parents = given.toarray()
    elif given is not None:
        parents[:, 12] = given == "clusters" or np.array(given) == "warm"
        parents[:, 13:] = 1 - parents[:, 12:13]
    expected = Y @ (np.eye(12, n_nodes) + parents) > 0
    found = knowledge.toarray() > 0
    assert_same([np.unique(found, axis=0)], [np.unique(expected, axis=0)])


def test_parents_by_name_are_described_as_those_by_text(fit, colours):
    columns = [12 + (name == "cold") for name in FAMILIES]
    one = fit(label_parents=FAMILIES)
    two = fit(label_parents=columns, parent_texts=["warm", "cold"])
    assert one.vectorizer_.vocabulary_ == two.vectorizer_.vocabulary_
    assert_same(one.predict_topk(colours[0]), two.predict_topk(colours[0]))


def described(model, node):
    """The words that describe a label or a parent."""
    names = [*model.vectorizer_.get_feature_names_out()]
    return [names[j] for words in model.teacher_.words for j in words[node].indices]


def test_descriptions(fit):
    texts = ["Red, zebra zebra fox dog tree", " ", "???", *9 * ["new"]]
    parents = sp.csr_array(np.eye(12, 14, k=2))
    given = fit(label_texts=texts, label_parents=parents, parent_texts=["old one", "-"])
    terms = fit(label_length=2, label_parents=None)
    assert described(given, 0) == ["red", "zebra", "zebra", "fox"]
    assert described(given, 3) == described(given, 11) == ["new"]
    assert described(given, 12) == ["old", "one"]
    child = described(terms, 11)  # that of "-", which no word describes
    assert described(given, 13)[:2] == child
    for label in range(12):  # top terms: the word that a label stands for comes first
        assert described(terms, label)[0] == WORDS[label]
        assert len(described(terms, label)) == 2
        if label in (1, 2):
            assert described(given, label)[:2] == described(terms, label)


def test_named_parents_of_features_are_described_by_their_documents(fit):
    named = [f"parent {label // 2}" for label in range(12)]
    model = fit(on_features=True, label_parents=named)
    columns = [sorted(WORDS[:12]).index(word) for word in WORDS[:12]]
    for parent in range(6):
        words = {w[12 + parent].indices[0] for w in model.teacher_.words[:2]}
        assert words == {columns[2 * parent], columns[2 * parent + 1]}


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_containers_of_texts(kind, fit, colours):
    params = dict(label_parents=6 * [12, 13])
    expected = fit(**params, label_texts=WORDS[:12], parent_texts=["old", "new"])
    texts = dict(label_texts=kind(WORDS[:12]), parent_texts=kind(["old", "new"]))
    found = fit(**params, **texts).predict_topk(colours[0])
    assert_same(found, expected.predict_topk(colours[0]))


@needs_hnswlib
def test_a_graph_finds_what_exact_search_finds(fit, colours, monkeypatch):
    options = dict(token_vectors=None)  # which leaves no ties between neighbours
    exact, graph = (fit(**options, search=way) for way in ("exact", "hnsw"))
    assert exact.teacher_.index.graph is None
    assert graph.teacher_.index.graph is not None
    monkeypatch.setattr(_taught_documents, "_MAX_EXACT", N_TRAIN - 1)
    auto = fit(**options)
    assert auto.teacher_.index.graph is not None
    for model in (graph, auto, pickle.loads(pickle.dumps(graph))):
        found = model.predict_topk(colours[0])
        assert_same(found, exact.predict_topk(colours[0]))
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    assert fit().teacher_.index.graph is None
    with (
        raise_at_step(1, AssertionError),
        pytest.raises(ImportError, match="pip install"),
    ):
        fit(search="hnsw")


# Words


def test_known_words_are_read_where_they_stand(fit):
    model = fit(max_length=3)
    read = model._make_docs(["fox zebra red Fox dog", "?"]).X
    words = model.vectorizer_.get_feature_names_out()[read.indices]
    assert words.tolist() == ["fox", "red", "fox"] and read.indptr.tolist() == [0, 3, 3]


@pytest.mark.parametrize("as_pair", [False, True])
def test_given_vectors_of_words(as_pair, fit):
    rng = np.random.default_rng(0)
    vectors = given = {word: rng.normal(size=8).astype("f4") for word in WORDS[2:]}
    if as_pair:
        given = np.array([*vectors.values()]), list(vectors)
    params = dict(token_vectors=given, train_vectors=False)
    models = [fit(**params, word_dim=dim) for dim in (None, 8)]
    tables = [model.network_.encoder.words.table for model in models]
    assert torch.equal(*tables) and tables[0].shape == (13, 8)
    table = tables[0][:-1].numpy()
    assert np.sqrt((table**2).mean()) == pytest.approx(0.5, rel=1e-5)
    for word, column in models[0].vectorizer_.vocabulary_.items():
        if word in vectors:
            ratio = table[column] / vectors[word]
            np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
        else:
            assert table[column].any()


def test_frozen_vectors_do_not_move(fit):
    def moved(**params):
        models = [fit(**params, max_epochs=n_epochs) for n_epochs in (1, 2)]
        one, two = (model.network_.encoder.words.table[:-1] for model in models)
        return (one != two).any(dim=1)

    assert moved().all() and not moved(train_vectors=False).any()


def test_min_df_beyond_all_words_is_1(fit, base, colours):
    model = TReaderXMLClassifier(**SHORT | dict(min_df=46))
    with pytest.warns(UserWarning, match="no word is in 46 texts") as caught:
        model.fit(colours[0][:N_TRAIN], colours[1][:N_TRAIN])
    assert caught[0].filename == __file__
    assert_same([model.predict_topk(colours[0], 12)[1]], [base])


@pytest.mark.parametrize("params", [{}, NO_TEACHER, dict(precision="bf16")], ids=str)
@pytest.mark.parametrize("pooling", ["mean", "max", "first"])
def test_texts_without_known_words(pooling, params, fit):
    mask = "upper" if pooling == "first" else "causal"
    model = fit(pooling=pooling, mask=mask, **params)
    ids, scores = model.predict_topk(["", "?!", "zebra", "\ud800 lion", "red"], 12)
    assert (ids >= 0).all() and ((scores > 0) & (scores < 1)).all()
    assert (scores[:4] == scores[0]).all() and (scores[4] != scores[0]).any()


# Features


def with_zeros(X):
    dense, (n_docs, width) = X.toarray(), X.shape
    columns = np.tile(np.arange(width), n_docs)
    return sp.csr_matrix((dense.ravel(), columns, np.arange(n_docs + 1) * width))


def unsorted(X):
    backwards = X[:, ::-1]
    return sp.csr_matrix((backwards.data, 11 - backwards.indices, backwards.indptr))


@pytest.mark.parametrize("container", [sp.csc_array, unsorted, with_zeros])
def test_features_are_the_same_in_every_container(container, fit, features):
    model, X = fit(on_features=True), container(features)
    np.testing.assert_array_equal(X.toarray(), features.toarray())
    assert_same(model.predict_topk(X), model.predict_topk(features.toarray()))


def test_of_features_the_largest_are_read(fit, features):
    read = fit(on_features=True, max_length=2)._make_docs(features).X
    assert (np.diff(read.indptr) == 2).all()
    np.testing.assert_allclose(
        read.max(axis=1).toarray(), features.max(axis=1).toarray()
    )


# Training


def test_same_seed_same_bits(fit, colours):
    def result(random_state, global_state):
        torch.manual_seed(global_state)
        model = fit(random_state=random_state, dropout=0.3, validation_fraction=0.2)
        return model.predict_topk(colours[0], 12)

    one = result(3, 0)
    assert_same(one, result(3, 1))
    assert not np.array_equal(one[1], result(4, 1)[1])


@pytest.mark.parametrize("params", [{}, NO_TEACHER | CLUSTERS], ids=str)
def test_pickle_clone_and_copy(params, fit, colours):
    texts, Y, _ = colours
    model = fit(**params)
    copies = pickle.loads(pickle.dumps(model)), copy.deepcopy(model)
    for again in (*copies, clone(model).fit(texts[:N_TRAIN], Y[:N_TRAIN])):
        assert_same(again.predict_topk(texts, 12), model.predict_topk(texts, 12))
    assert (model.teacher_ is None) == ("use_teacher" in params)


@pytest.mark.parametrize("params", [{}, CLUSTERS, dict(validation_fraction=0.2)])
def test_interrupted_training_can_be_used(params, colours):
    texts, Y, _ = colours
    model = TReaderXMLClassifier(**SHORT | params)
    with raise_at_step(9, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        model.fit(texts, Y)
    assert model.n_iter_ == len(model.history_) == 1
    assert not any(module.training for module in model.network_.modules())
    assert model.network_.encoder.words.touched == []
    answers = model.predict_topk(texts, 12)
    assert np.isfinite(answers[1]).all()
    assert_same(pickle.loads(pickle.dumps(model)).predict_topk(texts, 12), answers)


def test_words_beyond_max_length_are_not_looked_for():
    model = TReaderXMLClassifier(
        word_dim=8, max_length=5, max_epochs=1, validation_fraction=0, random_state=0
    )
    texts = ["red fox", "blue dog", "red dog", "blue fox"] * 5
    model.fit(texts, np.tile(np.eye(2), (10, 1)))
    long = "Red unknown fox, " * 200_000
    expected = model.predict_proba([long[:100]])
    tracemalloc.start()
    np.testing.assert_array_equal(model.predict_proba([long]), expected)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * len(long)  # each word alone is a str of 50 bytes and more
