"""The network of GUDN: its parts, and the two losses of its guide."""

import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from toy_network import ALL_DONE, loss_of

from skxmc.nn.bags import BagEncoder
from skxmc.nn.document_vectors import DocumentVectors
from skxmc.nn.encoders import TransformerEncoder
from skxmc.nn.examples import Examples
from skxmc.nn.heads import LabelScores, cluster_head
from skxmc.nn.named_examples import NamedExamples
from skxmc.nn.networks.gudn import (
    ExtractedVectors,
    GUDNNetwork,
    MultiHotEncoder,
    SeparateGuide,
    SharedGuide,
)
from skxmc.nn.networks.lightxml import LightXMLNetwork
from skxmc.nn.shortlist import LabelClusters
from skxmc.nn.text import padded_columns, tokenize

N_LABELS, DIM = 7, 5
GROUPS = np.array([0, 1, 2, 0, 1, 0, 1])  # of 3, 3 and 1 labels
TEXTS = ["red fox", "old stone house near river", "", "dog"]
NAMES = ["red", "green tree", "blue", "", "fast cat", "river", "one two three"]
# The first document has no label with a name, the third none at all.
_ONES = [0, 1, 1, 1, 3, 3], [3, 0, 3, 5, 1, 6]
Y = sp.csr_array((np.ones(6, np.float32), _ONES), (4, N_LABELS))
HOT = torch.from_numpy(Y.toarray()).double()
ROWS = np.arange(4)
POSITIVES = padded_columns(Y, ROWS)


# --- parts ------------------------------------------------------------------


def by_hand(linear, x):
    return x @ linear.weight.T + linear.bias


@pytest.mark.parametrize(
    "activation, function",
    [
        ("none", lambda x: x),
        ("relu", lambda x: x * (x > 0)),
        ("softmax", lambda x: x.exp() / x.exp().sum(dim=1, keepdim=True)),
    ],
)
def test_extracted_vectors(activation, function):
    torch.manual_seed(0)
    read = ExtractedVectors(3, DIM, dropout=0.5, activation=activation).eval()
    first = torch.randn(4, 8)
    features = by_hand(read.extract.linear, first[:, -3:].clamp(min=0))
    torch.testing.assert_close(read.extract(first), features)
    for_clusters, for_labels = read(first, "mean")
    expected = function(by_hand(read.hidden, features))
    torch.testing.assert_close(for_clusters, expected)
    assert torch.equal(for_clusters, for_labels)
    read.train()
    assert not torch.equal(read.extract(first), read.extract(first))


@pytest.mark.parametrize("pooler", [None, lambda states: 2 * states[:, 0]])
def test_shared_guide_compares_behind_a_pooler(pooler):
    torch.manual_seed(0)
    guide, first = SharedGuide(6, pooler), torch.randn(4, 18)
    expected = 2 * first[:, -6:]
    if pooler is None:
        expected = by_hand(guide.pooler.dense, first[:, -6:]).tanh()
    for of in (guide.make_text_vectors, guide.make_label_vectors):
        vectors, compared = of(lambda *states: states, first, "mean", "batch")
        assert vectors == (first, "mean", "batch")
        torch.testing.assert_close(compared, expected)
    assert guide.recall is None


def test_multi_hot_encoder_is_a_linear_map_of_label_columns(gradient_by_row):
    torch.manual_seed(0)
    encoder = MultiHotEncoder(N_LABELS, BagEncoder(4, 6)).double()
    table = encoder.vectors.table
    assert table[:-1].std().item() == pytest.approx(6**-0.5, rel=0.3)
    first, total = encoder(POSITIVES)
    torch.testing.assert_close(total, HOT @ table[:-1])
    torch.testing.assert_close(first, by_hand(encoder.project, HOT @ table[:-1]))
    upstream = torch.randn_like(total)
    (total * upstream).sum().backward()
    expected = torch.cat([HOT.T @ upstream, torch.zeros(1, 6).double()])
    torch.testing.assert_close(gradient_by_row(encoder.vectors), expected)


# --- loss -------------------------------------------------------------------


@pytest.fixture
def case(tiny_model, tiny_tokenizer):
    """Function that makes a network in evaluation mode, in float64, and its batch.

    The batch are the inputs and the targets.
    """
    torch.manual_seed(1)
    encoder = TransformerEncoder(copy.deepcopy(tiny_model), n_layers=2)
    for parameter in encoder.parameters():  # texts are hardly told apart at first
        parameter.data *= 1 if parameter.ndim == 1 else 8
    docs = tokenize(TEXTS, tiny_tokenizer, 16)
    names = tokenize(NAMES, tiny_tokenizer, 12, special=False)
    options = dict(length=12, special=([2], [3]), reinforcement=None, rng=None)

    def make(variant, *, groups=None, columns=False, **more):
        examples = Examples(docs, Y, ROWS)
        if not columns:
            examples = NamedExamples(docs, Y, ROWS, names, **options)
        n_outputs = N_LABELS
        if groups is not None:
            more["clusters"] = LabelClusters(groups)
            more["ranker"] = LabelScores(torch.randn(N_LABELS, DIM), row_wise=True)
            n_outputs = groups.max() + 1
        read = DocumentVectors(encoder, None if groups is None else DIM)
        guide = SharedGuide(16)
        if variant == "paper":
            read = ExtractedVectors(16, DIM, dropout=0.5)
            guide = SeparateGuide(32, DIM, n_outputs, dropout=0.5)
        more["label_encoder"] = MultiHotEncoder(N_LABELS, encoder) if columns else None
        more["n_shortlist"] = n_outputs  # so that all labels are candidates
        recall = cluster_head(read, n_outputs)
        network = GUDNNetwork(encoder, read, recall, guide=guide, **more)
        return network.double().eval(), examples.batch(ROWS)

    return make


def cross_entropy(scores, targets):
    return binary_cross_entropy_with_logits(scores, targets.to(scores.dtype))


def classification(network, recall, vectors, rows):
    """Loss of recall, and of ranking all labels, for documents `rows`."""
    hot = HOT[rows] > 0
    found = by_hand(recall, vectors[0])
    if network.clusters is None:
        return cross_entropy(found, hot)
    holds = [hot[:, GROUPS == c].any(dim=1) for c in range(GROUPS.max() + 1)]
    labels = vectors[1] @ network.ranker.identity[:N_LABELS].T
    return cross_entropy(found, torch.stack(holds, dim=1)) + cross_entropy(labels, hot)


def parts_by_hand(network, variant, texts, labels, rows):
    """Classification, feature and link loss; label states stand for `rows`."""
    guide, read = network.guide, network.doc_vectors
    if variant == "paper":
        features = by_hand(read.extract.linear, texts[0][:, -16:].relu())
        vectors = [by_hand(read.hidden, features).relu()] * 2
        compared = by_hand(guide.shape, features)[rows]
        names = by_hand(guide.extract.linear, labels[0].relu())
        linked, recall = [names] * 2, guide.recall
    else:
        vectors, linked, recall = read(*texts), read(*labels), network.recall
        states = [each[0][:, -16:] for each in (texts, labels)]
        compared, names = (by_hand(guide.pooler.dense, x).tanh() for x in states)
        compared = compared[rows]
    squares = (compared - names).square()
    return (
        classification(network, network.recall, vectors, ROWS),
        squares.mean(),
        squares.sum() / (2 * len(rows)),
        classification(network, recall, linked, rows),
    )


@pytest.mark.parametrize("variant", ["code", "paper"])
@pytest.mark.parametrize("groups", [None, GROUPS])
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_loss_is_the_sum_of_three(variant, groups, columns, reduction, case):
    options = dict(groups=groups, columns=columns, feature_reduction=reduction)
    network, batch = case(variant, **options)
    inputs, targets = batch
    texts = network.encoder(inputs)
    rows = ROWS if columns else targets["named"].numpy()
    assert rows.tolist() == ([0, 1, 2, 3] if columns else [1, 3])
    if columns:
        total = HOT @ network.label_encoder.vectors.table[:-1]
        labels = by_hand(network.label_encoder.project, total), total
    else:
        labels = network.encoder(targets["names"])
    parts = parts_by_hand(network, variant, texts, labels, rows)
    classed, mean, half_sum, linked = parts
    featured = mean if reduction == "mean" else half_sum
    assert min(part.item() for part in (classed, featured, linked)) > 1e-3
    for weights in [(1.0, 1.0), (0.7, 2.5), (0, 3), (0.5, 0), (0, 0)]:
        network.feature_weight, network.link_weight = weights
        expected = dict(classification=classed)
        if weights[0]:
            expected["feature"] = weights[0] * featured
        if weights[1]:
            expected["link"] = weights[1] * linked
        torch.testing.assert_close(network(*batch, ALL_DONE), expected)


def test_losses_in_the_proportions_of_the_equations(case):
    # Eq. 4 and 7 are sums over the documents, and Eq. 3 is half a mean.
    n = len(ROWS)
    options = dict(feature_weight=1 / n, feature_reduction="sum", loss_reduction="sum")
    network, (inputs, targets) = case("paper", columns=True, **options)
    with torch.no_grad():
        found = total(network(inputs, targets, ALL_DONE))
        texts = network.encoder(inputs)
        labels = network.label_encoder(targets["positives"])
        classed, _, featured, linked = parts_by_hand(
            network, "paper", texts, labels, ROWS
        )
    letter = HOT.numel() * classed + featured + HOT.numel() * linked
    torch.testing.assert_close(n * found, letter)


def total(losses):
    """The loss whose parts a network returns."""
    return sum(losses.values())


def gradients(network, batch, names):
    """Gradients of the parameters whose names start so; zeros for none."""
    for module in network.modules():
        if getattr(module, "row_wise", False):
            module.touched.clear()
    network.zero_grad()
    total(network(*batch, ALL_DONE)).backward()
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in network.named_parameters()
        if p.requires_grad and name.startswith(names)
    }


@pytest.mark.parametrize(
    "variant, columns, names",
    [
        ("code", True, ("label_encoder",)),
        ("paper", True, ("label_encoder", "guide.extract")),
        ("paper", False, ("guide.extract",)),
    ],
)
@pytest.mark.parametrize("link_weight", [0, 1.5])
def test_stopped_gradient_leaves_labels_to_the_link(
    variant, columns, names, link_weight, case
):
    network, batch = case(variant, columns=columns, link_weight=link_weight)
    moved = gradients(network, batch, names)
    value = total(network(*batch, ALL_DONE))
    network.stop_gradient_labels = True
    assert torch.equal(total(network(*batch, ALL_DONE)), value)
    stopped = gradients(network, batch, names)
    texts = gradients(network, batch, "encoder.model.embeddings.word")
    network.feature_weight = 0
    linked = gradients(network, batch, names)
    without = gradients(network, batch, "encoder.model.embeddings.word")
    assert stopped
    for name in stopped:
        assert (moved[name] - linked[name]).abs().max() > 1e-4, name
        torch.testing.assert_close(stopped[name], linked[name])
        assert bool((linked[name] != 0).any()) == (link_weight > 0)
    ((name, one),) = texts.items()
    assert (one - without[name]).abs().max() > 1e-4  # texts are still drawn


@pytest.mark.parametrize("variant", ["code", "paper"])
@pytest.mark.parametrize("columns", [False, True])
def test_everything_learns(variant, columns, case):
    network, batch = case(variant, columns=columns, groups=GROUPS)
    found = gradients(network, batch, "")
    for name, gradient in found.items():
        # Attention does not see a constant added to all keys.
        assert (gradient != 0).any() or name.endswith("key.bias"), name
    assert len(network.ranker.touched) == 2  # by texts and by names


@pytest.mark.parametrize("variant", ["code", "paper"])
@pytest.mark.parametrize("groups", [None, GROUPS])
def test_without_names_there_is_the_classification_alone(variant, groups, case):
    network, batch = case(variant, groups=groups)
    inputs, targets = batch
    assert inputs.keys() == {"input_ids", "attention_mask"}
    assert torch.equal(targets["positives"], POSITIVES)
    losses = loss_of(network, inputs, POSITIVES)
    assert losses.keys() == {"classification"}
    loss = total(losses)
    plain = LightXMLNetwork.forward(network, inputs, {"positives": POSITIVES}, ALL_DONE)
    torch.testing.assert_close(loss, plain)
    assert total(network(*batch, ALL_DONE)) > loss
    ranked = network.rank(inputs, 3)
    network.guide = None
    assert torch.equal(network(*batch, ALL_DONE), loss)
    for one, two in zip(network.rank(inputs, 3), ranked, strict=True):
        assert torch.equal(one, two)


def test_memory_counts_the_label_branch(case):
    network, _ = case("code", label_length=12)
    both = network.floats_per_document(10)
    network.label_length = 24
    longer = network.floats_per_document(10)
    names = [network.encoder.floats_per_document(length) for length in (24, 12)]
    assert longer - both == names[0] - names[1]
    network.guide = None
    alone = network.floats_per_document(10)
    assert both - alone == names[1] + 4 * network.recall.out_features


@pytest.mark.parametrize("more, times", [({}, 2), (dict(link_weight=0), 1)])
def test_memory_counts_what_names_rank(more, times, case):
    network, _ = case("code", groups=GROUPS, **more)
    ranked = network.n_candidates
    network.guide = None
    assert ranked == times * network.n_candidates > 0
