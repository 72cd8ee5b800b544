"""Loss functions, each with the number of its equation in the paper."""

import torch
from torch.nn.functional import mse_loss, softplus

# Used instead of -inf. Its exponential is 0 as well, but the logsumexp of a row that
# holds nothing else has the gradient 0 instead of NaN.
_NEVER = -1e30


def at_least_float32(scores):
    """Convert scores of lower precision to float32, and return others unchanged."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def grank_loss(scores, is_positive, mask):
    r"""Compute the GRank loss, which ranks positives above negatives.

    .. math:: \log(1 + \sum_{j \in M} e^{g_j} \sum_{i \in P} e^{-g_i})

    P are the positives of a document, and M its negatives: Eq. 4, 7 and 8 of X-GRank
    [1]_. The loss is computed in log space and in float32, where the products of
    exponentials would overflow from scores of 44 on. In float16, already the
    exponentials of scores above 11 overflow.

    Parameters
    ----------
    scores : tensor of shape (n_docs, n_candidates)
        Scores of any floating dtype.
    is_positive : bool tensor of shape (n_docs, n_candidates)
        Whether a candidate is a label of the document.
    mask : bool tensor of shape (n_docs, n_candidates)
        False at padding.

    Returns
    -------
    tensor of shape (), float32 (float64 for float64 scores)
        Mean in nats over the documents that have both positives and negatives; 0 if
        there are none.

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
    high = scores.masked_fill(~negative, _NEVER).logsumexp(dim=1)  # (n_docs,)
    low = (-scores).masked_fill(~positive, _NEVER).logsumexp(dim=1)
    # Without positives or without negatives, high + low is about -1e30, so that the
    # loss and the gradient are 0.
    usable = positive.any(dim=1) & negative.any(dim=1)
    return softplus(high + low).sum() / usable.sum().clamp(min=1)


def grank_loss_all(scores, positives):
    r"""Compute the GRank loss of documents whose scores cover all labels.

    The value and the gradient are those of `grank_loss`, but there is no mask of the
    size of the scores. One copy of the scores is made, which becomes the gradient
    (Eq. 6):

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
        Mean in nats over the documents that have both positives and negatives; 0 if
        there are none.

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
        # Padding is replaced by the row's first positive. The scatters below then write
        # the same value to it more than once.
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
        # Without positives, low is -1e30. The clamp avoids 0 * exp(1e30), which is NaN.
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


def bce_loss(scores, is_positive, mask, *, reduction="mean", weights=None):
    r"""Compute the binary cross-entropy of candidate labels.

    .. math:: \sum_{j \in P} -\log \sigma(s_j) + \sum_{j \in M} -\log \sigma(-s_j)

    P are the positives of a document, and M its negatives: Eq. 5 of LightXML [1]_. The
    paper's text swaps the targets of both by mistake; here, positives have target 1.

    Parameters
    ----------
    scores : tensor of shape (n_docs, n_candidates)
        Scores of any floating dtype.
    is_positive : bool tensor of shape (n_docs, n_candidates)
        Whether a candidate is a label of the document.
    mask : bool tensor of shape (n_docs, n_candidates)
        False at padding.
    reduction : {"mean", "sum"}, default="mean"
        "mean" is the mean over all candidates of the batch, as in the released code.
        "sum" is the sum over the candidates of a document, as in the equation, and the
        mean over documents.
    weights : tensor of shape (n_docs,) or None, default=None
        Factor for the terms of each document's negatives. None means 1.

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
    terms = softplus(wrong)
    if weights is not None:
        terms = torch.where(is_positive, terms, terms * weights[:, None])
    return terms.sum() / n


def bce_loss_all(scores, positives, *, reduction="mean", weights=None):
    """Compute the binary cross-entropy of all outputs: Eq. 1 of LightXML.

    The value and the gradient, sigmoid(s) - y, are those of `bce_loss`, but there are
    no targets of the size of the scores.

    Parameters
    ----------
    scores : tensor of shape (n_docs, n_outputs)
    positives : int64 tensor of shape (n_docs, n_positives)
        Columns of each document's positives, each once, padded with n_outputs.
    reduction : {"mean", "sum"}, default="mean"
    weights : tensor of shape (n_docs,) or None, default=None
        As in `bce_loss`.

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
    return _BCEAll.apply(scores, positives, n, weights)


class _BCEAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores, positives, n, weights):
        real = positives < scores.shape[1]
        columns = positives.clamp(max=scores.shape[1] - 1)
        work = scores.to(torch.promote_types(scores.dtype, torch.float32))
        good = work.gather(1, columns)
        # softplus(-s) = softplus(s) - s
        if weights is None:
            total = softplus(work).sum() - (good * real).sum()
            work = work.sigmoid()
            change = -real.to(work.dtype)
        else:  # a positive has the weight 1, and what that adds is added to it
            weights = weights.to(work.dtype)[:, None]
            missing = (1 - weights) * real
            total = (softplus(work).sum(dim=1, keepdim=True) * weights).sum()
            total = total + (softplus(good) * missing - good * real).sum()
            work = work.sigmoid().mul_(weights)
            change = good.sigmoid() * missing - real.to(work.dtype)
        work.scatter_add_(1, columns, change).div_(n)
        ctx.save_for_backward(work)
        ctx.dtype = scores.dtype
        return total / n

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream).to(ctx.dtype), None, None, None


def log_distance_loss(docs, labels):
    r"""Compute a robust distance of documents and labels: Eq. 2 of LightDXML [1]_.

    .. math:: \log(1 + \lVert z_i - \hat y_j \rVert^2)

    Its gradient with respect to the label vector, 2 (y - z) / (1 + |y - z|^2), has at
    most length 1, so that outliers have little influence.

    Parameters
    ----------
    docs, labels : tensors of shape (n_pairs, dim)
        Vectors of a document and of one of its labels in each row.

    Returns
    -------
    tensor of shape (), float32 (float64 for float64 vectors)
        Mean over the pairs; 0 if there are none.

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
    r"""Compute the squared distance of texts and label names: Eq. 3 of GUDN [1]_.

    .. math:: \frac{1}{2n} \sum_i \lVert E_{t,i} - E_{l,i} \rVert^2

    Parameters
    ----------
    texts, labels : tensors of shape (n_docs, dim)
        Features of each document's text and of the names of its labels.
    reduction : {"mean", "sum"}, default="mean"
        "mean" is the mean of the squares over documents and dimensions, as in the
        released code. "sum" is the equation.

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
    # In float16, squares of numbers above 256 overflow.
    texts, labels = at_least_float32(texts), at_least_float32(labels)
    if reduction == "mean":
        return mse_loss(texts, labels)
    return (texts - labels).square().sum() / (2 * max(len(texts), 1))
