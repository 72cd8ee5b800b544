"""LightXMLClassifier(negatives="static"): Table 5 of the paper, in two phases."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from test_callbacks import Watch
from test_checkpoint import Killed, steps
from test_lightxml import CLUSTERS, N_TRAIN, QUICK, SHORT, fit_features, fit_texts
from test_lightxml import features as features  # a fixture
from test_lightxml_network import GROUPS, N_DOCS, make_batch, make_network
from torch.nn.functional import binary_cross_entropy_with_logits

import skxmc
from skxmc import LightXMLClassifier
from skxmc.inspection import HistoryDisplay
from skxmc.nn import checkpoint, static_negatives
from skxmc.nn.network import Progress
from skxmc.nn.networks.lightxml import RankingBranch
from skxmc.nn.static_negatives import RankerTraining, RecallTraining, StaticExamples

FROZEN = CLUSTERS | dict(negatives="static")
OWN = FROZEN | dict(ranking_encoder="own")
both = pytest.mark.parametrize("params", [FROZEN, OWN], ids=["frozen", "own"])
PROGRESS = Progress(1, 1, 1, 1)


@pytest.fixture
def phases(monkeypatch):
    """Of each phase: its name, and the whole network's weights before and after it."""
    found, train = [], static_negatives.train

    def copy_weights(network):
        return {name: t.clone() for name, t in network.state_dict().items()}

    def recorded(phase, examples, **options):
        before = copy_weights(phase.network)
        train(phase, examples, **options)
        after = copy_weights(phase.network)
        found.append((options["title"], before, after, examples))

    monkeypatch.setattr(static_negatives, "train", recorded)
    return found


def changed(before, after):
    """First part of the names of the weights that a phase has changed."""
    names = [name for name in before if not torch.equal(before[name], after[name])]
    return {name.partition(".")[0] for name in names}


# --- what the phases train ----------------------------------------------------


@pytest.mark.parametrize("manners", [{}, dict(swa_start=0.5, swa_every=2)])
@both
def test_each_phase_trains_its_own_weights(
    params, manners, tiny_encoder, colours, phases
):
    model = fit_texts(tiny_encoder, colours, SHORT, **params | manners)
    (recall, *first, _), (ranker, *second, _) = phases
    assert (recall, ranker) == ("recall", "ranker")
    assert changed(*first) == {"encoder", "doc_vectors", "recall"}
    assert changed(*second) == {"ranking", "ranker", "offset"}
    parts = {n.split(".")[1] for n in second[0] if n.startswith("ranking")}
    has_encoder = params is OWN
    assert parts == {"doc_vectors"} | ({"encoder"} if has_encoder else set())
    # The ranker starts from what the recall reads with.
    for name, weight in second[0].items():
        if name.startswith("ranking."):
            assert torch.equal(weight, second[0][name.removeprefix("ranking.")]), name
    assert (model.network_.ranking.encoder is not None) == has_encoder


@both
def test_shortlists_are_the_best_clusters_of_the_trained_recall(
    params, tiny_encoder, colours, phases
):
    model = fit_texts(tiny_encoder, colours, SHORT, **params)
    network, examples = model.network_, phases[1][3]
    docs = model._make_docs(colours[0][:N_TRAIN])
    with torch.no_grad():
        inputs = docs.batch(np.arange(N_TRAIN))
        for_clusters, _ = network.doc_vectors(*network.encoder(inputs), inputs)
        expected = network.recall(for_clusters).topk(2, dim=1).indices
    _, targets = examples.batch(examples.rows)
    assert_array_equal(targets["shortlist"].sort().values, expected.sort().values)


@pytest.mark.parametrize("own", [False, True])
def test_losses_by_brute_force(own):
    network = make_network(GROUPS, negatives="static", loss_reduction="sum")
    other = make_network(GROUPS, seed=1)
    network.ranking = RankingBranch(other.encoder if own else None, other.doc_vectors)
    batch, positives, Y = make_batch()
    truth = torch.from_numpy(Y.toarray() > 0)
    chosen = torch.stack([torch.randperm(4)[:2] for _ in range(N_DOCS)])
    with torch.no_grad():
        read = network.encoder(batch)
        for_clusters, _ = network.doc_vectors(*read)
        for_labels = other.doc_vectors(*(other.encoder(batch) if own else read))[1]
        found = network.recall(for_clusters)
        scores = network.ranker(for_labels)
    holds = torch.stack([truth[:, GROUPS == c].any(dim=1) for c in range(4)], dim=1)
    expected = binary_cross_entropy_with_logits(
        found, holds.to(found.dtype), reduction="sum"
    )
    targets = {"positives": positives, "shortlist": chosen}
    loss = RecallTraining(network)(batch, targets, PROGRESS)
    torch.testing.assert_close(loss, expected / N_DOCS)

    ranked = truth | (torch.from_numpy(GROUPS) == chosen[:, :, None]).any(dim=1)
    terms = binary_cross_entropy_with_logits(
        scores, truth.to(scores.dtype), reduction="none"
    )
    loss = RankerTraining(network)(batch, targets, PROGRESS)
    torch.testing.assert_close(loss, (terms * ranked).sum() / N_DOCS)
    loss.backward()
    frozen = [*network.encoder.parameters(), *network.doc_vectors.parameters()]
    assert all(p.grad is None for p in [*frozen, *network.recall.parameters()])
    assert not network.encoder.features.touched


@torch.no_grad()
def test_clusters_come_from_the_recall_and_labels_from_the_branch():
    network = make_network(GROUPS, negatives="static", predict_shortlist=2)
    other = make_network(GROUPS, seed=1)
    network.ranking = RankingBranch(other.encoder, other.doc_vectors)
    batch, *_ = make_batch()
    for_clusters, for_labels = network.encode(batch)
    assert torch.equal(for_clusters, network.doc_vectors(*network.encoder(batch))[0])
    assert torch.equal(for_labels, other.encode(batch)[1])


def test_batches_hold_the_shortlists_of_their_documents():
    _, _, Y = make_batch()
    rows = np.array([1, 4, 7])
    docs = type("Docs", (), {"batch": lambda self, rows: {}, "__len__": lambda s: 9})()
    shortlists = torch.tensor([[0, 1], [2, 3], [1, 3]], dtype=torch.int32)
    examples = StaticExamples(docs, Y.tocsr(), rows, shortlists)
    _, targets = examples.batch(np.array([7, 1]))
    assert targets["shortlist"].tolist() == [[1, 3], [0, 1]]
    assert targets["shortlist"].dtype == torch.int64


# --- the classifier -----------------------------------------------------------


@both
def test_learns_what_words_mean(params, tiny_encoder, colours):
    more = dict(max_epochs=30, n_shortlist=4, predict_shortlist=4)
    model = fit_texts(tiny_encoder, colours, **params | more)
    assert model.score(colours[0][N_TRAIN:], colours[1][N_TRAIN:]) >= 0.5
    for part in (model.history_[:30], model.history_[30:]):
        assert part[-1]["loss"] < 0.9 * part[0]["loss"]


def test_kinds_of_negatives_differ(tiny_encoder, colours):
    found = []
    for params in (CLUSTERS, FROZEN, OWN):
        model = fit_texts(tiny_encoder, colours, SHORT, **params)
        found.append(model.predict_topk(colours[0], 12)[1])
    assert not any(np.array_equal(found[i], found[j]) for i, j in [(0, 1), (1, 2)])


def test_history_holds_both_phases(features, colours):
    params = FROZEN | dict(validation_fraction=0.2)
    model = fit_features(features, colours, **params)
    assert [epoch["epoch"] for epoch in model.history_] == [1, 2, 3, 4]
    assert ["score" in epoch for epoch in model.history_] == [False] * 2 + [True] * 2
    assert model.n_iter_ == 4
    pytest.importorskip("matplotlib").use("agg")
    display = HistoryDisplay.from_estimator(model)
    assert display.score_ax_.lines[0].get_xdata().tolist() == [3, 4]
    assert display.ax_.lines[0].get_xdata().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("stop_after, n_epochs", [(None, 4), (1, 3), (3, 3)])
def test_callbacks_see_both_phases(stop_after, n_epochs, features, colours):
    pytest.importorskip("sklearn.callback")
    watch = Watch(stop_after)
    model = LightXMLClassifier(**SHORT | FROZEN | dict(label_dim=16))
    model.seen = features[:5]
    model.set_callbacks(watch).fit(features, colours[1])
    # A callback that stops training ends the phase.
    assert len(model.history_) == n_epochs
    ends = [told for told in watch.told if told.startswith("end epoch")]
    assert ends == [f"end epoch {i}" for i in range(n_epochs)]


def test_patience_is_that_of_the_ranker(features, colours):
    options = dict(
        validation_fraction=0.2, early_stopping=True, n_iter_no_change=1, tol=1.0
    )
    model = fit_features(features, colours, **FROZEN | options | dict(max_epochs=5))
    # No gain exceeds tol after the first score.
    assert len(model.history_) == 5 + 2


@both
def test_folders_keep_both_encoders(params, tiny_encoder, colours, tmp_path):
    model = fit_texts(tiny_encoder, colours, SHORT, **params)
    model.save_pretrained(tmp_path / "model")
    again = skxmc.load(tmp_path / "model")
    for one, other in zip(
        again.predict_topk(colours[0]), model.predict_topk(colours[0]), strict=True
    ):
        assert_array_equal(one, other)
    assert len(list((tmp_path / "model").glob("encoder*"))) == 1 + (params is OWN)


def test_a_branch_of_other_widths_is_refused(features, colours, tmp_path):
    model = fit_features(features, colours, **OWN)
    other = fit_features(features, colours, **OWN | dict(label_dim=8))
    for part in ("encoder", "doc_vectors"):
        kept = getattr(model.network_.ranking, part)
        setattr(model.network_.ranking, part, getattr(other.network_.ranking, part))
        with pytest.raises(ValueError, match="ranking does not fit"):
            model.save_pretrained(tmp_path / part)
        setattr(model.network_.ranking, part, kept)


def test_without_clusters_negatives_are_not_used(features, colours):
    models = [
        fit_features(features, colours, negatives=kind)
        for kind in ("dynamic", "static")
    ]
    scores = [model.predict_topk(features, 12)[1] for model in models]
    assert_array_equal(*scores)
    assert models[1].network_.ranking is None


@pytest.mark.parametrize("params", [dict(trained_layers=0), dict(reading="words")])
def test_an_encoder_that_is_not_trained_is_not_copied(params, tiny_encoder, colours):
    with pytest.raises(ValueError, match='use ranking_encoder="frozen"'):
        fit_texts(tiny_encoder, colours, SHORT, **OWN | params)
    fit_texts(tiny_encoder, colours, SHORT, **FROZEN | params).predict(colours[0])


def test_memory_of_both_encoders_is_estimated(tiny_encoder, colours, monkeypatch):
    sizes = []

    def record(network, *args, **options):
        sizes.append(sum(p.numel() for p in network.parameters()))
        raise MemoryError("recorded")

    monkeypatch.setattr("skxmc.base.check_memory", record)
    for params in (FROZEN, OWN):
        with pytest.raises(MemoryError, match="recorded"):
            fit_texts(tiny_encoder, colours, SHORT, **params)
    frozen, own = sizes
    monkeypatch.undo()
    model = fit_texts(tiny_encoder, colours, SHORT, **CLUSTERS)
    encoder = model.network_.encoder.parameters()
    assert own - frozen == sum(p.numel() for p in encoder)


# --- interrupted --------------------------------------------------------------


@pytest.mark.parametrize("n_steps", [3, 6, 7, 11])
@both
def test_killed_training_goes_on_to_the_same_bits(
    params, n_steps, tiny_encoder, colours, tmp_path, monkeypatch
):
    # Each phase has 2 epochs of 3 steps.
    params = params | dict(
        batch_size=16, validation_fraction=0.1, dropout=0.3, swa_start=0.5, swa_every=1
    )
    with steps() as all_steps:
        expected = fit_texts(tiny_encoder, colours, SHORT, **params)
    assert all_steps == [12]
    monkeypatch.setattr(checkpoint, "_SECONDS_BETWEEN_WRITES", 0)
    params["checkpoint_dir"] = tmp_path
    with steps(n_steps), pytest.raises(Killed):
        fit_texts(tiny_encoder, colours, SHORT, **params)
    with steps() as done:
        model = fit_texts(tiny_encoder, colours, SHORT, **params)
    assert done == [12 - n_steps]
    assert model.history_ == expected.history_
    for name, weight in model.network_.state_dict().items():
        assert torch.equal(weight, expected.network_.state_dict()[name]), name
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("n_steps", [3, 15])
@both
def test_interrupted_training_can_predict(params, n_steps, tiny_encoder, colours):
    with pytest.MonkeyPatch.context() as patch:
        done, step = [0], torch.optim.AdamW.step

        def interrupted(self, *args):
            done[0] += 1
            if done[0] > n_steps:
                raise KeyboardInterrupt
            return step(self, *args)

        patch.setattr(torch.optim.AdamW, "step", interrupted)
        model = LightXMLClassifier(tiny_encoder, **QUICK | params)
        model.set_params(max_epochs=2)
        with pytest.raises(KeyboardInterrupt):
            model.fit(colours[0][:N_TRAIN], colours[1][:N_TRAIN])
    assert model.predict_topk(colours[0], 3)[0].shape == (60, 3)
    assert not model.network_.training
    branch = model.network_.ranking
    if n_steps == 3:
        for name, weight in model.network_.doc_vectors.state_dict().items():
            assert torch.equal(branch.doc_vectors.state_dict()[name], weight)
