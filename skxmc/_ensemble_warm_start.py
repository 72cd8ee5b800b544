"""Going on with the fit of an ensemble: each member goes on with its own."""

from sklearn.base import clone
from sklearn.utils import Bunch

from ._members import is_dropped
from ._partial_fit import NoPartialFit
from ._validation import check_flag
from ._warm_start import WarmStartMixin, check_labels_after


class EnsembleWarmStartMixin:
    """What ``fit`` of an ensemble does if it goes on from a fitted state.

    It is for a subclass of `skxmc._ranking_classifier.RankingClassifier` with the
    parameters `estimators` and `warm_start`.
    """

    # The fitted attributes that the current fit goes on from.
    _start = None
    # Parameters of the members of `estimators` at the last fit.
    not_saved = ("_member_parameters",)
    partial_fit = NoPartialFit()
    _no_stream = "its members may have none."

    def _check_parameters(self):
        check_flag("warm_start", self.warm_start)

    def _find_start(self):
        """Return the attributes that a fit is about to go on from, or None."""
        if self.warm_start and hasattr(self, "estimators_"):
            return Bunch(**vars(self))
        return None

    def _check_labels(self, y):
        start = self._start
        is_single = start is not None and start._y_kind == "single"
        return check_labels_after(y, start.classes_ if is_single else None)

    def _drop_classes(self, Y):
        # Known classes stay, whether they have documents or not.
        return Y if self._start is not None else super()._drop_classes(Y)

    def _note_parameters(self):
        """Note the parameters of the members, by which changes of them are known."""
        self._member_parameters = {
            name: member.get_params(deep=False)
            for name, member in self.estimators
            if not is_dropped(member)
        }

    def _make_member(self, name, member):
        """Return a member to be fitted: a clone, or one that goes on.

        A copy of the fitted member goes on. It takes the parameters that have changed
        in `estimators`, and keeps its own values of the others: those that `clone`
        makes anew, such as a loaded encoder, would seem to have changed.
        """
        start = self._start
        fitted = None if start is None else start.named_estimators_.get(name)
        if type(fitted) is not type(member):
            return clone(member)  # it is new
        if not isinstance(fitted, (WarmStartMixin, EnsembleWarmStartMixin)):
            raise TypeError(
                f"The estimator {name!r} is {type(member).__name__}, which cannot go "
                "on with a fit: only classifiers of this package can. Set "
                f'warm_start=False, or {name}="drop".'
            )
        given = clone(member).get_params(deep=False)
        before = start.get("_member_parameters", {}).get(name)
        if before is None:  # the ensemble was loaded
            kept = getattr(fitted, "_fixed_parameters", ())
        else:
            now = member.get_params(deep=False)
            kept = {key for key in now if key in before and before[key] is now[key]}
        changed = {key: given[key] for key in given if key not in kept}
        goes_on = object.__new__(type(fitted))
        vars(goes_on).update(vars(fitted))
        goes_on.set_params(**changed | {"warm_start": True})
        return goes_on

    def _check_moved_labels(self, members):
        """Refuse labels in other columns if members go by columns."""
        start = self._start
        if start is None or self._y_kind == "single":
            return
        before, now = start.label_names_.tolist(), self.label_names_.tolist()
        if now[: len(before)] == before:
            return
        places = {name: j for j, name in enumerate(before)}
        moved = [j for j, name in enumerate(now) if places.get(name, j) != j]
        if not moved:
            return
        for name, member in members:
            if getattr(member, "label_names", None) is None:
                raise ValueError(
                    f"The label {now[moved[0]]!r:.80} had column "
                    f"{places[now[moved[0]]]} in the fit that is to go on, and has "
                    f"column {moved[0]} now. The estimator {name!r} has no "
                    "label_names by which it could find labels in other columns. Give "
                    "label_names to all members before the first fit, keep the order "
                    "of the columns, or set warm_start=False."
                )
