"""Documents that join or leave the memory of neighbors, which change after a fit."""

from sklearn.utils.validation import check_is_fitted

from ._validation import check_rows, no_documents_error


class DocumentChangesMixin:
    """Gives a classifier ``add_documents`` and ``forget_documents``.

    It is for subclasses of `skxmc._label_changes.LabelChangesMixin`, which define

    - ``_check_remembers()``: raise ValueError where there is no memory of documents;
    - ``_add_documents_and_labels(X, y, label_texts, label_names)``: have documents
      join the memory of this copy, if it has one, and count them;
    - ``_knows_documents(rows)``: which rows are those of documents in the memory, as a
      bool ndarray;
    - ``_forget(rows)``: have these documents leave the memory of this copy.
    """

    def add_documents(self, X, y, label_texts=None, *, label_names=None):
        """Remember more documents, which vote as neighbors from the next call on.

        Nothing is trained: the network reads the documents, and their vectors and
        labels join the memory of the training documents. So a correction counts at
        once, for documents that resemble it.

        If `y` has more columns than there are labels, the others are new labels, which
        are added first, as `add_labels` does with these documents.

        In an ensemble, the members whose neighbors vote remember the documents. The
        others only count them.

        Parameters
        ----------
        X : sequence of str, or matrix of shape (n_docs, n_features)
            Documents of the kind seen in `fit`.
        y : sparse matrix or array of shape (n_docs, `n_labels_` or more)
            All their labels, in the form seen in `fit`. New labels are the last
            columns. Documents without labels are counted, but do not vote.
        label_texts : sequence of str of shape (n_new,), or None
            Texts of the new labels, if there are any (see `add_labels`).
        label_names : sequence of shape (n_new,) or None, default=None
            Names of the new labels. None takes the texts.

        Returns
        -------
        self : estimator
            The same classifier. ``n_docs_`` and ``label_counts_`` count the documents.
            Their rows begin at the value that ``n_docs_`` had before, in `kneighbors`
            and in `forget_documents`.

        Raises
        ------
        ValueError
            If an argument is not as described, or if no neighbors vote. The classifier
            then stays as it was.
        TypeError
            If it is an ensemble with a member that is no classifier of this package.

        Examples
        --------
        >>> from scipy.sparse import csr_array
        >>> from skxmc import LightDXMLClassifier
        >>> texts = ["red house", "blue house", "old car", "new car"] * 5
        >>> Y = csr_array([[1, 0], [0, 1], [1, 0], [0, 1]] * 5)
        >>> model = LightDXMLClassifier(neighbor_weight=4, random_state=0)
        >>> more = ["tall tree"], csr_array([[0, 1]])
        >>> model = model.fit(texts, Y).add_documents(*more)
        >>> model.kneighbors(["a tall tree"], 1, return_distance=False).tolist()
        [[20]]
        """
        check_is_fitted(self)

        def add(changed):
            changed._check_remembers()
            changed._add_documents_and_labels(X, y, label_texts, label_names)

        return self._change(add)

    def forget_documents(self, rows):
        """Have documents leave the memory: they vote no more.

        What the network has learned from them in training stays. In an ensemble, they
        leave the memory of all members that remember them.

        Parameters
        ----------
        rows : int, or sequence of int
            Rows of documents, as `kneighbors` returns them: those in the X of `fit`,
            and behind them those of `add_documents`. The rows of other documents stay
            the same. At least one document must remain, in each member of an ensemble.

        Returns
        -------
        self : estimator
            The same classifier. ``label_counts_`` no longer counts the documents.

        Raises
        ------
        ValueError
            If a document is not in the memory, if none would remain, or if no neighbors
            vote. For an ensemble also if members have come to other documents by
            themselves, so that rows are not the same. The classifier then stays as it
            was.
        TypeError
            If it is an ensemble with a member that is no classifier of this package.

        Examples
        --------
        >>> from scipy.sparse import csr_array
        >>> from skxmc import LightDXMLClassifier
        >>> texts = ["red house", "blue house", "old car", "new car"]
        >>> Y = csr_array([[1, 0], [0, 1], [1, 0], [0, 1]])
        >>> model = LightDXMLClassifier(
        ...     neighbor_weight=4, validation_fraction=0, random_state=0
        ... )
        >>> model = model.fit(texts, Y).forget_documents([1])
        >>> model.kneighbors(["blue house"], 1, return_distance=False).tolist()
        [[0]]
        """
        check_is_fitted(self)
        rows = check_rows(rows)

        def forget(changed):
            changed._check_remembers()
            missing = rows[~changed._knows_documents(rows)]
            if len(missing):
                changed._refuse_unknown(missing)
            changed._forget(rows)

        return self._change(forget)

    def _refuse_unknown(self, rows):
        raise no_documents_error(rows)
