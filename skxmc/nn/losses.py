"""Loss functions, each with the number of its equation in the paper."""

import torch
from torch.nn.functional import mse_loss, softplus

# Used instead of -inf. Its exponential is 0 as well, but the logsumexp of a row that
# holds nothing else has the gradient 0 instead of NaN.
_NEVER = -1e30


def at_least_float32(scores):
    """Convert scores of lower precision to float32, and return others unchanged."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def loss_weights(targets, rows=None):
    """Return the weights of a batch, as arguments of the losses of all labels.

    Parameters
    ----------
    targets : dict of tensors
        Targets of a batch by `skxmc.nn.examples.Examples.batch`.
    rows : int64 tensor of shape (n_rows,) or None, default=None
        Documents of the batch that take part in the loss. None is all of them.

    Returns
    -------
    dict of str to tensor
        ``doc_weights`` and ``label_weights``, as far as documents or labels have any.
        The weights of some of the documents are multiplied such that their mean is that
        of the whole batch.
    """
    names = "doc_weights", "label_weights"
    found = {name: targets[name] for name in names if name in targets}
    if rows is not None and "doc_weights" in found:
        weights = found["doc_weights"]
        some = weights[rows]
        found["doc_weights"] = some * (weights.mean() / some.mean())
    return found


def candidate_weights(weights, ids):
    """Turn arguments of the losses of all labels into those of candidates.

    Parameters
    ----------
    weights : dict of str to tensor
        What `loss_weights` returns.
    ids : int64 tensor of shape (n_docs, n_candidates)
        Label columns padded with n_labels.
    """
    if "label_weights" not in weights:
        return weights
    return weights | {"label_weights": weights["label_weights"][ids]}


def cluster_weights(weights):
    """Return those arguments that the losses of clusters take: no weights of labels."""
    return {name: weights[name] for name in weights if name != "label_weights"}


def document_factors(counts, weights):
    """Return the factors by which the losses of documents enter that of the batch.

    The loss of the batch is the weighted mean over documents, times the mean weight of
    the batch. With weights whose mean over all training documents is 1, a document thus
    counts as much in one batch as in any other.

    Parameters
    ----------
    counts : tensor of shape (n_docs,)
        Number of terms of each document over which the mean is taken.
    weights : tensor of shape (n_docs,)

    Returns
    -------
    tensor of shape (n_docs,)
    """
    # There may be no terms at all.
    total = (weights * counts).sum().clamp(min=torch.finfo(weights.dtype).tiny)
    return weights * (weights.mean() / total)


def grank_loss(scores, is_positive, mask, *, doc_weights=None, label_weights=None):
    r"""Compute the GRank loss, which ranks positives above negatives.

    .. math:: \log(1 + \sum_{j \in M} e^{g_j} \sum_{i \in P} e^{-g_i})

    P are the positives of a document, and M its negatives: Eq. 4, 7 and 8 of X-GRank
    [1]_. The loss is computed in log space and in float32, where the products of
    exponentials would overflow from scores of 44 on. In float16, already the
    exponentials of scores above 11 overflow. With weights v of labels, the loss is

    .. math:: \bar v \log(1 + \sum_{j \in M} e^{g_j}
              \sum_{i \in P} \frac{v_i}{\bar v} e^{-g_i})

    where the mean of v is over the positives of the document.

    Parameters
    ----------
    scores : tensor of shape (n_docs, n_candidates)
        Scores of any floating dtype.
    is_positive : bool tensor of shape (n_docs, n_candidates)
        Whether a candidate is a label of the document.
    mask : bool tensor of shape (n_docs, n_candidates)
        False at padding.
    doc_weights : tensor of shape (n_docs,) or None, default=None
        Weights of the documents in the mean, which is multiplied by the mean of these
        weights. None weighs all alike.
    label_weights : tensor of shape (n_docs, n_candidates) or None, default=None
        Weight of each candidate if it is a positive. None means 1.

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
    low, means = -scores, 1
    if label_weights is not None:
        shifts, means = relative_weights(label_weights.to(scores), positive)
        low = low + shifts
    low = low.masked_fill(~positive, _NEVER).logsumexp(dim=1)
    # Without positives or without negatives, high + low is about -1e30, so that the
    # loss and the gradient are 0.
    usable = positive.any(dim=1) & negative.any(dim=1)
    losses = softplus(high + low) * means
    if doc_weights is not None:
        return (losses * document_factors(usable, doc_weights.to(losses))).sum()
    return losses.sum() / usable.sum().clamp(min=1)


def relative_weights(weights, positive):
    """Divide the weights of each document's positives by their mean.

    Parameters
    ----------
    weights : tensor of shape (n_docs, n_candidates)
        Weights of labels.
    positive : bool tensor of the same shape

    Returns
    -------
    logarithms : tensor of the same shape
        Logarithms of the quotients; those of other labels have no meaning.
    means : tensor of shape (n_docs,)
        1 for a document without positives.
    """
    counts = positive.sum(dim=1)
    sums = (weights * positive).sum(dim=1)
    means = torch.where(counts > 0, sums / counts.clamp(min=1), 1)
    return (weights / means[:, None]).log(), means


def grank_loss_all(scores, positives, *, doc_weights=None, label_weights=None):
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
    doc_weights : tensor of shape (n_docs,) or None, default=None
        As in `grank_loss`.
    label_weights : tensor of shape (n_labels + 1,) or None, default=None
        Weights of the labels as positives, and 1 for padding. None means 1.

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
    return _GRankAll.apply(scores, positives, doc_weights, label_weights)


class _GRankAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores, positives, doc_weights, label_weights):
        n_labels = scores.shape[1]
        real = positives < n_labels
        usable = real[:, 0] & (real.sum(dim=1) < n_labels)
        # Padding is replaced by the row's first positive. The scatters below then write
        # the same value to it more than once.
        columns = torch.where(real, positives, positives[:, :1]).clamp(max=n_labels - 1)

        dtype = torch.promote_types(scores.dtype, torch.float32)
        work = scores.to(dtype, copy=True)
        bad = -work.gather(1, columns)  # how bad the scores of the positives are
        means = 1
        if label_weights is not None:
            # Padding has the weight of the row's first positive, like its column.
            weights = label_weights[columns].to(dtype)
            shifts, means = relative_weights(weights, real)
            bad = bad + shifts
        work.scatter_(1, columns, _NEVER)
        high = work.logsumexp(dim=1)
        low = bad.masked_fill(~real, _NEVER).logsumexp(dim=1)
        z = torch.where(usable, high + low, _NEVER)
        if doc_weights is None:
            n_usable = usable.sum().clamp(min=1)
            weight = z.sigmoid() * means / n_usable
            loss = (softplus(z) * means).sum() / n_usable
        else:
            factors = document_factors(usable, doc_weights.to(dtype)) * means
            weight = z.sigmoid() * factors
            loss = (softplus(z) * factors).sum()

        weight = weight[:, None]
        work.sub_(high[:, None]).exp_().mul_(weight)
        # Without positives, low is -1e30. The clamp avoids 0 * exp(1e30), which is NaN.
        share = (bad - low[:, None]).clamp(max=0).exp()
        work.scatter_(1, columns, -weight * share)
        ctx.save_for_backward(work)
        ctx.dtype = scores.dtype
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream).to(ctx.dtype), None, None, None


def bce_loss(
    scores,
    is_positive,
    mask,
    *,
    reduction="mean",
    weights=None,
    doc_weights=None,
    label_weights=None,
):
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
    doc_weights : tensor of shape (n_docs,) or None, default=None
        Weights of the documents in the mean, which is multiplied by the mean of these
        weights. None weighs all alike.
    label_weights : tensor of shape (n_docs, n_candidates) or None, default=None
        Factor for the term of each candidate that is a positive. None means 1.

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
    if label_weights is not None:
        terms = torch.where(is_positive, terms * label_weights, terms)
    if doc_weights is not None:
        counts = mask.sum(dim=1) if reduction == "mean" else torch.ones_like(mask[:, 0])
        factors = document_factors(counts, doc_weights.to(terms))
        return (terms.sum(dim=1) * factors).sum()
    return terms.sum() / n


def bce_loss_all(
    scores,
    positives,
    *,
    reduction="mean",
    weights=None,
    doc_weights=None,
    label_weights=None,
):
    """Compute the binary cross-entropy of all outputs: Eq. 1 of LightXML.

    The value and the gradient, sigmoid(s) - y, are those of `bce_loss`, but there are
    no targets of the size of the scores.

    Parameters
    ----------
    scores : tensor of shape (n_docs, n_outputs)
    positives : int64 tensor of shape (n_docs, n_positives)
        Columns of each document's positives, each once, padded with n_outputs.
    reduction : {"mean", "sum"}, default="mean"
    weights, doc_weights : tensors of shape (n_docs,) or None, default=None
        As in `bce_loss`.
    label_weights : tensor of shape (n_outputs + 1,) or None, default=None
        Weights of the outputs as positives, and 1 for padding. None means 1.

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
    given = weights, doc_weights, label_weights
    return _BCEAll.apply(scores, positives, n, *given)


class _BCEAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores, positives, n, weights, doc_weights, label_weights):
        real = positives < scores.shape[1]
        columns = positives.clamp(max=scores.shape[1] - 1)
        work = scores.to(torch.promote_types(scores.dtype, torch.float32))
        good = work.gather(1, columns)
        wanted = real.to(work.dtype)  # weights of the positives
        # softplus(-s) = softplus(s) - s
        if weights is None and doc_weights is None and label_weights is None:
            total = softplus(work).sum() - (good * real).sum()
            work = work.sigmoid()
            change = -wanted
        else:
            weights = torch.ones_like(work[:, 0]) if weights is None else weights
            weights = weights.to(work.dtype)[:, None]
            if label_weights is not None:
                wanted = wanted * label_weights[positives]
            if doc_weights is not None:
                doc_weights = doc_weights.to(work.dtype)[:, None]
                weights, wanted = weights * doc_weights, wanted * doc_weights
            # The weight of a positive beyond what it has like a negative.
            missing = wanted - weights * real
            total = (softplus(work).sum(dim=1, keepdim=True) * weights).sum()
            total = total + (softplus(good) * missing - good * wanted).sum()
            work = work.sigmoid().mul_(weights)
            change = good.sigmoid() * missing - wanted
        work.scatter_add_(1, columns, change).div_(n)
        ctx.save_for_backward(work)
        ctx.dtype = scores.dtype
        return total / n

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream).to(ctx.dtype), None, None, None, None, None


def log_distance_loss(docs, labels, weights=None):
    r"""Compute a robust distance of documents and labels: Eq. 2 of LightDXML [1]_.

    .. math:: \log(1 + \lVert z_i - \hat y_j \rVert^2)

    Its gradient with respect to the label vector, 2 (y - z) / (1 + |y - z|^2), has at
    most length 1, so that outliers have little influence.

    Parameters
    ----------
    docs, labels : tensors of shape (n_pairs, dim)
        Vectors of a document and of one of its labels in each row.
    weights : tensor of shape (n_pairs,) or None, default=None
        Factor for each pair. None means 1.

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
    losses = gaps.square().sum(dim=1).log1p()
    losses = losses if weights is None else losses * weights.to(losses)
    return losses.sum() / max(len(gaps), 1)


def feature_loss(texts, labels, *, reduction="mean", doc_weights=None):
    r"""Compute the squared distance of texts and label names: Eq. 3 of GUDN [1]_.

    .. math:: \frac{1}{2n} \sum_i \lVert E_{t,i} - E_{l,i} \rVert^2

    Parameters
    ----------
    texts, labels : tensors of shape (n_docs, dim)
        Features of each document's text and of the names of its labels.
    reduction : {"mean", "sum"}, default="mean"
        "mean" is the mean of the squares over documents and dimensions, as in the
        released code. "sum" is the equation.
    doc_weights : tensor of shape (n_docs,) or None, default=None
        Factor for each document. None means 1.

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
    if doc_weights is not None:
        losses = (texts - labels).square().sum(dim=1)
        losses = losses * doc_weights.to(losses)
        size = texts.shape[1] if reduction == "mean" else 2
        return losses.sum() / (size * max(len(texts), 1))
    if reduction == "mean":
        return mse_loss(texts, labels)
    return (texts - labels).square().sum() / (2 * max(len(texts), 1))
