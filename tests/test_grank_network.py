"""The network of X-GRank: its two losses, its ranking, its start."""

import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from conftest import encode_densely
from torch.nn.functional import cosine_similarity, logsigmoid
from toy_network import loss_of

from skxmc.nn.bags import BagEncoder
from skxmc.nn.encoders import TransformerEncoder
from skxmc.nn.heads import LabelScores
from skxmc.nn.losses import grank_loss, grank_loss_all
from skxmc.nn.network import Progress
from skxmc.nn.networks.grank import GRankNetwork
from skxmc.nn.shortlist import LabelClusters
from skxmc.nn.text import Features, padded_columns, tokenize

N_DOCS, N_FEATURES, N_LABELS, HIDDEN, DIM = 9, 8, 11, 6, 5
GROUPS = np.array([0, 1, 2, 3, 0, 1, 2, 0, 1, 0, 3])


def make_network(groups=None, n_retrieved=None, dim=DIM, seed=0, **options):
    """A network of random weights in evaluation mode, in float64."""
    torch.manual_seed(seed)
    clusters = None if groups is None else LabelClusters(groups)
    if n_retrieved is None:
        n_retrieved = 0 if groups is None else clusters.n_clusters
    ranker = LabelScores(torch.randn(N_LABELS, dim), row_wise=groups is not None)
    network = GRankNetwork(
        BagEncoder(N_FEATURES, HIDDEN),
        ranker,
        clusters=clusters,
        n_retrieved=n_retrieved,
        **options,
    )
    return network.double().eval()


def make_batch(seed=0):
    rng = np.random.default_rng(seed)
    X = sp.random_array((N_DOCS, N_FEATURES), density=0.6, rng=rng, format="csr")
    Y = sp.csr_array((rng.random((N_DOCS, N_LABELS)) < 0.3).astype("f4"))
    rows = np.arange(N_DOCS)
    return Features(X).batch(rows), padded_columns(Y, rows), Y


def scores_of(network, batch):
    """Scores of all clusters and all labels, by the parts of the network."""
    first, _ = encode_densely(network.encoder, batch)
    labels = network.doc_vectors.project(first) @ network.ranker.identity[:N_LABELS].T
    found = None if network.retriever is None else network.retriever(first)
    return found, labels


def best_of(scores, k):
    ordered = scores.log_softmax(dim=1).sort(dim=1, descending=True)
    return ordered.indices[:, :k], ordered.values[:, :k]


# --- ranking ----------------------------------------------------------------


@pytest.mark.parametrize("combine", ["ranker", "product", "sum"])
@torch.no_grad()
def test_shortlist_of_prediction_is_its_own(combine):
    batch, *_ = make_batch()
    options = dict(combine=combine, seed=3)
    rankings = [
        make_network(GROUPS, n_shortlist=a, predict_shortlist=b, **options).rank(
            batch, 5
        )
        for a, b in [(1, 2), (3, 2), (2, None), (1, 3), (1, 4), (4, 9)]
    ]
    for other in (1, 2):
        torch.testing.assert_close(rankings[0], rankings[other])
    torch.testing.assert_close(rankings[4], rankings[5])
    assert not torch.equal(rankings[0][0], rankings[3][0])
    assert not torch.equal(rankings[3][0], rankings[4][0])


@pytest.mark.parametrize("k", [1, 4, N_LABELS])
@pytest.mark.parametrize("groups, n_retrieved", [(None, 0), (None, 11), (GROUPS, 4)])
@torch.no_grad()
def test_ranking_is_the_log_softmax_over_all_labels(groups, n_retrieved, k):
    network = make_network(groups, n_retrieved, n_shortlist=4)
    batch, *_ = make_batch()
    ids, scores = network.rank(batch, k)
    expected_ids, expected = best_of(scores_of(network, batch)[1], k)
    assert torch.equal(ids, expected_ids)
    torch.testing.assert_close(scores, expected)
    if k == N_LABELS:
        torch.testing.assert_close(
            scores.exp().sum(dim=1), torch.ones(N_DOCS, dtype=scores.dtype)
        )


@pytest.mark.parametrize("k", [1, 3, 7])
@torch.no_grad()
def test_ranking_of_the_best_clusters(k):
    network = make_network(GROUPS, n_shortlist=2)
    batch, *_ = make_batch()
    found, labels = scores_of(network, batch)
    best = found.topk(2, dim=1).indices
    inside = (torch.from_numpy(GROUPS) == best[:, :, None]).any(dim=1)
    expected = labels.masked_fill(~inside, -torch.inf).log_softmax(dim=1)
    ids, scores = network.rank(batch, k)
    assert ids.shape == scores.shape == (N_DOCS, k)
    for i in range(N_DOCS):
        n_real = min(k, int(inside[i].sum()))
        order = expected[i].argsort(descending=True)[:n_real]
        assert ids[i].tolist() == order.tolist() + [N_LABELS] * (k - n_real)
        torch.testing.assert_close(scores[i, :n_real], expected[i, order])
        assert (scores[i, n_real:] == -torch.inf).all()


@pytest.mark.parametrize("groups", [None, GROUPS])
@torch.no_grad()
def test_more_labels_wanted_than_there_are(groups):
    network = make_network(groups, n_shortlist=4)
    ids, scores = network.rank(make_batch()[0], N_LABELS + 9)
    assert ids.shape == scores.shape == (N_DOCS, N_LABELS + 9)
    assert ids[:, :N_LABELS].sort().values.tolist() == [[*range(N_LABELS)]] * N_DOCS
    assert (ids[:, N_LABELS:] == N_LABELS).all()
    assert (scores[:, N_LABELS:] == -torch.inf).all()
    assert scores[:, :N_LABELS].isfinite().all()


@pytest.mark.parametrize("groups", [None, GROUPS])
@pytest.mark.parametrize("combine", ["ranker", "product", "sum"])
@torch.no_grad()
def test_combinations_of_both_heads(groups, combine):
    n_retrieved = N_LABELS if groups is None else 4
    network = make_network(groups, n_retrieved, n_shortlist=4, combine=combine)
    batch, *_ = make_batch()
    found, labels = scores_of(network, batch)
    found = 5 * found  # so that the retriever has a say
    network.retriever.weight *= 5
    network.retriever.bias *= 5
    found = found if groups is None else found[:, groups]
    combined = {
        "ranker": labels,
        "product": logsigmoid(labels) + logsigmoid(found),
        "sum": labels + found,
    }
    ids, scores = network.rank(batch, N_LABELS)
    expected_ids, expected = best_of(combined[combine], N_LABELS)
    assert torch.equal(ids, expected_ids)
    torch.testing.assert_close(scores, expected)
    if combine != "ranker":
        assert not torch.equal(ids, best_of(labels, N_LABELS)[0])


@pytest.mark.parametrize("combine", ["product", "sum"])
@torch.no_grad()
def test_combination_without_a_retriever_is_the_ranker(combine):
    batch, *_ = make_batch()
    plain, combined = make_network(), make_network(combine=combine)
    assert torch.equal(plain.rank(batch, 5)[0], combined.rank(batch, 5)[0])


@torch.no_grad()
def test_ranking_under_autocast():
    network = make_network(GROUPS, n_shortlist=4).float()
    batch, *_ = make_batch()
    exact = network.rank(batch, N_LABELS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ids, scores = network.rank(batch, N_LABELS)
    assert scores.dtype == torch.float32
    by_label = scores.gather(1, ids.argsort(dim=1))
    expected = exact[1].gather(1, exact[0].argsort(dim=1))
    torch.testing.assert_close(by_label, expected, rtol=0.02, atol=0.05)


# --- losses -----------------------------------------------------------------


def weighted(network, weight):
    """The network with that weight of the ranking loss in the last batch of all."""
    network.lambda_max = weight
    return network


@pytest.mark.parametrize("n_shortlist", [1, 2, 4])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_loss_over_clusters_and_candidates(n_shortlist, weight, gradient_by_row):
    network = weighted(make_network(GROUPS, n_shortlist=n_shortlist), weight)
    by_row = network.ranker, network.encoder.features
    for module in by_row:
        module.table.requires_grad_()
    batch, positives, Y = make_batch()
    is_positive = torch.from_numpy(Y.toarray() > 0)
    found, labels = scores_of(network, batch)

    holds = torch.zeros(N_DOCS, 4, dtype=torch.bool)
    for i, j in zip(*Y.nonzero(), strict=True):
        holds[i, GROUPS[j]] = True
    retrieving = grank_loss(found, holds, torch.ones_like(holds))

    # The same scores, all of them, with everything masked that is no candidate.
    best = found.topk(n_shortlist, dim=1).indices
    candidate = (torch.from_numpy(GROUPS) == best[:, :, None]).any(dim=1)
    ranking = grank_loss(labels, is_positive, candidate | is_positive)

    expected = (1 - weight) * retrieving + weight * ranking
    loss = loss_of(network, batch, positives)
    torch.testing.assert_close(loss, expected)
    names, parameters = zip(*network.named_parameters(), strict=True)
    wanted = torch.autograd.grad(expected, parameters, allow_unused=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    by_row = {id(module.table): gradient_by_row(module) for module in by_row}
    found = [by_row.get(id(p), g) for p, g in zip(parameters, found, strict=True)]
    for name, one, two in zip(names, found, wanted, strict=True):
        torch.testing.assert_close(one, two, msg=name)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_dual_loss_over_all_labels(weight):
    network = weighted(make_network(n_retrieved=N_LABELS), weight)
    batch, positives, _ = make_batch()
    found, labels = scores_of(network, batch)
    expected = (1 - weight) * grank_loss_all(found, positives)
    expected = expected + weight * grank_loss_all(labels, positives)
    torch.testing.assert_close(loss_of(network, batch, positives), expected)


@pytest.mark.parametrize("lambda_max", [0.0, 0.5, 1.0])
def test_the_ranker_alone_knows_no_lambda(lambda_max):
    network = make_network(lambda_max=lambda_max)
    batch, positives, _ = make_batch()
    expected = grank_loss_all(scores_of(network, batch)[1], positives)
    for epoch in (1, 2):
        loss = loss_of(network, batch, positives, Progress(epoch, 2, 1, 3))
        torch.testing.assert_close(loss, expected)


def test_one_cluster_has_nothing_to_retrieve():
    network = weighted(make_network(np.zeros(N_LABELS, int), n_shortlist=1), 0.4)
    batch, positives, _ = make_batch()
    expected = 0.4 * grank_loss_all(scores_of(network, batch)[1], positives)
    torch.testing.assert_close(loss_of(network, batch, positives), expected)


@pytest.mark.parametrize("lambda_max", [0.5, 1.0])
@pytest.mark.parametrize("schedule", ["epoch", "step"])
def test_lambda_of_equation_9(schedule, lambda_max):
    n_epochs, n_steps = 4, 3
    network = make_network(
        GROUPS, n_shortlist=2, lambda_max=lambda_max, lambda_schedule=schedule
    )
    batch, positives, _ = make_batch()
    retrieving = loss_of(weighted(network, 0.0), batch, positives).item()
    ranking = loss_of(weighted(network, 1.0), batch, positives).item()
    weighted(network, lambda_max)
    got = []
    for epoch in range(1, n_epochs + 1):
        for step in range(1, n_steps + 1):
            progress = Progress(epoch, n_epochs, step, n_steps)
            loss = loss_of(network, batch, positives, progress).item()
            got.append((loss - retrieving) / (ranking - retrieving))
            weight = network.ranking_weight(progress)
            assert weight == pytest.approx(got[-1], abs=1e-9)
    if schedule == "epoch":  # lambda_max * e / E
        expected = np.repeat(np.arange(1, n_epochs + 1), n_steps) / n_epochs
    else:
        expected = np.arange(1, n_epochs * n_steps + 1) / (n_epochs * n_steps)
    assert got == pytest.approx(lambda_max * expected)


def test_documents_without_labels_teach_nothing(gradient_by_row):
    network = make_network(GROUPS, n_shortlist=2)
    batch, *_ = make_batch()
    loss_of(network, batch, torch.full((N_DOCS, 1), N_LABELS)).backward()
    assert all((p.grad == 0).all() for p in network.parameters() if p.grad is not None)
    for module in (network.ranker, network.encoder.features):
        assert module.touched and (gradient_by_row(module) == 0).all()


def test_dropout_only_while_training():
    network = make_network(GROUPS, n_shortlist=2, dropout=0.5)
    batch, positives, _ = make_batch()
    quiet = [loss_of(network, batch, positives).item() for _ in range(2)]
    network.train()
    noisy = [loss_of(network, batch, positives).item() for _ in range(2)]
    assert quiet[0] == quiet[1]
    assert noisy[0] != noisy[1]


# --- label vectors that start from the encoder's reading --------------------


def reading_network(tiny_model, tokenizer, groups=None, dim=12, **options):
    """As the classifier builds it: a projection of readings, unit label vectors."""
    torch.manual_seed(1)
    encoder = TransformerEncoder(copy.deepcopy(tiny_model), n_layers=2)
    start = torch.linalg.qr(torch.randn(encoder.hidden_size, dim)).Q.T.contiguous()
    vectors = torch.nn.functional.normalize(torch.randn(N_LABELS, dim), dim=1)
    clusters = cluster_start = None
    if groups is not None:
        clusters = LabelClusters(groups)
        sums = torch.zeros(4, dim).index_add(0, torch.from_numpy(groups), vectors)
        cluster_start = torch.nn.functional.normalize(sums, dim=1)
    network = GRankNetwork(
        encoder,
        LabelScores(vectors.clone(), row_wise=groups is not None),
        clusters=clusters,
        n_retrieved=0 if groups is None else 4,
        start=start,
        cluster_start=cluster_start,
        **options,
    )
    docs = tokenize(["red fox", "", "old stone house near river"], tokenizer, 16)
    batch = docs.batch(np.arange(3))
    with torch.no_grad():
        reading = encoder.eval()(batch)[1] @ start.T
    return network.eval(), batch, reading, vectors, cluster_start


@pytest.mark.parametrize("training", [False, True])
@torch.no_grad()
def test_first_scores_are_cosines(tiny_model, tiny_tokenizer, training):
    network, batch, reading, vectors, _ = reading_network(tiny_model, tiny_tokenizer)
    network.doc_vectors.dropout.train(training)  # the reading knows no dropout
    expected = 20 * cosine_similarity(reading[:, None], vectors, dim=2)
    ids, scores = network.rank(batch, N_LABELS)
    expected_ids, expected = best_of(expected, N_LABELS)
    assert torch.equal(ids, expected_ids)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_first_clusters_are_those_of_the_nearest_direction(tiny_model, tiny_tokenizer):
    network, batch, reading, vectors, cluster_start = reading_network(
        tiny_model, tiny_tokenizer, GROUPS, n_shortlist=2
    )
    found = (
        network.retriever(network.doc_vectors(*network.encoder(batch))[0])
        - network.retriever.bias
    )
    expected = 20 * cosine_similarity(reading[:, None], cluster_start, dim=2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    # So small that it does not decide which clusters come first.
    assert network.retriever.bias.abs().max() < 0.2


def test_reading_and_projection_both_learn(tiny_model, tiny_tokenizer):
    network, batch, *_ = reading_network(
        tiny_model, tiny_tokenizer, GROUPS, n_shortlist=2
    )
    network.train()
    loss = loss_of(network, batch, torch.tensor([[0, 3], [1, N_LABELS], [5, N_LABELS]]))
    loss.backward()
    ((ids, docs, weights),) = network.ranker.touched
    assert (weights[ids < N_LABELS] != 0).all() and (docs != 0).any()
    for name, parameter in network.named_parameters():
        if name == "ranker.identity":
            continue  # its gradient is kept in those factors
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # Attention does not see a constant added to all keys.
        assert (parameter.grad != 0).any() or name.endswith("key.bias"), name


def test_document_vectors_are_as_long_as_documented(tiny_model, tiny_tokenizer):
    network, batch, *_ = reading_network(tiny_model, tiny_tokenizer)
    with torch.no_grad():
        network.doc_vectors.project.weight.normal_()
        _, docs = network.doc_vectors(*network.encoder(batch))
    torch.testing.assert_close(docs.norm(dim=1), torch.full((3,), 20.0))


# --- memory -----------------------------------------------------------------


def test_memory_grows_with_what_is_scored():
    few = make_network(GROUPS, n_shortlist=1).floats_per_document(10)
    many = make_network(GROUPS, n_shortlist=4).floats_per_document(10)
    assert many > few > BagEncoder(N_FEATURES, HIDDEN).floats_per_document(10)
    both = make_network(n_retrieved=N_LABELS).floats_per_document(10)
    assert both > make_network().floats_per_document(10)


# --- the hardest negatives ----------------------------------------------------


def hard_network(n_negatives, seed=0):
    network = make_network(seed=seed)
    torch.manual_seed(seed)
    ranker = LabelScores(torch.randn(N_LABELS, DIM), row_wise=True).double()
    network.ranker, network.n_negatives = ranker, n_negatives
    return network


@pytest.mark.parametrize("n_negatives", [1, 3, N_LABELS, 99])
def test_loss_of_the_hardest_negatives(n_negatives):
    network = hard_network(n_negatives)
    batch, positives, Y = make_batch()
    scores = scores_of(network, batch)[1].detach()
    is_positive = torch.from_numpy(Y.toarray() > 0)
    hidden = scores.masked_fill(is_positive, -torch.inf)
    kept = is_positive.clone()
    for i, row in enumerate(hidden):
        best = row.sort(descending=True).indices[: min(n_negatives, N_LABELS)]
        kept[i, best[row[best] > -torch.inf]] = True
    expected = grank_loss(scores, is_positive, kept)
    found = loss_of(network, batch, positives)
    torch.testing.assert_close(found, expected)


def test_all_negatives_are_the_paper_s_loss(gradient_by_row):
    batch, positives, _ = make_batch()
    hard = hard_network(N_LABELS)
    network = make_network()
    with torch.no_grad():
        network.ranker.identity.copy_(hard.ranker.identity[:-1])
    losses = [loss_of(one, batch, positives) for one in (network, hard)]
    torch.testing.assert_close(*losses)
    for loss in losses:
        loss.backward()
    table = network.ranker.identity
    torch.testing.assert_close(gradient_by_row(hard.ranker)[:-1], table.grad)


def test_negatives_are_no_positives():
    network = hard_network(4)
    batch, positives, Y = make_batch()
    docs = network.encode(batch)[1]
    found = network._find_negatives(docs, positives)
    for i in range(N_DOCS):
        ids = found[i][found[i] < N_LABELS].tolist()
        assert len(set(ids)) == len(ids)
        assert not set(ids) & set(Y[[i]].indices.tolist())
