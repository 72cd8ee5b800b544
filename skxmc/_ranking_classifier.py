"""Base of all classifiers: from rankings to outputs of the type that y had."""

import numbers

import numpy as np
import scipy.sparse as sp
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from ._calibration import clip_probabilities
from ._label_weights import order_by_propensity
from ._sample_weights import (
    Weighing,
    check_sample_weight,
    sum_weights,
)
from ._stored_texts import StoredTexts
from ._top_k import top_k_per_row
from ._validation import (
    check_choice,
    check_label_names,
    check_label_texts,
    check_labels,
    check_number,
    check_one_text_column,
    check_texts,
    count_documents,
    encode_labels,
    holds_texts,
    label_array,
)
from .metrics import precision_at_k, propensity_from_counts
from .metrics._ranking import check_truth
from .nn.state import MISSING, absent_or, array, choice, flag, number, refuse

# Number of most probable labels that rank_by="propensity" orders.
_REORDERED = 100
# Larger dense predictions are refused: making this many scores takes some 4 GiB.
_DENSE_LIMIT = 2**26


class RankingClassifier(ClassifierMixin, BaseEstimator):
    """Base of classifiers that rank labels.

    It checks documents and labels, and turns rankings into the outputs that
    scikit-learn expects: sparse if y was sparse, dense if y was dense, classes if y was
    1-D. A subclass has the parameters `top_k` and `label_names`, calls `_check_fit` in
    ``fit``, and defines

    - ``_rank_checked(X, k)``: ids of the k best labels, of shape (n_docs, k) and padded
      with -1, and their scores. `X` has been checked by `_check_X`.
    - ``_probabilities(scores)`` and ``_log_odds(scores)``: the values of
      `predict_proba` and `decision_function`. A label is predicted if its log-odds are
      above 0.
    """

    attribute_names = {
        "takes_texts": "_texts",
        "nfc": "_nfc",
        "y_kind": "_y_kind",
        "y_dtype": "_y_dtype",
        "y_container": "_y_container",
        "labels_changed": "_labels_changed",
    }
    # Whether texts are normalized to NFC. Models of older versions lack the attribute,
    # and were trained on texts as they came.
    _nfc = False
    # Whether labels have been added, removed or renamed since the fit. Only then do
    # models have the attribute.
    _labels_changed = False
    # Whether a system reads the tokens of a store.
    _reads_stores = False

    def predict_topk(self, X, k=5, *, return_names=False, rank_by="probability"):
        """Predict the k best labels of each document.

        Parameters
        ----------
        X : sequence of str, or matrix of shape (n_docs, n_features)
            Documents of the kind seen in `fit`.
        k : int, default=5
            Number of labels per document.
        return_names : bool, default=False
            Whether to return the names of labels instead of their columns.
        rank_by : {"probability", "propensity"}, default="probability"
            What orders the labels. "propensity" divides the probabilities by the
            propensities of the labels, for who is judged by
            `skxmc.metrics.psp_at_k`: of the 100 most probable labels, or of k if that
            is more, it returns those of the largest quotients. The propensities are
            those of the training frequencies (see
            `skxmc.metrics.propensity_from_counts`). It is not possible for a 1-D `y`
            and for ensembles.

        Returns
        -------
        ids : int64 ndarray of shape (n_docs, k)
            Label columns (positions in `classes_`), best first, padded with -1 if fewer
            than k labels were ranked. With ``return_names=True``, an object array of
            names from `label_names_`, padded with None.
        scores : float32 ndarray of shape (n_docs, k)
            Probabilities of these labels, see `predict_proba`; 0 for padding. They
            do not depend on `rank_by`.
        """
        if not hasattr(self, "classes_"):  # looking takes less time than the check
            check_is_fitted(self)
        check_number("k", k, numbers.Integral, 1)
        check_choice("rank_by", rank_by, ("probability", "propensity"))
        by_propensity = rank_by == "propensity"
        if by_propensity:
            self._check_propensities()
        ids, scores = self._rank(X, max(k, _REORDERED) if by_propensity else k)
        padding = ids < 0
        probabilities = self._probabilities(scores).astype(np.float32)
        scores = np.where(padding, np.float32(0), probabilities)
        if by_propensity:
            n_docs = getattr(self, "total_weight_", self.n_docs_)
            propensity = propensity_from_counts(self.label_counts_, n_docs)
            ids, scores = order_by_propensity(ids, scores, propensity, k)
        return (self._name_labels(ids) if return_names else ids), scores

    def _check_propensities(self):
        """Refuse a ranking by propensities where it has no meaning."""
        if self._y_kind == "single":
            raise ValueError(
                'rank_by="propensity" is for several labels per document, some of which'
                " may be missing; with a 1-D y each document has one label. Use "
                'rank_by="probability".'
            )

    def label_lists(self, Y):
        """Turn rows of labels or scores into lists of label names.

        Parameters
        ----------
        Y : sparse matrix or array of shape (n_docs, n_labels)
            Labels, as `predict` returns or `fit` takes them, or scores of labels. Every
            entry other than 0 counts as a label.

        Returns
        -------
        names : list of list
            For each row, the names of its labels from `label_names_`, in descending
            order of the entries.

        Raises
        ------
        ValueError
            If the number of columns of `Y` is not the number of labels.
        """
        check_is_fitted(self)
        Y = label_array(Y, "Y")
        if Y.shape[1:] != (self.n_labels_,):
            raise ValueError(
                f"Y must have shape (n_docs, {self.n_labels_}), got {Y.shape}. To get "
                "names from predict_topk, pass it return_names=True. If y was 1-D, "
                "predict returns names already."
            )
        Y = sp.csr_array(Y, copy=True)
        Y.sum_duplicates()
        Y.eliminate_zeros()
        order, _, _ = top_k_per_row(Y.data.astype(np.float64), Y.indptr)
        names = self.label_names_[Y.indices[order]]
        ends = Y.indptr[1:]
        return [part.tolist() for part in np.split(names, ends)[: len(ends)]]

    def decision_function(self, X):
        """Compute scores of labels. A label is predicted if its score is above 0."""
        ids, scores = self._rank_for_output(X)
        scores = self._log_odds(scores)
        if self._y_kind == "sparse":
            return self._to_sparse(ids, scores)
        dense = self._to_dense(ids, scores)
        if self._y_kind == "single" and len(self.classes_) == 2:
            return dense[:, 1] - dense[:, 0]
        return dense

    def predict_proba(self, X):
        """Compute probabilities of labels."""
        ids, scores = self._rank_for_output(X)
        if self._y_kind == "sparse":
            return self._to_sparse(ids, self._probabilities(scores))
        dense = self._to_dense(ids, self._log_odds(scores))
        if self._y_kind == "single":
            return softmax(dense, axis=1)
        return clip_probabilities(expit(dense))

    def predict(self, X):
        """Predict the labels whose probability is above 1/2.

        A document may get no label at all; `predict_topk` always returns k labels.

        Parameters
        ----------
        X : sequence of str, or matrix of shape (n_docs, n_features)
            Documents of the kind seen in `fit`.

        Returns
        -------
        labels : csr matrix or ndarray of shape (n_docs, n_labels), or (n_docs,)
            In the form that `y` had in `fit`. A matrix holds 1 for each predicted
            label; if `y` was sparse, only the `top_k` best labels can be predicted. For
            a 1-D `y`, the most probable class of each document.
        """
        check_is_fitted(self)
        if self._y_kind == "single":
            return self.classes_[self._rank(X, 1)[0][:, 0]]
        ids, scores = self._rank_for_output(X)
        return self._to_labels(ids, self._log_odds(scores) > 0)

    def score(self, X, y, sample_weight=None):
        """Compute P@1, the fraction of documents whose best label is correct.

        For a 1-D `y` this is the accuracy.

        Parameters
        ----------
        X : sequence of str, or matrix of shape (n_docs, n_features)
            Documents of the kind seen in `fit`.
        y : sparse matrix of shape (n_docs, n_labels), or array
            True labels, in the form seen in `fit`.
        sample_weight : array of shape (n_docs,) or None, default=None
            Weights of the documents. None weights all alike.

        Returns
        -------
        score : float
            Precision at 1, between 0 and 1.
        """
        check_is_fitted(self)
        best = self._rank(X, 1)[0]
        Y = check_truth(encode_labels(y, self.classes_, self._y_kind), "y")
        check_consistent_length(best, Y, sample_weight)
        if sample_weight is None:
            return precision_at_k(Y, best, 1)
        hits = sp.csr_matrix(Y)[np.arange(len(best)), best[:, 0]]
        return float(np.average(np.asarray(hits).ravel() > 0, weights=sample_weight))

    def expected_state(self):
        """Return the checks of what `fit` sets (see `skxmc.nn.state`)."""
        n_labels = self.n_labels_
        expected = {
            "takes_texts": flag,
            "nfc": absent_or(flag),
            "labels_changed": absent_or(flag),
            "y_kind": choice("sparse", "dense", "single"),
            "y_dtype": self._check_y_dtype,
            "y_container": choice(sp.csr_array, sp.csr_matrix),
            "n_docs_": number(1, whole=True),
            "n_labels_": number(2, whole=True),
            "label_counts_": array(n_labels, kinds="i", least=0, most=self.n_docs_),
            "total_weight_": absent_or(number(0)),
            "label_names_": self._check_saved_names,
            "label_texts_": self._check_saved_texts,
            "classes_": self._check_classes,
        }
        if hasattr(self, "total_weight_"):
            expected["label_counts_"] = array(n_labels, kinds="if", least=0)
        if not self._texts:
            expected["n_features_in_"] = number(1, whole=True)
            names = array(getattr(self, "n_features_in_", 0), kinds="O")
            expected["feature_names_in_"] = absent_or(names)
        return expected

    def _check_saved_names(self, names, name):
        array(self.n_labels_, kinds="OUiufb")(names, name)
        if self._labels_changed:  # the parameters are about the labels of the fit
            return
        if self.label_names is not None:
            check_label_names(self.label_names, self.n_labels_)
        if getattr(self, "label_texts", None) is not None:
            check_label_texts(self.label_texts, self.n_labels_)

    def _check_saved_texts(self, texts, name):
        if texts is MISSING or texts is None:
            return
        if not isinstance(texts, list):
            refuse(name, "a list of texts", texts)
        check_label_texts(texts, self.n_labels_)

    def _check_y_dtype(self, dtype, name):
        if not isinstance(dtype, np.dtype):
            refuse(name, "a dtype", dtype)
        if self._y_kind == "sparse" and dtype.kind not in "biuf":
            raise ValueError(f"{name} is {dtype}, which no label matrix has.")

    def _check_classes(self, classes, name):
        array(self.n_labels_, kinds="OUiufb")(classes, name)
        expected = np.unique(classes)
        if self._y_kind != "single":
            expected = np.arange(self.n_labels_)
        if not np.array_equal(classes, expected):
            raise ValueError(f"{name} are not the classes of a y in their order.")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_label = True
        return tags

    def _check_fit(self, X, y):
        """Check documents and labels, and set what every classifier knows of them."""
        X = self._check_X(X, fitting=True)
        Y, self.classes_, self._y_kind = self._check_labels(y)
        # Only numpy's dtypes that can be made from their names can be saved: not those
        # of pandas, and not StringDType ("T").
        dtype = getattr(y, "dtype", None)
        can_be_saved = isinstance(dtype, np.dtype) and dtype.kind != "T"
        self._y_dtype = dtype if can_be_saved else np.dtype(np.int64)
        self._y_container = sp.csr_array if isinstance(y, sp.sparray) else sp.csr_matrix
        n_docs = X.shape[0] if hasattr(X, "shape") else len(X)
        if n_docs != Y.shape[0]:
            raise ValueError(
                f"X holds {n_docs} documents and y {Y.shape[0]} rows: inconsistent "
                "numbers of samples. Pass one row of labels for each document."
            )
        self.n_docs_, self.n_labels_ = Y.shape
        vars(self).pop("_labels_changed", None)
        if hasattr(self, "label_texts"):
            texts = self.label_texts
            known = None if texts is None else check_label_texts(texts, self.n_labels_)
            self.label_texts_ = known
        self.label_names_ = self._choose_names()
        self.label_counts_ = count_documents(Y)
        return X, Y

    def _check_labels(self, y):
        """Return labels as a CSR matrix, their classes and their kind."""
        return check_labels(y)

    def _weigh_documents(self, Y, sample_weight):
        """Check the weights of documents, and leave out the documents of weight 0.

        What the classifier knows of the documents is then known of the others alone,
        as if the former had not been given.

        Parameters
        ----------
        Y : csr matrix of shape (n_docs, n_labels)
            What ``_check_fit`` returns.
        sample_weight : array-like of shape (n_docs,) or None

        Returns
        -------
        Y : csr matrix of shape (n_kept, n_labels)
            Labels of the documents whose weight is above 0.
        weighing : Weighing or None
            None if there are no weights, or if all are 1.
        """
        weights = check_sample_weight(sample_weight, self.n_docs_)
        if weights is None or (weights == 1).all():
            return Y, None
        n_docs, rows = self.n_docs_, np.flatnonzero(weights)
        if len(rows) < n_docs:
            Y, weights = Y[rows], weights[rows]
            if self._y_kind == "single":
                Y = self._drop_classes(Y)
            if not Y.nnz:
                raise ValueError(
                    "y holds no label in the documents whose sample_weight is above 0,"
                    " so there is nothing to learn."
                )
        self.n_docs_, self.n_labels_ = Y.shape
        self.label_names_ = self._choose_names()
        self.label_counts_ = sum_weights(Y, weights)
        self.total_weight_ = float(weights.sum())
        return Y, Weighing(weights, rows, n_docs)

    def _drop_classes(self, Y):
        """Drop the classes that only documents of weight 0 have."""
        used = np.unique(Y.indices)
        if len(used) < 2:
            raise ValueError(
                f"y holds one class only ({self.classes_[used[0]]}) in the documents "
                "whose sample_weight is above 0; two are needed."
            )
        self.classes_ = self.classes_[used]
        return Y[:, used]

    def _choose_names(self):
        """Return names of labels: `label_names`, or else `label_texts`, or classes."""
        if self.label_names is not None:
            given = check_label_names(self.label_names, self.n_labels_)
        elif getattr(self, "label_texts_", None) is not None:
            given = self.label_texts_
        else:
            return self.classes_.copy()
        names = np.empty(len(given), object)
        names[:] = given
        return names

    def _name_labels(self, ids):
        """Return the names of label ids, and None for padding."""
        names, is_label = np.full(ids.shape, None), ids >= 0
        names[is_label] = self.label_names_[ids[is_label]]
        return names

    def _check_X(self, X, *, fitting=False):
        """Return X as texts or a CSR matrix of float32, after checking it.

        Texts are a list of str, or the view of a store.
        """
        if isinstance(X, StoredTexts) and not self._reads_stores:
            raise ValueError(
                f"{type(self).__name__} reads words, and not the tokens of a store: "
                "give list(X), which holds all texts in memory, or use "
                "GRankClassifier, LightXMLClassifier or GUDNClassifier."
            )
        texts = holds_texts(X)
        if fitting:
            self._texts, self._nfc = texts, True
        elif texts != self._texts:
            kinds = ("a feature matrix", "texts")
            raise ValueError(
                f"X must be {kinds[self._texts]}, as in fit; got {kinds[texts]}."
            )
        if texts:
            return check_texts(X, normalize=self._nfc)
        check_one_text_column(X)
        # A fit that goes on from another one must have the same features.
        reset = fitting and getattr(self, "_start", None) is None
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float32, reset=reset)
        return X if sp.issparse(X) else sp.csr_matrix(X)

    def _rank(self, X, k):
        return self._rank_checked(self._check_X(X), k)

    def _rank_for_output(self, X):
        check_is_fitted(self)
        X = self._check_X(X)
        return self._rank_checked(X, self._output_width(X))

    def _output_width(self, X):
        """Return how many labels of each document to rank for an output."""
        if self._y_kind == "sparse":
            return min(self.top_k, self.n_labels_)
        n_docs = X.shape[0] if hasattr(X, "shape") else len(X)
        if n_docs * self.n_labels_ > _DENSE_LIMIT:
            raise ValueError(
                f"Dense predictions of {n_docs} documents for {self.n_labels_} labels "
                f"would hold more than {_DENSE_LIMIT} scores. Use predict_topk, or fit "
                "on a sparse y: scipy.sparse.csr_array(y)."
            )
        return self.n_labels_

    def _to_labels(self, ids, chosen):
        """Make an output of labels, with 1 for the ids that are chosen."""
        if self._y_kind == "sparse":
            ids = np.where(chosen, ids, -1)
            return self._to_sparse(ids, np.ones(ids.shape)).astype(self._y_dtype)
        dense = self._to_dense(ids, np.where(chosen, 1.0, 0.0), fill=0.0)
        return dense.astype(np.int64)

    def _to_sparse(self, ids, values):
        """Make a CSR matrix of the ranked labels and their values."""
        is_label = ids >= 0
        indptr = np.concatenate([[0], is_label.sum(axis=1).cumsum()])
        data = values[is_label].astype(np.float32)
        # A stored entry means that the label is among the best. An explicit 0 might be
        # eliminated, and with it that information.
        data[data == 0] = np.finfo(np.float32).tiny
        shape = (len(ids), self.n_labels_)
        matrix = self._y_container((data, ids[is_label], indptr), shape)
        matrix.sort_indices()
        return matrix

    def _to_dense(self, ids, values, fill=None):
        """Make an array of values of all labels; those not ranked get `fill`."""
        is_label = ids >= 0
        values = np.where(is_label & np.isfinite(values), values, np.nan)
        if fill is None:  # less than every label that is ranked
            fill = np.nanmin(values, axis=1, keepdims=True) - 1
        dense = np.broadcast_to(np.asarray(fill), (len(ids), self.n_labels_)).copy()
        rows = np.broadcast_to(np.arange(len(ids))[:, None], ids.shape)
        dense[rows[is_label], ids[is_label]] = values[is_label]
        return dense
