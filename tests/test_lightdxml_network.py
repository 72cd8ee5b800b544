"""The network of LightDXML: label vectors, shortlists, its loss and its ranking."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize, relu
from toy_network import ALL_DONE

from skxmc._token_vectors import latent_vectors, mirror_vectors
from skxmc.nn import label_cycle
from skxmc.nn.heads import LabelScores
from skxmc.nn.label_cycle import (
    LabelEncoderExamples,
    LabelEncoderTraining,
    ShortlistedExamples,
    drop_positives,
)
from skxmc.nn.networks import lightdxml
from skxmc.nn.networks.lightdxml import (
    LabelEncoder,
    LightDXMLNetwork,
    SparseEncoder,
    SpectralBlock,
    mix_logarithms,
)
from skxmc.nn.prediction import map_batches
from skxmc.nn.search import has_hnswlib
from skxmc.nn.text import Features, padded_columns
from skxmc.nn.training import train

N_DOCS, N_FEATURES, N_LABELS, DIM = 12, 8, 11, 6
EMPTY = 3  # a document without labels
NEVER = 8  # a label without documents
# Labels from the most frequent on.
ORDER = torch.tensor([4, 0, 7, 2, 9, 1, 3, 5, 10, 6])
LABEL_TRAINING = dict(
    max_epochs=1,
    batch_size=4,
    learning_rate=1e-2,
    head_learning_rate=1e-2,
    weight_decay=0.0,
    warmup=0.0,
)


def make_network(n_frequent=3, *, order=ORDER, seed=0, dropout=0.0, **options):
    """A network of random weights in evaluation mode, in float64."""
    torch.manual_seed(seed)
    encoder = SparseEncoder(torch.randn(N_FEATURES, DIM), dropout=dropout)
    encoder.block.weight.data += 0.3 * torch.randn(DIM, DIM)
    encoder.block.bias.data = 0.3 * torch.randn(DIM)
    label_encoder = LabelEncoder(DIM, 2 * DIM)
    ranker = LabelScores(torch.randn(N_LABELS, DIM + 1), row_wise=True)
    indexed = order[n_frequent:].sort().values
    network = LightDXMLNetwork(
        encoder, label_encoder, ranker, order[:n_frequent], indexed, **options
    )
    network.label_vectors.copy_(torch.randn(len(order), DIM))
    network = network.double().eval()
    network.label_vectors = normalize(network.label_vectors, dim=1)
    converge(network.encoder.block)
    return network


def converge(block):
    """Let power iteration stand where it ends."""
    block.direction.copy_(torch.linalg.svd(block.weight.detach()).Vh[0])


def make_data(n_docs=N_DOCS, seed=0):
    rng = np.random.default_rng(seed)
    X = sp.random_array((n_docs, N_FEATURES), density=0.6, rng=rng, format="csr")
    Y = rng.random((n_docs, N_LABELS)) < 0.3
    Y[np.delete(np.arange(n_docs), EMPTY)[: len(ORDER)], ORDER] = True
    Y[EMPTY], Y[:, NEVER] = False, False
    return Features(X), sp.csr_array(Y.astype("f4"))


def make_batch(network, n_shortlist=None, seed=0):
    """Inputs and targets: shortlists at random, or all labels, less the positives."""
    docs, Y = make_data(seed=seed)
    rng = np.random.default_rng(seed)
    indexed = network.indexed.numpy()
    n = len(indexed) if n_shortlist is None else n_shortlist
    lists = np.array([rng.permutation(indexed)[:n] for _ in range(N_DOCS)])
    positives = padded_columns(Y, np.arange(N_DOCS))
    lists = torch.from_numpy(lists.reshape(N_DOCS, n).astype(np.int64))
    shortlist = drop_positives(lists, positives, N_LABELS)
    targets = {"positives": positives, "shortlist": shortlist}
    return docs.batch(np.arange(N_DOCS)), targets, Y


def vectors_of(network, batch):
    """Document vectors, by operations that torch differentiates."""
    encoder = network.encoder
    each = encoder.features.table[batch["features"]]
    states = relu((each * batch["weights"][:, :, None]).sum(dim=1))
    weight = encoder.block.weight / torch.linalg.matrix_norm(encoder.block.weight, 2)
    return relu(states @ weight.T + encoder.block.bias) + states


def logits_of(network, batch):
    """The classifier's logits of all labels."""
    docs = vectors_of(network, batch)
    table = network.ranker.identity[:N_LABELS]
    logits = docs @ table[:, :DIM].T + table[:, DIM]
    head = network.frequent_ranker
    return logits.index_copy(1, network.frequent, docs @ head.weight.T + head.bias)


def cross_entropy(logits, is_positive, mask):
    """Of the labels in the mask: their sum a document, and the mean of that."""
    each = binary_cross_entropy_with_logits(
        logits, is_positive.to(logits.dtype), reduction="none"
    )
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


# --- label encoder ----------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_label_encoder_loss(seed):
    rng = np.random.default_rng(seed)
    _, Y = make_data(seed=seed)
    docs = torch.from_numpy(rng.random((N_DOCS, DIM)))
    means = torch.from_numpy(rng.random((N_LABELS, DIM)))
    rows = rng.permutation(N_DOCS)[:5]
    encoder = LabelEncoder(DIM, 4).double()
    module = LabelEncoderTraining(encoder)
    found = module(*LabelEncoderExamples(docs, means, Y).batch(rows), ALL_DONE)
    labels = encoder(means).detach().numpy()
    gaps = [docs[i].numpy() - labels[j] for i in rows for j in Y[[i]].indices]
    expected = np.mean([np.log1p(gap @ gap) for gap in gaps])
    assert found.item() == pytest.approx(expected)
    found.backward()
    assert all((p.grad != 0).any() for p in encoder.parameters())


def test_batches_of_documents_and_labels():
    _, Y = make_data()
    docs, means = torch.arange(12.0)[:, None], 100 + torch.arange(11.0)[:, None]
    data = LabelEncoderExamples(docs, means, Y)
    rows = np.array([5, EMPTY, 0])
    inputs, targets = data.batch(rows)
    pairs = zip(
        targets["docs"][targets["doc"]].flatten().tolist(),
        inputs["means"][targets["label"]].flatten().tolist(),
        strict=True,
    )
    expected = [(i, 100.0 + j) for i in rows for j in Y[[i]].indices]
    assert sorted(pairs) == sorted(expected)
    assert len(inputs["means"]) == len(np.unique(Y[rows].indices))  # each once
    assert len(data.lengths) == 12 and data.rows.tolist() == [*range(12)]


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


# --- the cycle --------------------------------------------------------------


def make_cycle(
    network, *, n_docs=N_DOCS, rows=None, every=2, label_init="random", **label_params
):
    docs, Y = make_data(n_docs)
    return ShortlistedExamples(
        docs,
        Y,
        np.flatnonzero(np.diff(Y.indptr)) if rows is None else rows,
        network,
        every=every,
        label_init=label_init,
        rng=np.random.default_rng(0),
        batch_size=4,
        label_options=LABEL_TRAINING | label_params,
        options=dict(device="cpu", precision="fp64", verbose=0),
    )


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


# --- vectors of words -------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 3, 5])
def test_latent_vectors_are_principal_directions(dim):
    rng = np.random.default_rng(0)
    X = sp.csr_array((rng.random((40, 8)) * 1.7 ** -np.arange(8)).astype("f4"))
    torch.manual_seed(0)
    found = latent_vectors(X, dim).numpy()
    assert found.shape == (8, dim) and found.dtype == np.float32
    _, _, directions = np.linalg.svd(X.toarray(), full_matrices=False)
    agreement = np.abs((found * directions[:dim].T).sum(axis=0))  # of either sign
    np.testing.assert_allclose(agreement, 1, atol=1e-3)
    torch.manual_seed(0)
    np.testing.assert_array_equal(latent_vectors(X, dim), found)


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (1, 1)])
def test_latent_vectors_are_as_many_as_there_are(shape):
    X = sp.csr_array(np.random.default_rng(0).random(shape))
    assert latent_vectors(X, 20).shape == (shape[1], min(shape))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    width=st.integers(1, 7),
    dim=st.integers(2, 15),
    n_missing=st.integers(0, 5),
)
def test_mirror_vectors(seed, width, dim, n_missing):
    torch.manual_seed(seed)
    vectors = torch.randn(9, width)
    vectors[:n_missing] = 0
    found = mirror_vectors(vectors, dim)
    half = dim // 2
    assert found.shape == (9, dim) and found.isfinite().all()
    assert torch.equal(found[:, :half], -found[:, half : 2 * half])
    lengths = found[:, :half].norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(9))  # the missing ones, too
    if width == half:
        given = vectors[n_missing:]
        expected = given / given.norm(dim=1, keepdim=True)
        torch.testing.assert_close(found[n_missing:, :half], expected)
    if width < half:  # the given part keeps its direction
        one, two = found[n_missing:, :width], vectors[n_missing:]
        cosines = torch.cosine_similarity(one, two, dim=1)
        torch.testing.assert_close(cosines, torch.ones_like(cosines))


def test_wider_vectors_keep_their_principal_part():
    torch.manual_seed(0)
    vectors = torch.randn(50, 6) * 4.0 ** -torch.arange(6)
    found = mirror_vectors(vectors, 6)[:, :3]
    _, _, directions = np.linalg.svd(vectors.numpy(), full_matrices=False)
    kept = torch.from_numpy(vectors.numpy() @ directions[:3].T)
    expected = kept @ kept.T / torch.outer(kept.norm(dim=1), kept.norm(dim=1))
    torch.testing.assert_close(found @ found.T, expected, rtol=1e-4, atol=1e-4)


def test_vectors_of_words_without_any_are_random():
    torch.manual_seed(0)
    found = mirror_vectors(torch.zeros(5, 3), 8)
    assert len(found.unique(dim=0)) == 5
    (states,) = map_batches(
        nn.Identity(),
        lambda batch: (SparseEncoder(found, dropout=0.0).eval()(batch),),
        Features(sp.csr_array(np.eye(5, dtype="f4"))),
        np.arange(5),
        batch_size=2,
        device="cpu",
        precision="fp32",
        verbose=0,
    )
    # The ReLU keeps all of a word: twice its positive part, by the block.
    torch.testing.assert_close(states[:, :4] - states[:, 4:], 2 * found[:, :4])
