"""Labels that are added, removed or renamed after a fit."""

from collections.abc import Mapping

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch.nn.functional import normalize

from ._validation import (
    check_label_names,
    check_label_texts,
    check_more_labels,
    check_new_names,
    check_texts,
    count_documents,
    count_rows,
    find_columns,
)
from .nn.label_changes import share_tensors, train_rows
from .nn.labels import label_centroids, label_means
from .nn.losses import at_least_float32
from .nn.process import default_modes


class LabelChangesMixin:
    """Gives a classifier ``add_labels``, ``remove_labels`` and ``rename_labels``.

    All changes are made on a copy that shares its tensors with the classifier, which
    takes them over in the end. So a change that fails leaves it as it was.
    """

    def add_labels(self, label_texts, label_names=None, *, X=None, y=None):
        """Add labels to the fitted classifier, without another fit.

        A text is read as a document, and the vector that the network makes of it, with
        the mean length of the vectors of other labels, becomes the vector of its label.
        If there are clusters of labels, the label joins the cluster that suits its text
        best. All else stays as it is: the encoder, other labels and the calibration.

        With documents, the vector starts between that of the text and the mean of those
        of its documents, and is trained by two passes over these documents, for which
        all others stand still. This takes seconds. Neighbors that vote do not get to
        know the documents; `add_documents` adds labels as well, and has them vote.

        Parameters
        ----------
        label_texts : sequence of str of shape (n_new,), or None
            Texts of the new labels, as good as those of `label_texts` in the fit. A
            text may be blank if the label has documents. None if labels have no texts,
            as with feature matrices: `label_names` and documents are then needed.
        label_names : sequence of shape (n_new,) or None, default=None
            Names of the new labels. They must differ from each other and from the names
            that there are. None takes the texts.
        X : sequence of str, or matrix of shape (n_docs, n_features), or None
            Documents, of the kind seen in `fit`.
        y : sparse matrix or array of shape (n_docs, n_new or `n_labels_` + n_new)
            Their labels: the columns of the new labels, or those of all labels, with
            the new ones at the end. Labels of a document that `y` does not name are
            ranked below its new ones, so give all columns if you have them. Documents
            without new labels then teach where these do not belong.

        Returns
        -------
        self : estimator
            The same classifier, with the new labels as its last columns.

        Raises
        ------
        ValueError
            If a text or a name is not as described, if a label has neither a text nor a
            document, or if `label_init` gives texts no meaning ("random") and a label
            has no document. It is raised for a 1-D `y` too, whose classes are sorted.
            The classifier then stays as it was.

        Notes
        -----
        Parameters stay what they were for the fit, such as `label_texts`, and
        `sklearn.base.clone` makes a classifier with these. The texts and names of all
        labels are in ``label_texts_`` and ``label_names_``.

        Examples
        --------
        >>> from scipy.sparse import csr_array
        >>> from skxmc import LightDXMLClassifier
        >>> texts = ["red house", "blue house", "red car", "blue car"] * 5
        >>> Y = csr_array([[1, 0], [0, 1], [1, 0], [0, 1]] * 5)
        >>> model = LightDXMLClassifier(label_texts=["red", "blue"], random_state=0)
        >>> model = model.fit(texts, Y).add_labels(["car"])
        >>> model.n_labels_
        3
        >>> model.predict_topk(["a car"], k=1, return_names=True)[0].tolist()
        [['car']]
        """
        check_is_fitted(self)
        return self._change(
            lambda model: model._add_labels(label_texts, label_names, X, y)
        )

    def remove_labels(self, labels):
        """Remove labels from the fitted classifier, without another fit.

        The labels after them move up. Documents that vote as neighbors and have no
        other label leave the memory, and clusters without labels are dropped.

        Parameters
        ----------
        labels : sequence, a single label, or a mask of shape (n_labels,)
            Labels, each by its column (an int) or by its name in `label_names_`, or a
            mask of labels. If names are whole numbers themselves, one that is the
            column of another label is refused; use a mask. At least two labels must
            remain.

        Returns
        -------
        self : estimator
            The same classifier.

        Raises
        ------
        ValueError
            If there is no such label, or several of that name, or if fewer than two
            labels would remain. The classifier then stays as it was.

        Examples
        --------
        >>> from scipy.sparse import csr_array
        >>> from skxmc import LightDXMLClassifier
        >>> texts = ["red house", "blue house", "old car"] * 5
        >>> Y = csr_array([[1, 0, 0], [0, 1, 0], [0, 0, 1]] * 5)
        >>> model = LightDXMLClassifier(label_names=["red", "blue", "old"])
        >>> model.fit(texts, Y).remove_labels(["blue"]).label_names_.tolist()
        ['red', 'old']
        """
        check_is_fitted(self)
        removed = find_columns(
            labels, self.label_names_, numbered=self._names_are_numbers()
        )
        removed = np.unique(removed).astype(np.int64)
        kept = np.setdiff1d(np.arange(self.n_labels_), removed)
        if len(kept) < 2:
            raise ValueError(
                f"Removing {len(removed)} of {self.n_labels_} labels would leave "
                f"{len(kept)}, and a classifier has at least 2."
            )
        if len(kept) == self.n_labels_:
            return self
        return self._change(lambda model: model._keep_labels(kept))

    def rename_labels(self, names):
        """Give labels other names in ``label_names_``.

        What the classifier has learned of a label stays, whatever it is called now. If
        the meaning of a label has changed, remove it, and add it with its new text.

        Parameters
        ----------
        names : dict
            The new name of each label that gets one, by its column (an int) or by its
            name so far. A new name must not be that of another label.

        Returns
        -------
        self : estimator
            The same classifier.

        Raises
        ------
        ValueError
            If there is no such label, or several of that name, or if another label has
            the new name. The classifier then stays as it was.

        Examples
        --------
        >>> from scipy.sparse import csr_array
        >>> from skxmc import LightDXMLClassifier
        >>> texts = ["red house", "blue house"] * 5
        >>> model = LightDXMLClassifier(label_names=["red", "blue"])
        >>> model = model.fit(texts, csr_array([[1, 0], [0, 1]] * 5))
        >>> model.rename_labels({"blue": "navy"}).label_names_.tolist()
        ['red', 'navy']
        """
        check_is_fitted(self)
        if not isinstance(names, Mapping):
            raise ValueError(
                "names must be a dict from columns or names of labels to new names, "
                f"got {type(names).__name__}."
            )
        columns = find_columns(
            list(names), self.label_names_, numbered=self._names_are_numbers()
        )
        if len(set(columns)) < len(columns):
            raise ValueError("names gives one label two new names: choose one.")
        given = check_label_names(list(names.values()), len(columns))
        check_new_names(given, np.delete(self.label_names_.astype(object), columns))
        return self._change(lambda model: model._rename_labels(columns, given))

    def _names_are_numbers(self):
        """Return whether labels are called by the columns that they had in the fit."""
        given = self.label_names is not None or self._y_kind == "single"
        return not given and getattr(self, "label_texts_", None) is None

    def _change(self, function):
        """Apply a function to a copy, and take over what it has changed."""
        with default_modes():
            changed = self._copy_to_change()
            function(changed)
        self._take_over(changed)
        return self

    def _take_over(self, changed):
        vars(self).update(vars(changed))

    def _rename_labels(self, columns, names):
        self.label_names_ = self.label_names_.astype(object)
        for column, name in zip(columns, names, strict=True):
            self.label_names_[column] = name
        self._labels_changed = True

    def _number_labels(self, kept):
        """Keep the names and counts of some labels."""
        self.n_labels_ = len(kept)
        self.label_names_ = self.label_names_[kept]
        self.label_counts_ = self.label_counts_[kept]
        is_single = self._y_kind == "single"
        self.classes_ = self.classes_[kept] if is_single else np.arange(len(kept))
        self._labels_changed = True

    def _name_added(self, names):
        """Append the names of new labels, which have no documents yet."""
        before = self.label_names_
        if before.dtype.kind not in "O":
            before = before.astype(object)
        added = np.empty(len(names), object)
        added[:] = names
        self.label_names_ = np.append(before, added)
        counts = np.zeros(len(names), self.label_counts_.dtype)
        self.label_counts_ = np.append(self.label_counts_, counts)
        self.n_labels_ = len(self.label_names_)
        self.classes_ = np.arange(self.n_labels_)
        self._labels_changed = True

    def _count_added(self, Y):
        """Count more documents."""
        self.n_docs_ += Y.shape[0]
        self.label_counts_ = self.label_counts_ + count_documents(Y)
        if hasattr(self, "total_weight_"):
            self.total_weight_ += float(Y.shape[0])

    def _check_added(self, label_texts, label_names, X, y):
        """Check what `add_labels` was given.

        Returns
        -------
        texts : list of n_new str or None
        names : list of n_new
        X : documents as `fit` takes them, or None
        Y : csr matrix of shape (n_docs, n_labels + n_new), float32, or None
        """
        if self._y_kind == "single":
            raise ValueError(
                "Labels cannot be added where y was 1-D: its classes are sorted, so "
                "that the columns of others would change. Fit again, or fit on a label "
                "matrix of shape (n_docs, n_labels)."
            )
        if (X is None) != (y is None):
            raise ValueError(
                "X and y belong together: give the documents of the new labels and "
                "their label matrix, or neither."
            )
        if label_texts is None and (label_names is None or X is None):
            raise ValueError(
                "Labels without label_texts need label_names, and documents X and y "
                "from which they are learned."
            )
        texts = label_texts
        if texts is not None:
            texts = check_texts(texts, "label_texts", normalize=self._nfc)
        names = texts
        if label_names is not None:
            n_names = len(label_names) if hasattr(label_names, "__len__") else 0
            names = check_label_names(label_names, n_names)
        n_new = len(names if texts is None else texts)
        if len(names) != n_new or not n_new:
            raise ValueError(
                f"label_names has {len(names)} names and label_texts {n_new} texts; "
                "there must be a name for each label, and at least one label."
            )
        check_new_names(names, self.label_names_)
        if X is None:
            self._check_texts_suffice(texts, np.zeros(n_new, np.int64))
            return texts, names, None, None
        X = self._check_X(X)
        Y = check_more_labels(y, count_rows(X), self.n_labels_, n_new)
        counts = count_documents(Y)[self.n_labels_ :]
        self._check_texts_suffice(texts, counts)
        return texts, names, X, Y

    def _check_texts_suffice(self, texts, counts):
        """Refuse labels of which nothing is known: neither text nor document."""
        is_blank = np.ones(len(counts), bool)
        if texts is not None:
            is_blank = np.array([not text.strip() for text in texts], bool)
        missing = np.flatnonzero(is_blank & (counts == 0))
        if len(missing):
            raise ValueError(
                f"New label {missing[0]} has neither a text nor a document"
                f"{_and_more(missing)}: nothing is known of it. Give its text, or "
                "documents X and y that have the label."
            )


class SystemLabelChangesMixin(LabelChangesMixin):
    """How the labels of a system with a network change.

    It is for subclasses of `BaseXMCClassifier`. They may override

    - ``_clean_label_texts(texts)``: label texts as the system reads them;
    - ``_describe_added(texts, X, Y)`` and ``_describe_kept(kept)``: what else knows of
      labels.
    """

    def _copy_to_change(self):
        self._move_network()  # which would change the tensors that both will share
        changed = object.__new__(type(self))
        vars(changed).update(vars(self))
        changed.network_ = share_tensors(self.network_)
        return changed

    def _clean_label_texts(self, texts):
        return texts

    def _describe_added(self, texts, X, Y):
        """Tell other parts of the classifier about labels before they are added."""

    def _describe_kept(self, kept):
        """Tell other parts of the classifier about labels before others are removed."""

    def _check_texts_suffice(self, texts, counts):
        super()._check_texts_suffice(texts, counts)
        (missing,) = np.nonzero(counts == 0)
        if len(missing) and not (self._texts and self.network_.labels_in_space):
            reason = "X was a feature matrix in fit"
            if self._texts:
                reason = "label vectors started at random in fit"
            raise ValueError(
                f"New label {missing[0]} has no document{_and_more(missing)}, and "
                f"{reason}, so that a text says nothing about a label. Give documents "
                "X and y of all new labels."
            )

    def _add_labels(self, label_texts, label_names, X, y):
        """Add labels to this copy; return the documents and vectors that were made."""
        texts, names, X, Y = self._check_added(label_texts, label_names, X, y)
        n_before, n_new = self.n_labels_, len(names)
        of_texts = of_docs = Y_new = None
        if self._texts and texts is not None:
            cleaned = self._clean_label_texts(texts)
            of_texts = self._encode_parts(self._make_label_docs(cleaned))
            is_blank = torch.tensor([not text.strip() for text in texts])
        if X is not None:
            of_docs = self._encode_parts(self._make_docs(X))
            Y_new = Y[:, n_before:].tocsr()
        parts = of_docs if of_texts is None else of_texts
        vectors = tuple(
            None
            if part is None
            else _mean_vectors(
                None if of_texts is None else of_texts[i] * ~is_blank[:, None],
                None if of_docs is None else of_docs[i],
                Y_new,
                as_directions=part is self.network_.compared_vectors(parts),
            )
            for i, part in enumerate(parts)
        )
        device = next(self.network_.parameters()).device
        vectors = tuple(v if v is None else v.to(device) for v in vectors)
        rows, biases = self.network_.start_rows(vectors)
        if X is not None and Y_new.nnz:
            seed = check_random_state(self.random_state).randint(2**31)
            rows = train_rows(
                self.network_,
                tuple(v if v is None else v.to(device) for v in of_docs),
                Y[:, :n_before].tocsr(),
                Y_new,
                rows,
                biases,
                np.random.default_rng(seed),
            )
        known = self._get_known_texts()
        self._describe_added(texts, X, Y_new)
        self.network_.add_labels(rows, biases, vectors)
        self._name_added(names)
        if known is not None:
            self.label_texts_ = [*known, *([""] * n_new if texts is None else texts)]
        self._group_labels()
        if X is not None:
            self._count_added(Y)
        self._remember_texts(texts, of_texts, n_new)
        return X, Y, of_docs

    def _keep_labels(self, kept):
        before, columns = self.n_labels_, torch.from_numpy(kept)
        known = self._get_known_texts()
        self._describe_kept(kept)
        self.network_.keep_labels(columns)
        self._number_labels(kept)
        if known is not None:
            self.label_texts_ = [known[j] for j in kept]
        self._group_labels()
        self._remember_labels(columns, before)

    def _get_known_texts(self):
        """Return the texts of all labels, or None."""
        # Models of older versions have no label_texts_.
        if hasattr(self, "label_texts_") or self.label_texts is None:
            return getattr(self, "label_texts_", None)
        return check_label_texts(self.label_texts, self.n_labels_)

    def _group_labels(self):
        if hasattr(self, "label_groups_"):
            clusters = self.network_.clusters
            groups = np.arange(self.n_labels_)
            if clusters is not None:
                groups = clusters.groups[:-1].numpy(force=True).copy()
            self.label_groups_ = groups

    def _encode_parts(self, docs):
        """Return what the network's ``encode`` makes of documents, on the CPU.

        Returns
        -------
        tuple of tensors of shape (n_docs, some width), or None
        """
        is_none = []

        def keep(vectors):
            is_none[:] = [part is None for part in vectors]
            parts = (part for part in vectors if part is not None)
            return tuple(at_least_float32(part) for part in parts)

        found = iter(
            self._map_docs(keep, docs, np.arange(len(docs)), verbose=self.verbose > 1)
        )
        return tuple(None if missing else next(found) for missing in is_none)


def _mean_vectors(of_texts, of_docs, Y, *, as_directions):
    """Return the mean vector of the text and the documents of each label.

    Parameters
    ----------
    of_texts : tensor of shape (n_new, dim) or None
        Vectors of the texts. Rows of 0 do not count.
    of_docs : tensor of shape (n_docs, dim) or None
    Y : csr matrix of shape (n_docs, n_new) or None
    as_directions : bool
        Whether the directions of vectors are averaged, as in a fit. The mean is then
        brought to their mean length.
    """
    means = []
    if of_texts is not None:
        means.append(of_texts)
    if of_docs is not None:
        average = label_centroids if as_directions else label_means
        means.append(torch.from_numpy(average(of_docs.numpy(), Y)))
    if as_directions:
        given = torch.cat([part for part in (of_texts, of_docs) if part is not None])
        lengths = given.norm(dim=1)
        total = sum(normalize(part, dim=1) for part in means)
        return normalize(total, dim=1) * lengths[lengths > 0].mean().nan_to_num()
    is_known = sum(part.any(dim=1, keepdim=True).float() for part in means)
    return sum(means) / is_known.clamp(min=1)


def _and_more(missing):
    return f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
