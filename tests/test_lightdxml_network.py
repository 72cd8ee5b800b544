"""The network of LightDXML: its encoders, its loss and its ranking."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightdxml_examples import (
    DIM,
    N_DOCS,
    N_FEATURES,
    N_LABELS,
    NEVER,
    ORDER,
    make_batch,
    make_data,
    make_network,
    vectors_of,
)
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize, relu
from toy_network import ALL_DONE

from skxmc.nn.networks.lightdxml import mix_logarithms
from skxmc.nn.search import has_hnswlib
from skxmc.nn.sparse_encoder import LabelEncoder, SparseEncoder, SpectralBlock


def logits_of(network, batch):
    """The classifier's logits of all labels."""
    docs = vectors_of(network, batch)
    table = network.ranker.identity[:N_LABELS]
    logits = docs @ table[:, :DIM].T + table[:, DIM]
    head = network.frequent_ranker
    return logits.index_copy(1, network.frequent, docs @ head.weight.T + head.bias)


def cross_entropy(logits, is_positive, mask, weights=None):
    """Of the labels in the mask: their sum a document, and the mean of that."""
    each = binary_cross_entropy_with_logits(
        logits, is_positive.to(logits.dtype), reduction="none"
    )
    if weights is not None:
        each = torch.where(is_positive, each, weights[:, None] * each)
    return (each * mask).sum() / len(logits)


# --- encoders ---------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize("seed", range(3))
def test_spectral_block_has_norm_one(scale, seed):
    torch.manual_seed(seed)
    block = SpectralBlock(7, 0.0).double()
    block.weight.data = scale * torch.randn(7, 7, dtype=torch.float64)
    for _ in range(200):
        block(torch.zeros(1, 7, dtype=torch.float64))
    found = np.linalg.svd(block.normalised().detach().numpy(), compute_uv=False)
    assert found[0] == pytest.approx(1, abs=1e-6)
    largest = np.linalg.svd(block.weight.detach().numpy(), compute_uv=False)[0]
    expected = block.weight / largest
    torch.testing.assert_close(block.normalised(), expected, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_spectral_block_starts_as_the_identity():
    block = SpectralBlock(5, 0.0)
    torch.testing.assert_close(block.normalised(), torch.eye(5))
    states = torch.rand(4, 5)
    torch.testing.assert_close(block(states), 2 * states)
    torch.testing.assert_close(block(-states), -states)  # the ReLU


def test_only_training_moves_the_power_iteration():
    torch.manual_seed(0)
    block = SpectralBlock(5, 0.0)
    block.weight.data = torch.randn(5, 5)
    before = block.direction.clone()
    block.eval()(torch.rand(2, 5))
    assert torch.equal(block.direction, before)
    block.train()(torch.rand(2, 5))
    assert not torch.equal(block.direction, before)
    assert block.direction.norm().item() == pytest.approx(1)


def test_a_folded_weight_is_that_of_now():
    torch.manual_seed(0)
    block, states = SpectralBlock(5, 0.0), torch.rand(3, 5)
    block.bias.data = torch.rand(5)
    for _ in range(3):
        block.weight.data = torch.randn(5, 5)
        block.train()(states)  # moves the direction too
        expected = block.eval()(states).detach()
        with torch.inference_mode():
            for _ in range(2):
                assert torch.equal(block(states), expected)
        assert copy.deepcopy(block).double()(states.double()).dtype == torch.float64
    assert "folded" not in block.state_dict()


def test_spectral_block_of_zero_weights_is_finite():
    block = SpectralBlock(4, 0.0)
    block.weight.data.zero_()
    states = torch.rand(2, 4)
    torch.testing.assert_close(block(states), states)


@pytest.mark.parametrize("part", ["sum", "block"])
def test_dropout_on_the_sum_and_in_the_block(part):
    torch.manual_seed(0)
    encoder = SparseEncoder(torch.rand(N_FEATURES, DIM) + 1, dropout=0.5)
    (encoder.block if part == "sum" else encoder.dropout).eval()
    batch = make_data()[0].batch(np.arange(N_DOCS))
    one, two = encoder(batch), encoder(batch)
    assert not torch.equal(one, two)
    encoder.eval()
    assert torch.equal(encoder(batch), encoder(batch))
    # A word's vector lies in the positive: what is dropped from the sum is 0.
    assert (one == 0).any() == (part == "sum")


def test_document_vectors():
    network = make_network()
    batch, *_ = make_batch(network)
    expected = vectors_of(network, batch)
    torch.testing.assert_close(network.encoder(batch), expected)
    assert (expected >= 0).all() and (expected == 0).any()


@pytest.mark.parametrize("hidden_dim", [2, 6, 15])
def test_label_encoder_is_two_linear_maps_folded(hidden_dim):
    torch.manual_seed(0)
    folded = LabelEncoder(DIM, hidden_dim, activation="none")
    for parameter in folded.parameters():
        nn.init.normal_(parameter)
    means = torch.randn(5, DIM)
    expected = nn.Sequential(folded.first, folded.second)(means)
    torch.testing.assert_close(folded(means), expected, rtol=1e-4, atol=1e-4)
    assert (expected < 0).any()
    folded.activation = "relu"
    torch.testing.assert_close(folded(means), relu(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("hidden_dim", [DIM, 2 * DIM])
def test_label_encoder_starts_as_the_identity(hidden_dim):
    torch.manual_seed(0)
    means = torch.randn(5, DIM)
    for activation, expected in [("none", means), ("relu", relu(means))]:
        encoder = LabelEncoder(DIM, hidden_dim, activation=activation)
        torch.testing.assert_close(encoder(means), expected, rtol=1e-5, atol=1e-5)


# --- loss -------------------------------------------------------------------


def assert_loss_and_gradients(network, batch, targets, expected, gradient_by_row):
    """Demand a loss and what it teaches all parameters, those by row included."""
    loss = network(batch, targets, ALL_DONE)
    torch.testing.assert_close(loss, expected)
    taught = {
        name: parameter
        for name, parameter in network.named_parameters()
        if "label_encoder" not in name and parameter.numel()
    }
    wanted = torch.autograd.grad(expected, taught.values(), allow_unused=True)
    found = torch.autograd.grad(loss, taught.values(), allow_unused=True)
    by_row = {
        id(module.table): gradient_by_row(module)
        for module in (network.ranker, network.encoder.features)
    }
    for (name, p), one, two in zip(taught.items(), found, wanted, strict=True):
        one = by_row.get(id(p), one)
        taught_by_row = p is not network.ranker.identity or len(network.indexed)
        assert (two != 0).any() == bool(taught_by_row), name
        torch.testing.assert_close(one, two, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("n_frequent", [0, 3, N_LABELS])
def test_shortlists_of_all_labels_are_full_one_vs_all(n_frequent, gradient_by_row):
    every = torch.cat([ORDER, torch.tensor([NEVER])])
    network = make_network(n_frequent, order=every)
    network.requires_grad_()
    batch, targets, Y = make_batch(network)
    is_positive = torch.from_numpy(Y.toarray() > 0)
    logits = logits_of(network, batch)
    expected = cross_entropy(logits, is_positive, torch.ones_like(is_positive))
    assert_loss_and_gradients(network, batch, targets, expected, gradient_by_row)


@pytest.mark.parametrize("n_frequent", [0, 3])
@pytest.mark.parametrize("n_shortlist", [1, 4])
@pytest.mark.parametrize("seed", range(3))
def test_loss_on_candidates(n_frequent, n_shortlist, seed, gradient_by_row):
    network = make_network(n_frequent, seed=seed)
    network.requires_grad_()
    batch, targets, Y = make_batch(network, n_shortlist, seed)
    is_positive = torch.from_numpy(Y.toarray() > 0)
    mask = is_positive.clone()
    mask[:, network.frequent] = True
    for row, labels in zip(mask, targets["shortlist"], strict=True):
        row[labels[labels < N_LABELS]] = True
    assert not mask.all() and (mask & ~is_positive).any()
    expected = cross_entropy(logits_of(network, batch), is_positive, mask)
    assert_loss_and_gradients(network, batch, targets, expected, gradient_by_row)


@pytest.mark.parametrize("n_frequent", [0, 3])
def test_loss_with_weights_of_negatives(n_frequent, gradient_by_row):
    network = make_network(n_frequent)
    network.requires_grad_()
    batch, targets, Y = make_batch(network, 4)
    targets["weights"] = torch.linspace(0.1, 1, Y.shape[0], dtype=torch.float64)
    is_positive = torch.from_numpy(Y.toarray() > 0)
    mask = is_positive.clone()
    mask[:, network.frequent] = True
    for row, labels in zip(mask, targets["shortlist"], strict=True):
        row[labels[labels < N_LABELS]] = True
    expected = cross_entropy(
        logits_of(network, batch), is_positive, mask, targets["weights"]
    )
    assert_loss_and_gradients(network, batch, targets, expected, gradient_by_row)


def candidates_of(network, batch, targets):
    """Labels that one training step scores by row, as a list a document."""
    network.ranker.touched.clear()
    network(batch, targets, ALL_DONE).backward()
    ((ids, *_),) = network.ranker.touched
    return [row[row < N_LABELS].tolist() for row in ids]


@pytest.mark.parametrize("n_random", [0, 2, 400])
@pytest.mark.parametrize("n_frequent", [0, 3])
def test_no_candidate_twice_and_none_that_is_frequent(n_random, n_frequent):
    network = make_network(n_frequent, n_random_negatives=n_random)
    network.train()
    batch, targets, Y = make_batch(network, 4)
    frequent = set(network.frequent.tolist())
    for row, own, listed in zip(
        candidates_of(network, batch, targets),
        Y.toarray() > 0,
        targets["shortlist"].tolist(),
        strict=True,
    ):
        own = set(np.flatnonzero(own)) - frequent
        listed = set(listed) - {N_LABELS}
        assert len(set(row)) == len(row)
        assert own | listed <= set(row) and not frequent & set(row)
        assert len(row) <= len(own | listed) + n_random
        if not n_random:
            assert set(row) == own | listed
        if n_random == 400:
            assert len(row) == N_LABELS - n_frequent  # by chance, but surely


def test_loss_with_random_negatives(gradient_by_row):
    network = make_network(n_random_negatives=3)
    network.requires_grad_()
    batch, targets, Y = make_batch(network, 2)
    is_positive = torch.from_numpy(Y.toarray() > 0)
    torch.manual_seed(5)
    mask = torch.zeros_like(is_positive)
    for row, labels in zip(mask, candidates_of(network, batch, targets), strict=True):
        row[labels] = True
    mask[:, network.frequent] = True
    network.ranker.touched.clear()
    network.encoder.features.touched.clear()
    expected = cross_entropy(logits_of(network, batch), is_positive, mask)
    torch.manual_seed(5)
    assert_loss_and_gradients(network, batch, targets, expected, gradient_by_row)


def test_random_negatives_are_drawn_anew_for_each_document():
    network = make_network(0, n_random_negatives=2)
    batch, targets, _ = make_batch(network, 0)
    nothing = torch.full_like(targets["positives"], N_LABELS)
    nothing = targets | {"positives": nothing}
    rows = [candidates_of(network, batch, nothing) for _ in range(40)]
    assert rows[0] != rows[1] and len(set(map(str, rows[0]))) > 1
    drawn = np.bincount(np.concatenate([c for row in rows for c in row]).astype(int))
    assert len(drawn) == N_LABELS and drawn.min() > 0.5 * drawn.mean()


def test_the_label_encoder_learns_nothing_from_the_classifier():
    network = make_network()
    batch, targets, _ = make_batch(network, 3)
    network(batch, targets, ALL_DONE).backward()
    assert all(p.grad is None for p in network.label_encoder.parameters())
    assert all(p.grad is not None for p in network.encoder.block.parameters())


# --- ranking ----------------------------------------------------------------


def probabilities_of(network, batch):
    """Of all labels in numpy; NaN where a label is not looked at."""
    docs = vectors_of(network, batch).detach().numpy()
    logits = logits_of(network, batch).detach().numpy()
    order = torch.cat([network.frequent, network.indexed]).numpy()
    cosines = np.full_like(logits, -np.inf)
    vectors = network.label_vectors.numpy()
    cosines[:, order] = (docs @ vectors.T) / np.outer(
        np.linalg.norm(docs, axis=1), np.linalg.norm(vectors, axis=1)
    )
    listed = cosines.copy()
    listed[:, network.frequent] = -np.inf
    n = min(network.predict_shortlist, len(network.indexed))
    seen = np.zeros_like(listed, bool)
    np.put_along_axis(seen, np.argsort(-listed, axis=1)[:, :n], True, axis=1)
    seen[:, network.frequent] = True
    by_cosine = 1 / (1 + np.exp(-cosines / network.shortlist_temperature))
    by_classifier = 1 / (1 + np.exp(-logits))
    mixture = network.beta * by_classifier + (1 - network.beta) * by_cosine
    return np.where(seen, mixture, np.nan)


def assert_ranks(ranked, scores, k):
    """Demand the k best of `scores`, which are NaN where nothing was ranked."""
    ids, found = (part.numpy() for part in ranked)
    assert ids.shape == found.shape == (len(scores), k)
    for row, values, wanted in zip(ids, found, scores, strict=True):
        order = np.argsort(-wanted)[: np.isfinite(wanted).sum()][:k]
        assert row.tolist() == [*order, *[N_LABELS] * (k - len(order))]
        np.testing.assert_allclose(values[: len(order)], wanted[order], rtol=1e-6)
        assert (values[len(order) :] == -np.inf).all()


@pytest.mark.parametrize("n_frequent", [0, 3, 10])
@pytest.mark.parametrize("beta", [0, 0.3, 1])
@pytest.mark.parametrize("temperature", [1.0, 0.2])
@torch.no_grad()
def test_ranking_by_classifier_and_shortlist(n_frequent, beta, temperature):
    options = dict(beta=beta, shortlist_temperature=temperature, predict_shortlist=4)
    network = make_network(n_frequent, **options)
    batch, *_ = make_batch(network)
    probabilities = probabilities_of(network, batch)
    assert np.isnan(probabilities[:, NEVER]).all()
    n_seen = n_frequent + min(4, 10 - n_frequent)
    assert (np.isfinite(probabilities).sum(axis=1) == n_seen).all()
    expected = np.log(probabilities / (1 - probabilities))
    for k in (1, 5, N_LABELS + 2):
        assert_ranks(network.rank(batch, k), expected, k)


@pytest.mark.parametrize("beta", [0, 0.3, 1])
@torch.no_grad()
def test_scores_of_single_labels_are_those_of_a_distribution(beta):
    network = make_network(beta=beta, predict_shortlist=4, single_label=True)
    batch, *_ = make_batch(network)
    probabilities = probabilities_of(network, batch)
    shares = probabilities / np.nansum(probabilities, axis=1, keepdims=True)
    assert_ranks(network.rank(batch, 7), np.log(shares), 7)
    totals = network.rank(batch, N_LABELS)[1].exp().sum(dim=1)
    torch.testing.assert_close(totals, torch.ones_like(totals))


@settings(max_examples=100, deadline=None)
@given(
    logit=st.floats(-30, 30),
    cosine=st.floats(-1, 1),
    beta=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    temperature=st.sampled_from([0.1, 1.0, 3.0]),
)
def test_mixture_in_logarithms(logit, cosine, beta, temperature):
    numbers = torch.tensor([[[logit]], [[cosine]]], dtype=torch.float64)
    found = mix_logarithms(*numbers, beta, temperature).exp().item()
    one, other = 1 / (1 + np.exp(-logit)), 1 / (1 + np.exp(-cosine / temperature))
    assert found == pytest.approx(beta * one + (1 - beta) * other, rel=1e-9)


@pytest.mark.parametrize("level", [-90, -300, -10_000])
@torch.no_grad()
def test_tail_does_not_underflow(level):
    network = make_network(beta=1.0, predict_shortlist=4)
    for table in (network.ranker.identity[:, DIM], network.frequent_ranker.bias):
        table += level
    batch, *_ = make_batch(network)
    logits = logits_of(network, batch)
    ids, scores = network.float().rank(batch, 7)
    assert scores.dtype == torch.float32 and scores.isfinite().all()
    # Log-odds of the classifier alone are its logits.
    torch.testing.assert_close(
        scores.double(), logits.gather(1, ids), rtol=1e-5, atol=1e-4
    )


@torch.no_grad()
def test_log_odds_of_labels_that_are_nearly_certain():
    # 1 - p = e**-40: in float32 p itself is 1.
    network = make_network(beta=1.0, predict_shortlist=4)
    network.frequent_ranker.bias += 40
    batch, *_ = make_batch(network)
    logits = logits_of(network, batch)
    ids, scores = network.float().rank(batch, 3)
    torch.testing.assert_close(
        scores.double(), logits.gather(1, ids), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("beta", [0, 0.5, 1])
@torch.no_grad()
def test_autocast_does_not_tie_what_is_near(beta):
    # Cosines near 1 of bfloat16 are 1/128 apart.
    network = make_network(0, beta=beta, predict_shortlist=10).float()
    vectors = torch.ones(10, DIM) + 1e-2 * torch.randn(10, DIM)
    network.label_vectors.copy_(normalize(vectors, dim=1))
    network.encoder.features.table.fill_(1.0)
    network.ranker.identity.copy_(0.1 + 1e-4 * torch.randn(N_LABELS + 1, DIM + 1))
    batch, *_ = make_batch(network)
    docs = network.encoder(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network.encoder.forward = lambda batch: docs
        found, scores = network.rank(batch, 10)
    assert scores.dtype == torch.float32
    expected = probabilities_by_float32(network, docs)
    by_label = scores.gather(1, found.argsort(dim=1))
    torch.testing.assert_close(by_label, expected, rtol=1e-4, atol=1e-4)


def probabilities_by_float32(network, docs):
    """Log-odds of the labels in their order, where all are looked at."""
    order = network.indexed
    vectors = network.label_vectors
    cosines = torch.cosine_similarity(docs[:, None], vectors[None], dim=2).double()
    rows = network.ranker.identity[order].double()
    logits = docs.double() @ rows[:, :DIM].T + rows[:, DIM]
    mixture = network.beta * logits.sigmoid() + (1 - network.beta) * cosines.sigmoid()
    return mixture.logit().float()


@torch.no_grad()
def test_a_zero_document_is_ranked():
    network = make_network(predict_shortlist=4)
    batch, *_ = make_batch(network)
    batch["weights"] = torch.zeros_like(batch["weights"])
    network.encoder.block.bias.zero_()
    ids, scores = network.rank(batch, 7)
    assert (network.encoder(batch) == 0).all()
    assert (ids < N_LABELS).all() and scores.isfinite().all()


@torch.no_grad()
def test_the_index_is_that_of_the_label_vectors_of_now():
    network = make_network(0, beta=0, predict_shortlist=3)
    batch, *_ = make_batch(network)
    before = network.rank(batch, 3)[0]
    assert network.search_index() is network.search_index()
    network.label_vectors.copy_(-network.label_vectors)
    network.n_turns += 1
    after = network.rank(batch, 3)[0]
    assert not (before == after).any()
    assert_ranks(network.rank(batch, 3), log_odds_of(network, batch), 3)


def log_odds_of(network, batch):
    probabilities = probabilities_of(network, batch)
    return np.log(probabilities / (1 - probabilities))


@pytest.mark.parametrize(
    "exact",
    [
        True,
        pytest.param(
            False, marks=pytest.mark.skipif(not has_hnswlib(), reason="needs hnswlib")
        ),
    ],
)
@torch.no_grad()
def test_copies_rank_the_same(exact):
    network = make_network(exact=exact, predict_shortlist=4)
    batch, *_ = make_batch(network)
    expected = network.rank(batch, 7)
    for again in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        # An exact index lies on the device; a graph took long to build.
        assert (again.index is None) == exact
        for one, two in zip(again.rank(batch, 7), expected, strict=True):
            torch.testing.assert_close(one, two)
    assert network.index is not None


def test_starting_classifier_scores_by_cosine():
    network = make_network()
    batch, *_ = make_batch(network)
    docs = vectors_of(network, batch).detach()
    before = network.ranker.identity[NEVER].clone()
    network.start_classifier(10.0, 2.0)
    vectors = network.label_vectors
    i, j = np.triu_indices(len(vectors), 1)
    cosines = (vectors @ vectors.T).numpy()[i, j]
    offset = -10 * (cosines.mean() + 3 * cosines.std(ddof=1))
    expected = docs @ vectors.T * 10 / 2 + offset  # the logit of cosine 1 at length 2
    order = torch.cat([network.frequent, network.indexed])
    found = logits_of(network, batch)[:, order]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(network.ranker.identity[NEVER], before)
    assert (network.ranker.identity[N_LABELS] == 0).all()  # padding


def test_memory_grows_with_what_is_classified():
    few = make_network(0, n_shortlist=1)
    assert few.n_candidates == 1
    more = make_network(0, n_shortlist=5, n_random_negatives=7)
    assert more.n_candidates == 12
    frequent = make_network(9, n_shortlist=5, n_random_negatives=7)
    floats = [n.floats_per_document(10) for n in (few, more, frequent)]
    assert few.encoder.floats_per_document(10) < floats[0] < floats[1] < floats[2]
    assert few.encoder.floats_per_document(11) > few.encoder.floats_per_document(10)
