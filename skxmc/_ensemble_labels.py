"""Labels of an ensemble that change: all members change together."""

from ._label_changes import LabelChangesMixin


class EnsembleLabelChangesMixin(LabelChangesMixin):
    """Has all members of an ensemble add, remove or rename labels, or none."""

    def _copy_to_change(self):
        for member in self.estimators_:
            if not isinstance(member, LabelChangesMixin):
                raise TypeError(
                    f"A member of the ensemble is a {type(member).__name__}, whose "
                    "labels cannot change. Only classifiers of this package can add, "
                    "remove and rename labels: fit the ensemble again."
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
