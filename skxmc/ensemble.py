"""Several classifiers combined: the weighted mean of their rankings."""

import numbers

import numpy as np
from scipy.special import logit
from sklearn.base import MetaEstimatorMixin
from sklearn.utils import Bunch
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from ._calibration import clip_probabilities
from ._ensemble_labels import EnsembleLabelChangesMixin, choose_given
from ._ensemble_warm_start import EnsembleWarmStartMixin
from ._mean_ranking import mean_ranking
from ._members import (
    check_has_log_odds,
    check_member,
    check_ranking,
    check_takes_weights,
    fit_member,
    is_dropped,
    is_named_pair,
    mean_voters,
    predict_uncalibrated,
)
from ._parameters import fill_docstring
from ._ranking_classifier import RankingClassifier
from ._validation import check_choice, check_number
from .nn.state import refuse
from .persistence import FolderMixin

__all__ = ["EnsembleClassifier"]


@fill_docstring
class EnsembleClassifier(
    MetaEstimatorMixin,
    FolderMixin,
    EnsembleLabelChangesMixin,
    EnsembleWarmStartMixin,
    RankingClassifier,
    _BaseComposition,
):
    """Combine several classifiers by the mean of their probabilities or ranks.

    Each member is fitted on the same documents. At prediction, each member ranks its
    best `depth` labels of a document. The score of a label is the weighted mean of the
    scores that the members give it; a member that does not rank it counts as 0. The
    papers combine three encoders this way for small label sets, and three clusterings
    of the labels for large ones [1]_.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Members with their names. A member is a classifier of this package, an
        ensemble, or any estimator with ``fit(X, y)`` and a ``predict_topk(X, k)`` that
        returns ids and probabilities as `predict_topk` does here. Members receive
        texts as a list of str, feature matrices as CSR of float32, and `y` as it is
        given. A member is left out if it is replaced by "drop".
    weights : array-like of shape (n_estimators,) or None, default=None
        Weights of the members, at least 0, with one for each dropped member too. A
        member of weight 0 is fitted, but not used at prediction. None gives all members
        the same weight. May be changed after `fit`.
    scale : {"probability", "raw", "rank"}, default="probability"
        What is averaged. "probability" averages the probabilities of the members, so
        that a confident member counts more. "raw" averages the probabilities that their
        networks compute, without the calibration on held-out documents, as LightXML's
        released code does [1]_. All members must then be classifiers of this package,
        and a `GRankClassifier` must have ``loss="bce"``. "rank" averages the
        reciprocals of the ranks, 1, 1/2, 1/3 and so on, whatever the probabilities; use
        it for members that are not calibrated alike. May be changed after `fit`.
    depth : int, default=100
        Number of best labels per document that each member contributes. If more labels
        are asked for, each member contributes as many; for a dense or 1-D `y` that is
        all labels.
    n_jobs : int or None, default=None
        Number of members fitted at a time. None means 1, since the training of one
        member already uses all cores. With more, each member is fitted in a process of
        its own, with fewer threads.
    label_names : sequence or None, default=None
        Name of each label, in the order of the columns of `y`, for the output of
        `predict_topk` and `label_lists`. None means the classes.
    %(top_k)s
    warm_start : bool, default=False
        Whether each member goes on with its fit in the next `fit`, as it would with a
        `warm_start` of its own. Members that are new start from nothing. False clones
        all members, and forgets the earlier fit.
    verbose : int, default=0
        1 reports each fitted member, 0 reports nothing. The members have a `verbose`
        of their own.

    Attributes
    ----------
    estimators_ : list of estimator
        Fitted members, without dropped ones.
    named_estimators_ : Bunch
        Fitted members by name, as ``named_estimators_["a"]`` or
        ``named_estimators_.a``; "drop" for a dropped member.
    %(classes_)s
    %(n_labels_)s
    %(n_docs_)s
    %(n_features_in_)s
    %(feature_names_in_)s
    label_names_ : ndarray of shape (n_labels,)
        Name of each label: `label_names` if given, else `classes_`.
    %(label_counts_)s
    %(total_weight_)s

    Notes
    -----
    The ensemble itself draws no random numbers. Members with ``random_state=None``
    differ from one fit to the next. Members that differ in nothing but the encoder or
    the ``random_state`` make a useful ensemble; identical members do not.

    Scores are rounded to float32 before labels are ordered. Of labels with equal
    scores, the one with the lower id comes first.

    References
    ----------
    .. [1] Jiang et al., LightXML, AAAI 2021. Its released code sums probabilities
       over all labels, and with clusters over the best 100 of each model.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxmc import EnsembleClassifier, GRankClassifier
    >>> X = csr_array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    >>> Y = csr_array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    >>> params = dict(
    ...     max_epochs=50,
    ...     head_learning_rate=0.01,
    ...     dropout=0,
    ...     validation_fraction=0,
    ...     label_dim=8,
    ... )
    >>> model = EnsembleClassifier(
    ...     [
    ...         ("a", GRankClassifier(random_state=0, **params)),
    ...         ("b", GRankClassifier(random_state=1, **params)),
    ...     ]
    ... )
    >>> ids, scores = model.fit(X, Y).predict_topk(X, k=1)
    >>> ids[:3].tolist()
    [[0], [1], [2]]
    >>> model.named_estimators_.a.n_iter_
    50
    """

    def __init__(
        self,
        estimators,
        *,
        weights=None,
        scale="probability",
        depth=100,
        n_jobs=None,
        label_names=None,
        top_k=50,
        warm_start=False,
        verbose=0,
    ):
        self.estimators = estimators
        self.weights = weights
        self.scale = scale
        self.depth = depth
        self.n_jobs = n_jobs
        self.label_names = label_names
        self.top_k = top_k
        self.warm_start = warm_start
        self.verbose = verbose

    def get_params(self, deep=True):
        """Return the parameters by name.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include the members by name, and their parameters as
            ``name__parameter``.

        Returns
        -------
        params : dict
            Values of the parameters.
        """
        return self._get_params("estimators", deep=deep)

    def set_params(self, **params):
        """Set parameters of the ensemble, replace members, or set their parameters.

        Parameters
        ----------
        **params : dict
            ``name=estimator`` replaces the member of that name, ``name="drop"`` leaves
            it out, and ``name__parameter=value`` sets a parameter of it.

        Returns
        -------
        self : EnsembleClassifier
            The same ensemble.
        """
        if params and hasattr(self, "estimators_"):
            if not hasattr(self, "_member_parameters"):  # of a model that was loaded
                self._note_parameters()
        self._set_params("estimators", **params)
        return self

    def fit(self, X, y, sample_weight=None):
        """Fit a clone of each member, or go on with the fits (see `warm_start`).

        If it fails or is interrupted, the ensemble stays as it was before.

        Parameters
        ----------
        X : sequence of str, or matrix of shape (n_docs, n_features)
            Documents: texts as a list, an array, a column of a table, or anything else
            that has a length and yields str; or a dense or sparse feature matrix.
        y : sparse matrix of shape (n_docs, n_labels), or array
            Labels, 0 or 1. A dense array or a table of that shape (pandas, polars,
            pyarrow) is accepted too, and so is a 1-D array or column of class labels.
            Predictions have the form of `y`: sparse for a sparse `y` or a pandas table
            of sparse columns, and a dense array for any other array or table.
        sample_weight : array-like of shape (n_docs,) or None, default=None
            Weights of the documents, which each member takes, so that its ``fit`` must
            accept them. Documents of weight 0 are left out.

        Returns
        -------
        self : EnsembleClassifier
            The fitted ensemble.

        Raises
        ------
        TypeError
            If a member has no ``fit`` or no ``predict_topk``, or if its ``fit`` takes
            no weights and there are some.
        ValueError
            If `X`, `y` or a parameter is not as described, or if ``scale="raw"`` and a
            member's network computes no probabilities.
        """
        before, start = vars(self).copy(), self._find_start()
        for name in [name for name in before if name.endswith("_")]:
            delattr(self, name)
        self._start = start
        try:
            self._fit(X, y, sample_weight)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise
        finally:
            vars(self).pop("_start", None)
        return self

    def decision_function(self, X):
        """Score labels.

        Scores are the logits of `predict_proba`, or with ``scale="rank"`` its values.
        For a 1-D `y` they are its logarithms.

        Parameters
        ----------
        X : sequence of str, or matrix of shape (n_docs, n_features)
            Documents of the kind seen in `fit`.

        Returns
        -------
        scores : csr matrix of shape (n_docs, n_labels), or ndarray
            Sparse if `y` was sparse in `fit`, with at most `top_k` float32 entries per
            row: a label without an entry is not among the best. Otherwise dense, of
            shape (n_docs,) for a 1-D `y` of two classes.
        """
        check_is_fitted(self)
        if self.scale == "rank" and self._y_kind != "single":
            return self.predict_proba(X)
        return super().decision_function(X)

    def predict_proba(self, X):
        """Predict mean probabilities of labels, or mean rank scores.

        With ``scale="rank"`` the score of a label is the weighted mean of the
        reciprocals of its ranks. It is between 0 and 1, and nearly 1 if all members
        rank the label first, but it is not a probability. With ``scale="raw"`` the
        probabilities are not calibrated.

        Parameters
        ----------
        X : sequence of str, or matrix of shape (n_docs, n_features)
            Documents of the kind seen in `fit`.

        Returns
        -------
        probabilities : csr matrix of shape (n_docs, n_labels), or ndarray
            Sparse if `y` was sparse in `fit`, with at most `top_k` float32 entries per
            row: a label without an entry is not among the best. Otherwise dense; for a
            1-D `y`, each row is divided by its sum.
        """
        return super().predict_proba(X)

    def predict(self, X):
        """Predict the labels whose probability is above 1/2.

        With ``scale="rank"`` a label is predicted if members of more than half of the
        total weight give it a probability above 1/2.

        Parameters
        ----------
        X : sequence of str, or matrix of shape (n_docs, n_features)
            Documents of the kind seen in `fit`.

        Returns
        -------
        labels : csr matrix or ndarray of shape (n_docs, n_labels), or (n_docs,)
            Of the form of `y` in `fit`: 1 for each predicted label, of the `top_k` best
            if `y` was sparse. For a 1-D `y`, the most probable class.
        """
        check_is_fitted(self)
        if self.scale != "rank" or self._y_kind == "single":
            return super().predict(X)
        X = self._check_X(X)
        ids, share = self._mean_ranking(X, self._output_width(X), "votes")
        return self._to_labels(ids, share > 0.5)

    # Members that read no tokens refuse them themselves.
    _reads_stores = True

    def _fit(self, X, y, sample_weight):
        self._check_parameters()
        X, Y = self._check_fit(X, y)
        _, weighing = self._weigh_documents(Y, sample_weight)
        members = [(name, m) for name, m in self.estimators if not is_dropped(m)]
        self._check_moved_labels(members)
        if weighing is not None:
            self.n_docs_ = weighing.n_docs
            for name, member in members:
                check_takes_weights(name, member)
        made = [(name, self._make_member(name, member)) for name, member in members]
        self.estimators_ = Parallel(n_jobs=self.n_jobs)(
            delayed(fit_member)(
                name, member, *choose_given(member, X, y, weighing), self.verbose
            )
            for name, member in made
        )
        for (_, member), fitted in zip(members, self.estimators_, strict=True):
            if hasattr(member, "warm_start"):  # which is True where one goes on
                fitted.warm_start = member.warm_start
        self._note_parameters()
        fitted = dict(zip([name for name, _ in members], self.estimators_, strict=True))
        names = [name for name, _ in self.estimators]
        self.named_estimators_ = Bunch(**{n: fitted.get(n, "drop") for n in names})

    def expected_state(self):
        """Return the checks of what `fit` sets (see `skxmc.nn.state`)."""
        return super().expected_state() | {
            "estimators_": self._check_fitted_members,
            "named_estimators_": self._check_named_members,
        }

    def _check_fitted_members(self, members, name):
        if not isinstance(members, list) or not members:
            refuse(name, "a list of classifiers", members)
        for i, member in enumerate(members):
            if not isinstance(member, RankingClassifier):
                refuse(f"{name}[{i}]", "a classifier of this package", member)
            # The rest of a member's state is checked as for every classifier.
            for key in ("n_labels_", "_texts", "_y_kind"):
                if getattr(member, key) != getattr(self, key):
                    raise ValueError(f"{name}[{i}].{key} differs from the ensemble's.")

    def _check_named_members(self, named, name):
        if type(named) is not Bunch:
            refuse(name, "a Bunch", named)
        kept = [member for member in named.values() if not is_dropped(member)]
        if len(kept) != len(self.estimators_) or any(
            one is not other for one, other in zip(kept, self.estimators_, strict=True)
        ):
            raise ValueError(f"{name} are not the members in estimators_.")
        self._check_weights(named.values())

    def _check_parameters(self):
        super()._check_parameters()
        pairs = self.estimators
        is_list = isinstance(pairs, list) and len(pairs) > 0
        if not is_list or not all(map(is_named_pair, pairs)):
            raise ValueError(
                "estimators must be a list of (name, estimator) pairs, at least one; "
                f"got {pairs!r}."
            )
        self._validate_names([name for name, _ in pairs])
        for name, member in pairs:
            check_member(name, member)
        self._check_weights([member for _, member in pairs])
        check_choice("scale", self.scale, ("probability", "raw", "rank"))
        if self.scale == "raw":
            for name, member in pairs:
                check_has_log_odds(name, member)
        check_number("depth", self.depth, numbers.Integral, 1)
        check_number("top_k", self.top_k, numbers.Integral, 1)

    def _check_weights(self, members):
        """Return the weight of each member; dropped members have 0."""
        kept = np.array([not is_dropped(member) for member in members])
        if not kept.any():
            raise ValueError('All estimators are "drop": keep at least one.')
        if self.weights is None:
            return kept.astype(np.float64)
        weights = np.asarray(self.weights, dtype=np.float64)
        good = weights.shape == kept.shape and np.isfinite(weights).all()
        if not good or (weights < 0).any() or not weights[kept].any():
            raise ValueError(
                f"weights must be {len(kept)} numbers of at least 0, one for each "
                f"estimator, and not all 0; got {self.weights!r}."
            )
        return weights * kept

    def _rank_checked(self, X, k):
        return self._mean_ranking(X, k, self.scale)

    def _mean_ranking(self, X, k, scale):
        """Rank labels by the weighted mean of what the members give them."""
        depth = min(max(self.depth, k), self.n_labels_)
        members = self.named_estimators_
        weights = self._check_weights(members.values())
        rankings = []
        for (name, member), weight in zip(members.items(), weights, strict=True):
            if weight:
                if scale == "raw":
                    check_has_log_odds(name, member)
                    ids, scores = predict_uncalibrated(member, X, depth)
                else:
                    ids, scores = member.predict_topk(X, k=depth)
                check_ranking(name, ids, scores, depth, self.n_labels_)
                rankings.append((ids, _rescale(scores, scale)))
        return mean_ranking(
            rankings,
            weights[weights > 0],
            k,
            self.n_labels_,
            normalize=self._y_kind == "single",
        )

    def _find_voters(self, X, label):
        members = self.named_estimators_.values()
        weights = self._check_weights(members)
        return mean_voters(members, weights, X, label, self.n_docs_)

    def _check_propensities(self):
        raise ValueError(
            'rank_by="propensity" needs the probabilities of one classifier, and those '
            "of an ensemble are means of its members' best labels alone. Use "
            'rank_by="probability", or a member.'
        )

    def _probabilities(self, scores):
        return clip_probabilities(scores)

    def _log_odds(self, scores):
        scores = clip_probabilities(scores.astype(np.float64))
        return np.log(scores) if self._y_kind == "single" else logit(scores)


def _rescale(scores, scale):
    """Turn the probabilities of a ranking into the numbers that are averaged."""
    if scale == "rank":
        return np.broadcast_to(1 / np.arange(1.0, scores.shape[1] + 1), scores.shape)
    return scores > 0.5 if scale == "votes" else scores
