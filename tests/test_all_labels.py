"""The head that scores all labels in chunks, against scores that are written out."""

import copy
import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import logsigmoid
from torch.utils._python_dispatch import TorchDispatchMode
from toy_network import RATE, Toy, assert_same, make_data, run

from skxmc.nn import all_labels, all_labels_loss
from skxmc.nn.all_labels import AllLabels
from skxmc.nn.examples import Examples
from skxmc.nn.heads import LabelScores
from skxmc.nn.losses import bce_loss_all, grank_loss_all

N_LABELS, DIM, N_DOCS = 11, 4, 5
LOSSES = {
    "grank": grank_loss_all,
    "bce": bce_loss_all,
    "bce, sum": functools.partial(bce_loss_all, reduction="sum"),
}
# With weights of the documents, of the labels, and of both.
DOC_WEIGHTS = {"doc_weights": torch.tensor([0.5, 1.5, 3.0, 0.2, 1.0])}
LABEL_WEIGHTS = {"label_weights": torch.tensor([*range(1, 12), 6]) / 6}
WEIGHTED = {
    f"{name}, weighted {i}": functools.partial(loss, **weights)
    for name, loss in LOSSES.items()
    for i, weights in enumerate(
        (DOC_WEIGHTS, LABEL_WEIGHTS, DOC_WEIGHTS | LABEL_WEIGHTS)
    )
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
every_optimizer = pytest.mark.parametrize("kind", ["sgd", "rowwise", "adamw"])
# Padded with 11: some labels, none, one, all, and the first and the last.
POSITIVES = torch.tensor(
    [
        [0, 3, 7, *8 * [11]],
        11 * [11],
        [5, *10 * [11]],
        [*range(11)],
        [0, 10, *9 * [11]],
    ]
)


@pytest.fixture(autouse=True, params=[3, 1000])
def rows_at_once(request, monkeypatch):
    """Several chunks, the last of which is smaller, and one chunk."""
    monkeypatch.setattr(all_labels, "_ROWS_ON_CPU", request.param)


def make_vectors(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(N_LABELS, DIM, generator=generator, dtype=torch.float64)
    return vectors.to(dtype)


def make_docs(seed=1, n_docs=N_DOCS, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    docs = torch.randn(n_docs, DIM, generator=generator, dtype=torch.float64)
    return docs.to(dtype)


def make_head(kind="rowwise", *, bias=None, dtype=torch.float64, **options):
    by_sgd = kind == "sgd"
    trained_by = "rowwise" if by_sgd else kind
    head = AllLabels(make_vectors(dtype=dtype), bias=bias, trained_by=trained_by)
    head.by_sgd = by_sgd
    head.start_training(**dict(weight_decay=0.1) | options)
    return head


def dense_scores(docs, rows):
    """Scores by the rows of a table: vectors, and maybe a bias, without padding."""
    scores = docs @ rows[:, :DIM].T
    return scores if rows.shape[1] == DIM else scores + rows[:, DIM]


def written_out(docs, rows, positives, loss):
    """Loss, gradient of documents and gradient of rows, as autograd has them."""
    docs, rows = docs.clone().requires_grad_(), rows.clone().requires_grad_()
    value = loss(dense_scores(docs, rows), positives)
    value.backward()
    return value.detach(), docs.grad, rows.grad


def rows_of(head):
    return head.vectors.detach()[:N_LABELS].clone()


def row_factor(loss):
    """By how much the gradient of rows exceeds that of the loss."""
    kind, options = loss, {}
    if isinstance(loss, functools.partial):
        kind, options = loss.func, loss.keywords
    return 1 if "reduction" in options or kind is not bce_loss_all else N_LABELS


def backward(head, docs, positives, loss, weight=1.0):
    docs = docs.clone().requires_grad_()
    value = head.loss(docs, positives, loss)
    (weight * value).backward()
    return value.detach(), docs.grad


# --- closed forms -----------------------------------------------------------


@pytest.mark.parametrize(
    "loss", (LOSSES | WEIGHTED).values(), ids=list(LOSSES | WEIGHTED)
)
@pytest.mark.parametrize("bias", [None, -0.5])
@pytest.mark.parametrize("armed", [False, True])
@pytest.mark.parametrize(
    "dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-5)]
)
def test_closed_forms_are_those_of_autograd(loss, bias, armed, dtype, tolerance):
    head = make_head("sgd", bias=bias, dtype=dtype)
    docs, before = make_docs(dtype=dtype), rows_of(head)
    expected = written_out(docs, before, POSITIVES, loss)
    if armed:
        head.optimizer.arm(1.0)
    value, gradient = backward(head, docs, POSITIVES, loss)
    if not armed:  # rows move only when the step says so
        assert torch.equal(rows_of(head), before)
    head.optimizer.step(1.0)
    moved = (before - rows_of(head)) / row_factor(loss)
    for found, wanted in zip((value, gradient, moved), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
    assert (head.vectors[N_LABELS] == 0).all()  # the padding
    assert not head.touched


@every_loss
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_docs=st.integers(1, 6),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e3]),
    fraction=st.sampled_from([0.0, 0.2, 1.0]),
)
def test_closed_forms_of_any_batch(loss, seed, n_docs, scale, fraction):
    generator = torch.Generator().manual_seed(seed)
    docs = scale * make_docs(seed, n_docs)
    wanted = torch.rand(n_docs, N_LABELS, generator=generator) < fraction
    every = torch.arange(N_LABELS).expand(n_docs, -1)
    positives = every.masked_fill(~wanted, N_LABELS).sort(dim=1).values
    head = make_head("sgd")
    before = rows_of(head)
    value, gradient, row_gradient = written_out(docs, before, positives, loss)
    head.optimizer.arm(0.5)
    found = backward(head, docs, positives, loss)
    moved = 2 * (before - rows_of(head)) / row_factor(loss)
    precise = dict(rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found, (value, gradient), **precise)
    torch.testing.assert_close(moved, row_gradient, **precise)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_loss
def test_documents_of_half_precision(loss, dtype):
    head = make_head(dtype=torch.float32)
    docs = make_docs(dtype=dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = head.loss(docs, POSITIVES, loss)
    value.backward()
    expected = written_out(docs.detach().float(), rows_of(head), POSITIVES, loss)
    torch.testing.assert_close(value, expected[0])
    assert docs.grad.dtype == dtype
    torch.testing.assert_close(docs.grad.float(), expected[1], rtol=0.01, atol=0.01)


@pytest.mark.parametrize(
    "loss", (LOSSES | WEIGHTED).values(), ids=list(LOSSES | WEIGHTED)
)
def test_loss_without_gradients(loss):
    head = make_head()
    docs = make_docs()
    with torch.no_grad():
        value = head.loss(docs, POSITIVES, loss)
    expected = loss(dense_scores(docs, rows_of(head)), POSITIVES)
    torch.testing.assert_close(value, expected)
    assert not head.optimizer.n_pending and not value.requires_grad


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_bce_loss_of_some_documents(reduction, monkeypatch):
    monkeypatch.setattr(all_labels_loss, "_LOSS_SCORES", 2 * N_LABELS)
    head, docs = make_head("sgd"), make_docs()
    loss = functools.partial(bce_loss_all, reduction=reduction)
    before = rows_of(head)
    value, gradient = backward(head, docs, POSITIVES, loss)
    some = slice(None, None, 2)
    expected = loss(dense_scores(docs[some], before), POSITIVES[some])
    torch.testing.assert_close(value, expected)
    # The gradient is that of all of them.
    torch.testing.assert_close(gradient, written_out(docs, before, POSITIVES, loss)[1])


# --- steps ------------------------------------------------------------------


class PlainRowwise:
    """The same optimizer, with the gradient of the rows."""

    def __init__(self, rows, weight_decay):
        self.rows, self.weight_decay = rows, weight_decay
        self.v, self.n = torch.zeros(len(rows), 1, dtype=rows.dtype), 0

    def step(self, gradient, rate):
        self.n += 1
        self.v = 0.999 * self.v + 0.001 * gradient.square().mean(1, keepdim=True)
        size = (self.v / (1 - 0.999**self.n)).sqrt() + 1e-8
        self.rows = (1 - rate * self.weight_decay) * self.rows - rate * gradient / size


class PlainTorch:
    def __init__(self, rows, kind, **options):
        self.parameter = rows.clone().requires_grad_()
        self.optimizer = kind([self.parameter], **options)

    def step(self, gradient, rate):
        self.parameter.grad = gradient
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()

    @property
    def rows(self):
        return self.parameter.detach()


def make_plain(kind, rows):
    if kind == "rowwise":
        return PlainRowwise(rows, 0.1)
    if kind == "adamw":
        return PlainTorch(rows, torch.optim.AdamW, weight_decay=0.1)
    return PlainTorch(rows, torch.optim.SGD)


@every_optimizer
@every_loss
@pytest.mark.parametrize("armed", [False, True])
def test_steps_are_those_of_the_plain_optimizer(kind, loss, armed):
    head = make_head(kind, bias=0.5)
    plain = make_plain(kind, rows_of(head))
    for i in range(5):
        rate, docs = 0.01 * (i + 1), make_docs(i)
        gradient = row_factor(loss) * written_out(docs, plain.rows, POSITIVES, loss)[2]
        plain.step(gradient, rate)
        if armed:
            head.optimizer.arm(rate)
        backward(head, docs, POSITIVES, loss)
        head.optimizer.step(rate)
    torch.testing.assert_close(rows_of(head), plain.rows, rtol=1e-9, atol=1e-9)


@every_optimizer
@every_loss
@pytest.mark.parametrize("armed", [False, True])
def test_gradients_of_several_losses_and_batches_add_up(kind, loss, armed):
    head = make_head(kind)
    before = rows_of(head)
    total = torch.zeros_like(before)
    for i in range(2):  # two batches of a step, of two losses each
        pieces = [(make_docs(2 * i), 0.3), (make_docs(2 * i + 1, n_docs=3), 0.7)]
        inputs = [docs.clone().requires_grad_() for docs, _ in pieces]
        value = sum(
            weight * head.loss(docs, POSITIVES[: len(docs)], loss)
            for docs, (_, weight) in zip(inputs, pieces, strict=True)
        )
        if armed and i == 1:
            head.optimizer.arm(0.01)
        value.backward()
        for own, (docs, weight) in zip(inputs, pieces, strict=True):
            expected = written_out(docs, before, POSITIVES[: len(docs)], loss)
            torch.testing.assert_close(own.grad, weight * expected[1])
            total += weight * row_factor(loss) * expected[2]
    head.optimizer.step(0.01)
    plain = make_plain(kind, before)
    plain.step(total, 0.01)
    torch.testing.assert_close(rows_of(head), plain.rows, rtol=1e-9, atol=1e-9)


@every_optimizer
def test_a_loss_without_a_backward_pass_moves_nothing(kind):
    head = make_head(kind)
    before = rows_of(head)
    head.loss(make_docs().requires_grad_(), POSITIVES, grank_loss_all)
    head.optimizer.arm(0.1)
    head.optimizer.step(0.1)
    assert torch.equal(rows_of(head), before)
    # The next step is made as usual, within its backward pass.
    head.optimizer.arm(0.1)
    backward(head, make_docs(), POSITIVES, grank_loss_all)
    assert not torch.equal(rows_of(head), before)


@every_optimizer
@every_loss
def test_scaled_steps(kind, loss):
    by_scale, plain = make_head(kind), make_head(kind)
    backward(by_scale, make_docs(), POSITIVES, loss, weight=4096.0)
    by_scale.optimizer.step(0.01, scale=torch.tensor(1 / 4096))
    backward(plain, make_docs(), POSITIVES, loss)
    plain.optimizer.step(0.01)
    torch.testing.assert_close(rows_of(by_scale), rows_of(plain))


@every_optimizer
def test_a_step_that_overflows_is_not_applied(kind):
    head = make_head(kind)
    before = rows_of(head)
    backward(head, make_docs(), POSITIVES, grank_loss_all, weight=torch.inf)
    assert not all(f.isfinite().all() for f in head.optimizer.factors())
    head.optimizer.step(0.1, applies=torch.tensor(False))
    assert torch.equal(rows_of(head), before) and not head.touched
    assert head.optimizer.n_steps == 0


@every_loss
def test_norm_of_the_gradient(loss):
    head = make_head()
    total = 0
    for seed in range(2):
        docs = make_docs(seed)
        backward(head, docs, POSITIVES, loss)
        total = total + written_out(docs, rows_of(head), POSITIVES, loss)[2]
    found = head.optimizer.squared_norm()
    torch.testing.assert_close(found.double(), total.square().sum())
    head.optimizer.forget()
    assert head.optimizer.squared_norm() == 0


@every_optimizer
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_average_of_snapshots(kind, dtype):
    head, snapshots = make_head(kind, dtype=dtype), []
    for i in range(6):
        backward(head, make_docs(i, dtype=dtype), POSITIVES, bce_loss_all)
        head.optimizer.step(0.1)
        if i % 2:
            head.optimizer.snapshot()
            snapshots.append(head.vectors.detach().clone())
    torch.testing.assert_close(
        head.optimizer.averages(3), torch.stack(snapshots).mean(0)
    )


@every_optimizer
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_goes_on_from_a_state_to_the_same_bits(kind, dtype):
    heads = [make_head(kind, dtype=dtype) for _ in range(2)]
    torch.manual_seed(0)
    for i in range(4):
        docs = make_docs(i, dtype=torch.float32)
        if i == 2:  # the second head starts from the state of the first
            heads[1].vectors.data.copy_(heads[0].vectors)
            state = copy.deepcopy(heads[0].optimizer.state_dict())
            heads[1].optimizer.load_state_dict(state)
        random_state = torch.get_rng_state()
        for head in heads[: 1 + (i >= 2)]:
            torch.set_rng_state(random_state)
            backward(head, docs, POSITIVES, grank_loss_all)
            head.optimizer.step(0.1)
            head.optimizer.snapshot()
    assert torch.equal(heads[0].vectors, heads[1].vectors)
    assert torch.equal(heads[0].optimizer.averages(4), heads[1].optimizer.averages(4))


@every_optimizer
def test_bfloat16_is_exact_in_the_mean(kind, monkeypatch):
    monkeypatch.setattr(all_labels, "_ROWS_ON_CPU", 5000)
    vectors = make_vectors(dtype=torch.bfloat16)[:1].expand(5000, -1)
    moves = []
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16):
        head = AllLabels(vectors.to(dtype))
        head.trained_by, head.by_sgd = kind, kind == "sgd"
        optimizer = head.start_training(weight_decay=0.1)
        positives = torch.full((N_DOCS, 1), 5000)  # all labels have one gradient
        docs = make_docs(dtype=torch.float32)
        backward(head, docs, positives, LOSSES["bce, sum"])
        optimizer.step(2e-4)
        moves.append(head.vectors.detach()[:-1].float() - vectors.float())
    exact, rounded = moves
    # Each move is below the resolution of bfloat16: most rows stay, some jump.
    assert (exact.abs() < 2**-9 * vectors.float().abs()).all()
    assert (rounded == 0).any(dim=0).all() and (rounded != 0).any(dim=0).all()
    error = rounded.std(dim=0) / 5000**0.5
    assert ((rounded.mean(dim=0) - exact[0]).abs() < 4 * error).all()
    assert (exact[0].abs() > 4 * error).any()


# --- memory -----------------------------------------------------------------


class LargestTensor(TorchDispatchMode):
    """Records the number of bytes of the largest tensor that is made.

    Parts of the given tensors do not count.
    """

    largest = 0

    def __init__(self, given):
        super().__init__()
        self.given = {tensor.data_ptr() for tensor in given}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **kwargs or {})
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in self.given:
                    self.largest = max(self.largest, storage.nbytes())
        return out


@every_optimizer
@every_loss
def test_nothing_of_the_size_of_all_scores_or_rows_is_made(kind, loss, monkeypatch):
    monkeypatch.setattr(all_labels, "_ROWS_ON_CPU", 64)
    monkeypatch.setattr(all_labels_loss, "_LOSS_SCORES", 1000)
    n_labels, n_docs = 1000, 32
    head = AllLabels(torch.randn(n_labels, 50))
    head.trained_by, head.by_sgd = kind, kind == "sgd"
    optimizer = head.start_training()
    docs = torch.randn(n_docs, 50, requires_grad=True)
    positives = torch.tensor([[3, 999]]).expand(n_docs, 2)
    optimizer.arm(0.1)
    state = optimizer.state_dict().values()
    given = [head.vectors, *(p for p in state if isinstance(p, torch.Tensor))]
    with LargestTensor(given) as made:
        head.loss(docs, positives, loss).backward()
        optimizer.step(0.1)
        head.top(docs, 5, normalize=True)
    largest = 8 * 64 * n_docs  # one chunk, some of whose numbers are int64
    assert 4 * 64 * n_docs <= made.largest <= largest < 4 * n_docs * n_labels


@pytest.mark.parametrize(
    "kind, dtype, a_label",
    [
        ("sgd", torch.float32, 0),
        ("rowwise", torch.float32, 4),
        ("rowwise", torch.bfloat16, 4),
        ("adamw", torch.float32, 8 * DIM),
        ("adamw", torch.bfloat16, 4 * DIM),
    ],
)
@pytest.mark.parametrize("averages", [False, True])
def test_bytes_of_the_optimizer(kind, dtype, a_label, averages):
    head = make_head(kind, dtype=dtype)
    expected = (N_LABELS + 1) * (a_label + 4 * DIM * averages)
    assert head.state_bytes(averages) == expected
    if averages:
        head.optimizer.snapshot()
    state = head.optimizer.state_dict().values()
    found = sum(part.nbytes for part in state if isinstance(part, torch.Tensor))
    assert found == expected


# --- rankings ---------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    k=st.integers(1, N_LABELS + 3),
    n_values=st.sampled_from([1, 2, 4]),
    excludes=st.booleans(),
)
def test_best_labels_are_exact_with_ties(seed, k, n_values, excludes):
    generator = torch.Generator().manual_seed(seed)
    # Whole numbers: many scores are equal, and none is rounded.
    vectors = torch.randint(n_values, (N_LABELS, DIM), generator=generator).double()
    docs = torch.randint(3, (N_DOCS, DIM), generator=generator).double()
    head = AllLabels(vectors, bias=2.0)
    scores = docs @ vectors.T + 2
    without = POSITIVES if excludes else None
    if excludes:  # which leaves nothing of one document
        scores = torch.cat([scores, scores[:, :1]], dim=1)
        scores = scores.scatter(1, POSITIVES, -torch.inf)[:, :-1]
    wanted = scores.topk(min(k, N_LABELS), dim=1).values
    ids, found = head.top(docs, k, without=without)
    assert ids.shape == found.shape == (N_DOCS, k)
    assert torch.equal(found[:, : wanted.shape[1]], wanted)
    assert (found[:, wanted.shape[1] :] == -torch.inf).all()
    for row, own, of_all in zip(ids, found, scores, strict=True):
        real = row < N_LABELS
        assert torch.equal(real, own > -torch.inf)
        assert len(row[real].unique()) == real.sum()  # no label twice
        assert torch.equal(of_all[row[real]], own[real])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [None, -3.0])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("adjust", [None, logsigmoid])
def test_rankings_are_those_of_all_scores(dtype, bias, normalize, adjust):
    head = AllLabels(make_vectors(dtype=dtype), bias=bias)
    wide = torch.promote_types(dtype, torch.float32)
    docs = make_docs(dtype=wide)
    scores = dense_scores(docs, rows_of(head).to(wide))
    scores = scores if adjust is None else adjust(scores)
    scores = scores.log_softmax(dim=1) if normalize else scores
    wanted, order = scores.sort(dim=1, descending=True)
    options = dict(adjust=adjust, normalize=normalize)
    for context in (torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16)):
        with context:
            ids, found = head.top(docs, 6, **options)
        assert torch.equal(ids, order[:, :6])
        torch.testing.assert_close(found, wanted[:, :6])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_candidates_are_scored_and_trained_as_by_label_scores(dtype):
    vectors = make_vectors(dtype=dtype)
    heads = (
        AllLabels(vectors, trained_by="candidates"),
        LabelScores(vectors, row_wise=True),
    )
    ids = torch.tensor([[0, 3, 11], [10, 11, 11]])
    for head in heads:
        head.by_sgd = True
        optimizer = head.start_training(weight_decay=0.1)
        torch.manual_seed(0)
        head(make_docs(n_docs=2).to(dtype).requires_grad_(), ids).sum().backward()
        optimizer.step(0.1)
    assert torch.equal(heads[0].table, heads[1].table)
    assert heads[0].state_bytes(False) == heads[1].state_bytes(False) == 0
    with torch.no_grad():
        docs = make_docs(n_docs=2)
        for found, wanted in zip(
            heads[0].top(docs, 2, ids=ids), heads[1].top(docs, 2, ids=ids), strict=True
        ):
            assert torch.equal(found, wanted)


# --- the training loop ------------------------------------------------------


class ToyOfAll(Toy):
    """The toy with a head for labels, and a loss over all of them."""

    def __init__(self, in_chunks, loss):
        super().__init__()
        vectors = torch.randn(self.n_labels, 4, dtype=torch.float64)
        self.head = LabelScores(vectors)
        if in_chunks:
            self.head = AllLabels(vectors, trained_by="adamw")
        self.loss = loss

    def forward(self, inputs, targets, progress):
        docs = self.encoder(inputs)[0]
        return self.head.loss(docs, targets["positives"], self.loss)


# Beside the gradient of a mean, the eps of dense AdamW would count.
@pytest.mark.parametrize("loss", [LOSSES["grank"], LOSSES["bce, sum"]])
@pytest.mark.parametrize(
    "options",
    [
        {},
        dict(accumulate=2),
        dict(clip_norm=1e-2),
        dict(swa_start=0.3, swa_every=2),
        dict(schedule="constant", accumulate=2, clip_norm=0.1, swa_start=0.5),
    ],
)
def test_trains_as_dense_adamw(options, loss):
    docs, Y = make_data()
    options = options | dict(head_learning_rate=3 * RATE, weight_decay=0.2)
    networks = [ToyOfAll(in_chunks, loss).double() for in_chunks in (True, False)]
    histories = [
        run(network, examples=Examples(docs, Y, np.arange(24)), max_epochs=4, **options)
        for network in networks
    ]
    in_chunks, dense = (network.state_dict() for network in networks)
    in_chunks["head.identity"] = in_chunks.pop("head.vectors")[:-1]
    assert_same(in_chunks, dense, rtol=1e-5, atol=1e-7)
    for one, other in zip(*histories, strict=True):
        assert one["loss"] == pytest.approx(other["loss"])
    assert not networks[0].head.touched and networks[0].head.optimizer is None
