"""Going on with a fit: what ``warm_start=True`` and ``partial_fit`` share."""

import numbers
import os
from collections import Counter

import numpy as np
import scipy.sparse as sp
import torch

from ._fingerprint import hash_documents
from ._hold_out import hold_out
from ._token_vectors import fit_words
from ._validation import (
    check_flag,
    check_labels,
    check_more_classes,
    count_rows,
    label_array,
)
from ._warm_neighbors import find_earlier_voters
from ._warm_words import extend_words
from .nn.all_labels import AllLabels
from .nn.inherit import inherit
from .nn.state import absent_or, array, optional

__all__ = ["Start", "WarmStartMixin", "check_labels_after"]

_ADVICE = "or set warm_start=False to fit from nothing"


class Start:
    """The fitted state that a warm fit goes on from.

    Parameters
    ----------
    attributes : dict
        Attributes of the classifier before the fit.

    Attributes
    ----------
    network : Network
        The trained network, which is not changed.
    labels : int64 ndarray of shape (n_labels,)
        Column that each label of this fit had before, or -1 for a new label.
    clusters : int64 ndarray of shape (n_clusters,) or None
        Cluster that each cluster of labels was before. None without clusters.
    label_words : int64 tensor of shape (n_words,) or None
        Column that each word of label texts had before, or -1 for a new word. None if
        no vectors of such words are trained.
    """

    def __init__(self, attributes):
        self.attributes = attributes
        self.network = attributes["network_"]
        self.labels = self.clusters = self.label_words = None

    def __getattr__(self, name):
        try:
            return vars(self)["attributes"][name]
        except KeyError:
            raise AttributeError(f"The fit before has no attribute {name}.") from None

    @property
    def head(self):
        """The `head` of the network, for which "auto" stood or may stand."""
        network = self.network
        if network.clusters is not None:
            return "clusters"
        heads = getattr(network, "ranker", None), getattr(network, "recall", None)
        return "all" if any(isinstance(h, AllLabels) for h in heads) else "dense"

    @property
    def is_new(self):
        """Which labels are new: bool ndarray of shape (n_labels,)."""
        return self.labels < 0

    def find_columns(self):
        """Return the column that each label of before has now, or -1 if it is gone."""
        columns = np.full(self.n_labels_, -1)
        columns[self.labels[~self.is_new]] = np.flatnonzero(~self.is_new)
        return columns


class WarmStartMixin:
    """What ``fit`` does if it goes on from a fitted state.

    A system builds its network as in a first fit, for all labels, words and documents
    of this fit, from what ``_start`` knows. The network then takes the weights of the
    one before, wherever that had such a label, word or layer. Systems name in
    `_fixed_parameters` the parameters that must be those of the fit before.
    """

    # The fitted state that the current fit goes on from, and the call of partial_fit
    # that the current fit serves.
    _start = _stream = None
    # Parameters at the last fit. A folder need not keep them beside the parameters.
    not_saved = ("_fit_parameters",)
    _fixed_parameters = ()
    # Parameters of the fit before that another fit looks at.
    _noted_parameters = ("label_names", "label_texts")
    attribute_names = {"held_out_hashes": "_held_out_hashes"}

    def set_params(self, **params):
        """Set parameters (see `sklearn.base.BaseEstimator`)."""
        if params and hasattr(self, "network_") and not self._has_record():
            self._record_parameters()  # the model was loaded with those of its fit
        return super().set_params(**params)

    def expected_state(self):
        """Return the checks of what `fit` sets (see `skxmc.nn.state`)."""
        hashes = absent_or(optional(array(None, kinds="i")))
        return super().expected_state() | {"held_out_hashes": hashes}

    def _check_parameters(self):
        super()._check_parameters()
        check_flag("warm_start", self.warm_start)

    def _has_record(self):
        return hasattr(self, "_fit_parameters")

    def _record_parameters(self):
        names = (*self._fixed_parameters, *self._noted_parameters)
        self._fit_parameters = {name: getattr(self, name) for name in names}

    def _get_noted(self, name):
        """Return the value that a parameter had in the fit that goes on."""
        return self._start.attributes.get("_fit_parameters", vars(self))[name]

    def _find_start(self):
        """Return the `Start` of a fit that is about to begin, or None.

        Raises
        ------
        ValueError
            If a parameter has changed that the network depends on.
        """
        goes_on = self.warm_start if self._stream is None else True
        if not goes_on or not hasattr(self, "network_"):
            return None
        start = Start(vars(self).copy())
        if not self._has_record():
            return start
        for name in self._fixed_parameters:
            before, now = self._fit_parameters[name], getattr(self, name)
            if _differ(before, now) and not (name == "head" and now == start.head):
                raise ValueError(
                    f"The fit that is to go on had {name}={_describe(before)}, and "
                    f"{name} is now {_describe(now)}: the network would be another "
                    f"one. Set it back, {_ADVICE}."
                )
        return start

    def _begin_from(self, start):
        """Forget the fitted state, but for what a fit that goes on must know."""
        known = ("_held_out_hashes", "_fit_parameters")
        for name in [n for n in vars(self) if n.endswith("_") or n in known]:
            delattr(self, name)
        if start is None:
            return
        self._start = start
        for name in ("n_features_in_", "feature_names_in_"):
            if name in start.attributes:
                setattr(self, name, start.attributes[name])

    def _check_labels(self, y):
        """Return labels as a CSR matrix, their classes and their kind."""
        known = None
        if self._start is not None and self._start._y_kind == "single":
            known = self._start.classes_
        elif self._start is None and self._stream is not None:
            known = self._stream.classes
        Y, classes, kind = check_labels_after(y, known)
        if self._stream is not None and kind == "single" and known is not None:
            new = classes[~np.isin(classes, known)]
            if len(new):
                raise ValueError(
                    f"y holds the class {new[0]}, which classes did not name in the "
                    "first call of partial_fit."
                )
        return Y, classes, kind

    def _drop_classes(self, Y):
        # Known classes stay, whether they have documents or not.
        known = self._start is not None or self._stream is not None
        return Y if known else super()._drop_classes(Y)

    def _check_fit(self, X, y):
        X, Y = super()._check_fit(X, y)
        start = self._start
        if start is not None:
            if self._texts != start._texts:
                kinds = ("a feature matrix", "texts")
                raise ValueError(
                    f"The fit that is to go on was given {kinds[start._texts]}, and X "
                    f"is {kinds[self._texts]}. Give the same kind, {_ADVICE}."
                )
            start.labels = self._match_labels(start)
        return X, Y

    def _match_labels(self, start):
        """Return the column that each label had before, or -1 for a new one."""
        if (self._y_kind == "single") != (start._y_kind == "single"):
            raise ValueError(
                "y is a 1-D array of classes in one of the fits and a label matrix in "
                f"the other. Give y as before, {_ADVICE}."
            )
        if self._y_kind == "single":
            return _find(self.classes_.tolist(), start.classes_.tolist())
        had_names = self._get_noted("label_names") is not None
        n_before = start.n_labels_
        if start.attributes.get("_labels_changed", False):
            self._check_changed_labels(start)
        if self.label_names is not None and had_names:
            first = self.label_names_[:n_before].tolist()
            if first != start.label_names_.tolist():
                return self._match_names(start)
        if self.n_labels_ < n_before:
            raise ValueError(
                f"y has {self.n_labels_} label columns, and the fit that is to go on "
                f"had {n_before}. Give all of them, with new ones at the end, or give "
                f"label_names in both fits, by which columns are found, {_ADVICE}."
            )
        columns = np.arange(self.n_labels_)
        return np.where(columns < n_before, columns, -1)

    def _check_changed_labels(self, start):
        """Refuse parameters that do not know of labels that changed after the fit."""
        for name in ("label_names", "label_texts"):
            value, before = getattr(self, name), self._get_noted(name)
            now = start.attributes.get(f"{name}_")
            if value is None or before is None or now is None:
                continue
            value = list(value)
            if value == list(before) and value != list(now):
                raise ValueError(
                    f"Labels were added, removed or renamed after the fit, and {name} "
                    f"is still that of the fit. Set {name}=list(model.{name}_), "
                    "followed by what is new, and give y the columns of these labels."
                )
        numbers_moved = any(
            isinstance(name, (int, np.integer)) and name != j
            for j, name in enumerate(start.label_names_)
        )
        if numbers_moved and self.label_names is None and self.label_texts is None:
            if self.n_labels_ > start.n_labels_:
                raise ValueError(
                    f"Labels were removed after the fit, which left {start.n_labels_}, "
                    f"and y has {self.n_labels_} columns: whether these are the columns"
                    " of the fit or new ones is not known. Give y without the columns "
                    "that were removed, and add new labels by add_labels."
                )

    def _match_names(self, start):
        parts = (self.label_names_.tolist(), "now"), (start.label_names_.tolist(), "")
        for names, when in parts:
            name, count = Counter(names).most_common(1)[0]
            if count > 1:
                raise ValueError(
                    f"label_names holds {name!r} {count} times {when or 'before'}: "
                    "labels cannot be found by their names. Make names distinct, "
                    f"leave them out to go on by columns, {_ADVICE}."
                )
        labels = _find(parts[0][0], parts[1][0])
        if (labels < 0).all():
            raise ValueError(
                "No name of label_names is one of the fit that is to go on, such as "
                f"{parts[1][0][0]!r}. Give the names as before, {_ADVICE}."
            )
        return labels

    def _fit_words(self, texts, **options):
        """Fit a vectorizer on texts, or add their new words to that of the fit before.

        Parameters
        ----------
        texts : list of str or StoredTexts
        **options
            The arguments of `skxmc._token_vectors.fit_words`.

        Returns
        -------
        vectorizer : TfidfVectorizer
        X : csr matrix of shape (n_texts, n_features)
        """
        start = self._start
        before = None if start is None else start.attributes.get("vectorizer_")
        if before is None:  # models of older versions may have counted no words
            return fit_words(texts, **options)
        return extend_words(before, texts, n_before=start.n_docs_, **options)

    def _hold_out(self, X, Y, rng):
        """Choose the documents to hold out, and remember which documents they are.

        Documents that an earlier fit held out are held out again, and then no others:
        the rest may have been trained on. If none of them comes again, all documents
        count as new.

        Parameters
        ----------
        X : list of str, or csr matrix of shape (n_docs, n_features)
            Documents. Those of the system's own may follow.
        Y : csr matrix of shape (n_user_docs, n_labels)
        rng : numpy Generator

        Returns
        -------
        int ndarray
            Rows of the documents, ascending.
        """
        start, n_docs = self._start, Y.shape[0]
        X = X[:n_docs] if count_rows(X) > n_docs else X
        earlier = None if start is None else start.attributes.get("_held_out_hashes")
        self._hashes = None
        if earlier is not None or self.neighbor_weight != 0:
            self._hashes = hash_documents(X)
        fraction, only = self.validation_fraction, None
        if self._stream is not None:
            fraction = 0
        elif earlier is not None and fraction:
            is_known = np.isin(self._hashes, earlier)
            if is_known.any():
                fraction, only = 1.0, is_known
        held_out = hold_out(Y, fraction, rng, only=only)
        chosen = self._hashes
        if chosen is None:
            chosen = hash_documents(_take(X, held_out))
        else:
            chosen = chosen[held_out]
        if earlier is not None:
            trained = np.delete(self._hashes, held_out)
            chosen = np.append(chosen, earlier[~np.isin(earlier, trained)])
        self._held_out_hashes = np.unique(chosen) if len(chosen) else None
        return held_out

    def _find_voting_texts(self):
        labels, texts = super()._find_voting_texts()
        start = self._start
        if self._stream is None or start is None or start.network.neighbors is None:
            return labels, texts
        # The other texts stay in the memory as they are: a stream may be long.
        kept = start.is_new[labels]
        chosen = [text for text, keep in zip(texts, kept, strict=True) if keep]
        return labels[kept], chosen

    def _find_earlier_voters(self):
        """Return documents of earlier fits that vote, as `EarlierVoters`."""
        return find_earlier_voters(
            self._start,
            self._hashes,
            self.n_docs_,
            self.n_labels_,
            keeps_texts=self._stream is not None,
        )

    def _find_earlier_weight(self, default):
        """Return the weight of the votes if no held-out documents choose it."""
        votes = None if self._start is None else self._start.network.neighbors
        return default if votes is None else votes.weight

    def _stream_options(self):
        """Return the arguments of the training loop that a stream sets otherwise."""
        return {}

    def _inherit_weights(self, examples, Y):
        """Give the new network the weights of the one before, and note parameters."""
        self._record_parameters()
        start = self._start
        if start is None:
            return
        clusters = start.clusters
        inherit(
            self.network_,
            start.network,
            torch.from_numpy(start.labels),
            None if clusters is None else torch.from_numpy(clusters),
            start.label_words,
        )

    def _end_start(self):
        """Forget what only a fit needs to know."""
        for name in ("_start", "_hashes"):
            vars(self).pop(name, None)


def check_labels_after(y, known):
    """Return labels as `check_labels` does, with the classes of an earlier fit.

    Parameters
    ----------
    y : labels in any form
    known : ndarray of shape (n_known,) or None
        Classes of an earlier fit, if its y was 1-D.
    """
    if known is None or y is None:
        return check_labels(y)
    y = label_array(y)
    if sp.issparse(y) or y.ndim != 1 and y.shape[1:] != (1,):
        return check_labels(y)
    return *check_more_classes(y, known), "single"


def _take(X, rows):
    """Return some documents of a list, a store or a matrix."""
    return [X[i] for i in rows] if isinstance(X, list) else X[rows]


def _find(values, known):
    """Return the place of each value among those known, or -1."""
    places = {value: i for i, value in enumerate(known)}
    found = (places.get(value, -1) for value in values)
    return np.fromiter(found, np.int64, len(values))


def _differ(before, now):
    """Return whether a parameter has changed in a way that a network depends on."""
    if isinstance(before, tuple) and isinstance(now, tuple):
        return len(before) != len(now) or any(
            one is not other and not _is_equal(one, other)
            for one, other in zip(before, now, strict=True)
        )
    if isinstance(before, os.PathLike) or isinstance(now, os.PathLike):
        return str(before) != str(now)
    return before is not now and not _is_equal(before, now)


def _is_equal(one, other):
    kinds = str, numbers.Number, np.generic
    return isinstance(one, kinds) and isinstance(other, kinds) and one == other


def _describe(value):
    is_short = isinstance(value, (str, int, float, bool, os.PathLike, type(None)))
    return repr(value) if is_short else f"a {type(value).__name__}"
