"""Data sets in the layouts of the extreme classification repository."""

from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch

from ._repository_files import (
    find_features,
    find_file,
    load_features,
    load_json,
    load_raw_text,
    read_filter,
)

_XMC_FIELDS = """texts_train X_train Y_train texts_test X_test Y_test label_names
label_codes label_parents parent_names parent_parents filter_train filter_test
DESCR""".split()


def load_xmc_repository(path):
    r"""Load a data set in one of the layouts of extreme classification.

    The layout is the first of these whose training file is there; each file may
    also be compressed (``.gz``), and the test files may be missing.

    - Raw JSON [1]_: ``trn.json``, ``tst.json``, ``lbl.json``, an object a line.
      A text is ``title`` and ``content``, joined by a space; ``target_ind`` lists
      its labels (``target_rel`` is not read); titles in ``lbl.json`` are the
      label names and its ``uid`` the codes.
    - Raw text: ``train_texts.txt``, a document a line, and ``train_labels.txt``;
      the same for ``test``. Labels are ids from 0 separated by spaces. If there
      is ``label_names.txt`` (a name a line) and the first line with labels in
      ``train_labels.txt`` is not all integers, they are names separated by tabs.
      Optional: ``label_ids.txt`` (codes), and a hierarchy ``label_parents.txt``,
      ``parent_names.txt``, ``parent_parents.txt``, ids separated by spaces. Blank
      lines are empty texts, names or rows of ids, but not at the end of a file of
      names or of ids.
    - Features [1]_: ``train.txt`` and ``test.txt``, or one ``*_train.txt`` and one
      ``*_test.txt``: a header "n_docs n_features n_labels", then a line
      "label,label feature:value feature:value" for each document.

    Raw layouts and features alike may have ``filter_labels_train.txt`` and
    ``filter_labels_test.txt``: pairs "document label" to leave out, see
    :func:`remove_reciprocal`. Texts and names come in Unicode's form NFC.

    Parameters
    ----------
    path : str or path-like
        Folder, or a single file in the features layout (read as training set).

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        A field is None where the data set has no such thing.

        texts_train, texts_test : list of str
            Documents of the raw layouts.
        X_train, X_test : csr_matrix of shape (n_docs, n_features)
            Documents of the features layout, float32. A feature repeated in a
            line is summed.
        Y_train, Y_test : csr_matrix of shape (n_docs, n_labels)
            Binary, float32, sorted int32 indices. A label repeated in a line
            counts once. Without header or label names, ``n_labels`` is the
            largest id + 1.
        label_names, label_codes : list of str of length n_labels
            Human names, and codes.
        label_parents : csr_matrix of shape (n_labels, n_parents)
            Binary, float32: the parents of each label.
        parent_names : list of str of length n_parents
            Names of the nodes above the labels, numbered on their own.
        parent_parents : csr_matrix of shape (n_parents, n_parents)
            Binary, float32: the parents of these nodes.
        filter_train, filter_test : ndarray of shape (n_pairs, 2)
            Rows (document, label), int64.
        DESCR : str
            Layout and path.

    Raises
    ------
    FileNotFoundError
        If ``path`` has none of the layouts, or a file lacks its companion.
    ValueError
        If a file is malformed: the message names the file and the line.

    References
    ----------
    .. [1] Bhatia et al., The extreme classification repository: multi-label
       datasets and code, 2016.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skxmc.datasets import load_xmc_repository
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "train.txt")
    ...     _ = path.write_text("2 3 4\n0,3 1:0.5 2:1\n 0:2\n")
    ...     data = load_xmc_repository(folder)
    >>> data.X_train.toarray().tolist()
    [[0.0, 0.5, 1.0], [2.0, 0.0, 0.0]]
    >>> data.Y_train.toarray().tolist()
    [[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    """
    path = Path(path)
    data = Bunch(**dict.fromkeys(_XMC_FIELDS))
    if path.is_file():
        load_features(data, path, None)
        layout = "Features"
    elif find_file(path, "trn.json"):
        load_json(data, path)
        layout = "Raw JSON"
    elif find_file(path, "train_texts.txt"):
        load_raw_text(data, path)
        layout = "Raw text"
    else:
        load_features(data, find_features(path, "train"), find_features(path, "test"))
        layout = "Features"
    if path.is_dir():
        data.filter_train = read_filter(path, "train", data.Y_train)
        data.filter_test = read_filter(path, "test", data.Y_test)
    data.DESCR = f"{layout} layout of the extreme classification repository: {path}"
    return data


def remove_reciprocal(scores, pairs):
    """Drop the scores of reciprocal pairs, so that they are no predictions.

    Where documents and labels are the same kind of thing, such as products bought
    together, a document may have itself as a label. The repository [1]_ leaves
    these pairs out of evaluation.

    Parameters
    ----------
    scores : csr_matrix or csr_array of shape (n_docs, n_labels)
        Left unchanged.
    pairs : array-like of shape (n_pairs, 2)
        Rows (document, label), as in ``filter_test`` of
        :func:`load_xmc_repository`.

    Returns
    -------
    scores : csr_matrix or csr_array of shape (n_docs, n_labels)
        The entries left, in their order within rows.

    Raises
    ------
    TypeError
        If ``scores`` is not in CSR format.
    ValueError
        If ``pairs`` has another shape, or documents or labels out of range.

    References
    ----------
    .. [1] Bhatia et al., The extreme classification repository: multi-label
       datasets and code, 2016.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> from skxmc.datasets import remove_reciprocal
    >>> scores = csr_matrix([[0.9, 0.2], [0.3, 0.7]])
    >>> remove_reciprocal(scores, [[0, 0]]).toarray().tolist()
    [[0.0, 0.2], [0.3, 0.7]]
    """
    if not (sparse.issparse(scores) and scores.format == "csr"):
        raise TypeError(
            f"scores must be a sparse CSR matrix, got {type(scores).__name__}. "
            "Convert it by scipy.sparse.csr_matrix(scores)."
        )
    pairs = np.asarray(pairs, dtype=np.int64)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(
            f"pairs must have shape (n_pairs, 2), got {pairs.shape}. Give rows "
            "(document, label), such as filter_test of load_xmc_repository."
        )
    if ((pairs < 0) | (pairs >= scores.shape)).any():
        raise ValueError(
            f"pairs has documents or labels outside scores of shape {scores.shape}. "
            "Give the scores of the whole set that the pairs belong to."
        )
    n_docs, n_labels = scores.shape
    rows = np.repeat(np.arange(n_docs), np.diff(scores.indptr))
    # One int64 key an entry, which sorts faster than pairs.
    keys = rows * n_labels + scores.indices
    keep = ~np.isin(keys, pairs[:, 0] * n_labels + pairs[:, 1])
    indptr = np.concatenate([[0], np.cumsum(keep)])[scores.indptr]
    entries = scores.data[keep], scores.indices[keep], indptr
    return type(scores)(entries, shape=scores.shape)
