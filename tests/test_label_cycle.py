"""LightDXML's cycle: training of label vectors, and shortlists in batches."""

import copy
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightdxml_examples import (
    DIM,
    EMPTY,
    N_DOCS,
    N_LABELS,
    ORDER,
    make_cycle,
    make_data,
    make_network,
    vectors_of,
)
from torch.nn.functional import normalize
from toy_network import ALL_DONE

from skxmc.nn import label_cycle
from skxmc.nn.label_cycle import (
    LabelEncoderExamples,
    LabelEncoderTraining,
    drop_positives,
)
from skxmc.nn.labels import label_means
from skxmc.nn.networks import lightdxml
from skxmc.nn.search import has_hnswlib
from skxmc.nn.sparse_encoder import LabelEncoder
from skxmc.nn.text import padded_columns
from skxmc.nn.training import train

# --- label encoder ----------------------------------------------------------


def pairs_of(Y):
    """(document, label) of each entry of Y, row by row."""
    return [(i, j) for i in range(Y.shape[0]) for j in Y[[i]].indices]


@pytest.mark.parametrize("seed", range(3))
def test_label_encoder_loss(seed):
    rng = np.random.default_rng(seed)
    _, Y = make_data(seed=seed)
    docs = torch.from_numpy(rng.random((N_DOCS, DIM)))
    means = torch.from_numpy(rng.random((N_LABELS, DIM)))
    rows = rng.permutation(Y.nnz)[:9]
    encoder = LabelEncoder(DIM, 4).double()
    module = LabelEncoderTraining(encoder)
    found = module(*LabelEncoderExamples(docs, means, Y).batch(rows), ALL_DONE)
    labels = encoder(means).detach().numpy()
    pairs = [pairs_of(Y)[row] for row in rows]
    gaps = [docs[i].numpy() - labels[j] for i, j in pairs]
    expected = np.mean([np.log1p(gap @ gap) for gap in gaps])
    assert found.item() == pytest.approx(expected)
    found.backward()
    assert all((p.grad != 0).any() for p in encoder.parameters())


def test_batches_of_pairs():
    _, Y = make_data()
    docs, means = torch.arange(12.0)[:, None], 100 + torch.arange(11.0)[:, None]
    data = LabelEncoderExamples(docs, means, Y)
    assert data.rows.tolist() == [*range(Y.nnz)] and len(data.lengths) == Y.nnz
    assert EMPTY not in data.owners
    rows = np.array([Y.nnz - 1, 4, 0, 5])
    inputs, targets = data.batch(rows)
    pairs = zip(
        targets["docs"].flatten().tolist(),
        inputs["means"][targets["label"]].flatten().tolist(),
        strict=True,
    )
    expected = [(i, 100.0 + j) for i, j in (pairs_of(Y)[row] for row in rows)]
    assert [*pairs] == expected
    assert len(inputs["means"]) == len({j for _, j in expected})  # each once


@pytest.mark.parametrize("pairs_at_once", [1, 5, 10_000])
def test_mean_distance(pairs_at_once, monkeypatch):
    monkeypatch.setattr(label_cycle, "_PAIRS_AT_ONCE", pairs_at_once)
    rng = np.random.default_rng(0)
    _, Y = make_data()
    docs, labels = (torch.from_numpy(rng.random((n, DIM))) for n in Y.shape)
    examples = LabelEncoderExamples(docs, torch.zeros(N_LABELS, DIM), Y)
    gaps = [(docs[i] - labels[j]).numpy() for i, j in pairs_of(Y)]
    expected = np.mean([np.log1p(gap @ gap) for gap in gaps])
    assert examples.mean_distance(labels) == pytest.approx(expected)


def test_batches_carry_shortlists():
    docs, Y = make_data()
    examples = make_cycle(make_network(), rows=np.array([1, 4, 7]))
    examples.shortlists = np.array([[1, 2], [3, 4], [5, 6]], np.int32)
    rows = np.array([4, 1])
    inputs, targets = examples.batch(rows)
    assert targets["shortlist"].tolist() == [[3, 4], [1, 2]]
    assert targets["shortlist"].dtype == torch.int64
    assert torch.equal(targets["positives"], padded_columns(Y, rows))
    assert set(targets) == {"shortlist", "positives"}
    assert inputs.keys() == {"features", "weights"}
    for name, values in docs.batch(rows).items():
        assert torch.equal(inputs[name], values)


@pytest.mark.parametrize("n_texts, text_negatives", [(3, 0.1), (3, 1.0), (0, 0.1)])
def test_batches_carry_weights_of_label_texts(n_texts, text_negatives):
    rows = np.array([4, N_DOCS - 1, 1, N_DOCS - 3, N_DOCS - 4])
    examples = make_cycle(
        make_network(),
        rows=np.arange(N_DOCS),
        n_texts=n_texts,
        text_negatives=text_negatives,
    )
    examples.shortlists = np.zeros((N_DOCS, 2), np.int32)
    _, targets = examples.batch(rows)
    if n_texts and text_negatives != 1:
        expected = torch.tensor([1, 0.1, 1, 0.1, 1])
        torch.testing.assert_close(targets["weights"], expected)
    else:
        assert "weights" not in targets


# --- the cycle --------------------------------------------------------------


def all_vectors(network, docs):
    with torch.no_grad():
        return vectors_of(network, docs.batch(np.arange(len(docs))))


def label_vectors_of(network, vectors, Y):
    """Label encoder of the means of the labels' documents, in a loop."""
    labels = torch.cat([network.frequent, network.indexed]).tolist()
    dense = torch.from_numpy(Y.toarray() > 0)
    means = torch.stack([vectors[dense[:, j]].mean(dim=0) for j in labels])
    with torch.no_grad():
        return network.label_encoder(means)


def shortlists_of(network, vectors, Y):
    """Labels of the largest cosines, less the positives, as sets."""
    labels = network.label_vectors[len(network.frequent) :]
    cosines = torch.cosine_similarity(vectors[:, None], labels[None], dim=2)
    n = min(network.n_shortlist, len(network.indexed))
    best = network.indexed[cosines.argsort(dim=1, descending=True)[:, :n]]
    dense = Y.toarray() > 0
    return [
        {int(j) for j in row if not own[j]}
        for row, own in zip(best, dense, strict=True)
    ]


def assert_shortlists(network, cycle, vectors):
    rows = cycle.rows
    expected = shortlists_of(network, vectors, cycle.Y)
    found = cycle.batch(rows)[1]["shortlist"]
    n = min(network.n_shortlist, len(network.indexed))
    assert found.shape == (len(rows), n)
    for i, row in zip(rows, found.tolist(), strict=True):
        real = [j for j in row if j < N_LABELS]
        assert len(real) == len(set(real)) and set(real) == expected[i]
        assert set(row) <= {*real, N_LABELS}


@pytest.mark.parametrize("n_frequent", [0, 3, 9])
@pytest.mark.parametrize("n_shortlist", [1, 4, 99])
@pytest.mark.parametrize("docs_at_once", [2, 1024])
def test_a_turn(n_frequent, n_shortlist, docs_at_once, monkeypatch):
    monkeypatch.setattr(label_cycle, "_DOCS_AT_ONCE", docs_at_once)
    network = make_network(n_frequent, n_shortlist=n_shortlist, dropout=0.5).train()
    cycle = make_cycle(network, n_docs=30)
    before = copy.deepcopy(network.state_dict())
    cycle.begin_epoch(1)
    after = network.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    learned = {f"label_encoder.{name}" for name, _ in cycle_parameters(network)}
    assert moved == {"label_vectors", "n_turns", *learned}
    assert network.training and network.encoder.training
    vectors = all_vectors(network, cycle.docs)  # without dropout
    expected = label_vectors_of(network, vectors, cycle.Y)
    torch.testing.assert_close(network.label_vectors, normalize(expected, dim=1))
    assert_shortlists(network, cycle, vectors)


def cycle_parameters(network):
    return network.label_encoder.named_parameters()


def test_a_turn_trains_the_label_encoder():
    network = make_network()
    cycle = make_cycle(network, n_docs=30, max_epochs=20)
    vectors = all_vectors(network, cycle.docs)
    network.label_encoder.second.bias.data += 0.5

    def distance():
        labels = label_vectors_of(network, vectors, cycle.Y)
        order = torch.cat([network.frequent, network.indexed]).tolist()
        rows, columns = cycle.Y.nonzero()
        places = [order.index(j) for j in columns]
        return (vectors[rows] - labels[places]).square().sum(dim=1).log1p().mean()

    first = distance()
    cycle.begin_epoch(1)
    assert distance() < 0.95 * first


@pytest.mark.parametrize("activation", ["relu", "none"])
def test_a_label_encoder_that_gets_worse_keeps_its_start(activation):
    network = make_network()
    network.label_encoder.activation = activation
    before = copy.deepcopy(network.label_encoder.state_dict())
    cycle = make_cycle(network, n_docs=30, learning_rate=3.0, head_learning_rate=3.0)
    cycle.begin_epoch(1)
    after = network.label_encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    expected = label_vectors_of(network, all_vectors(network, cycle.docs), cycle.Y)
    torch.testing.assert_close(network.label_vectors, normalize(expected, dim=1))


def test_no_label_epochs_leave_the_means():
    network = make_network()
    cycle = make_cycle(network, n_docs=30, max_epochs=0)
    state = cycle.rng.bit_generator.state
    vectors = cycle.renew_label_vectors()
    assert cycle.rng.bit_generator.state == state
    labels = torch.cat([network.frequent, network.indexed]).numpy()
    means = label_means(vectors.numpy(), cycle.Y[cycle.rows])[labels]
    expected = normalize(torch.from_numpy(means), dim=1)
    torch.testing.assert_close(network.label_vectors, expected)


def test_zero_label_vectors_are_told():
    network = make_network()
    network.label_encoder.second.bias.data -= 100
    cycle = make_cycle(network, n_docs=30)
    with pytest.warns(UserWarning, match="vectors of 10 of 10 labels are zero"):
        cycle.begin_epoch(1)


def test_zero_means_are_not_told():
    network = make_network()
    network.encoder.features.table.data.zero_()
    network.encoder.block.bias.data.zero_()
    cycle = make_cycle(network, n_docs=30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cycle.begin_epoch(1)
    assert not network.label_vectors.any()


def test_every_turn_goes_on_from_the_last_and_reads_documents_anew():
    network = make_network()
    cycle = make_cycle(network, n_docs=30, every=1)
    cycle.begin_epoch(1)
    weights = copy.deepcopy(network.label_encoder.state_dict())
    network.encoder.features.table.data *= -1
    cycle.label_options["head_learning_rate"] = 0.0
    cycle.begin_epoch(2)
    for name, weight in network.label_encoder.state_dict().items():
        assert torch.equal(weight, weights[name])
    vectors = all_vectors(network, cycle.docs)
    expected = label_vectors_of(network, vectors, cycle.Y)
    torch.testing.assert_close(network.label_vectors, normalize(expected, dim=1))
    assert_shortlists(network, cycle, vectors)
    assert int(network.n_turns) == 2


@pytest.mark.parametrize(
    "every, turns", [(None, [1]), (1, [1, 2, 3, 4, 5]), (2, [1, 3, 5]), (4, [1, 5])]
)
def test_epochs_before_which_it_turns(every, turns):
    network = make_network()
    cycle = make_cycle(network, every=every)
    found = []
    for epoch in range(1, 6):
        before = int(network.n_turns)
        cycle.begin_epoch(epoch)
        found += [epoch] * (int(network.n_turns) - before)
    assert found == turns


@pytest.mark.parametrize("n_epochs", range(1, 9))
@pytest.mark.parametrize("every", [1, 2, 3, 4])
def test_turns_are_those_of_the_paper(n_epochs, every):
    network = make_network()
    cycle = make_cycle(network, every=every)
    before = sum((epoch - 1) % every == 0 for epoch in range(1, n_epochs + 1))
    last = cycle.ends_with_a_turn(n_epochs, n_epochs)
    assert before + last == n_epochs // every + 1
    assert not cycle.ends_with_a_turn(n_epochs - 1, n_epochs)


def test_without_refreshing_there_is_no_last_turn():
    cycle = make_cycle(make_network(), every=None)
    assert cycle.ends_with_a_turn(4, 4) is False


@pytest.mark.parametrize("label_init", ["documents", "random"])
def test_the_first_turn_may_start_the_classifier(label_init):
    network = make_network(n_shortlist=4)
    cycle = make_cycle(network, every=1, label_init=label_init)
    heads = network.ranker.identity, network.frequent_ranker.weight
    before = [head.detach().clone() for head in heads]
    cycle.begin_epoch(1)
    first = [head.detach().clone() for head in heads]
    cycle.begin_epoch(2)
    assert all(torch.equal(*pair) for pair in zip(first, heads, strict=True))
    if label_init == "random":
        assert all(torch.equal(*pair) for pair in zip(first, before, strict=True))
        return
    # The logit rises by 10 with the cosine for documents of the mean length.
    lengths = all_vectors(network, cycle.docs)[cycle.rows].norm(dim=1)
    scaled = first[1] * lengths.mean() / 10
    scaled_by_row = first[0][network.indexed, :DIM] * lengths.mean() / 10
    torch.testing.assert_close(scaled.norm(dim=1), torch.ones(3).double())
    torch.testing.assert_close(scaled_by_row.norm(dim=1), torch.ones(7).double())


def test_all_labels_frequent_need_no_shortlist():
    network = make_network(len(ORDER), n_shortlist=4)
    cycle = make_cycle(network)
    cycle.begin_epoch(1)
    assert cycle.batch(cycle.rows)[1]["shortlist"].shape == (len(cycle.rows), 0)


def test_shortlists_on_disk_are_those_in_memory(monkeypatch):
    lists = []
    for limit in (label_cycle._IN_MEMORY, 100):
        monkeypatch.setattr(label_cycle, "_IN_MEMORY", limit)
        network = make_network(n_shortlist=5)
        cycle = make_cycle(network, n_docs=30)
        cycle.begin_epoch(1)
        lists.append(cycle.shortlists)
    assert not isinstance(lists[0], np.memmap) and isinstance(lists[1], np.memmap)
    assert lists[0].dtype == lists[1].dtype == np.int32
    np.testing.assert_array_equal(*lists)


def test_table_is_on_disk_beyond_a_size(monkeypatch):
    monkeypatch.setattr(label_cycle, "_IN_MEMORY", 4 * 6)
    assert not isinstance(label_cycle._make_table((2, 3)), np.memmap)
    table = label_cycle._make_table((7, 1))
    assert isinstance(table, np.memmap) and table.shape == (7, 1)
    table[:] = 3
    assert (table == 3).all()


@pytest.mark.skipif(not has_hnswlib(), reason="needs hnswlib")
@pytest.mark.parametrize("limit, exact", [(7, True), (6, False)])
def test_a_graph_serves_batches_where_it_pays(limit, exact, monkeypatch):
    monkeypatch.setattr(lightdxml, "_EXACT_IN_BATCHES", limit)
    network = make_network(exact=False, n_shortlist=4)
    cycle = make_cycle(network)
    cycle.begin_epoch(1)
    assert (network.index.graph is None) == exact
    assert_shortlists(network, cycle, all_vectors(network, cycle.docs))


@pytest.mark.parametrize("what", ["encoder", "label encoder"])
def test_divergence_is_told(what):
    network = make_network()
    cycle = make_cycle(network)
    if what == "encoder":
        network.encoder.block.bias.data[0] = torch.nan
    else:
        cycle.label_options["head_learning_rate"] = 1e300
    with pytest.raises(ValueError, match="Training diverged: .*label_learning_rate"):
        cycle.begin_epoch(1)


def test_it_all_trains_together():
    network = make_network(n_shortlist=4).train()
    cycle = make_cycle(network, n_docs=40, label_init="documents")
    history = []
    train(
        network,
        cycle,
        rng=np.random.default_rng(0),
        history=history,
        max_epochs=20,
        batch_size=8,
        learning_rate=3e-2,
        head_learning_rate=3e-2,
        weight_decay=0.0,
        warmup=0.0,
        precision="fp64",
    )
    assert history[-1]["loss"] < 0.6 * history[0]["loss"]


def test_document_vectors_are_read_in_evaluation_mode():
    network = make_network(dropout=0.5).train()
    cycle = make_cycle(network, n_docs=30)
    one, two = cycle._encode_documents(), cycle._encode_documents()
    assert torch.equal(one, two) and network.encoder.dropout.training
    expected = all_vectors(network, cycle.docs)[cycle.rows]
    torch.testing.assert_close(one, expected)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n_docs=st.integers(1, 6),
    n_labels=st.integers(1, 9),
    width=st.integers(0, 9),
)
def test_drop_positives(seed, n_docs, n_labels, width):
    rng = np.random.default_rng(seed)
    width = min(width, n_labels)
    ids = np.array([rng.permutation(n_labels)[:width] for _ in range(n_docs)])
    ids = ids.reshape(n_docs, width).astype(np.int64)
    n_positives = rng.integers(1, n_labels + 1)
    positives = np.array([rng.permutation(n_labels) for _ in range(n_docs)])
    positives = positives[:, :n_positives].astype(np.int64)
    positives[rng.random(positives.shape) < 0.4] = n_labels
    found = drop_positives(torch.from_numpy(ids), torch.from_numpy(positives), n_labels)
    expected = [
        [n_labels if j in own else j for j in row]
        for row, own in zip(ids.tolist(), positives.tolist(), strict=True)
    ]
    assert found.tolist() == expected
