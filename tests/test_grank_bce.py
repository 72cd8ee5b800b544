"""GRankClassifier(loss="bce"), X-BCE of Table IV: its network and the classifier."""

import numpy as np
import pytest
import torch
from scipy.special import expit
from test_grank import CLUSTERS, N_TRAIN, QUICK, SHORT, fit_colours, ranking
from test_grank_network import (
    GROUPS,
    N_DOCS,
    N_LABELS,
    hard_network,
    make_batch,
    make_network,
    scores_of,
    weighted,
)
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid
from toy_network import loss_of

import skxmc
from skxmc import GRankClassifier

OFFSET = -0.7


def make_bce(groups=None, n_retrieved=None, *, offset=OFFSET, **options):
    options = dict(loss="bce", offset=offset, single_label=False) | options
    return make_network(groups, n_retrieved, **options)


def summed_bce(scores, truth, counts=None):
    """Binary cross-entropy by torch: summed over outputs, averaged over documents."""
    counts = torch.ones_like(truth) if counts is None else counts
    terms = binary_cross_entropy_with_logits(
        scores, truth.to(scores.dtype), reduction="none"
    )
    return (terms * counts).sum() / len(scores)


def truth_of(Y):
    return torch.from_numpy(Y.toarray() > 0)


# --- the loss ---------------------------------------------------------------


@pytest.mark.parametrize("offset", [None, OFFSET])
def test_loss_over_all_labels(offset):
    network = make_bce(offset=offset)
    batch, positives, Y = make_batch()
    scores = scores_of(network, batch)[1] + (offset or 0)
    loss = loss_of(network, batch, positives)
    torch.testing.assert_close(loss, summed_bce(scores, truth_of(Y)))


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_dual_loss_over_all_labels(weight):
    network = weighted(make_bce(n_retrieved=N_LABELS), weight)
    batch, positives, Y = make_batch()
    found, labels = scores_of(network, batch)
    expected = (1 - weight) * summed_bce(found, truth_of(Y))
    expected = expected + weight * summed_bce(labels + OFFSET, truth_of(Y))
    torch.testing.assert_close(loss_of(network, batch, positives), expected)


@pytest.mark.parametrize("n_shortlist", [1, 2, 4])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_loss_over_clusters_and_candidates(n_shortlist, weight):
    network = weighted(make_bce(GROUPS, n_shortlist=n_shortlist), weight)
    batch, positives, Y = make_batch()
    is_positive = truth_of(Y)
    found, labels = scores_of(network, batch)
    holds = torch.zeros(N_DOCS, 4, dtype=torch.bool)
    for i, j in zip(*Y.nonzero(), strict=True):
        holds[i, GROUPS[j]] = True
    best = found.topk(n_shortlist, dim=1).indices
    candidate = (torch.from_numpy(GROUPS) == best[:, :, None]).any(dim=1)
    ranking_loss = summed_bce(labels + OFFSET, is_positive, candidate | is_positive)
    expected = (1 - weight) * summed_bce(found, holds) + weight * ranking_loss
    torch.testing.assert_close(loss_of(network, batch, positives), expected)


@pytest.mark.parametrize("n_negatives", [1, 3, 99])
def test_loss_of_the_hardest_negatives(n_negatives):
    network = hard_network(n_negatives)
    network.loss = "bce"
    network.offset = torch.nn.Parameter(torch.tensor(OFFSET).double())
    batch, positives, Y = make_batch()
    scores, is_positive = scores_of(network, batch)[1], truth_of(Y)
    kept = is_positive.clone()
    hidden = scores.masked_fill(is_positive, -torch.inf)
    for i, row in enumerate(hidden):
        best = row.sort(descending=True).indices[: min(n_negatives, N_LABELS)]
        kept[i, best[row[best] > -torch.inf]] = True
    loss = loss_of(network, batch, positives)
    torch.testing.assert_close(loss, summed_bce(scores + OFFSET, is_positive, kept))
    # The gradient of the offset is the sum of sigmoid(score) - target.
    (slope,) = torch.autograd.grad(loss, [network.offset])
    errors = (scores + OFFSET).sigmoid() - is_positive.double()
    torch.testing.assert_close(slope, (errors * kept).sum() / N_DOCS)


# --- the ranking ------------------------------------------------------------


@pytest.mark.parametrize("groups", [None, GROUPS])
@pytest.mark.parametrize("combine", ["ranker", "product", "sum"])
@pytest.mark.parametrize("single_label", [False, True])
@torch.no_grad()
def test_scores_are_those_of_probabilities(groups, combine, single_label):
    n_retrieved = N_LABELS if groups is None else 4
    network = make_bce(
        groups, n_retrieved, n_shortlist=4, combine=combine, single_label=single_label
    )
    batch, *_ = make_batch()
    found, labels = scores_of(network, batch)
    found = found if groups is None else found[:, groups]
    labels = labels + OFFSET
    probabilities = {
        "ranker": labels.sigmoid(),
        "product": labels.sigmoid() * found.sigmoid(),
        "sum": (labels + found).sigmoid(),
    }[combine]
    if single_label:
        probabilities = probabilities / probabilities.sum(dim=1, keepdim=True)
    ids, scores = network.rank(batch, N_LABELS)
    assert torch.equal(ids, probabilities.argsort(dim=1, descending=True))
    expected = probabilities.gather(1, ids)
    found = scores.exp() if single_label else scores.sigmoid()
    torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_padding_of_shortlists_comes_last():
    network = make_bce(GROUPS, n_shortlist=1, combine="sum")
    ids, scores = network.rank(make_batch()[0], N_LABELS)
    sizes = np.bincount(GROUPS)
    for row, values in zip(ids.tolist(), scores, strict=True):
        n_real = sum(label < N_LABELS for label in row)
        assert n_real in sizes and row[n_real:] == [N_LABELS] * (N_LABELS - n_real)
        assert values[:n_real].isfinite().all()
        assert (values[n_real:] == -torch.inf).all()


# --- the classifier ---------------------------------------------------------


BCE = QUICK | dict(loss="bce")


@pytest.mark.parametrize(
    "params, least",
    [
        ({}, 0.95),
        (dict(n_negatives=4), 0.9),
        (dict(small_label_mode="dual", combine="product"), 0.9),
        (dict(label_init="random", label_dim=16, max_epochs=30), 0.7),
        (dict(max_leaf_size=3, n_shortlist=4, predict_shortlist=4, max_epochs=30), 0.8),
    ],
)
def test_learns_what_words_mean(params, least, tiny_encoder, colours):
    # Four labels of twelve are right: chance is 1/3.
    model = fit_colours(tiny_encoder, colours, BCE, **params)
    assert model.score(colours[0][N_TRAIN:], colours[1][N_TRAIN:]) >= least
    assert model.history_[-1]["loss"] < 0.6 * model.history_[0]["loss"]


@pytest.mark.parametrize("params", [{}, CLUSTERS, dict(label_init="random")])
def test_probabilities_are_calibrated_sigmoids(params, tiny_encoder, colours):
    model = fit_colours(tiny_encoder, colours, SHORT, loss="bce", **params)
    texts = colours[0][N_TRAIN:]
    ids, probabilities = model.predict_topk(texts, 3)
    with torch.no_grad():
        batch = model._make_docs(texts).batch(np.arange(len(texts)))
        found, scores = model.network_.rank(batch, 3)
    assert ids.tolist() == found.tolist()
    slope, offset = model.calibration_
    expected = expit(slope * scores.double().numpy() + offset)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)


def test_one_label_a_document(tiny_encoder, colours):
    texts, Y, _ = colours
    y = np.array(["a", "b", "c"])[Y.indices[::4] % 3]
    model = GRankClassifier(tiny_encoder, **BCE).fit(texts, y)
    probabilities = model.predict_proba(texts)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert (model.classes_[probabilities.argmax(axis=1)] == model.predict(texts)).all()
    assert model.network_.single_label is True


@pytest.mark.parametrize(
    "params",
    [
        {},
        CLUSTERS,
        dict(label_init="random"),
        dict(n_negatives=3, label_learning_rate=0.3),
        dict(small_label_mode="dual", combine="sum"),
    ],
)
def test_loss_changes_scores_and_folders_keep_it(
    params, tiny_encoder, colours, tmp_path
):
    models = [
        fit_colours(tiny_encoder, colours, SHORT, loss=loss, **params)
        for loss in ("grank", "bce")
    ]
    scores = [ranking(model, colours)[1] for model in models]
    assert not np.array_equal(*scores)
    for model, expected in zip(models, scores, strict=True):
        model.save_pretrained(tmp_path / model.loss)
        again = skxmc.load(tmp_path / model.loss)
        assert again.loss == again.network_.loss == model.loss
        assert np.array_equal(ranking(again, colours)[1], expected)


def test_a_loss_that_does_not_fit_the_labels_is_refused(
    tiny_encoder, colours, tmp_path
):
    model = fit_colours(tiny_encoder, colours, SHORT, loss="bce")
    model.network_.single_label = None
    with pytest.raises(ValueError, match="single_label"):
        model.save_pretrained(tmp_path / "model")


def test_start_is_near_the_truth(tiny_encoder, colours):
    # Without an offset, each of 12 labels would start near cosine 1, a logit of 20.
    params = SHORT | dict(max_epochs=1, learning_rate=0, head_learning_rate=0)
    model = fit_colours(tiny_encoder, colours, params, loss="bce")
    assert model.history_[0]["loss"] < 12 * 5
    assert model.network_.offset.item() < -10
    logits = ranking(model, colours)[1]
    assert logsigmoid(torch.from_numpy(logits)).isfinite().all()


@pytest.mark.parametrize("clusters", [{}, CLUSTERS])
def test_random_label_vectors_start_at_the_mean_log_odds(
    clusters, tiny_encoder, colours
):
    params = SHORT | dict(learning_rate=0, head_learning_rate=0, label_init="random")
    model = fit_colours(tiny_encoder, colours, params, loss="bce", **clusters)
    # Four labels of twelve, or of the candidates that two clusters may hold.
    n_ranked = 2 * np.bincount(model.label_groups_).max() if clusters else 12
    share = min(4 / n_ranked, 0.5)
    assert model.network_.offset.sigmoid().item() == pytest.approx(share, rel=1e-5)
