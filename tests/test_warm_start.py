"""Going on with a fit: ``warm_start=True``."""

import copy

import numpy as np
import pytest
import saved_models
import scipy.sparse as sp
import torch
from numpy.testing import assert_array_equal
from persistence_examples import FEW, D, G, L, T, U, make
from sklearn.base import clone

import skxmc
from skxmc._fingerprint import hash_documents

N_LABELS = 12
# Nothing moves: what is inherited can be seen.
STILL = dict(max_epochs=1, learning_rate=0, head_learning_rate=0, validation_fraction=0)
SYSTEMS = {
    "GRank": (G, {}),
    "GRank, dense": (G, dict(n_negatives=None)),
    "GRank, clustered": (G, FEW),
    "GRank, narrow": (G, dict(label_dim=8)),
    "GRank, all": (G, dict(head="all")),
    "GRank, dual": (G, dict(small_label_mode="dual", loss="bce")),
    "GRank, random": (G, dict(label_init="random")),
    "GRank, words of labels": (G, dict(label_init="random", label_texts=True)),
    "GRank, words": (G, dict(reading="words")),
    "GRank, trained": (G, dict(trained_layers="all", bag_of_words=False)),
    "GRank, fp64": (G, dict(precision="fp64")),
    "GRank, bf16": (G, FEW | dict(label_precision="bf16")),
    "LightXML": (L, {}),
    "LightXML, clustered": (L, FEW),
    "LightXML, random": (L, FEW | dict(label_init="random")),
    "LightXML, all": (L, dict(head="all")),
    "LightXML, static": (L, FEW | dict(negatives="static", ranking_encoder="own")),
    "LightXML, read once": (L, dict(trained_layers=0, bag_of_words=True)),
    "LightDXML": (D, dict(n_frequent=4)),
    "LightDXML, encoder": (D, dict(n_frequent=0, label_epochs=2, beta=0.5)),
    "LightDXML, texts": (D, dict(n_frequent=10, label_texts=True)),
    "TReaderXML": (T, {}),
    "TReaderXML, clustered": (T, FEW | dict(label_parents=None)),
    "TReaderXML, random": (T, dict(label_init="random", use_teacher=False)),
    "TReaderXML, texts": (T, dict(label_texts=True, head="all")),
    "GUDN": (U, {}),
    "GUDN, clustered": (U, FEW | dict(trained_layers=1)),
    "GUDN, paper": (U, dict(variant="paper")),
}
every_system = pytest.mark.parametrize("name", SYSTEMS)


def build(name, encoder, words=None, **params):
    kind, options = SYSTEMS[name]
    if kind is U or "label_texts" in options:
        options = options | dict(label_texts=words)
    return make(kind, encoder, **options | dict(warm_start=True) | params)


def still(model, **params):
    """Have nothing move in the next fit."""
    names = ("document_learning_rate", "label_learning_rate")
    rates = {name: 0 for name in names if hasattr(model, name)}
    return model.set_params(**STILL | rates | params)


def log_probabilities(model, X):
    """Scores of all labels by the network, before the calibration."""
    ids, scores = model._rank_checked(model._check_X(X), model.n_labels_)
    ordered = np.full(scores.shape, -np.inf)
    kept = ids >= 0
    rows = np.broadcast_to(np.arange(len(ids))[:, None], ids.shape)
    ordered[rows[kept], ids[kept]] = scores[kept]
    return ordered


@pytest.fixture(scope="module")
def data(colours):
    texts, Y, words = colours
    return texts, Y, list(words)


@every_system
def test_a_fit_that_learns_nothing_changes_nothing(name, tiny_encoder, data):
    texts, Y, words = data
    params = dict(neighbor_weight=0, validation_fraction=0)
    model = build(name, tiny_encoder, words, **params).fit(texts[:40], Y[:40])
    before = log_probabilities(model, texts)
    weights = copy.deepcopy(model.network_.state_dict())
    still(model).fit(texts[:40], Y[:40])
    if not isinstance(model, D):  # which makes a turn of its cycle
        assert_array_equal(log_probabilities(model, texts), before)
    after = model.network_.state_dict()
    assert {key: after[key].dtype for key in weights} == {
        key: weights[key].dtype for key in weights
    }
    for key, tensor in weights.items():
        # Training steps and turns of LightDXML's cycle renew these.
        if key not in ("label_vectors", "n_turns", "encoder.block.direction"):
            assert torch.equal(after[key], tensor), key


@every_system
def test_new_labels_and_documents(name, tiny_encoder, data):
    # The scores of labels that are known do not depend on the others, up to the
    # softmax over all of them. Other documents could have new words, which would take
    # a share of the length of a bag.
    texts, Y, words = data
    params = dict(neighbor_weight=0, validation_fraction=0)
    model = build(name, tiny_encoder, words[:9], **params)
    model.fit(texts[:40], Y[:40, :9])
    before = log_probabilities(model, texts)
    groups = getattr(model, "label_groups_", None)
    still(model)
    if model.label_texts is not None:
        model.set_params(label_texts=words)
    model.fit(texts[:20], Y[:20])
    assert model.n_labels_ == N_LABELS and model.n_docs_ == 20
    if isinstance(model, D) or getattr(model, "teacher_", None) is not None:
        return  # label vectors have been renewed, or new labels are taught
    if model.network_.clusters is not None:
        assert_array_equal(model.label_groups_[:9], groups)
        return  # other labels of a cluster take places in shortlists
    after = log_probabilities(model, texts)[:, :9]
    difference = after - before
    if model.network_.single_label is None:
        difference -= difference.mean(axis=1, keepdims=True)
    tolerance = 0.1 if model.label_precision == "bf16" else 1e-4
    assert np.abs(difference).max() < tolerance


@every_system
def test_it_learns(name, tiny_encoder, data):
    texts, Y, words = data
    model = build(name, tiny_encoder, words, max_epochs=2).fit(texts[:30], Y[:30])
    weights = copy.deepcopy(model.network_.state_dict())
    model.fit(texts, Y)
    after = model.network_.state_dict()
    assert any(not torch.equal(after[key], weights[key]) for key in weights)
    assert model.n_iter_ == len(model.history_) == model._count_epochs()
    assert np.isfinite(model.predict_topk(texts)[1]).all()


def test_texts_of_labels_with_vectors_of_words(tiny_encoder, data):
    texts, Y, words = data
    model = build("GRank, words of labels", tiny_encoder, words).fit(texts, Y)
    refused = pytest.raises(ValueError, match="texts of labels .* have changed")
    with refused:
        model.set_params(label_texts=["zeppelin", *words[1:]]).fit(texts, Y)
    # A new word may come before the others in the alphabet.
    table = model.network_.ranker.word_vectors.detach().clone()
    still(model, label_texts=[*words, "a red aardvark"])
    Y = sp.hstack([Y, Y[:, :1]], format="csr")
    ranker = model.fit(texts, Y).network_.ranker
    terms = sorted([*words, "a", "aardvark"])
    kept = [terms.index(word) for word in sorted(words)]
    assert torch.equal(ranker.word_vectors[kept], table)
    assert len(ranker.word_vectors) == 14
    names = [f"label {i}" for i in range(13)]
    model.set_params(label_names=names).fit(texts, Y)
    with refused:
        model.set_params(label_names=names[1:], label_texts=model.label_texts[1:])
        model.fit(texts, Y[:, 1:])


def test_names_find_labels_in_another_order(tiny_encoder, data):
    texts, Y, words = data
    names = [f"label {i}" for i in range(N_LABELS)]
    for options in ({}, FEW):
        model = make(G, tiny_encoder, warm_start=True, neighbor_weight=0, **options)
        model.set_params(label_names=names[:9]).fit(texts[:40], Y[:40, :9])
        before = log_probabilities(model, texts)
        order = np.array([10, 8, 2, 0, 5, 11, 7])  # 2 are new, and 4 are left out
        still(model, label_names=[names[j] for j in order])
        model.fit(texts[:20], Y[:20][:, order])
        assert model.label_names_.tolist() == [names[j] for j in order]
        old = order < 9
        difference = log_probabilities(model, texts)[:, old] - before[:, order[old]]
        if not options:
            difference -= difference.mean(axis=1, keepdims=True)
            assert np.abs(difference).max() < 1e-4
        else:
            assert model.network_.clusters.n_clusters == model.label_groups_.max() + 1


def test_names_that_two_labels_have_keep_their_columns(tiny_encoder, data):
    texts, Y, words = data
    names = ["same", "same", *words[2:]]
    model = make(G, tiny_encoder, warm_start=True, neighbor_weight=0)
    model.set_params(label_names=names[:9]).fit(texts[:40], Y[:40, :9])
    before = log_probabilities(model, texts)
    still(model, label_names=names).fit(texts[:20], Y[:20])
    assert_array_equal(model.label_names_, names)
    difference = log_probabilities(model, texts)[:, :9] - before
    difference -= difference.mean(axis=1, keepdims=True)
    assert np.abs(difference).max() < 1e-4
    with pytest.raises(ValueError, match="holds 'same' 2 times now"):
        model.set_params(label_names=names[::-1]).fit(texts, Y[:, ::-1])


def test_parameters_that_do_not_know_of_changes_are_refused(data):
    texts, Y, words = data
    old = Y[:, :9]
    model = make(D, label_names=words[:9], warm_start=True).fit(texts, old)
    model.rename_labels({0: "crimson"})
    with pytest.raises(ValueError, match=r"label_names=list\(model.label_names_\)"):
        model.fit(texts, old)
    model.set_params(label_names=list(model.label_names_)).fit(texts, old)
    assert model.label_names_[0] == "crimson"
    # Another label is in its place, so that the number of texts is right.
    model = make(D, label_texts=words[:9], warm_start=True).fit(texts, old)
    model.remove_labels([0]).add_labels(["new"])
    with pytest.raises(ValueError, match=r"label_texts=list\(model.label_texts_\)"):
        model.fit(texts, old)
    model.set_params(label_texts=model.label_texts_).fit(texts, old)
    assert model.label_texts_ == [*words[1:9], "new"]
    # Without names, columns have nothing to be known by.
    model = make(D, warm_start=True).fit(texts, old).remove_labels([0])
    with pytest.raises(ValueError, match="left 8, and y has 9 columns"):
        model.fit(texts, old)
    model.fit(texts, Y[:, 1:9]).fit(texts, old)
    assert model.n_labels_ == 9


@pytest.mark.filterwarnings("ignore:.*encoder is tuple")
def test_new_words_are_read_by_the_encoder_of_the_others(
    tiny_model, tiny_tokenizer, data, tmp_path
):
    texts, Y, _ = data
    pair = tiny_model, tiny_tokenizer
    model = make(G, pair, reading="words").fit(texts, Y)
    model.save_pretrained(tmp_path / "model")
    more = [f"{text} unknown" for text in texts]
    other = type(tiny_model)(tiny_model.config)
    for encoder in (other, tiny_model):
        loaded = skxmc.load(tmp_path / "model")
        loaded.encoder = encoder, tiny_tokenizer
        loaded.set_params(warm_start=True)
        if encoder is other:
            with pytest.raises(ValueError, match="not the transformer that read"):
                loaded.fit(more, Y)
        else:
            loaded.fit(more, Y)
    model.set_params(warm_start=True).fit(more, Y)
    vectors = [m.network_.encoder.features.table for m in (model, loaded)]
    assert torch.equal(*vectors) and len(vectors[0]) > 13


@pytest.mark.parametrize("n_frequent", [0, 4, 6, 20])
def test_labels_of_lightdxml(n_frequent, data):
    # Labels without documents in the second fit keep their vectors and classifiers, and
    # labels that get their first documents start as in a first fit.
    texts, Y, _ = data
    Y = Y.tolil()
    Y[:40, 3] = 0  # it has no documents in the first fit
    Y[40:, 5] = 0  # nor this in the second one
    Y = sp.csr_array(Y)
    model = D(n_frequent=n_frequent, max_epochs=2, warm_start=True, random_state=0)
    model.set_params(beta=0.5).fit(texts[:40], Y[:40, :11])
    before = copy.deepcopy(model.network_)
    still(model).fit(texts[40:], Y[40:])
    network = model.network_
    ranked = torch.cat([network.frequent, network.indexed])
    assert sorted(ranked.tolist()) == list(range(12))
    assert torch.equal(network.frequent[: len(before.frequent)], before.frequent)
    assert len(network.frequent) == min(n_frequent, 12)

    def classifier(network, label):
        place = int(network.places[label])
        if place == len(network.frequent):
            return network.ranker.identity[label]
        head = network.frequent_ranker
        return torch.cat([head.weight[place], head.bias[place : place + 1]])

    def vector(network, label):
        ranked = torch.cat([network.frequent, network.indexed]).tolist()
        return network.label_vectors[ranked.index(label)]

    for label in set(range(11)) - {3}:
        assert torch.equal(classifier(network, label), classifier(before, label))
    assert torch.equal(vector(network, 5), vector(before, 5))
    assert not torch.equal(vector(network, 4), vector(before, 4))
    for label in (3, 11):
        start = torch.nn.functional.normalize(classifier(network, label)[:-1], dim=0)
        assert torch.allclose(start, vector(network, label), atol=1e-5)
    assert np.isfinite(model.predict_topk(texts)[1]).all()


def test_earlier_documents_teach(data):
    texts, Y, words = data
    model = T(word_dim=16, max_epochs=1, validation_fraction=0, random_state=0)
    model.set_params(warm_start=True, n_neighbors=1, min_df=1)
    model.fit(texts[:40], Y[:40, :10])
    before, vectors = model.teacher_, model._neighbor_vectors
    model.fit([*texts[35:], "zeppelin"], sp.vstack([Y[35:], Y[:1]]))
    teacher = model.teacher_
    n_words = len(vectors)
    assert_array_equal(model._neighbor_vectors[:n_words], vectors)
    assert not model._neighbor_vectors[n_words:].any()
    assert teacher.index.n_vectors == len(set(texts)) + 1
    # The clusters of labels, the parents, and all descriptions stay what they were.
    n_clusters = before.knowledge.shape[1] - 10
    assert teacher.knowledge.shape[1] == 12 + n_clusters
    assert_array_equal(
        teacher.parents[:10].toarray()[:, 12:], before.parents.toarray()[:, 10:]
    )
    assert (teacher.parents.sum(axis=1) == 1).all()
    kept = [*range(10), *range(12, 12 + n_clusters)]
    for one, other in zip(teacher.words, before.words, strict=True):
        assert_array_equal(one[kept].toarray()[:, :n_words], other.toarray())
    # Each of the first documents is its own nearest, and teaches what it taught.
    docs = model._make_untaught_docs(texts[:35])
    found = teacher.teach(docs.vectors)[:, kept].toarray()
    assert_array_equal(found, before.teach(docs.vectors).toarray())


def test_classes_that_are_new_are_found_by_their_values(tiny_encoder, data):
    texts, Y, _ = data
    y = np.array(["d", "b", "f"])[Y[:, :3].toarray().argmax(axis=1)]
    y[::7] = "d"
    model = make(G, tiny_encoder, warm_start=True, neighbor_weight=0)
    model.fit(texts[:40], y[:40])
    before = log_probabilities(model, texts)
    later = np.array(["c"] * 10 + ["b"] * 10)
    still(model).fit(texts[:20], later)
    assert model.classes_.tolist() == ["b", "c", "d", "f"]
    difference = log_probabilities(model, texts)[:, [0, 2, 3]] - before
    difference -= difference.mean(axis=1, keepdims=True)
    assert np.abs(difference).max() < 1e-4
    model.fit(texts[40:50], later[:10])  # one class of four is enough
    assert model.classes_.tolist() == ["b", "c", "d", "f"]


def test_new_words_have_columns_at_the_end(tiny_encoder, data):
    texts, Y, _ = data
    model = make(G, tiny_encoder, warm_start=True, neighbor_weight=0)
    model.fit(texts[:40], Y[:40])
    words = model.vectorizer_.get_feature_names_out().tolist()
    idf = model.vectorizer_.idf_
    bag = model.network_.doc_vectors.bag.table.detach().clone()
    still(model).fit([f"zeppelin {text} zeppelin" for text in texts[40:]], Y[40:])
    after = model.vectorizer_.get_feature_names_out().tolist()
    assert after[: len(words)] == words
    assert "zeppelin" in after[len(words) :]
    assert_array_equal(model.vectorizer_.idf_[: len(words)], idf)
    new = model.network_.doc_vectors.bag.table
    assert torch.equal(new[: len(words)], bag[:-1])
    assert not new[len(words) :].any()
    # In 20 of 20 documents, of which 40 are counted: log(41 / (21 * 41 / 21)) + 1.
    place = model.vectorizer_.vocabulary_["zeppelin"]
    expected = np.log(41 / 21) + np.log(21 / 21) + 1
    assert model.vectorizer_.idf_[place] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "params, message",
    [
        (dict(max_length=9), "max_length=8, and max_length is now 9"),
        (dict(head="clusters"), "head='auto', and head is now 'clusters'"),
        (dict(encoder="elsewhere"), "encoder is now 'elsewhere'"),
        (dict(label_dim=4), "label_dim"),
        (dict(trained_layers=1), "trained_layers"),
    ],
)
def test_what_cannot_go_on_is_refused(params, message, tiny_encoder, data, tmp_path):
    texts, Y, _ = data
    model = make(G, tiny_encoder).fit(texts[:40], Y[:40])
    model.save_pretrained(tmp_path / "model")
    for one in (model, skxmc.load(tmp_path / "model", device="cpu")):
        before = one.predict_topk(texts)
        one.set_params(warm_start=True, **params)
        with pytest.raises(ValueError, match=message):
            one.fit(texts, Y)
        for found, expected in zip(one.predict_topk(texts), before, strict=True):
            assert_array_equal(found, expected)


def test_the_head_that_auto_chose_may_be_named(tiny_encoder, data):
    texts, Y, _ = data
    model = make(G, tiny_encoder, warm_start=True).fit(texts[:40], Y[:40])
    model.set_params(head="dense").fit(texts, Y)


def test_data_that_do_not_go_on_are_refused(tiny_encoder, data):
    texts, Y, words = data
    X = np.random.default_rng(0).random((60, 5))
    model = make(G, tiny_encoder, warm_start=True, label_names=words).fit(texts, Y)
    with pytest.raises(ValueError, match="was given texts, and X is a feature matrix"):
        model.fit(X, Y)
    with pytest.raises(ValueError, match="1-D array of classes in one of the fits"):
        model.set_params(label_names=None).fit(texts, np.arange(60) % 3)
    with pytest.raises(ValueError, match=r"y has 11 label columns, .* had 12"):
        model.fit(texts, Y[:, :11])
    with pytest.raises(ValueError, match="holds 'red' 2 times now"):
        model.set_params(label_names=["red", *words]).fit(texts, Y[:, [0, *range(12)]])
    with pytest.raises(ValueError, match="No name of label_names"):
        model.set_params(label_names=list("abcdefghijkl")).fit(texts, Y)
    features = make(G, warm_start=True, label_dim=8).fit(X, Y)
    with pytest.raises(ValueError, match="4 features"):
        features.fit(X[:, :4], Y)


def test_a_failed_fit_leaves_the_model_as_it_was(tiny_encoder, data, monkeypatch):
    texts, Y, words = data
    model = make(G, tiny_encoder, warm_start=True, neighbor_weight=1).fit(texts, Y)
    before, state = model.predict_topk(texts), vars(model).copy()
    weights = copy.deepcopy(model.network_.state_dict())

    def fail(*args):
        raise RuntimeError("no more")

    monkeypatch.setattr(G, "_add_neighbors", fail)
    with pytest.raises(RuntimeError, match="no more"):
        model.fit(texts[:30], Y[:30])
    assert vars(model).keys() == state.keys()
    for key, tensor in model.network_.state_dict().items():
        assert torch.equal(tensor, weights[key])
    for found, expected in zip(model.predict_topk(texts), before, strict=True):
        assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["GRank", "GRank, words", "LightXML, clustered"])
def test_a_loaded_model_goes_on_as_the_saved_one(name, tiny_encoder, data, tmp_path):
    texts, Y, words = data
    model = build(name, tiny_encoder, warm_start=False, neighbor_weight=1)
    model.fit(texts[:40], Y[:40, :9]).save_pretrained(tmp_path / "model")
    loaded = skxmc.load(tmp_path / "model", device=model.device)
    found = [
        one.set_params(warm_start=True).fit(texts[20:], Y[20:]).predict_topk(texts)
        for one in (model, loaded)
    ]
    for one, other in zip(*found, strict=True):
        assert_array_equal(one, other)
    hashes = [one.network_.neighbors.hashes.numpy() for one in (model, loaded)]
    assert_array_equal(*hashes)
    loaded.save_pretrained(tmp_path / "again")
    again = skxmc.load(tmp_path / "again")
    assert_array_equal(again.predict_topk(texts)[0], found[0][0])


def test_a_clone_starts_anew(tiny_encoder, data):
    texts, Y, _ = data
    model = make(G, tiny_encoder, warm_start=True).fit(texts, Y)
    other = clone(model).fit(texts, Y)
    assert_array_equal(other.predict_topk(texts)[1], model.predict_topk(texts)[1])


def test_documents_that_were_held_out_stay_held_out(tiny_encoder, data):
    texts, Y, _ = data
    # No text occurs twice.
    texts = [f"{text} {i}" for i, text in enumerate(texts)]
    model = make(G, tiny_encoder, warm_start=True, neighbor_weight=1)
    model.fit(texts[:40], Y[:40])
    voters = set(model.network_.neighbors.rows.tolist())
    held_out = set(range(40)) - voters
    assert len(held_out) == 8
    model.set_params(random_state=1).fit(texts, Y)
    voters = set(model.network_.neighbors.rows.tolist())
    assert held_out == set(range(60)) - voters
    # None of these documents has been held out, so that they count as new.
    model.fit(texts[50:], Y[50:])
    assert len(model.network_.neighbors.rows) < 60 - 8
    assert len(model._held_out_hashes) > 8
    # What was held out is trained on at last, and is remembered no longer.
    model.set_params(validation_fraction=0).fit(texts, Y)
    assert model._held_out_hashes is None
    assert len(model.network_.neighbors.rows) == 60


def test_voters_of_earlier_fits(tiny_encoder, data):
    texts, Y, words = data
    texts = [f"{text} {i}" for i, text in enumerate(texts)]
    model = make(G, tiny_encoder, warm_start=True, neighbor_weight=1, label_texts=words)
    model.set_params(validation_fraction=0).fit(texts[:40], Y[:40])
    first = model.network_.neighbors
    still(model).fit(texts[30:], Y[30:])
    votes = model.network_.neighbors
    rows = votes.rows.numpy()
    assert_array_equal(np.sort(rows[rows < 30]), np.arange(30))
    assert model.n_docs_ == 60
    assert_array_equal(model.label_counts_, np.asarray(Y.sum(axis=0)).ravel())
    texts_vote = rows[rows >= 60]
    assert_array_equal(texts_vote, 60 + np.arange(N_LABELS))
    earlier = (rows >= 30) & (rows < 60)
    assert_array_equal(rows[earlier], 30 + np.arange(30))
    # They have the labels and the vectors that they had: those of rows 0 to 29.
    starts, ids = votes.indptr.numpy(), votes.ids.numpy()
    found = [ids[starts[i] : starts[i + 1]] for i in np.flatnonzero(earlier)]
    for labels, row in zip(found, Y[:30], strict=True):
        assert_array_equal(labels, sp.csr_array(row).indices)
    kept = first.index.get_vectors()[:30]
    assert torch.allclose(votes.index.get_vectors()[earlier], kept, atol=1e-3)
    distances, neighbors = model.kneighbors(texts[:1], 1)
    assert neighbors[0, 0] == 30 and distances[0, 0] < 1e-2


def test_a_resumed_fit_has_the_same_bits(tiny_encoder, data, tmp_path, monkeypatch):
    texts, Y, _ = data
    model = make(G, tiny_encoder, max_epochs=3).fit(texts[:40], Y[:40])
    params = dict(warm_start=True, checkpoint_dir=tmp_path)
    expected = copy.deepcopy(model).set_params(**params).fit(texts, Y)
    stopped = copy.deepcopy(model).set_params(**params)
    real = skxmc.nn.checkpoint.Run.end_epoch

    def end_epoch(run, **options):
        real(run, **options)
        if run.epoch == 3:
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(skxmc.nn.checkpoint.Run, "end_epoch", end_epoch)
        with pytest.raises(RuntimeError, match="killed"):
            stopped.fit(texts, Y)
    (checkpoint,) = tmp_path.glob("*.checkpoint")
    # Another start is another fit.
    with pytest.warns(UserWarning, match="none of this fit"):
        other = make(G, tiny_encoder, max_epochs=3, random_state=1)
        other.fit(texts[:40], Y[:40]).set_params(random_state=0, **params).fit(texts, Y)
    assert checkpoint.exists()
    stopped.fit(texts, Y)
    assert not checkpoint.exists()
    for one, two in zip(
        stopped.predict_topk(texts), expected.predict_topk(texts), strict=True
    ):
        assert_array_equal(one, two)


@pytest.mark.parametrize(
    "kind, options", [(G, {}), (L, FEW), (T, {}), (D, {}), (U, {})]
)
def test_labels_and_documents_that_came_later_go_on(kind, options, tiny_encoder, data):
    texts, Y, words = data
    texts = [f"{text} {i}" for i, text in enumerate(texts)]
    model = make(kind, tiny_encoder, neighbor_weight=1, warm_start=True, **options)
    model.set_params(label_texts=words[:10], validation_fraction=0)
    model.fit(texts[:40], Y[:40, :10])
    model.add_labels(words[10:]).add_documents(texts[40:50], Y[40:50])
    model.forget_documents(0)
    groups = getattr(model, "label_groups_", None)
    still(model, label_texts=model.label_texts_).fit(texts[40:], Y[40:])
    assert model.n_labels_ == N_LABELS
    if groups is not None:
        assert_array_equal(model.label_groups_, groups)
    # 10 documents have been known, and 10 are new.
    votes = model.network_.neighbors
    places = votes.index.found_places()
    assert model.n_docs_ == 59
    assert_array_equal(votes.rows[places].sort().values, np.arange(59 + N_LABELS))
    known = set(votes.get_hashes()[places].tolist())
    hashes = hash_documents(texts).tolist()
    assert hashes[0] not in known and set(hashes[1:]) <= known
    assert np.isfinite(model.predict_topk(texts)[1]).all()


@pytest.mark.filterwarnings("ignore:.*label branch reads label columns")
@pytest.mark.parametrize(
    "folder", saved_models.written(), ids=lambda folder: "/".join(folder.parts[-2:])
)
def test_models_of_older_versions_go_on(folder):
    model = skxmc.load(folder, device="cpu")
    X, Y = saved_models.documents(folder.name)
    if isinstance(model, skxmc.EnsembleClassifier):
        model.set_params(warm_start=True).fit(X, Y)
        assert np.isfinite(model.predict_topk(X)[1]).all()
        return
    n_before = model.n_labels_
    Y = sp.hstack([Y, Y[:, :1]], format="csr") if model._y_kind != "single" else None
    if Y is None:
        Y = np.resize(model.classes_, 24)
    if model.label_texts is not None:
        model.set_params(label_texts=[*model.label_texts, "one more"])
    names = model.label_names
    model.set_params(
        warm_start=True, label_names=None if names is None else [*names, "new"]
    )
    model.fit(X, Y)
    assert model.n_labels_ == n_before + (model._y_kind != "single")
    assert np.isfinite(model.predict_topk(X)[1]).all()


@pytest.mark.parametrize("kind", [G, D, T])
def test_weights_of_documents(kind, tiny_encoder, data):
    texts, Y, _ = data
    texts = [f"{text} {i}" for i, text in enumerate(texts)]
    model = make(kind, tiny_encoder, neighbor_weight=1, warm_start=True)
    model.set_params(validation_fraction=0).fit(texts[:30], Y[:30])
    weights = np.where(np.arange(30) < 10, 0, 2.0)  # 10 documents are left out
    model.fit(texts[30:], Y[30:], weights)
    votes = model.network_.neighbors
    assert model.n_docs_ == 60
    assert_array_equal(votes.rows.sort().values, np.arange(10, 60))
    counts = votes.counts[votes.rows.argsort()].numpy()
    assert_array_equal(counts, np.repeat([2.0, 1.0], [20, 30]))
    expected = np.asarray(Y[:30].sum(axis=0) + 2 * Y[40:].sum(axis=0)).ravel()
    assert_array_equal(model.label_counts_, expected)
    # Documents whose weight is not 1 go on voting with their weight.
    model.fit(texts[:30], Y[:30])
    votes = model.network_.neighbors
    assert model.n_docs_ == 50 and set(votes.counts.tolist()) == {1.0, 2.0}
    assert_array_equal(model.label_counts_, expected)
