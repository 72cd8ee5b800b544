"""The network of LightXML: its two losses, its negatives, its probabilities."""

import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from conftest import encode_densely
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cosine_similarity,
    logsigmoid,
    normalize,
)
from toy_network import loss_of
from transformers import BertConfig, BertModel

from skxmc.nn.bags import BagEncoder
from skxmc.nn.document_vectors import DocumentVectors
from skxmc.nn.encoders import TransformerEncoder
from skxmc.nn.examples import Examples
from skxmc.nn.heads import LabelScores, cluster_head
from skxmc.nn.network import Progress
from skxmc.nn.networks.lightxml import LightXMLNetwork
from skxmc.nn.prediction import rank
from skxmc.nn.shortlist import LabelClusters
from skxmc.nn.text import Features, padded_columns, tokenize
from skxmc.nn.training import train

N_DOCS, N_FEATURES, N_LABELS, HIDDEN, DIM = 9, 8, 11, 6, 5
GROUPS = np.array([0, 1, 2, 3, 0, 1, 2, 0, 1, 0, 3])  # of 4, 3, 2 and 2 labels
N_CLUSTERS = 4
ORDER = torch.from_numpy(GROUPS.argsort(kind="stable"))  # of the rows of labels
EMPTY = 3  # a document without labels


def make_network(groups=None, *, started=False, dropout=0.0, seed=0, **options):
    """A network of random weights in evaluation mode, in float64."""
    torch.manual_seed(seed)
    encoder = BagEncoder(N_FEATURES, HIDDEN)
    start = torch.randn(DIM, HIDDEN) if started else None
    options["offset"] = -10.0 if started else None
    dim = DIM if started or groups is not None else None
    read = DocumentVectors(encoder, dim, start=start, dropout=dropout)
    n_outputs = N_LABELS
    if groups is not None:
        options["clusters"] = LabelClusters(groups)
        vectors = torch.randn(N_LABELS, DIM)
        options["ranker"] = LabelScores(vectors, row_wise=True, order=ORDER)
        n_outputs = options["clusters"].n_clusters
    recall = cluster_head(read, n_outputs)
    return LightXMLNetwork(encoder, read, recall, **options).double().eval()


def make_batch(seed=0):
    rng = np.random.default_rng(seed)
    X = sp.random_array((N_DOCS, N_FEATURES), density=0.6, rng=rng, format="csr")
    Y = rng.random((N_DOCS, N_LABELS)) < 0.3
    Y[EMPTY] = False
    Y = sp.csr_array(Y.astype("f4"))
    rows = np.arange(N_DOCS)
    return Features(X).batch(rows), padded_columns(Y, rows), Y


def scores_of(network, batch):
    """Scores of all clusters and all labels, by the parts of the network."""
    for_clusters, for_labels = network.doc_vectors(
        *encode_densely(network.encoder, batch)
    )
    found = for_clusters @ network.recall.weight.T + network.recall.bias
    if network.ranker is None:
        return found, None
    if network.bottleneck_activation == "sigmoid":
        for_labels = 1 / (1 + (-for_labels).exp())
    labels = for_labels @ network.ranker.identity[ORDER.argsort()].T
    return found, labels if network.offset is None else labels + network.offset


def cross_entropy(scores, targets, mask, reduction):
    """Of the entries in the mask: their mean, or their sum a document."""
    each = binary_cross_entropy_with_logits(
        scores, targets.to(scores.dtype), reduction="none"
    )
    n = mask.sum() if reduction == "mean" else len(scores)
    return (each * mask).sum() / n


def clusters_of(Y, groups=GROUPS):
    """Clusters that hold a positive of a document."""
    holds = torch.zeros(Y.shape[0], groups.max() + 1, dtype=torch.bool)
    for i, j in zip(*Y.nonzero(), strict=True):
        holds[i, groups[j]] = True
    return holds


def members_of(chosen, groups=GROUPS):
    """Labels of the clusters chosen for each document, as a mask."""
    return (torch.from_numpy(groups) == chosen[:, :, None]).any(dim=1)


def candidates_of(network, batch, positives):
    """Labels that one training step ranks, as a list a document."""
    loss_of(network, batch, positives).backward()
    rows, *_ = network.ranker.touched.pop()
    return [ORDER[row[row < N_LABELS]].tolist() for row in rows]


def as_mask(candidates):
    mask = torch.zeros(len(candidates), N_LABELS, dtype=torch.bool)
    for row, labels in zip(mask, candidates, strict=True):
        row[labels] = True
    return mask


def log_odds(logarithms):
    """Of probabilities whose logarithms are given."""
    return logarithms - torch.log1p(-logarithms.exp())


def assert_ranks(ranked, expected, k):
    """Demand the k best of `expected`, which is -inf where nothing was ranked."""
    ids, scores = ranked
    assert ids.shape == scores.shape == (len(expected), k)
    for row, values, wanted in zip(ids, scores, expected, strict=True):
        order = wanted.argsort(descending=True)
        order = order[wanted[order] > -torch.inf][:k]
        n_padded = k - len(order)
        assert row.tolist() == order.tolist() + [N_LABELS] * n_padded
        torch.testing.assert_close(values[: len(order)], wanted[order])
        assert (values[len(order) :] == -torch.inf).all()


# --- losses -----------------------------------------------------------------


def assert_loss_and_gradients(network, batch, positives, expected, gradient_by_row):
    """Demand a loss and what it teaches all parameters, those by row included."""
    by_row = [m for m in network.modules() if getattr(m, "row_wise", False)]
    for module in by_row:
        module.touched.clear()
    loss = loss_of(network, batch, positives)
    torch.testing.assert_close(loss, expected)
    names, parameters = zip(*network.named_parameters(), strict=True)
    wanted = torch.autograd.grad(expected, parameters)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    by_row = {id(module.table): gradient_by_row(module) for module in by_row}
    found = [by_row.get(id(p), g) for p, g in zip(parameters, found, strict=True)]
    for name, one, two in zip(names, found, wanted, strict=True):
        assert (two != 0).any(), name
        torch.testing.assert_close(one, two, msg=name)


@pytest.mark.parametrize("n_shortlist", [1, 2, 4])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    "options", [{}, dict(bottleneck_activation="sigmoid"), dict(started=True)]
)
def test_loss_over_clusters_and_candidates(
    n_shortlist, reduction, options, gradient_by_row
):
    options = options | dict(n_shortlist=n_shortlist, loss_reduction=reduction)
    network = make_network(GROUPS, predict_shortlist=3, **options)
    network.requires_grad_()
    batch, positives, Y = make_batch()
    is_positive = torch.from_numpy(Y.toarray() > 0)
    found, labels = scores_of(network, batch)

    holds = clusters_of(Y)
    recalling = cross_entropy(found, holds, torch.ones_like(holds), reduction)
    # The same scores, all of them, with everything masked that is no candidate.
    best = found.topk(n_shortlist, dim=1).indices
    mask = members_of(best) | is_positive
    assert mask.all() == (n_shortlist == N_CLUSTERS)
    ranking = cross_entropy(labels, is_positive, mask, reduction)
    expected = recalling + ranking
    assert_loss_and_gradients(network, batch, positives, expected, gradient_by_row)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("started", [False, True])
def test_loss_of_recall_alone(reduction, started, gradient_by_row):
    network = make_network(started=started, loss_reduction=reduction)
    network.requires_grad_()
    batch, positives, Y = make_batch()
    is_positive = torch.from_numpy(Y.toarray() > 0)
    found, _ = scores_of(network, batch)
    mask = torch.ones_like(is_positive)
    expected = cross_entropy(found, is_positive, mask, reduction)
    assert_loss_and_gradients(network, batch, positives, expected, gradient_by_row)


def test_offset_only_where_label_vectors_have_a_start():
    assert make_network(GROUPS).offset is None
    assert make_network(started=True).offset is None  # the bias of recall is it
    network = make_network(GROUPS, started=True)
    assert network.offset.item() == -10
    assert "offset" in dict(network.named_parameters())


def test_label_scores_keep_the_precision_of_label_vectors():
    # Autocast reads documents in bfloat16, which knows 300 and 302, no 300.25.
    network = make_network(np.zeros(N_LABELS, int), n_shortlist=1).float()
    network.doc_vectors.project.weight.data.zero_()
    network.doc_vectors.project.bias.data.fill_(1)
    network.ranker.identity.data[:N_LABELS] = 300.25 / DIM
    network.recall.weight.data.zero_()
    network.recall.bias.data.fill_(-50)
    batch, *_ = make_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(network, batch, torch.full((N_DOCS, 1), N_LABELS))
    # Without a positive the loss of a high score is that score.
    assert loss.item() == pytest.approx(300.25, abs=0.01)


# --- negatives --------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_loss_over_uniform_negatives(reduction, gradient_by_row):
    options = dict(n_shortlist=2, negatives="uniform", loss_reduction=reduction)
    network = make_network(GROUPS, **options)
    network.requires_grad_()
    batch, positives, Y = make_batch()
    is_positive = torch.from_numpy(Y.toarray() > 0)
    torch.manual_seed(5)
    mask = as_mask(candidates_of(network, batch, positives))
    found, labels = scores_of(network, batch)
    holds = clusters_of(Y)
    expected = cross_entropy(found, holds, torch.ones_like(holds), reduction)
    expected = expected + cross_entropy(labels, is_positive, mask, reduction)
    torch.manual_seed(5)
    assert_loss_and_gradients(network, batch, positives, expected, gradient_by_row)


@pytest.mark.parametrize("negatives", ["dynamic", "uniform"])
@pytest.mark.parametrize("n_shortlist", [1, 2, 3, 4])
def test_candidates_are_whole_clusters_and_the_positives(n_shortlist, negatives):
    network = make_network(GROUPS, n_shortlist=n_shortlist, negatives=negatives)
    sizes = np.bincount(GROUPS)
    n_added = 0
    for seed in range(5):
        batch, positives, Y = make_batch(seed)
        rows = candidates_of(network, batch, positives)
        for row, own in zip(rows, Y.toarray() > 0, strict=True):
            own = set(np.flatnonzero(own))
            assert len(set(row)) == len(row)  # none twice
            assert own <= set(row)
            has = np.bincount(GROUPS[row], minlength=N_CLUSTERS)
            negative = set(row) - own
            # Clusters of negatives are whole, and no more than there are places.
            whole = {int(GROUPS[j]) for j in negative}
            assert len(whole) <= n_shortlist <= (has > 0).sum()
            assert all(has[c] == sizes[c] for c in whole)
            n_added += (has > 0).sum() > n_shortlist
    assert n_added > 5 or n_shortlist == N_CLUSTERS  # else little was tested


def test_uniform_negatives_are_drawn_anew_and_evenly():
    network = make_network(GROUPS, n_shortlist=2, negatives="uniform")
    network.recall.bias.data = torch.tensor([9.0, 6, 3, 0], dtype=torch.float64)
    batch, positives, _ = make_batch()
    torch.manual_seed(0)
    steps = [as_mask(candidates_of(network, batch, positives)) for _ in range(300)]
    steps = torch.stack(steps)
    assert (steps[0] != steps[1]).any()
    nothing = torch.full((N_DOCS, 1), N_LABELS)
    each = as_mask(candidates_of(network, batch, nothing))
    assert len(each.unique(dim=0)) > 1  # each document has negatives of its own
    first = [int(np.flatnonzero(GROUPS == c)[0]) for c in range(N_CLUSTERS)]
    shares = steps[:, EMPTY, first].double().mean(dim=0)
    torch.testing.assert_close(shares, torch.full_like(shares, 0.5), atol=0.12, rtol=0)
    # Two of four for each document, not for the batch: six pairs, all of them.
    assert len(steps[:, EMPTY, first].unique(dim=0)) == 6


@pytest.mark.parametrize("favourite", range(N_CLUSTERS))
def test_dynamic_negatives_follow_recall(favourite):
    batch, positives, _ = make_batch()
    dynamic = make_network(GROUPS, n_shortlist=1)
    uniform = make_network(GROUPS, n_shortlist=1, negatives="uniform")
    before = {}
    for network in (dynamic, uniform):
        torch.manual_seed(0)
        before[network] = candidates_of(network, batch, positives)[EMPTY]
        network.recall.bias.data[favourite] += 100
    expected = np.flatnonzero(GROUPS == favourite).tolist()
    assert candidates_of(dynamic, batch, positives)[EMPTY] == expected
    dynamic.recall.bias.data[favourite] -= 200
    assert candidates_of(dynamic, batch, positives)[EMPTY] != expected
    torch.manual_seed(0)
    assert candidates_of(uniform, batch, positives)[EMPTY] == before[uniform]


# --- ranking ----------------------------------------------------------------


@pytest.mark.parametrize("single_label", [False, True])
@torch.no_grad()
def test_ranking_by_recall_alone(single_label):
    network = make_network(single_label=single_label)
    batch, *_ = make_batch()
    expected, _ = scores_of(network, batch)
    if single_label:
        probabilities = expected.sigmoid()
        expected = (probabilities / probabilities.sum(dim=1, keepdim=True)).log()
    for k in (1, 4, N_LABELS, N_LABELS + 9):
        assert_ranks(network.rank(batch, k), expected, k)


@pytest.mark.parametrize("n_shortlist", [1, 2, 3, N_CLUSTERS])
@pytest.mark.parametrize("single_label", [False, True])
@pytest.mark.parametrize(
    "options", [{}, dict(bottleneck_activation="sigmoid"), dict(started=True)]
)
@torch.no_grad()
def test_ranking_by_the_product_of_both(n_shortlist, single_label, options):
    options = options | dict(n_shortlist=1, predict_shortlist=n_shortlist)
    network = make_network(GROUPS, single_label=single_label, **options)
    batch, *_ = make_batch()
    found, labels = scores_of(network, batch)
    expected = found.sigmoid()[:, GROUPS] * labels.sigmoid()
    inside = members_of(found.topk(n_shortlist, dim=1).indices)
    assert inside.all() == (n_shortlist == N_CLUSTERS)
    expected = expected * inside
    if single_label:
        expected = (expected / expected.sum(dim=1, keepdim=True)).log()
    else:
        expected = (expected / (1 - expected)).log()
    for k in (1, 3, 7, N_LABELS, N_LABELS + 9):
        assert_ranks(network.rank(batch, k), expected, k)


@torch.no_grad()
def test_prediction_has_the_shortlist_of_training_unless_told():
    batch, *_ = make_batch()
    three = make_network(GROUPS, n_shortlist=3).rank(batch, N_LABELS)
    told = make_network(GROUPS, n_shortlist=1, predict_shortlist=3)
    for one, two in zip(told.rank(batch, N_LABELS), three, strict=True):
        assert torch.equal(one, two)
    more = make_network(GROUPS, n_shortlist=1, predict_shortlist=99)
    assert (more.rank(batch, N_LABELS)[0] < N_LABELS).all()


@pytest.mark.parametrize("groups", [None, GROUPS])
@torch.no_grad()
def test_scores_of_single_labels_are_those_of_a_distribution(groups):
    network = make_network(groups, n_shortlist=2, single_label=True)
    ids, scores = network.rank(make_batch()[0], N_LABELS)
    assert (ids < N_LABELS).any(dim=1).all()
    totals = scores.exp().sum(dim=1)
    torch.testing.assert_close(totals, torch.ones_like(totals))


@torch.no_grad()
def test_bottleneck_activation_changes_the_ranking():
    batch, *_ = make_batch()
    plain = make_network(GROUPS, n_shortlist=4)
    other = make_network(GROUPS, n_shortlist=4, bottleneck_activation="sigmoid")
    assert not torch.equal(plain.rank(batch, 11)[0], other.rank(batch, 11)[0])


def at_level(recalled, ranked, dtype, n_shortlist=N_CLUSTERS):
    """A network whose scores lie about two levels, in a dtype; its exact twin."""
    network = make_network(GROUPS, n_shortlist=n_shortlist, started=True)
    network.recall.weight.data *= 0.5
    network.recall.bias.data.fill_(recalled)
    network.ranker.identity.data *= 0.02  # documents are 20 long
    network.offset.data.fill_(ranked)
    exact = network.float().double()  # of the same weights
    return copy.deepcopy(network).to(dtype), exact


@pytest.mark.parametrize("level", [-60, -80, -500, -10_000])
@pytest.mark.parametrize("n_shortlist", [3, N_CLUSTERS])
@torch.no_grad()
def test_tail_does_not_underflow(level, n_shortlist):
    # Probabilities of e**-120 and less: float32 ends at e**-103.
    network, exact = at_level(level, level, torch.float32, n_shortlist)
    batch, *_ = make_batch()
    ids, scores = network.rank(batch, 7)
    assert scores.dtype == torch.float32 and scores.isfinite().all()
    found, labels = scores_of(exact, batch)
    logarithms = logsigmoid(found)[:, GROUPS] + logsigmoid(labels)
    assert (logarithms < 1.9 * level).all()
    expected = logarithms.gather(1, ids)  # log p and log-odds are one there
    torch.testing.assert_close(scores.double(), expected, rtol=1e-6, atol=1e-4)
    assert (expected.diff(dim=1) < 1e-5 * -level).all()  # the order, up to rounding
    assert (scores.diff(dim=1) < 0).double().mean() > 0.9


@pytest.mark.parametrize("recalled, ranked", [(30, 12), (12, 30), (25, 25), (40, 60)])
@pytest.mark.parametrize("n_shortlist", [3, N_CLUSTERS])
@torch.no_grad()
def test_log_odds_of_labels_that_are_nearly_certain(recalled, ranked, n_shortlist):
    # 1 - p of some e**-12 to e**-40: in float32 p itself is 1 from e**-17 on.
    network, exact = at_level(recalled, ranked, torch.float32, n_shortlist)
    batch, *_ = make_batch()
    ids, scores = network.rank(batch, 7)
    found, labels = scores_of(exact, batch)
    wrong = (-found).exp()[:, GROUPS] + (-labels).exp()  # 1 - p, but for the product
    expected = -wrong.log().gather(1, ids)
    torch.testing.assert_close(scores.double(), expected, rtol=1e-4, atol=1e-4)
    assert (scores > 8).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [60, 90, 200, 10_000])
@pytest.mark.parametrize("single_label", [False, True])
@torch.no_grad()
def test_saturation_is_finite(level, dtype, single_label):
    network, _ = at_level(level, level, dtype)
    network.single_label = single_label
    batch, *_ = make_batch()
    ids, scores = network.rank(batch, N_LABELS)
    assert scores.isfinite().all()
    if not single_label:
        assert (scores > 50).all() and (scores.diff(dim=1) <= 0).all()


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


@pytest.mark.parametrize("head", ["recall alone", "recall", "ranker"])
@pytest.mark.parametrize("n_shortlist", [3, N_LABELS])
@torch.no_grad()
def test_autocast_does_not_tie_what_is_near(head, n_shortlist):
    # bfloat16 knows 30 and 30.125, and nothing between.
    groups = None if head == "recall alone" else np.arange(N_LABELS)
    network = make_network(groups, n_shortlist=n_shortlist).float()
    near = -30 - 0.01 * torch.arange(N_LABELS)
    network.recall.weight.zero_()
    network.recall.bias[:] = (
        -1e-5 * torch.arange(N_LABELS) if head == "ranker" else near
    )
    if groups is not None:
        network.doc_vectors.project.weight.zero_()
        network.doc_vectors.project.bias.fill_(1)
        network.ranker.identity.zero_()
        if head == "ranker":
            network.ranker.identity[ORDER.argsort(), 0] = near
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ids, scores = network.rank(make_batch()[0], 2)
    assert ids.tolist() == [[0, 1]] * N_DOCS
    gap = scores[:, 0] - scores[:, 1]
    torch.testing.assert_close(gap, torch.full_like(gap, 0.01), rtol=0.01, atol=0)


# --- dropout ----------------------------------------------------------------


def test_dropout_only_while_training():
    network = make_network(GROUPS, n_shortlist=2, dropout=0.5)
    batch, positives, _ = make_batch()
    quiet = [loss_of(network, batch, positives).item() for _ in range(2)]
    network.train()
    noisy = [loss_of(network, batch, positives).item() for _ in range(2)]
    assert quiet[0] == quiet[1]
    assert noisy[0] != noisy[1]


@pytest.mark.parametrize("groups", [None, GROUPS])
@pytest.mark.parametrize("until, n_noisy", [(0.0, 0), (0.1, 0), (0.5, 2), (1.0, 4)])
def test_losses_after_dropout_is_off(groups, until, n_noisy):
    options = dict(dropout=0.5, n_shortlist=2, dropout_until=until)
    network = make_network(groups, **options)
    batch, positives, _ = make_batch()
    quiet = loss_of(network, batch, positives).item()
    for epoch in (1, 2):
        losses = []
        for i in range(1, 5):
            progress = Progress(epoch, 2, i, 4)
            network.train(network.uses_dropout(progress))
            losses.append(loss_of(network, batch, positives, progress).item())
        assert [loss != quiet for loss in losses] == [i < n_noisy for i in range(4)]
        assert len({*losses[:n_noisy]}) == n_noisy


@pytest.mark.parametrize(
    "until, n_noisy",
    [(0.0, 0), (0.09, 0), (0.19, 1), (0.2, 1), (0.5, 2), (0.8, 4), (1.0, 5)],
)
@pytest.mark.parametrize("evaluates", [False, True])
def test_dropout_is_on_for_the_first_share_of_each_epoch(until, n_noisy, evaluates):
    network = make_network(dropout=0.5, dropout_until=until)
    rng = np.random.default_rng(0)
    docs = Features(sp.csr_array(rng.random((20, N_FEATURES))))
    Y = sp.csr_array((rng.random((20, N_LABELS)) < 0.3).astype("f4"))
    forward, seen = network.forward, []

    def observed(*batch):
        value = forward(*batch)
        seen.append({module.training for module in network.modules()})
        return value

    def evaluate(network):
        options = dict(batch_size=2, device="cpu", precision="fp64")
        rank(network, docs, np.arange(3), 2, **options)
        return 0.0

    network.forward = observed
    train(
        network,
        Examples(docs, Y, np.arange(20)),
        rng=rng,
        history=[],
        evaluate=evaluate if evaluates else None,
        max_epochs=3,
        batch_size=4,
        learning_rate=1e-3,
        head_learning_rate=1e-3,
        weight_decay=0.0,
        warmup=0.0,
        precision="fp64",
    )
    assert seen == 3 * ([{True}] * n_noisy + [{False}] * (5 - n_noisy))


# --- what is read -----------------------------------------------------------


@torch.no_grad()
def test_first_token_states_of_the_last_five_layers(tiny_tokenizer):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=8,
        num_hidden_layers=6,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=16,
    )
    model = BertModel(config).eval()
    encoder = TransformerEncoder(copy.deepcopy(model), n_layers=5)
    read = DocumentVectors(encoder, None)
    network = LightXMLNetwork(encoder, read, cluster_head(read, N_LABELS)).eval()
    texts = ["red fox", "old stone house near river"]
    batch = tokenize(texts, tiny_tokenizer, 16).batch(np.arange(2))
    states = [
        model(**tiny_tokenizer(text, return_tensors="pt"), output_hidden_states=True)
        for text in texts
    ]
    states = torch.stack(
        [torch.cat([layer[0, 0] for layer in s.hidden_states[-5:]]) for s in states]
    )
    assert network.recall.in_features == states.shape[1] == 5 * 8
    expected = states @ network.recall.weight.T + network.recall.bias
    ids, scores = network.rank(batch, N_LABELS)
    torch.testing.assert_close(scores, expected.gather(1, ids), rtol=1e-4, atol=1e-5)


def reading_network(tiny_model, tokenizer, groups=None, dim=12, **options):
    """As the classifier builds it: a projection of readings, unit label vectors."""
    torch.manual_seed(1)
    encoder = TransformerEncoder(copy.deepcopy(tiny_model), n_layers=2)
    start = torch.linalg.qr(torch.randn(encoder.hidden_size, dim)).Q.T.contiguous()
    vectors = normalize(torch.randn(N_LABELS, dim), dim=1)
    cluster_start = vectors
    if groups is not None:
        options["clusters"] = LabelClusters(groups)
        options["ranker"] = LabelScores(vectors, row_wise=True, order=ORDER)
        sums = torch.zeros(4, dim).index_add(0, torch.from_numpy(groups), vectors)
        cluster_start = normalize(sums, dim=1)
    read = DocumentVectors(encoder, dim, start=start)
    recall = cluster_head(read, len(cluster_start), cluster_start, offset=-10.0)
    network = LightXMLNetwork(encoder, read, recall, offset=-10.0, **options)
    docs = tokenize(["red fox", "", "old stone house near river"], tokenizer, 16)
    batch = docs.batch(np.arange(3))
    with torch.no_grad():
        reading = encoder.eval()(batch)[1] @ start.T
    return network.eval(), batch, reading, vectors, cluster_start


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("groups", [None, GROUPS])
@torch.no_grad()
def test_first_scores_of_both_heads_are_cosines(
    tiny_model, tiny_tokenizer, groups, training
):
    network, batch, reading, vectors, cluster_start = reading_network(
        tiny_model, tiny_tokenizer, groups, n_shortlist=4
    )
    network.doc_vectors.dropout.train(training)  # the reading knows no dropout
    expected = 20 * cosine_similarity(reading[:, None], vectors, dim=2) - 10
    if groups is not None:
        found = 20 * cosine_similarity(reading[:, None], cluster_start, dim=2) - 10
        expected = log_odds(logsigmoid(found)[:, groups] + logsigmoid(expected))
    ids, scores = network.rank(batch, N_LABELS)
    assert torch.equal(ids, expected.argsort(dim=1, descending=True))
    expected = expected.gather(1, ids)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


def test_reading_and_both_heads_learn(tiny_model, tiny_tokenizer):
    network, batch, *_ = reading_network(
        tiny_model, tiny_tokenizer, GROUPS, n_shortlist=2
    )
    network.train()
    positives = torch.tensor([[0, 3], [1, N_LABELS], [5, N_LABELS]])
    loss_of(network, batch, positives).backward()
    ((ids, docs, weights),) = network.ranker.touched
    assert (weights[ids < N_LABELS] != 0).all() and (docs != 0).any()
    for name, parameter in network.named_parameters():
        if name == "ranker.identity":
            continue  # its gradient is kept in those factors
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # Attention does not see a constant added to all keys.
        assert (parameter.grad != 0).any() or name.endswith("key.bias"), name


# --- precision and memory ---------------------------------------------------


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("n_shortlist", [2, N_CLUSTERS])
def test_label_vectors_in_bfloat16(started, autocast, n_shortlist, gradient_by_row):
    options = dict(started=started, n_shortlist=n_shortlist)
    networks = [make_network(GROUPS, **options).float() for _ in range(2)]
    whole, half = networks
    half.ranker.identity.data = half.ranker.identity.data.bfloat16()
    whole.ranker.identity.data = half.ranker.identity.data.float()
    batch, positives, _ = make_batch()
    losses, gradients = [], []
    for network in networks:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = loss_of(network, batch, positives)
        assert loss.dtype == torch.float32
        loss.backward()
        losses.append(loss.item())
        gradients.append(gradient_by_row(network.ranker).float())
        network.ranker.touched.clear()
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    gap = (gradients[1] - gradients[0]).norm() / gradients[0].norm()
    assert gap < 0.05
    assert half.ranker.identity.dtype == torch.bfloat16

    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        (ids, scores), (other_ids, others) = (n.rank(batch, N_LABELS) for n in networks)
    assert scores.dtype == others.dtype == torch.float32
    assert torch.equal(ids == N_LABELS, other_ids == N_LABELS)
    torch.testing.assert_close(others, scores, rtol=0.02, atol=0.1)
    assert half.ranker.identity.dtype == torch.bfloat16


def test_memory_grows_with_what_is_scored():
    few = make_network(GROUPS, n_shortlist=1).floats_per_document(10)
    many = make_network(GROUPS, n_shortlist=4).floats_per_document(10)
    assert many > few > BagEncoder(N_FEATURES, HIDDEN).floats_per_document(10)
    alone = make_network().floats_per_document(10)
    assert alone > BagEncoder(N_FEATURES, HIDDEN).floats_per_document(10)
