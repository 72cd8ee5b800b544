"""Losses, each with its equation number."""

import torch
from torch.nn.functional import mse_loss, softplus

# Stands for minus infinity: exp of it is 0, and unlike -inf it leaves the
# gradient of an empty group 0 rather than NaN.
_NEVER = -1e30


def at_least_float32(scores):
    """Scores of lower precision as float32, others as they are."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def grank_loss(scores, is_positive, mask):
    r"""Rank each document's positives above its negatives.

    .. math:: \log(1 + \sum_{j \in M} e^{g_j} \sum_{i \in P} e^{-g_i})

    Eq. 4, 7 and 8 of X-GRank [1]_, computed in log space and float32: products
    of exponentials overflow at scores of 44, half precision's at 11.

    Parameters
    ----------
    scores : tensor of shape (n_docs, n_candidates)
        Any floating dtype.
    is_positive : bool tensor of shape (n_docs, n_candidates)
    mask : bool tensor of shape (n_docs, n_candidates)
        False where the entry is padding.

    Returns
    -------
    tensor of shape (), float32 (float64 for float64 scores)
        Mean in nats over the documents that have both kinds; 0 without any.

    References
    ----------
    .. [1] Xiong et al., Towards Extreme Multi-label Text Classification
       Through Group-wise Label Ranking.

    Examples
    --------
    >>> import torch
    >>> scores = torch.zeros(1, 4)
    >>> is_positive = torch.tensor([[True, False, False, False]])
    >>> grank_loss(scores, is_positive, torch.ones_like(is_positive))  # log(1 + 1 * 3)
    tensor(1.3863)
    """
    scores = at_least_float32(scores)
    positive, negative = is_positive & mask, ~is_positive & mask
    high = scores.masked_fill(~negative, _NEVER).logsumexp(dim=1)
    low = (-scores).masked_fill(~positive, _NEVER).logsumexp(dim=1)
    # A document lacking one kind has high + low near -1e30: loss and gradient 0.
    usable = positive.any(dim=1) & negative.any(dim=1)
    return softplus(high + low).sum() / usable.sum().clamp(min=1)


def grank_loss_all(scores, positives):
    r"""GRank loss of documents that score every label.

    The same value and gradient as `grank_loss`, without a mask as large as the
    scores: one copy of them is made, and turned into the gradient (Eq. 6)

    .. math:: w \, \mathrm{softmax}(g_M)_j, \quad -w \, \mathrm{softmax}(-g_P)_i,
              \quad w = \sigma(\mathrm{LSE}(g_M) + \mathrm{LSE}(-g_P))

    Parameters
    ----------
    scores : tensor of shape (n_docs, n_labels)
    positives : int64 tensor of shape (n_docs, n_positives)
        Columns of each document's positives, each once, padded at the end with
        n_labels.

    Returns
    -------
    tensor of shape (), float32 (float64 for float64 scores)
        Mean in nats over the documents with a positive and a negative.

    Examples
    --------
    >>> import torch
    >>> grank_loss_all(torch.zeros(1, 4), torch.tensor([[2, 4]]))
    tensor(1.3863)
    """
    return _GRankAll.apply(scores, positives)


class _GRankAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores, positives):
        n_labels = scores.shape[1]
        real = positives < n_labels
        usable = real[:, 0] & (real.sum(dim=1) < n_labels)
        # Padding repeats the row's first positive: what is written twice below
        # is written with the same value.
        columns = torch.where(real, positives, positives[:, :1]).clamp(max=n_labels - 1)

        dtype = torch.promote_types(scores.dtype, torch.float32)
        work = scores.to(dtype, copy=True)
        good = work.gather(1, columns)
        work.scatter_(1, columns, _NEVER)
        high = work.logsumexp(dim=1)
        low = (-good).masked_fill(~real, _NEVER).logsumexp(dim=1)
        z = torch.where(usable, high + low, _NEVER)
        n_usable = usable.sum().clamp(min=1)

        weight = (z.sigmoid() / n_usable)[:, None]
        work.sub_(high[:, None]).exp_().mul_(weight)
        # Without positives low is -1e30: the clamp keeps 0 * exp(1e30) from NaN.
        share = (-good - low[:, None]).clamp(max=0).exp()
        work.scatter_(1, columns, -weight * share)
        ctx.save_for_backward(work)
        ctx.dtype = scores.dtype
        return softplus(z).sum() / n_usable

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream).to(ctx.dtype), None


def bce_loss(scores, is_positive, mask, *, reduction="mean"):
    r"""Binary cross-entropy of candidate labels.

    .. math:: \sum_{j \in P} -\log \sigma(s_j) + \sum_{j \in M} -\log \sigma(-s_j)

    Eq. 5 of LightXML [1]_, positives taken as 1.

    Parameters
    ----------
    scores : tensor of shape (n_docs, n_candidates)
        Any floating dtype.
    is_positive : bool tensor of shape (n_docs, n_candidates)
    mask : bool tensor of shape (n_docs, n_candidates)
        False where the entry is padding.
    reduction : {"mean", "sum"}, default="mean"
        Mean over all candidates of the batch, as the released code has it, or sum
        over a document's, as the equation has it, and mean over documents.

    Returns
    -------
    tensor of shape (), float32 (float64 for float64 scores), in nats

    References
    ----------
    .. [1] Jiang et al., LightXML, AAAI 2021.

    Examples
    --------
    >>> import torch
    >>> is_positive = torch.tensor([[True, False]])
    >>> bce_loss(torch.zeros(1, 2), is_positive, torch.ones_like(is_positive))  # log 2
    tensor(0.6931)
    """
    scores = at_least_float32(scores)
    wrong = torch.where(is_positive, -scores, scores).masked_fill(~mask, _NEVER)
    n = mask.sum().clamp(min=1) if reduction == "mean" else len(scores)
    return softplus(wrong).sum() / n


def bce_loss_all(scores, positives, *, reduction="mean"):
    """Binary cross-entropy of all outputs: Eq. 1 of LightXML.

    The same value and gradient, sigmoid(s) - y, as `bce_loss`, without targets as
    large as the scores.

    Parameters
    ----------
    scores : tensor of shape (n_docs, n_outputs)
    positives : int64 tensor of shape (n_docs, n_positives)
        Columns of each document's positives, each once, padded with n_outputs.
    reduction : {"mean", "sum"}, default="mean"

    Returns
    -------
    tensor of shape (), float32 (float64 for float64 scores), in nats

    Examples
    --------
    >>> import torch
    >>> bce_loss_all(torch.zeros(1, 4), torch.tensor([[2, 4]]))
    tensor(0.6931)
    """
    n = scores.numel() if reduction == "mean" else len(scores)
    return _BCEAll.apply(scores, positives, n)


class _BCEAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores, positives, n):
        real = positives < scores.shape[1]
        columns = positives.clamp(max=scores.shape[1] - 1)
        work = scores.to(torch.promote_types(scores.dtype, torch.float32))
        # softplus(-s) = softplus(s) - s
        total = softplus(work).sum() - (work.gather(1, columns) * real).sum()
        work = work.sigmoid()
        work.scatter_add_(1, columns, -real.to(work.dtype)).div_(n)
        ctx.save_for_backward(work)
        ctx.dtype = scores.dtype
        return total / n

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream).to(ctx.dtype), None, None


def log_distance_loss(docs, labels):
    r"""Robust distance between documents and their labels: Eq. 2 of LightDXML [1]_.

    .. math:: \log(1 + \lVert z_i - \hat y_j \rVert^2)

    Its gradient in the label vector, 2 (y - z) / (1 + |y - z|^2), is never longer
    than 1: an outlier pulls no more than others.

    Parameters
    ----------
    docs, labels : tensors of shape (n_pairs, dim)
        A document, and a label that it has.

    Returns
    -------
    tensor of shape (), float32 (float64 for float64 vectors)
        Mean over the pairs; 0 without any.

    References
    ----------
    .. [1] Mishra et al., Light-weight Deep Extreme Multilabel Classification,
       IJCNN 2023.

    Examples
    --------
    >>> import torch
    >>> log_distance_loss(torch.zeros(1, 2), torch.ones(1, 2))  # log 3
    tensor(1.0986)
    """
    gaps = at_least_float32(docs) - at_least_float32(labels)
    return gaps.square().sum(dim=1).log1p().sum() / max(len(gaps), 1)


def feature_loss(texts, labels, *, reduction="mean"):
    r"""Squared distance of texts and label names: Eq. 3 of GUDN [1]_.

    .. math:: \frac{1}{2n} \sum_i \lVert E_{t,i} - E_{l,i} \rVert^2

    Parameters
    ----------
    texts, labels : tensors of shape (n_docs, dim)
    reduction : {"mean", "sum"}, default="mean"
        Mean of the squares over documents and dimensions, as the released code has
        it, or the equation.

    Returns
    -------
    tensor of shape (), float32 (float64 for float64 vectors)

    References
    ----------
    .. [1] Wang et al., GUDN: A Novel Guide Network with Label Reinforcement Strategy
       for Extreme Multi-label Text Classification, 2022.

    Examples
    --------
    >>> import torch
    >>> feature_loss(torch.zeros(1, 4), torch.ones(1, 4), reduction="sum")
    tensor(2.)
    """
    # Squares of half precision overflow.
    texts, labels = at_least_float32(texts), at_least_float32(labels)
    if reduction == "mean":
        return mse_loss(texts, labels)
    return (texts - labels).square().sum() / (2 * max(len(texts), 1))
