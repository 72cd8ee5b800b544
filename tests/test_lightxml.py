"""LightXMLClassifier through its public interface."""

import copy
import inspect
import pickle
import re
import types

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from skxmc import GRankClassifier, LightXMLClassifier
from skxmc.nn import optimizer
from skxmc.nn.networks.lightxml import LightXMLNetwork
from skxmc.nn.optimizer import Optimizer
from skxmc.nn.rowwise import modules_trained_by_row
from skxmc.nn.rowwise_adamw import RowwiseAdamW

QUICK = dict(
    n_layers=1,
    max_length=16,
    max_epochs=15,
    batch_size=8,
    learning_rate=1e-2,
    head_learning_rate=1e-2,
    dropout=0.0,
    validation_fraction=0,
    precision="fp32",
    random_state=0,
)
SHORT = QUICK | dict(max_epochs=2)
CLUSTERS = dict(max_leaf_size=3, n_shortlist=2, predict_shortlist=3)
# Four labels a document fill two clusters of three: the third has negatives.
THREE = CLUSTERS | dict(n_shortlist=3)
SIGMOID = CLUSTERS | dict(bottleneck_activation="sigmoid", head_learning_rate=0.03)
SIGMOID["max_epochs"] = 30
RANDOM = dict(label_init="random", label_dim=16)
N_TRAIN = 45


@pytest.fixture(scope="module")
def features(colours):
    return TfidfVectorizer().fit_transform(colours[0])


def fit_texts(encoder, colours, params=QUICK, **more):
    texts, Y, _ = colours
    model = LightXMLClassifier(encoder, **params | more)
    return model.fit(texts[:N_TRAIN], Y[:N_TRAIN])


def fit_features(features, colours, params=SHORT, **more):
    """Fit on features, by default for 2 epochs of 6 steps."""
    params = dict(label_dim=16) | params | more
    model = LightXMLClassifier(**params)
    return model.fit(features[:N_TRAIN], colours[1][:N_TRAIN])


def weights_of(network):
    return {name: p.detach().clone() for name, p in network.named_parameters()}


@pytest.fixture
def running(monkeypatch):
    """The networks whose training began."""
    networks, start = [], Optimizer.__init__

    def started(self, network, **options):
        networks.append(network)
        start(self, network, **options)

    monkeypatch.setattr(Optimizer, "__init__", started)
    return networks


@pytest.fixture
def steps(running, monkeypatch):
    """The weights after each step, by name."""
    steps, step = [], torch.optim.AdamW.step

    def stepped(self, *args):
        found = step(self, *args)
        for module in modules_trained_by_row(running[-1]):
            module.optimizer.catch_up()  # rows that no step has read lately
        steps.append(weights_of(running[-1]))
        return found

    monkeypatch.setattr(torch.optim.AdamW, "step", stepped)
    return steps


@pytest.fixture
def by_row(gradient_by_row, monkeypatch):
    """Of each step by row: the gradient, its scale, and the rate.

    Where there are vectors of features, theirs come before those of labels.
    """
    steps, step = [], RowwiseAdamW.step

    def stepped(self, rate, *, scale=None, applies=None):
        assert applies is None
        head = types.SimpleNamespace(table=self.vectors, touched=self.touched)
        steps.append((gradient_by_row(head), scale, rate))
        return step(self, rate, scale=scale)

    monkeypatch.setattr(RowwiseAdamW, "step", stepped)
    return steps


# Learning


@pytest.mark.parametrize(
    "params, least",
    [
        (dict(max_epochs=30), 0.8),
        (RANDOM, 0.6),
        (
            dict(max_epochs=30) | CLUSTERS | dict(n_shortlist=4, predict_shortlist=4),
            0.6,
        ),
    ],
)
def test_learns_what_words_mean(params, least, tiny_encoder, colours):
    # Four labels of twelve are right: chance is 1/3.
    model = fit_texts(tiny_encoder, colours, **params)
    assert model.score(colours[0][N_TRAIN:], colours[1][N_TRAIN:]) >= least
    assert model.history_[-1]["loss"] < 0.6 * model.history_[0]["loss"]


@pytest.mark.parametrize(
    "params, least",
    [
        ({}, 0.8),
        (CLUSTERS, 0.8),
        (THREE | dict(negatives="uniform"), 0.8),
        (SIGMOID, 0.6),
        (CLUSTERS | dict(loss_reduction="sum", max_epochs=30), 0.8),
        (CLUSTERS | dict(label_precision="bf16"), 0.8),
        (CLUSTERS | dict(dropout=0.3, dropout_until=0.5), 0.8),
    ],
)
def test_pipeline_from_tfidf_learns(params, least, colours):
    texts, Y, _ = colours
    params = QUICK | dict(label_dim=32) | params
    model = make_pipeline(TfidfVectorizer(), LightXMLClassifier(**params))
    model.fit(texts[:N_TRAIN], Y[:N_TRAIN])
    assert model[-1].n_features_in_ == 12
    assert model.score(texts[N_TRAIN:], Y[N_TRAIN:]) >= least


def test_learns_nothing_from_shuffled_labels(features, colours):
    rows = np.random.default_rng(0).permutation(N_TRAIN)
    model = LightXMLClassifier(**QUICK | CLUSTERS, label_dim=32)
    model.fit(features[:N_TRAIN], colours[1][rows])
    assert model.score(features[N_TRAIN:], colours[1][N_TRAIN:]) < 0.7


# Every parameter does something, or is refused


@pytest.mark.parametrize(
    "params, changed",
    [
        ({}, dict(label_init="random")),
        (dict(label_texts=True), dict(label_texts=None)),
        (dict(label_texts=True), dict(label_init="texts")),
        (dict(label_texts=True), dict(label_init="documents")),
        ({}, dict(n_layers=2)),
        ({}, dict(max_length=4)),
        ({}, dict(encoder_dropout=None)),
        ({}, dict(label_dim=4)),
        (CLUSTERS, dict(label_init="random")),
        (CLUSTERS, dict(label_texts=True)),
        (CLUSTERS, dict(cluster_features="documents")),
        (CLUSTERS, dict(learning_rate=1e-3)),
    ],
)
def test_parameter_changes_what_is_read(params, changed, tiny_encoder, colours):
    def scores(params):
        if params.get("label_texts"):
            params = params | dict(label_texts=colours[2])
        params = dict(max_epochs=1) | params
        model = fit_texts(tiny_encoder, colours, SHORT | params)
        return model.predict_topk(colours[0][N_TRAIN:], 12)[1]

    assert not np.array_equal(scores(params), scores(params | changed))


@pytest.mark.parametrize(
    "params, changed",
    [
        ({}, dict(dropout=0.5)),
        (dict(dropout=0.5), dict(dropout_until=0.5)),
        ({}, dict(label_dim=4)),
        ({}, dict(max_leaf_size=3)),
        ({}, dict(loss_reduction="sum")),
        ({}, dict(max_epochs=3)),
        ({}, dict(batch_size=16)),
        ({}, dict(accumulate=2)),
        ({}, dict(weight_decay=10.0)),
        ({}, dict(warmup=1.0)),
        ({}, dict(clip_norm=1e-9)),
        ({}, dict(swa_start=None)),
        ({}, dict(swa_every=1)),
        ({}, dict(validation_fraction=0.3)),
        ({}, dict(precision="fp64")),
        ({}, dict(precision="bf16")),
        ({}, dict(random_state=1)),
        (CLUSTERS, dict(loss_reduction="sum")),
        (CLUSTERS, dict(n_shortlist=1)),
        (CLUSTERS, dict(predict_shortlist=1)),
        (CLUSTERS, dict(predict_shortlist=75)),
        (CLUSTERS, dict(bottleneck_activation="sigmoid")),
        (CLUSTERS, dict(label_precision="bf16")),
        (CLUSTERS, dict(schedule="linear")),
        (CLUSTERS, dict(head_learning_rate=1e-3)),
        (CLUSTERS, dict(weight_decay=10.0)),
        (CLUSTERS, dict(swa_start=None)),
        (THREE, dict(negatives="uniform")),
    ],
)
def test_parameter_changes_scores(params, changed, features, colours):
    def scores(params):
        model = fit_features(features, colours, **params)
        scores = model.predict_topk(features[N_TRAIN:], 12)[1]
        assert np.isfinite(scores).all()
        return scores

    assert not np.array_equal(scores(params), scores(params | changed))


def test_the_default_reduction_is_the_mean(features, colours):
    model = fit_features(features, colours)
    summed = fit_features(features, colours, loss_reduction="sum")
    first, total = (m.history_[0]["loss"] for m in (model, summed))
    assert first < 1 < 4 < total  # log 2 each of 12 labels, or their sum


@pytest.mark.parametrize("params", [{}, CLUSTERS])
def test_dropout_until_0_is_none(params, features, colours):
    params = params | dict(max_epochs=1)
    none = fit_features(features, colours, **params)
    off = fit_features(features, colours, dropout=0.5, dropout_until=0.0, **params)
    for one, two in zip(
        off.predict_topk(features, 12), none.predict_topk(features, 12), strict=True
    ):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    "params, message",
    [
        (dict(negatives="hard"), "negatives must be one of .*dynamic.*'hard'"),
        (dict(bottleneck_activation="relu"), "bottleneck_activation must be one of"),
        (
            dict(bottleneck_activation="sigmoid"),
            'bottleneck_activation="sigmoid" needs label_init="random", got \'auto\'',
        ),
        (
            dict(bottleneck_activation="sigmoid", label_init="documents"),
            "needs label_init=\"random\", got 'documents'",
        ),
        (dict(loss_reduction="max"), "loss_reduction must be one of .*mean.*'max'"),
        (dict(dropout_until=-0.1), "dropout_until must be .*at least 0.*got -0.1"),
        (dict(dropout_until=1.1), "dropout_until must be .*at most 1; got 1.1"),
        (dict(dropout_until=None), "dropout_until"),
        (
            dict(label_precision="bf16", precision="fp64"),
            'label_precision="bf16" contradicts precision="fp64"',
        ),
        (dict(label_precision="fp16"), "label_precision must be one of"),
        (dict(swa_every=0), "swa_every must be an int, at least 1; got 0"),
        (dict(swa_start=1.0), "swa_start .*below 1"),
        (dict(schedule="cosine"), "schedule must be one of .*'cosine'"),
        (dict(n_shortlist=0), "n_shortlist"),
        (dict(predict_shortlist=0), "predict_shortlist"),
        (dict(max_leaf_size=0), "max_leaf_size"),
        (dict(label_dim=1), "label_dim"),
        (dict(label_dim=32), "label_dim=32 exceeds .* hidden size, 16"),
        (dict(label_init="zeros"), "label_init must be one of"),
        (dict(label_init="texts"), "give label_texts"),
        (dict(label_texts=["red"]), "label_texts has 1 texts and y 12"),
        (dict(n_layers=5), "n_layers=5, but the encoder has 3"),
        (dict(accumulate=0), "accumulate"),
        (dict(clip_norm=0), "clip_norm must be a number, above 0"),
    ],
)
def test_bad_parameter_is_refused(params, message, tiny_encoder, colours):
    texts, Y, _ = colours
    model = LightXMLClassifier(tiny_encoder, **QUICK | params)
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(texts, Y)
    with pytest.raises(NotFittedError):
        model.predict(texts)


def test_features_refuse_what_needs_a_transformer(colours):
    for params in (dict(label_init="documents"), dict(cluster_features="documents")):
        with pytest.raises(ValueError, match="needs a transformer"):
            LightXMLClassifier(**params).fit(np.eye(60), colours[1])


def parameters_of(estimator):
    return set(inspect.signature(estimator).parameters)


def documented_in(estimator):
    """Names in the Parameters section of a docstring."""
    text = inspect.getdoc(estimator)
    section = text.partition("\nParameters\n")[2].partition("\nAttributes\n")[0]
    lines = re.findall(r"^(\w[\w, ]*?)(?: :.*)?$", section, flags=re.MULTILINE)
    return {name for line in lines for name in line.split(", ")}


@pytest.mark.parametrize("estimator", [GRankClassifier, LightXMLClassifier])
def test_every_parameter_is_documented_and_no_other(estimator):
    assert documented_in(estimator) == parameters_of(estimator)


def test_parameters_in_common_are_documented_in_both():
    common = parameters_of(GRankClassifier) & parameters_of(LightXMLClassifier)
    own = {"dropout_until", "negatives", "ranking_encoder", "bottleneck_activation"}
    own |= {"loss_reduction"}
    assert parameters_of(LightXMLClassifier) - common == own
    assert common <= documented_in(GRankClassifier) & documented_in(LightXMLClassifier)


# Label vectors and clusters


@pytest.mark.parametrize("params", [{}, THREE])
def test_label_vectors_start_as_readings(params, tiny_encoder, colours):
    still = dict(learning_rate=0.0, head_learning_rate=0.0, max_epochs=1)
    model = fit_texts(tiny_encoder, colours, SHORT | still | params)
    network = model.network_
    texts, Y, _ = colours
    with torch.no_grad():
        docs = network.encoder(
            model._make_docs(texts[:N_TRAIN]).batch(np.arange(N_TRAIN))
        )
        docs = torch.nn.functional.normalize(docs[1], dim=1).double()
    vectors = torch.from_numpy(Y[:N_TRAIN].toarray().T) @ docs
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    n_labels = len(vectors)
    cosines = [vectors[i] @ vectors[j] for i in range(n_labels) for j in range(i)]
    offset = -20 * (np.mean(cosines) + 3 * np.std(cosines, ddof=1))
    if params:
        found = network.ranker(torch.eye(16)).T.double()
        torch.testing.assert_close(found, vectors, rtol=0, atol=1e-5)
        which = torch.from_numpy(model.label_groups_ == np.arange(4)[:, None])
        vectors = torch.nn.functional.normalize(which.double() @ vectors, dim=1)
        assert network.offset.item() == pytest.approx(offset, abs=1e-4)
    recall = network.recall
    first = recall.in_features - 16
    assert (recall.weight[:, :first] == 0).all()
    torch.testing.assert_close(recall.bias, torch.full_like(recall.bias, offset))
    found = recall.weight[:, first:].double()
    torch.testing.assert_close(found, vectors, rtol=0, atol=1e-5)


def test_label_dim_is_the_width_of_label_vectors(tiny_encoder, colours):
    for params, dim in [
        (dict(label_dim=4), 4),
        (dict(), 16),
        (dict(label_init="random", label_dim=6), 6),
        (dict(label_init="random"), 400),
    ]:
        params = dict(max_epochs=1) | params | CLUSTERS
        model = fit_texts(tiny_encoder, colours, SHORT | params)
        assert model.network_.ranker.dim == dim


def test_clusters_partition_the_labels(features, colours):
    model = fit_features(features, colours, **CLUSTERS)
    np.testing.assert_array_equal(np.bincount(model.label_groups_), [3, 3, 3, 3])
    assert model.network_.clusters.n_clusters == 4
    model = fit_features(features, colours)
    assert model.label_groups_.tolist() == [*range(12)]
    assert model.network_.clusters is None and model.network_.ranker is None


def test_predictions_lie_in_the_top_clusters(features, colours):
    model = fit_features(features, colours, **CLUSTERS | dict(predict_shortlist=1))
    ids, scores = model.predict_topk(features, 12)
    assert (ids[:, :3] >= 0).all() and (ids[:, 3:] == -1).all()
    assert (scores[:, 3:] == 0).all() and (scores[:, :3] > 0).all()
    groups = model.label_groups_[ids[:, :3]]
    assert (groups == groups[:, :1]).all()
    assert len(np.unique(groups)) > 1
    assert np.diff(model.predict_proba(features).indptr).tolist() == [3] * 60


def test_all_clusters_on_the_shortlist_rank_all_labels(features, colours):
    model = fit_features(features, colours, **CLUSTERS | dict(predict_shortlist=99))
    ids, _ = model.predict_topk(features, 12)
    assert (np.sort(ids) == np.arange(12)).all()


def test_shortlist_of_prediction_is_not_that_of_training(features, colours):
    few, many = (
        fit_features(features, colours, **CLUSTERS | dict(predict_shortlist=n))
        for n in (1, 4)
    )
    assert few.history_ == many.history_
    parameters = zip(few.network_.parameters(), many.network_.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in parameters)


def test_clusters_follow_given_features(features, colours):
    given = np.repeat(np.eye(4), 3, axis=0)[[*range(0, 12, 2), *range(1, 12, 2)]]
    params = CLUSTERS | dict(cluster_features=given)
    groups = fit_features(features, colours, **params).label_groups_
    same = groups[:, None] == groups
    np.testing.assert_array_equal(same, given @ given.T > 0)


def test_label_vectors_in_bfloat16(features, colours):
    params = QUICK | CLUSTERS | dict(label_dim=32)
    whole, half = (
        fit_features(features, colours, params, label_precision=precision)
        for precision in ("fp32", "bf16")
    )

    def n_bytes(model):
        vectors = model.network_.ranker.identity
        return vectors.numel() * vectors.element_size()

    assert n_bytes(whole) == 2 * n_bytes(half) == 4 * 13 * 32
    saved = len(pickle.dumps(whole)) - len(pickle.dumps(half))
    assert saved == pytest.approx(2 * 13 * 32, abs=200)
    expected, got = (m.predict_proba(features).toarray() for m in (whole, half))
    np.testing.assert_allclose(got, expected, atol=0.05)
    assert np.abs(expected - expected.mean()).max() > 0.3
    others = {p.dtype for n, p in half.network_.named_parameters() if "ranker" not in n}
    assert others == {torch.float32}


# Training


@pytest.mark.parametrize(
    "params",
    [
        dict(dropout=0.5),
        dict(dropout=0.5, negatives="uniform", **THREE),
        dict(dropout=0.5, label_precision="bf16", **CLUSTERS),
    ],
)
def test_same_seed_same_bits(params, features, colours):
    def result(random_state, global_state):
        torch.manual_seed(global_state)
        params_now = params | dict(random_state=random_state, swa_every=3)
        model = fit_features(features, colours, **params_now)
        return model.network_.state_dict(), model.history_

    one, two, other = result(3, 0), result(3, 1), result(4, 1)
    assert one[1] == two[1] != other[1]
    assert all(torch.equal(one[0][name], two[0][name]) for name in one[0])
    assert not torch.equal(one[0]["recall.weight"], other[0]["recall.weight"])


def mean_of(steps, numbers):
    """Mean of the weights after the steps of these numbers, counted from 1."""
    chosen = [steps[number - 1] for number in numbers]
    return {
        name: torch.stack([weights[name].float() for weights in chosen]).mean(dim=0)
        for name in chosen[0]
    }


def assert_weights(network, expected):
    for name, parameter in network.named_parameters():
        # Near 1, bfloat16 is 2**-8 apart.
        tolerance = 1e-5 if parameter.dtype == torch.float32 else 2**-8
        found, wanted = parameter.detach().float(), expected[name].float()
        torch.testing.assert_close(
            found, wanted, rtol=tolerance, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("label_precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "options, averaged",
    [
        # Six steps an epoch: every fourth after the ninth, and an epoch's last.
        (dict(swa_every=4), [12, 16, 18]),
        (dict(swa_every=5, swa_start=0.0), [5, 6, 10, 12, 15, 18]),
        (dict(swa_every=99), [12, 18]),
        (dict(swa_start=None), [18]),
        # Three steps an epoch.
        (dict(swa_every=2, accumulate=2), [6, 8, 9]),
    ],
)
def test_average_of_weights(
    label_precision, options, averaged, features, colours, steps
):
    options = CLUSTERS | dict(max_epochs=3) | options
    options |= dict(label_precision=label_precision)
    model = fit_features(features, colours, **options)
    assert len(steps) == (9 if "accumulate" in options else 18)
    assert_weights(model.network_, mean_of(steps, averaged))
    if len(averaged) > 1:
        name = "ranker.identity"
        gap = (model.network_.ranker.identity - steps[-1][name])[:12].float()
        assert (gap.norm(dim=1) > 1e-2).all()  # else no average was needed


def test_held_out_documents_judge_the_average(features, colours, steps, monkeypatch):
    seen, rank = {}, LightXMLNetwork.rank

    def observed(self, *args):
        seen.setdefault(len(steps), weights_of(self))
        return rank(self, *args)

    monkeypatch.setattr(LightXMLNetwork, "rank", observed)
    params = dict(max_epochs=4, validation_fraction=0.2, swa_every=5, label_dim=16)
    model = LightXMLClassifier(**SHORT | CLUSTERS | params).fit(features, colours[1])
    # Six steps an epoch: 48 documents. The average begins after the twelfth.
    assert list(seen) == [6, 12, 18, 24]
    for epoch_end, averaged in [
        (6, [6]),
        (12, [12]),
        (18, [15, 18]),
        (24, [15, 18, 20, 24]),
    ]:
        expected = mean_of(steps, averaged)
        for name, weights in seen[epoch_end].items():
            torch.testing.assert_close(weights, expected[name], rtol=1e-5, atol=1e-6)
    scores = [epoch["score"] for epoch in model.history_]
    best = max(range(4), key=lambda i: (scores[i], i))
    assert best > 1  # so that it is an average
    kept = weights_of(model.network_)
    assert all(torch.equal(kept[name], seen[6 * (best + 1)][name]) for name in kept)


@pytest.mark.parametrize(
    # With all clusters on the shortlist, all documents have as many candidates.
    "params",
    [CLUSTERS | dict(loss_reduction="sum"), dict(max_leaf_size=3, n_shortlist=4)],
)
def test_accumulation_is_a_larger_batch(params, features, colours, by_row):
    params = params | dict(label_dim=8, max_epochs=4, precision="fp64", swa_start=None)
    results = []
    for batch_size, accumulate in [(8, 6), (48, 1), (8, 5)]:
        sizes = dict(batch_size=batch_size, accumulate=accumulate)
        model = LightXMLClassifier(**SHORT | params | sizes)
        model.fit(features[:48], colours[1][:48])
        gradients = [gradient for gradient, *_ in by_row]
        by_row.clear()
        results.append((gradients, model.network_.ranker.identity.detach()))
    small, large, other = results
    # AdamW hides a factor of the gradient: so the gradient is looked at, too.
    # Of features and labels.
    assert len(small[0]) == len(large[0]) == 2 * 4 and len(other[0]) == 2 * 8
    assert all((g.norm(dim=1)[:12] > 1e-3).all() for g in large[0][:2])
    torch.testing.assert_close(small[0], large[0], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(small[1], large[1], rtol=1e-6, atol=1e-9)
    assert (other[1] - large[1]).norm() > 1e-3


@pytest.mark.parametrize("clip_norm", [1e-3, 1e3])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_clip_norm_is_that_of_all_gradients(
    clip_norm, accumulate, features, colours, running, by_row, monkeypatch
):
    norms, clip = [], optimizer.clip_grads_with_norm_

    def observed(parameters, max_norm, total_norm):
        dense = torch.cat([p.grad.flatten() for p in parameters])
        names = {id(p) for p in running[-1].parameters()} - {id(p) for p in parameters}
        by_row = running[-1].encoder.features, running[-1].ranker
        assert names == {id(module.table) for module in by_row}
        norms.append((total_norm.item(), dense.double().norm().item()))
        result = clip(parameters, max_norm, total_norm)
        clipped = torch.cat([p.grad.flatten() for p in parameters]).norm().item()
        scale = min(1.0, clip_norm / total_norm.item())
        assert clipped == pytest.approx(scale * norms[-1][1], rel=1e-2)
        return result

    monkeypatch.setattr(optimizer, "clip_grads_with_norm_", observed)
    params = CLUSTERS | dict(clip_norm=clip_norm, accumulate=accumulate)
    fit_features(features, colours, **params, loss_reduction="sum")
    assert len(norms) == 12 / accumulate
    pairs = zip(by_row[::2], by_row[1::2], strict=True)
    for (total, dense), pair in zip(norms, pairs, strict=True):
        own = [gradient.double().norm().item() for gradient, *_ in pair]
        assert total == pytest.approx(np.linalg.norm([dense, *own]), rel=1e-5)
        assert min(own) > 0.05 * total  # so that none can be missed unseen
        for _, scale, _ in pair:
            assert scale.item() == pytest.approx(min(1.0, clip_norm / total), rel=1e-2)


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_schedule_of_all_rates(schedule, tiny_encoder, colours, by_row, monkeypatch):
    rates, step = [], torch.optim.AdamW.step

    def stepped(self, *args):
        rates.append({group["lr"] for group in self.param_groups})
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", stepped)
    given = dict(learning_rate=1e-4, head_learning_rate=1e-3, schedule=schedule)
    fit_texts(tiny_encoder, colours, SHORT | CLUSTERS | given)
    factors = np.ones(12) if schedule == "constant" else np.arange(12, 0, -1) / 12
    expected = [pytest.approx([1e-4 * f, 1e-3 * f]) for f in factors]
    assert [sorted(each) for each in rates] == expected
    assert [rate for *_, rate in by_row] == pytest.approx(list(1e-3 * factors))


def test_rates_are_constant_by_default():
    assert LightXMLClassifier().schedule == "constant"
    assert LightXMLClassifier().warmup == 0


@pytest.mark.parametrize("params", [{}, dict(label_precision="bf16")])
def test_interrupted_training_can_be_used(params, features, colours, monkeypatch):
    n_added, loss = [], LightXMLNetwork.forward

    def interrupted(self, *args):
        n_added.append(len(self.ranker.touched))
        if len(n_added) == 11:  # the fifth batch of the second epoch
            raise KeyboardInterrupt
        return loss(self, *args)

    Y = colours[1]
    params = SHORT | CLUSTERS | params | dict(accumulate=3, label_dim=16)
    model = LightXMLClassifier(**params, swa_every=1)
    with monkeypatch.context() as patch:
        patch.setattr(LightXMLNetwork, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.fit(features[:N_TRAIN], Y[:N_TRAIN])
    assert n_added[-2:] == [0, 1]  # a gradient was waiting for its step
    network = model.network_
    assert network.ranker.touched == []
    assert not any(module.training for module in network.modules())
    assert model.n_iter_ == len(model.history_) == 1
    before = model.predict_topk(features, 12)
    assert np.isfinite(before[1]).all() and 0 <= model.score(features, Y) <= 1
    again = pickle.loads(pickle.dumps(model)).predict_topk(features, 12)
    for one, two in zip(again, before, strict=True):
        np.testing.assert_array_equal(one, two)
    # Training anew is training from the start.
    model.fit(features[:N_TRAIN], Y[:N_TRAIN])
    fresh = clone(model).fit(features[:N_TRAIN], Y[:N_TRAIN])
    for one, two in zip(
        model.predict_topk(features), fresh.predict_topk(features), strict=True
    ):
        np.testing.assert_array_equal(one, two)


def test_nothing_is_left_of_the_last_gradient(features, colours):
    model = fit_features(features, colours, accumulate=4, **CLUSTERS)
    assert model.network_.ranker.touched == []
    model.predict(features)
    assert model.network_.ranker.touched == []


# Predictions and copies


@pytest.mark.parametrize("params", [{}, CLUSTERS | dict(label_precision="bf16")])
def test_pickle_and_copy(params, tiny_encoder, colours):
    texts = colours[0]
    model = fit_texts(tiny_encoder, colours, SHORT | dict(max_epochs=1) | params)
    expected = model.predict_topk(texts, 12)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        for one, two in zip(again.predict_topk(texts, 12), expected, strict=True):
            np.testing.assert_array_equal(one, two)
        assert again.get_params() == model.get_params()


def test_clone_has_the_parameters_and_no_network(features, colours):
    params = dict(dropout_until=0.3, negatives="uniform", loss_reduction="sum")
    model = fit_features(features, colours, **THREE | params)
    again = clone(model)
    assert again.get_params() == model.get_params()
    assert not hasattr(again, "network_")
    again.fit(features[:N_TRAIN], colours[1][:N_TRAIN])
    for one, two in zip(
        again.predict_topk(features), model.predict_topk(features), strict=True
    ):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("params", [{}, CLUSTERS])
def test_dense_labels_are_predicted_densely(params, features, colours):
    params = QUICK | params | dict(label_dim=32)
    Y = colours[1].toarray()
    model = LightXMLClassifier(**params).fit(features[:N_TRAIN], Y[:N_TRAIN])
    sparse = fit_features(features, colours, params)
    ids, scores = model.predict_topk(features, 4)
    for one, two in zip((ids, scores), sparse.predict_topk(features, 4), strict=True):
        np.testing.assert_array_equal(one, two)
    proba = model.predict_proba(features)
    assert proba.shape == (60, 12) and ((proba > 0) & (proba < 1)).all()
    order = np.argsort(-proba, axis=1, kind="stable")[:, :4]
    np.testing.assert_array_equal(order, ids)
    predicted = model.predict(features[N_TRAIN:])
    assert isinstance(predicted, np.ndarray)
    assert (predicted != Y[N_TRAIN:]).mean() < 0.2  # 1/3 are ones


@pytest.mark.parametrize("classes", [["no", "yes"], [7, -3, 5]])
@pytest.mark.parametrize("params", [{}, dict(max_leaf_size=2)])
def test_single_labels(classes, params, features, colours):
    texts = colours[0]
    which = [sum(word in text.split() for word in ("red", "cat")) for text in texts]
    y = np.array(classes)[np.minimum(which, len(classes) - 1)]
    params = QUICK | params | dict(label_dim=32, head_learning_rate=0.03)
    model = LightXMLClassifier(**params).fit(features[:N_TRAIN], y[:N_TRAIN])
    assert model.classes_.tolist() == sorted(classes)
    assert model.network_.single_label
    predicted = model.predict(features[N_TRAIN:])
    assert predicted.dtype == y.dtype
    accuracy = (predicted == y[N_TRAIN:]).mean()
    assert accuracy > 0.8
    assert model.score(features[N_TRAIN:], y[N_TRAIN:]) == accuracy
    ids, scores = model.predict_topk(features, len(classes))
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    proba = np.take_along_axis(model.predict_proba(features), ids, axis=1)
    np.testing.assert_allclose(scores, proba, rtol=1e-4)
    np.testing.assert_array_equal(model.classes_[ids[:, 0]], model.predict(features))
    if len(classes) == 2:
        positive = (model.decision_function(features) > 0).astype(int)
        np.testing.assert_array_equal(model.classes_[positive], model.predict(features))


def test_labels_in_any_order_of_documents(features, colours):
    # A document's scores do not depend on those beside it.
    model = fit_features(features, colours, **CLUSTERS)
    order = np.random.default_rng(0).permutation(60)
    ids, scores = model.predict_topk(features, 5)
    other_ids, others = model.predict_topk(features[order], 5)
    np.testing.assert_array_equal(other_ids, ids[order])
    np.testing.assert_allclose(others, scores[order], rtol=1e-6)


def test_a_label_without_documents(features, colours):
    Y = sp.hstack([colours[1], sp.csr_array((60, 5))], format="csr")
    for params in ({}, CLUSTERS):
        model = LightXMLClassifier(**QUICK | params, label_dim=16).fit(features, Y)
        assert np.isfinite(model.predict_topk(features, 17)[1]).all()
        ids = model.predict_topk(features, 4)[0]
        assert (ids < 12).mean() > 0.95  # it learned that these are never right
