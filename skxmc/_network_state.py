"""What pickles and model folders keep of a classifier that has a network."""

import copy

from ._calibration import check_calibration
from .nn.state import choice, one_dtype, part
from .nn.training import check_history


class NetworkStateMixin:
    """The state of classifiers that are based on `skxmc.base.BaseXMCClassifier`."""

    def __getstate__(self):
        # A copy: what super() returns may be the __dict__ of this very object.
        state = dict(super().__getstate__())
        network = state.get("network_")
        if network is not None and any(p.is_cuda for p in network.parameters()):
            state["network_"] = copy.deepcopy(network).cpu()
        return state

    def expected_state(self):
        """Checks of what `fit` sets (see `skxmc.nn.state`)."""
        return super().expected_state() | {
            "network_": self._check_network,
            "history_": check_history,
            "n_iter_": choice(len(self.history_)),
            "calibration_": check_calibration,
        }

    def _count_features(self):
        """Return the number of features of the network, or None if it may have any."""
        return None if self._texts else self.n_features_in_

    def _check_network(self, network, name):
        expected = {"n_labels": self.n_labels_}
        n_features = self._count_features()
        if n_features is not None:
            expected["encoder.n_features"] = n_features
        part(self._network_class, **expected)(network, name)
        one_dtype(network, name)
        if network.single_label not in (None, self._y_kind == "single"):
            raise ValueError(f"{name}.single_label contradicts the kind of y.")
