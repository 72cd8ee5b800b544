"""Which attributes of a fitted classifier a folder keeps, and how they are checked."""

from ..nn.state import by_attribute, check_state, expected_state

# Prefixes of the attributes in which scikit-learn keeps requests for metadata, output
# formats and callbacks.
_SKLEARN_PREFIXES = ("_metadata_request", "_sk")


def fitted_attributes(estimator):
    """Return the attributes that a folder may keep beside the parameters.

    Left out are scikit-learn's own attributes, and those that a class has in
    `not_saved`.

    Returns
    -------
    dict of str to object
    """
    others = {*estimator.get_params(deep=False), *getattr(estimator, "not_saved", ())}
    return {
        name: value
        for name, value in vars(estimator).items()
        if name not in others and not belongs_to_sklearn(name)
    }


def belongs_to_sklearn(name):
    """Whether an attribute is one that scikit-learn keeps for itself."""
    return name.startswith(_SKLEARN_PREFIXES)


def known_attributes(estimator):
    """Return the names of the attributes that fit sets, as a set."""
    return set(by_attribute(type(estimator), expected_state(estimator)))


def check_estimator(estimator):
    """Refuse parameters that fit would refuse, and values that it never sets.

    Only the attributes that fit sets are checked; others are ignored.

    Raises
    ------
    ValueError
        If a value is wrong. The message names it.
    """
    type(estimator)._check_parameters(estimator)
    fitted = fitted_attributes(estimator)
    if fitted:
        known = known_attributes(estimator)
        fitted = {name: fitted[name] for name in fitted if name in known}
        check_state(estimator, type(estimator).__name__, fitted)
