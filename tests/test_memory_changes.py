"""Indexes and memories that grow and shrink, and documents that come and go."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from persistence_examples import D, G, L, T, U, make, needs_hnswlib, sign
from safetensors.torch import load_file, save_file
from test_search import assert_nearest, make_vectors, ways

import skxmc
from skxmc import _neighbors
from skxmc.inspection import explain
from skxmc.nn.neighbors import NeighborVotes
from skxmc.nn.search import NearestVectors
from skxmc.nn.state import check_state, from_state, to_state

VOTING = dict(neighbor_weight=1.5, n_voters=3)


# --- the index --------------------------------------------------------------


def restore(index):
    """The index after a way through a folder."""
    state = to_state(index)
    again = from_state(NearestVectors, copy.deepcopy(state))
    check_state(again, "index")
    return again


@ways
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n_first=st.integers(2, 12),
    steps=st.lists(st.tuples(st.booleans(), st.integers(1, 4)), max_size=5),
)
def test_an_index_that_changes_finds_what_is_left(exact, seed, n_first, steps):
    vectors = make_vectors(n_first + 20, 6, seed % 1000)
    generator = torch.Generator().manual_seed(seed)
    index, n_given = NearestVectors(vectors[:n_first], exact=exact), n_first
    held = torch.arange(n_first)  # number of the vector at each place
    for grows, n in steps:
        places = index.found_places()
        if grows:
            index = index.add(vectors[n_given : n_given + n])
            held = torch.cat([held, torch.arange(n_given, n_given + n)])
            n_given += n
        elif index.n_found > n:
            chosen = torch.randperm(len(places), generator=generator)[:n]
            index, kept = index.remove(places[chosen])
            held = held[kept]
        assert index.n_vectors == len(held)
        assert index.n_found <= index.n_vectors
    places = index.found_places()
    left = vectors[held[places]]
    for each in (index, restore(index), pickle.loads(pickle.dumps(index))):
        for k in (1, 3, 40):
            queries = make_vectors(4, 6, seed=7)
            ids, cosines = each.search(queries, k)
            assert torch.isin(ids, places).all()
            local = torch.searchsorted(places, ids)
            assert_nearest((local, cosines), queries, left, k)


@ways
def test_a_changed_index_leaves_the_one_before_alone(exact):
    vectors, queries = make_vectors(50), make_vectors(5, seed=1)
    index = NearestVectors(vectors, exact=exact)
    before = index.search(queries, 7)
    index.add(make_vectors(3, seed=2))
    index.remove(torch.tensor([3, 4]))
    for found, expected in zip(index.search(queries, 7), before, strict=True):
        assert torch.equal(found, expected)
    assert index.n_vectors == index.n_found == 50


@needs_hnswlib
def test_a_graph_grows_in_the_same_way_after_a_folder():
    vectors, more = make_vectors(60), make_vectors(40, seed=3)
    index = NearestVectors(vectors, exact=False, n_links=16, build_width=100)
    one, other = (i.add(more, build_width=100) for i in (index, restore(index)))
    states = [to_state(each) for each in (one, other)]
    for name in ("lowest", "upper", "levels"):
        assert torch.equal(*(state["graph"][name] for state in states))


@needs_hnswlib
def test_a_graph_with_few_vectors_left_is_built_again():
    vectors = make_vectors(40)
    index, kept = NearestVectors(vectors, exact=False).remove(torch.arange(15))
    assert (index.n_vectors, index.n_found) == (40, 25)
    assert_array_equal(index.deleted, np.arange(15))
    index, kept = index.remove(torch.arange(20, 30))
    assert (index.n_vectors, index.n_found, index.deleted) == (15, 15, None)
    assert_array_equal(kept, [*range(15, 20), *range(30, 40)])


@needs_hnswlib
@pytest.mark.parametrize(
    "deleted",
    [
        torch.tensor([3, 3]),
        torch.tensor([4, 3]),
        torch.tensor([40]),
        torch.tensor([-1]),
        torch.tensor([], dtype=torch.int64),
        torch.arange(40),
        torch.tensor([1.0]),
        [3],
        "all",
    ],
)
def test_crafted_deletions(deleted):
    index, _ = NearestVectors(make_vectors(40), exact=False).remove(torch.tensor([3]))
    state = to_state(index) | {"deleted": deleted}
    with pytest.raises(ValueError, match="deleted"):
        from_state(NearestVectors, state)


def test_an_exact_index_has_no_deletions():
    state = to_state(NearestVectors(make_vectors(4))) | {"deleted": torch.tensor([1])}
    with pytest.raises(ValueError, match="deleted must be None"):
        check_state(from_state(NearestVectors, state), "index", state)


# --- the memory -------------------------------------------------------------


def draw_memory(rng, n_docs, n_labels):
    labels = [rng.permutation(n_labels)[: rng.integers(1, 4)] for _ in range(n_docs)]
    vectors = torch.from_numpy(rng.standard_normal((n_docs, 5))).float()
    indptr = np.append(0, np.cumsum([len(row) for row in labels]))
    ids = torch.from_numpy(np.concatenate(labels))
    return labels, vectors, torch.from_numpy(indptr), ids


def labels_by_row(votes):
    """The labels of each document that may vote, by its row."""
    found = {}
    for place in votes.index.found_places().tolist():
        start, end = votes.indptr[place], votes.indptr[place + 1]
        found[int(votes.rows[place])] = sorted(votes.ids[start:end].tolist())
    return found


@ways
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_memory_that_changes_knows_the_labels_that_are_left(exact, seed):
    rng = np.random.default_rng(seed)
    n_labels = 6
    labels, vectors, indptr, ids = draw_memory(rng, 14, n_labels)
    votes = NeighborVotes(
        vectors[:8],
        indptr[:9],
        ids[: indptr[8]],
        torch.arange(8) * 10,
        n_labels=n_labels,
        exact=exact,
    )
    more = indptr[8:] - indptr[8], ids[indptr[8] :], 100 + torch.arange(6)
    votes = votes.add_documents(vectors[8:], *more, exact=exact)
    rows = [*range(0, 80, 10), *range(100, 106)]
    expected = {r: sorted(x.tolist()) for r, x in zip(rows, labels, strict=True)}
    assert labels_by_row(votes) == expected

    gone = rng.permutation(rows)[:4]
    places = votes.find_rows(torch.from_numpy(gone))
    assert (places >= 0).all()
    votes = votes.remove_documents(places)
    expected = {r: x for r, x in expected.items() if r not in gone}
    assert labels_by_row(votes) == expected
    assert (votes.find_rows(torch.from_numpy(gone)) == -1).all()
    assert votes.find_rows(torch.tensor([7])).tolist() == [-1]

    kept = rng.permutation(n_labels)[:3]
    columns = {int(label): j for j, label in enumerate(kept)}
    moved = torch.tensor([columns.get(label, -1) for label in range(n_labels)])
    votes = votes.keep_labels(moved, 3)
    expected = {
        row: sorted(columns[label] for label in ids if label in columns)
        for row, ids in expected.items()
    }
    expected = {row: ids for row, ids in expected.items() if ids}
    assert (labels_by_row(votes) if votes is not None else {}) == expected
    if votes is not None:
        check_state(votes, "votes", to_state(votes))
        places = votes.index.found_places()
        assert votes.remove_documents(places) is None


@pytest.mark.parametrize("change", ["add", "remove", "keep labels"])
def test_a_changed_memory_is_copied_to_its_device_anew(change):
    vectors, indptr, ids = make_vectors(5), torch.arange(6), torch.arange(5)
    votes = NeighborVotes(vectors, indptr, ids, torch.arange(5), n_labels=5)
    device = torch.device("meta")  # stands for a GPU
    assert votes._on(device)[0].n_vectors == 5
    if change == "add":
        more = vectors[:1], torch.tensor([0, 1]), ids[:1], torch.tensor([5])
        changed = votes.add_documents(*more, exact=True)
    elif change == "remove":
        changed = votes.remove_documents(torch.tensor([2]))
    else:
        changed = votes.keep_labels(torch.tensor([0, 1, 2, 3, -1]), 4)
    index, indptr, ids = changed._on(device)
    assert index.n_vectors == changed.n_found != 5
    assert len(indptr) == changed.n_found + 1 and len(ids) == changed.n_found
    assert votes._on(device)[0].n_vectors == 5


# --- classifiers ------------------------------------------------------------


@pytest.fixture(scope="module")
def data(colours):
    texts, Y, words = colours
    return dict(texts=texts, words=words, Y=Y.tocsr())


@pytest.fixture(params=[pytest.param(False, id="exact"), "graph"])
def graph(request, monkeypatch):
    if request.param:
        pytest.importorskip("hnswlib")
        monkeypatch.setattr(_neighbors, "_MAX_EXACT", 3)


def fit_some(kind, data, encoder=None, n=40, **params):
    """A classifier of the first documents, with all labels."""
    options = dict(label_texts=data["words"], validation_fraction=0) | VOTING
    model = make(kind, encoder, **options | params)
    return model.fit(data["texts"][:n], data["Y"][:n])


@pytest.mark.parametrize("kind", [G, L, D, T, U])
def test_documents_are_remembered(kind, data, tiny_encoder, graph, tmp_path):
    model = fit_some(kind, data, tiny_encoder)
    weights = {n: t.clone() for n, t in model.network_.state_dict().items()}
    texts, Y = data["texts"][40:], data["Y"][40:]
    assert model.add_documents(texts, Y) is model
    for name, weight in model.network_.state_dict().items():
        assert torch.equal(weight, weights[name])
    assert model.n_docs_ == 60
    assert_array_equal(model.label_counts_, data["Y"].sum(axis=0))
    distances, rows = model.kneighbors(texts, 1)
    assert_allclose(distances, 0, atol=2e-3)
    assert ((rows >= 0) & (rows < 60)).all()
    # Every text is its own neighbour, or another one has the same vector.
    for found, text in zip(rows[:, 0], texts, strict=True):
        if kind in (G, D):
            assert data["texts"][found] == text
    # Label texts keep rows of their own, behind those of all documents.
    every = model.kneighbors(data["words"], model.network_.neighbors.n_found)[1]
    assert set(every[0].tolist()) == set(range(60 + 12))
    model.save_pretrained(tmp_path / "model")
    loaded = skxmc.load(tmp_path / "model")
    assert_array_equal(model.kneighbors(texts), loaded.kneighbors(texts))
    more = [m.add_documents(["red fox"], Y[[0]]) for m in (model, loaded)]
    assert_array_equal(*(m.kneighbors(["red fox"])[1] for m in more))


def test_a_correction_counts_at_once(data, graph):
    model = fit_some(D, data, neighbor_weight=9.0)
    text = data["texts"][0]
    wrong = np.flatnonzero(data["Y"][[0]].toarray()[0] == 0)[:2]
    right = sp.csr_array(np.isin(np.arange(12), wrong)[None].astype(float))
    before = model.predict_topk([text], 4)[0][0]
    model.forget_documents(0).add_documents([text], right)
    distances, rows = model.kneighbors([text], 1)
    assert rows.tolist() == [[40]] and distances[0, 0] < 1e-3
    after = model.predict_topk([text], 4)[0][0]
    assert set(wrong) <= set(after) and not set(wrong) <= set(before)
    label = int(wrong[0])
    assert 40 in [row for row, _ in explain(model, text, label).neighbors]


def test_forgotten_documents_vote_no_more(data, graph, tmp_path):
    model, texts = fit_some(D, data), data["texts"]
    model.forget_documents([3, 17, 17])
    model.forget_documents(np.array([5]))
    n_left = model.network_.neighbors.n_found
    assert n_left == 40 + 12 - 3
    model.save_pretrained(tmp_path / "model")
    for each in (model, skxmc.load(tmp_path / "model")):
        rows = each.kneighbors(texts[:2], n_left)[1]
        assert not {3, 5, 17} & set(rows.ravel().tolist())
    gone = data["Y"][[3, 5, 17]].sum(axis=0)
    assert_array_equal(model.label_counts_, data["Y"][:40].sum(axis=0) - gone)
    # The rows of others stay, and those of later documents come after all.
    model.add_documents(texts[:1], data["Y"][:1])
    assert model.n_docs_ == 41
    found = set(model.kneighbors(texts[:1], 2)[1].ravel().tolist())
    assert found == {0, 40}


def test_forgetting_restores_the_predictions(data, graph):
    model, texts = fit_some(D, data), data["texts"]
    before, rows = model.predict_topk(texts, 5), model.kneighbors(texts)[1]
    model.add_documents(texts[40:], data["Y"][40:])
    changed = model.predict_topk(texts, 5)
    assert not np.array_equal(changed[1], before[1])
    model.forget_documents(range(40, 60))
    for found, expected in zip(model.predict_topk(texts, 5), before, strict=True):
        assert_allclose(found, expected, rtol=1e-5)
    moved = np.where(rows >= 40, rows + 20, rows)  # those of label texts
    again = model.kneighbors(texts)[1]
    assert (again == moved).mean() > 0.9  # two texts may be equally near
    assert not set(range(40, 60)) & set(again.ravel().tolist())


def test_labels_come_with_documents(data, graph):
    texts, Y, words = data["texts"], data["Y"], data["words"]
    options = dict(validation_fraction=0, **VOTING)
    model = make(D, label_texts=words[:10], **options)
    model.fit(texts[:40], Y[:40, :10].tocsr())
    with pytest.raises(ValueError, match="12 label columns, 2 more than.*label_texts"):
        model.add_documents(texts[40:], Y[40:])
    model.add_documents(texts[40:], Y[40:], words[10:])
    assert model.label_names_.tolist() == words
    assert model.n_docs_ == 60
    counts = Y[:40, :10].sum(axis=0)
    assert_array_equal(model.label_counts_[:10] - counts, Y[40:, :10].sum(axis=0))
    votes = model.network_.neighbors
    known = labels_by_row(votes)
    assert known[59] == sorted(Y[[59]].indices.tolist())
    assert known[60 + 11] == [11] and known[60] == [0]
    # The documents vote for the new labels too.
    label = int(max(Y[[59]].indices))
    if label >= 10:
        assert 59 in [r for r, _ in explain(model, texts[59], label).neighbors]


def test_label_texts_of_removed_labels_leave(data, graph):
    model = fit_some(D, data)
    model.remove_labels([0, 11])
    votes = model.network_.neighbors
    known = labels_by_row(votes)
    assert [known[40 + j] for j in range(10)] == [[j] for j in range(10)]
    kept = data["Y"][:40].toarray()[:, 1:11]
    expected = {i: np.flatnonzero(row).tolist() for i, row in enumerate(kept)}
    assert {r: x for r, x in known.items() if r < 40} == {
        r: x for r, x in expected.items() if x
    }
    model.add_labels(["river bank"])
    assert labels_by_row(model.network_.neighbors)[50] == [10]


def test_documents_without_labels_are_counted_alone(data):
    model = fit_some(D, data)
    n_known = model.network_.neighbors.n_found
    Y = sp.csr_array((2, 12))
    model.add_documents(["red", "fox"], Y)
    assert model.n_docs_ == 42 and model.network_.neighbors.n_found == n_known
    assert model.kneighbors(["dark"], 1)[1].tolist() == [[42 + 11]]


def test_a_memory_becomes_a_graph_when_it_is_large(data, monkeypatch):
    pytest.importorskip("hnswlib")
    model = fit_some(D, data, n=40)
    assert model.network_.neighbors.index.graph is None
    monkeypatch.setattr(_neighbors, "_MAX_EXACT", 55)
    model.add_documents(data["texts"][40:], data["Y"][40:])
    votes = model.network_.neighbors
    assert votes.index.graph is not None and votes.index.half
    assert labels_by_row(votes)[41] == sorted(data["Y"][[41]].indices.tolist())


def test_classes_of_a_single_label(data):
    y = np.array([data["words"][row.argmax()] for row in data["Y"].toarray()])
    model = make(D, validation_fraction=0, **VOTING).fit(data["texts"][:40], y[:40])
    seen = np.isin(y, model.classes_)
    texts = [text for text, known in zip(data["texts"], seen, strict=True) if known]
    model.add_documents(texts, y[seen])
    assert model.n_docs_ == 40 + len(texts)
    with pytest.raises(ValueError, match="a class that fit has not seen"):
        model.add_documents(["red", "fox"], [y[0], "other"])
    with pytest.raises(ValueError, match="2 documents and y 1 values"):
        model.add_documents(["red", "fox"], [y[0]])


@pytest.mark.parametrize("method", ["add_documents", "forget_documents"])
def test_without_a_memory_nothing_is_remembered(method, data):
    model = fit_some(D, data, neighbor_weight=0)
    arguments = (["a"], data["Y"][[0]]) if method == "add_documents" else ([0],)
    with pytest.raises(ValueError, match="neighbor_weight is 0.*weight above 0"):
        getattr(model, method)(*arguments)


@pytest.mark.parametrize(
    "rows, match",
    [
        ([0, 99], r"Rows \[99\] are not in the memory"),
        ([-1], r"Rows \[-1\] are not"),
        ([3, 41], "Row 41 is no document: the text of label 1 votes with it"),
        ([0.5], "must be whole numbers"),
        (["a"], "must be whole numbers"),
        ([[0, 1]], r"shape \(1, 2\)"),
        (None, "must be whole numbers"),
        (True, "mask of True and False"),
        (np.arange(40) < 2, "mask of True and False"),
        (range(40), "all 40 documents that vote, and one must remain"),
    ],
)
def test_wrong_rows(rows, match, data):
    model = fit_some(D, data)
    votes = model.network_.neighbors
    with pytest.raises(ValueError, match=match):
        model.forget_documents(rows)
    assert model.network_.neighbors is votes


@pytest.mark.parametrize(
    "rows", [3, np.int32(3), np.array(3), {3}, range(3, 4), np.array([3, 3], "u8")]
)
def test_rows_in_any_form(rows, data):
    model = fit_some(D, data).forget_documents(rows)
    assert 3 not in model.network_.neighbors.rows
    with pytest.raises(ValueError, match="has been forgotten"):
        model.forget_documents(rows)


def test_held_out_documents_cannot_be_forgotten(data):
    model = fit_some(D, data, validation_fraction=0.3)
    held_out = np.setdiff1d(np.arange(40), model.network_.neighbors.rows)
    with pytest.raises(ValueError, match="was held out"):
        model.forget_documents(held_out[:1])


def test_failures_leave_the_memory_as_it_was(data):
    model = fit_some(D, data)
    votes, counts = model.network_.neighbors, model.label_counts_
    for X, y in (
        (["a", 5], data["Y"][:2]),
        (["a"], data["Y"][:2]),
        (["a"], 2 * data["Y"][[0]]),
        (np.eye(3), data["Y"][:3]),
        ([], data["Y"][:0]),
    ):
        with pytest.raises((ValueError, TypeError)):
            model.add_documents(X, y)
    assert model.network_.neighbors is votes and model.n_docs_ == 40
    assert model.label_counts_ is counts


@needs_hnswlib
def test_crafted_folders_of_changed_memories(data, monkeypatch, tmp_path):
    monkeypatch.setattr(_neighbors, "_MAX_EXACT", 3)
    model = fit_some(D, data).forget_documents([3])
    model.save_pretrained(tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    tensors = load_file(file)
    (name,) = [name for name in tensors if name.endswith("index.deleted")]
    tensors[name] = torch.tensor([2**40])
    save_file(tensors, file)
    sign(tmp_path / "model")
    with pytest.raises(ValueError, match="deleted"):
        skxmc.load(tmp_path / "model")
