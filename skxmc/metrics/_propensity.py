"""Propensities: the probability that a relevant label was also assigned."""

import numpy as np

from ._ranking import check_truth


def propensity_from_counts(label_counts, n_docs, a=0.55, b=1.5):
    """Propensity of each label, from the number of its training documents.

    See `propensity` for the equation; that function counts the documents itself.

    Parameters
    ----------
    label_counts : array-like of shape (n_labels,)
        Number of training documents that have each label.
    n_docs : int
        Number of training documents.
    a : float, default=0.55
        Constant A of `propensity`.
    b : float, default=1.5
        Constant B of `propensity`.

    Returns
    -------
    ndarray of shape (n_labels,), float64
        Propensities in (0, 1].

    Raises
    ------
    ValueError
        If a < 0 or b <= 0.

    Examples
    --------
    >>> from skxmc.metrics import propensity_from_counts
    >>> (1 / propensity_from_counts([0, 10], n_docs=1000)).round(4)
    array([8.8242, 3.5521])
    """
    if not (a >= 0 and b > 0):
        raise ValueError(
            f"Propensities need a >= 0 and b > 0, got a={a}, b={b}. "
            "Use a=0.55, b=1.5 if the data set has no values of its own."
        )
    # With two documents or fewer, ln N < 1: without this bound p would exceed 1.
    c = max(np.log(n_docs) - 1, 0) * (b + 1) ** a
    return 1 / (1 + c * (np.asarray(label_counts, dtype=np.float64) + b) ** -a)


def propensity(Y, *, a=0.55, b=1.5):
    r"""Probability that a relevant label was assigned, estimated from its frequency.

    People who label documents forget rare labels more often than frequent ones.
    Metrics that divide by the propensity, as `psp_at_k` does, make up for this.

    .. math:: p_l = 1 / (1 + C (N_l + B)^{-A}), \quad C = (\ln N - 1)(B + 1)^A

    where N is the number of training documents, and N_l that of those with label l.
    C is 0 if N < 3.

    Parameters
    ----------
    Y : {array-like, sparse} of shape (n_docs, n_labels)
        The **training** labels, 0 or 1.
    a : float, default=0.55
        Constant A of the equation. It must be at least 0.
    b : float, default=1.5
        Constant B of the equation. It must be greater than 0.

    Returns
    -------
    ndarray of shape (n_labels,), float64
        Propensities in (0, 1], not their inverses. A label without training documents
        has the smallest.

    Raises
    ------
    ValueError
        If Y is malformed, a < 0 or b <= 0.

    Notes
    -----
    Published code disagrees on A and B, so report them along with your numbers. These
    values are usual:

    =======================================  ========  ==============================
    data set                                 A / B     other values in use
    =======================================  ========  ==============================
    EURLex-4K                                .55/1.5   CascadeXML .6/2.6
    AmazonCat-13K                            .55/1.5   Renee .6/2.6
    Wiki10-31K                               .55/1.5   Renee .5/.4
    WikiSeeAlso(Titles)-320K, -350K          .55/1.5   Renee .5/.4; LightDXML .6/2.6
                                                       (350K)
    Delicious-200K, all others               .55/1.5   LightDXML .6/2.6 (Delicious)
    Wiki-500K, WikiTitles-500K               .5/.4     LightDXML .6/2.6
    WikiLSHTC-325K                           .5/.4     LightDXML .6/2.6
    Amazon-670K, AmazonTitles-*, LF-Amazon*  .6/2.6    none
    Amazon-3M                                .6/2.6    LightDXML .55/1.5
    =======================================  ========  ==============================

    References
    ----------
    .. [1] Jain, Prabhu and Varma, Extreme multi-label loss functions for
       recommendation, tagging, ranking & other missing label applications,
       KDD 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc.metrics import propensity
    >>> Y = np.zeros((1000, 2))
    >>> Y[:10, 1] = 1
    >>> (1 / propensity(Y)).round(4)
    array([8.8242, 3.5521])
    """
    truth = check_truth(Y, "Y")
    counts = np.bincount(truth.indices, minlength=truth.shape[1])
    return propensity_from_counts(counts, truth.shape[0], a, b)
