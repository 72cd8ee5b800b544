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

_FIELDS = """texts_train X_train Y_train texts_test X_test Y_test label_names
label_codes label_parents parent_names parent_parents filter_train filter_test
DESCR""".split()


def load_xmc_repository(path):
    r"""Load a data set in one of the layouts of extreme classification.

    The layout is the first of the following whose training file exists. Each file
    may be compressed (``.gz``), and the test files may be missing.

    - Raw JSON [1]_: ``trn.json``, ``tst.json`` and ``lbl.json``, with one object per
      line. A text is ``title`` and ``content``, joined by a space; ``target_ind``
      lists its labels, and ``target_rel`` is ignored. In ``lbl.json`` the titles
      are the label names, and each ``uid`` is a label's code.
    - Raw text: ``train_texts.txt`` with one document per line,
      ``train_labels.txt`` with the labels of one document per line, and the same
      for ``test``. Labels are ids from 0, separated by spaces. They may be names
      separated by tabs if there is a file ``label_names.txt``, with one name per
      line: this holds if the first line with labels in ``train_labels.txt`` is not
      all integers. Optional files are ``label_ids.txt`` (codes) and a hierarchy of
      ``label_parents.txt``, ``parent_names.txt`` and ``parent_parents.txt``, in
      which ids are separated by spaces. Blank lines are empty texts, names or rows
      of ids, but are ignored at the end of a file of names or ids.
    - Features [1]_: ``train.txt`` and ``test.txt``, or one file ``*_train.txt`` and
      one ``*_test.txt``. A header "n_docs n_features n_labels" precedes a line
      "label,label feature:value feature:value" for each document.

    All layouts may have files ``filter_labels_train.txt`` and
    ``filter_labels_test.txt``, which hold pairs "document label" to leave out of
    evaluation (see :func:`remove_reciprocal`). Texts and names are returned in
    Unicode's form NFC.

    Parameters
    ----------
    path : str or path-like
        Folder, or a single file in the features layout, which becomes the training
        set.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        A field is None if the data set does not have it.

        texts_train, texts_test : list of str
            Documents of the raw layouts.
        X_train, X_test : csr_matrix of shape (n_docs, n_features)
            Documents of the features layout, float32. A feature repeated in a
            line is summed.
        Y_train, Y_test : csr_matrix of shape (n_docs, n_labels)
            Binary, float32, with sorted int32 indices. A label repeated in a
            line counts once. ``n_labels`` comes from the header or the label
            names; without them it is the largest id + 1.
        label_names, label_codes : list of str of length n_labels
            Names for people, and codes.
        label_parents : csr_matrix of shape (n_labels, n_parents)
            Binary, float32: the parents of each label.
        parent_names : list of str of length n_parents
            Names of the nodes above the labels, which have ids of their own.
        parent_parents : csr_matrix of shape (n_parents, n_parents)
            Binary, float32: the parents of these nodes.
        filter_train, filter_test : ndarray of shape (n_pairs, 2)
            Rows (document, label), int64.
        DESCR : str
            Layout and path.

    Raises
    ------
    FileNotFoundError
        If ``path`` has none of the layouts, or if a file is missing that another
        one needs.
    ValueError
        If a file is malformed. The message names the file and the line.

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
    data = Bunch(**dict.fromkeys(_FIELDS))
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
    """Drop the scores of reciprocal pairs, so that they do not count as predictions.

    If documents and labels are the same kind of thing, such as products that are
    bought together, a document may be its own label. The repository [1]_ leaves
    these pairs out of evaluation.

    Parameters
    ----------
    scores : csr_matrix or csr_array of shape (n_docs, n_labels)
        Scores of labels. They are not changed.
    pairs : array-like of shape (n_pairs, 2)
        Rows (document, label), as in ``filter_test`` of
        :func:`load_xmc_repository`.

    Returns
    -------
    scores : csr_matrix or csr_array of shape (n_docs, n_labels)
        The remaining entries, in the same order within each row.

    Raises
    ------
    TypeError
        If ``scores`` is not in CSR format.
    ValueError
        If ``pairs`` has another shape, or has documents or labels out of range.

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
            "Convert it with scipy.sparse.csr_matrix(scores)."
        )
    pairs = np.asarray(pairs, dtype=np.int64)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(
            f"pairs must have shape (n_pairs, 2), got {pairs.shape}. Its rows are "
            "(document, label), as in filter_test of load_xmc_repository."
        )
    if ((pairs < 0) | (pairs >= scores.shape)).any():
        raise ValueError(
            f"pairs has documents or labels outside scores of shape {scores.shape}. "
            "Pass the scores of the whole data set that the pairs belong to."
        )
    n_docs, n_labels = scores.shape
    rows = np.repeat(np.arange(n_docs), np.diff(scores.indptr))
    # One int64 key per entry: np.isin compares numbers, not pairs.
    keys = rows * n_labels + scores.indices
    keep = ~np.isin(keys, pairs[:, 0] * n_labels + pairs[:, 1])
    indptr = np.concatenate([[0], np.cumsum(keep)])[scores.indptr]
    entries = scores.data[keep], scores.indices[keep], indptr
    return type(scores)(entries, shape=scores.shape)
