"""Labels and documents of an ensemble that change: all members change together."""

import numpy as np
from scipy.sparse import issparse

from ._document_changes import DocumentChangesMixin
from ._label_changes import LabelChangesMixin
from ._validation import check_known_labels, count_rows, label_array


def choose_given(member, X, y, weighing):
    """Choose what the ``fit`` of a member is given.

    A classifier of this package gets all documents, so that it knows them by their rows
    in X, and leaves out those of weight 0 itself. Another one gets the rest of them.

    Parameters
    ----------
    member : estimator
    X, y
        Documents and labels of the ensemble's ``fit``.
    weighing : Weighing or None
        Weights of the documents.

    Returns
    -------
    X, y
        Documents and labels.
    weights : dict
        Further arguments.
    """
    if weighing is None:
        return X, y, {}
    if isinstance(member, LabelChangesMixin):
        weights = np.zeros(weighing.n_docs)
        weights[weighing.rows] = weighing.weights
        return X, y, {"sample_weight": weights}
    y = label_array(y)
    y = (y.tocsr() if issparse(y) else y)[weighing.rows]
    return weighing.choose(X), y, {"sample_weight": weighing.weights}


class EnsembleLabelChangesMixin(DocumentChangesMixin, LabelChangesMixin):
    """Has all members of an ensemble change labels or documents, or none."""

    def _check_remembers(self):
        if not self._remembers_documents():
            raise ValueError(
                "No member of this ensemble holds training documents, because none "
                "has neighbors that vote. Fit one with a neighbor_weight above 0."
            )

    def _remembers_documents(self):
        return any(member._remembers_documents() for member in self.estimators_)

    def _knows_documents(self, rows):
        known = np.zeros(len(rows), bool)
        for member in self.estimators_:
            if not member._remembers_documents():
                continue
            if member.n_docs_ != self.n_docs_:
                raise ValueError(
                    f"A member of the ensemble, a {type(member).__name__}, counts "
                    f"{member.n_docs_} documents and the ensemble {self.n_docs_}, so "
                    "that rows are not the same. Let the members forget documents, "
                    "one by one: ensemble.estimators_[0].forget_documents(rows)."
                )
            known |= member._knows_documents(rows)
        return known

    def _count_labels_of(self, rows):
        counts = np.zeros_like(self.label_counts_)
        for member in self.estimators_:  # each row is counted by one that knows it
            known = member._knows_documents(rows)
            if known.any():
                counts += member._count_labels_of(rows[known]).astype(counts.dtype)
            rows = rows[~known]
        return counts

    def _forget(self, rows):
        counts = self._count_labels_of(rows)
        self.label_counts_ = (self.label_counts_ - counts).clip(min=0)
        for member in self.estimators_:
            member._forget(rows[member._knows_documents(rows)])

    def _add_documents_and_labels(self, X, y, label_texts, label_names):
        if label_texts is None and label_names is None:
            X = self._check_X(X)
            Y = check_known_labels(y, count_rows(X), self.classes_, self._y_kind)
        else:
            given = label_texts, label_names, X, y
            _, names, _, Y = self._check_added(*given)
            self._name_added(names)
        for member in self.estimators_:
            member._add_documents_and_labels(X, y, label_texts, label_names)
        self._count_added(Y)

    def _copy_to_change(self):
        for member in self.estimators_:
            if not isinstance(member, LabelChangesMixin):
                raise TypeError(
                    f"A member of the ensemble is a {type(member).__name__}, whose "
                    "labels and documents cannot change. Only classifiers of this "
                    "package can do that: fit the ensemble again."
                )
        changed = object.__new__(type(self))
        vars(changed).update(vars(self))
        changed.estimators_ = [one._copy_to_change() for one in self.estimators_]
        return changed

    def _take_over(self, changed):
        # named_estimators_ holds the same members.
        members = self.estimators_
        for member, other in zip(members, changed.estimators_, strict=True):
            member._take_over(other)
        vars(self).update(vars(changed) | {"estimators_": members})

    def _add_labels(self, label_texts, label_names, X, y):
        _, names, _, Y = self._check_added(label_texts, label_names, X, y)
        for member in self.estimators_:
            member._add_labels(label_texts, label_names, X, y)
        self._name_added(names)
        if Y is not None:
            self._count_added(Y)

    def _keep_labels(self, kept):
        for member in self.estimators_:
            member._keep_labels(kept)
        self._number_labels(kept)

    def _rename_labels(self, columns, names):
        for member in self.estimators_:
            member._rename_labels(columns, names)
        super()._rename_labels(columns, names)
