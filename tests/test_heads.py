"""Label scores against label vectors that are written out."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from torch.nn.functional import logsigmoid

from skxmc.nn.heads import LabelScores, LinearHead
from skxmc.nn.losses import bce_loss_all, grank_loss_all

N_LABELS, N_WORDS = 7, 5
# Word ids of each label; label 2 has no word, label 4 one word twice, label 6 many.
WORDS = [[0], [1, 2, 4], [], [3, 0], [2, 2], [4], 20 * [0, 1] + [3]]


@pytest.fixture(autouse=True, params=["counted", "filled up"])
def words_of_candidates(request, monkeypatch):
    """As many places as there are words, or, as on a GPU, as there may be."""
    if request.param == "filled up":
        monkeypatch.setattr(LabelScores, "_can_count", lambda self, ids: False)


def make_head(with_words=True, dtype=torch.float64, seed=0, row_wise=False):
    torch.manual_seed(seed)
    identity = torch.randn(N_LABELS, 3)
    if not with_words:
        return LabelScores(identity, row_wise=row_wise).to(dtype)
    counts = np.array([np.bincount(row, minlength=N_WORDS) for row in WORDS])
    words = csr_array(counts), torch.randn(N_WORDS, 2)
    return LabelScores(identity, *words, row_wise=row_wise).to(dtype)


def label_vectors(head):
    """Identity beside the mean of the word vectors, label by label."""
    identities = head.identity[:N_LABELS]
    if head.words is None:
        return identities
    rows = []
    for identity, words in zip(identities, WORDS, strict=True):
        text = head.word_vectors.new_zeros(2)
        for word in words:
            text = text + head.word_vectors[word] / len(words)
        rows.append(torch.cat([identity, text]))
    return torch.stack(rows)


def random_docs(head, n_docs=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    docs = torch.randn(n_docs, head.dim, generator=generator, dtype=torch.float64)
    return docs.to(head.identity.dtype)


def random_ids(n_docs=4, n_candidates=6, seed=2):
    generator = torch.Generator().manual_seed(seed)
    # No label twice, but for the padding, which stands for labels beyond the last.
    order = torch.rand(n_docs, N_LABELS + 2, generator=generator).argsort(dim=1)
    return order[:, :n_candidates].clamp(max=N_LABELS)


def gradients(head, docs, scores, weights):
    (scores * weights).sum().backward()
    found = {n: p.grad.clone() for n, p in head.named_parameters() if p.requires_grad}
    found["docs"] = docs.grad.clone()
    head.zero_grad()
    docs.grad = None
    return found


@pytest.mark.parametrize("with_words", [False, True])
def test_dimensions(with_words):
    head = make_head(with_words)
    assert head.n_labels == N_LABELS
    assert head.dim == (5 if with_words else 3)
    names = {name for name, _ in head.named_parameters()}
    assert names == ({"identity", "word_vectors"} if with_words else {"identity"})


@pytest.mark.parametrize("with_words", [False, True])
def test_scores_of_all_labels(with_words):
    head = make_head(with_words)
    docs = random_docs(head)
    torch.testing.assert_close(head(docs), docs @ label_vectors(head).T)


@pytest.mark.parametrize("with_words", [False, True])
def test_scores_of_candidates(with_words):
    head = make_head(with_words, row_wise=True)
    docs, ids = random_docs(head), random_ids()
    real = ids < N_LABELS
    assert not real.all()
    expected = head(docs).gather(1, ids.clamp(max=N_LABELS - 1))
    scores = head(docs, ids)
    assert scores.shape == ids.shape
    torch.testing.assert_close(scores[real], expected[real])
    assert scores.isfinite().all()


@pytest.mark.parametrize("candidates", [False, True])
@pytest.mark.parametrize("with_words", [False, True])
def test_gradients(with_words, candidates):
    head = make_head(with_words, row_wise=candidates)
    docs = random_docs(head).requires_grad_()
    ids = random_ids() if candidates else None
    explicit = docs @ label_vectors(head).T
    if candidates:
        explicit = explicit.gather(1, ids.clamp(max=N_LABELS - 1))
    weights = torch.randn(explicit.shape, dtype=explicit.dtype)
    if candidates:
        weights = weights * (ids < N_LABELS)  # what the loss leaves of padding: 0
    expected = gradients(head, docs, explicit, weights)
    found = gradients(head, docs, head(docs, ids), weights)
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], msg=name)
        assert (found[name] != 0).any()


def test_label_without_words_has_no_text_part():
    head = make_head(row_wise=True)
    docs = random_docs(head)
    own = docs[:, :3] @ head.identity[2]
    torch.testing.assert_close(head(docs)[:, 2], own)
    ids = torch.full((4, 1), 2)
    torch.testing.assert_close(head(docs, ids)[:, 0], own)


def test_labels_none_of_which_has_words():
    words, vectors = csr_array((3, 4), dtype=np.int64), torch.randn(4, 2)
    head = LabelScores(torch.randn(3, 2), words, vectors, row_wise=True)
    docs = torch.randn(2, 4)
    torch.testing.assert_close(head(docs), docs[:, :2] @ head.identity[:3].T)
    ids = torch.tensor([[0, 1], [2, 3]])
    assert head(docs, ids).isfinite().all()


@pytest.mark.parametrize("candidates", [False, True])
@pytest.mark.parametrize("with_words", [False, True])
def test_under_autocast(with_words, candidates):
    head = make_head(with_words, torch.float32, row_wise=candidates)
    docs = random_docs(head).requires_grad_()
    ids = random_ids() if candidates else None
    exact = head(docs, ids)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = head(docs, ids)
        scores.float().sum().backward()
    torch.testing.assert_close(scores.float(), exact, rtol=0.03, atol=0.1)
    assert docs.grad.dtype == torch.float32
    for parameter in head.parameters():
        if parameter.requires_grad:
            assert parameter.grad.dtype == torch.float32


# --- loss and best outputs --------------------------------------------------


def any_head(kind):
    """A head and the dense scores of its outputs, as a function of documents."""
    if kind == "linear":
        torch.manual_seed(0)
        head = LinearHead(3, N_LABELS).double()
        return head, lambda docs: docs @ head.weight.T + head.bias
    head = make_head(with_words="words" in kind, row_wise="by row" in kind)
    return head, lambda docs: docs @ label_vectors(head).T


KINDS = ["linear", "labels", "labels, by row", "words", "words, by row"]


def dim_of(head):
    return head.in_features if isinstance(head, LinearHead) else head.dim


def documents_of(head, n_docs=4):
    torch.manual_seed(3)
    return torch.randn(n_docs, dim_of(head), dtype=torch.float64)


def assert_best(found, dense, k):
    """Demand the k largest of dense scores, which are -inf where none is wanted."""
    ids, scores = found
    assert ids.shape == scores.shape == (len(dense), k) and ids.dtype == torch.int64
    for row, values, wanted in zip(ids.tolist(), scores, dense, strict=True):
        order = wanted.argsort(descending=True)
        order = order[wanted[order] > -torch.inf][:k]
        n_padded = k - len(order)
        assert row == order.tolist() + [N_LABELS] * n_padded
        torch.testing.assert_close(values[: len(order)], wanted[order])
        assert (values[len(order) :] == -torch.inf).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", [grank_loss_all, bce_loss_all])
def test_loss_is_that_of_dense_scores(kind, loss):
    head, dense = any_head(kind)
    docs = documents_of(head).requires_grad_()
    positives = torch.tensor([[0, 3], [6, 7], [7, 7], [2, 7]])  # padded with 7
    found, expected = head.loss(docs, positives, loss), loss(dense(docs), positives)
    torch.testing.assert_close(found, expected)
    parameters = [docs, *(p for p in head.parameters() if p.requires_grad)]
    for one, two in zip(
        torch.autograd.grad(found, parameters),
        torch.autograd.grad(expected, parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 3, N_LABELS, N_LABELS + 4])
@pytest.mark.parametrize("adjusts", [False, True])
@torch.no_grad()
def test_best_of_all_outputs(kind, k, adjusts):
    head, dense = any_head(kind)
    docs = documents_of(head)
    scores, adjust = dense(docs), None
    if adjusts:
        more = 3 * torch.randn(scores.shape, dtype=torch.float64)
        adjust, scores = lambda s: logsigmoid(s) + more, logsigmoid(scores) + more
    assert_best(head.top(docs, k, adjust=adjust), scores, k)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "by row" in kind])
@pytest.mark.parametrize("k", [1, 3, 6, N_LABELS + 4])
@pytest.mark.parametrize("adjusts", [False, True])
@torch.no_grad()
def test_best_of_candidates(kind, k, adjusts):
    head, dense = any_head(kind)
    docs, ids = documents_of(head), random_ids()
    assert (ids == N_LABELS).any()
    scores, adjust = dense(docs), None
    if adjusts:
        # What another head says about labels, and of padding what must not count.
        more = 3 * torch.randn(4, N_LABELS + 1, dtype=torch.float64)
        more[:, -1] = 1e3
        adjust = lambda s: logsigmoid(s) + more.gather(1, ids)  # noqa: E731
        scores = logsigmoid(scores) + more[:, :-1]
    wanted = torch.zeros(4, N_LABELS + 1, dtype=torch.bool).scatter(1, ids, True)
    scores = scores.masked_fill(~wanted[:, :-1], -torch.inf)
    assert_best(head.top(docs, k, ids=ids, adjust=adjust), scores, k)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_best_outputs_at_full_precision(kind):
    head, dense = any_head(kind)
    docs = documents_of(head)
    expected = head.top(docs, N_LABELS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for found, wanted in zip(head.top(docs, N_LABELS), expected, strict=True):
            assert torch.equal(found, wanted)
