"""Dense layers that stand above a pretrained transformer."""

import torch
from torch import nn

from .process import isolate_torch
from .state import choice, number, part, refuse

# Functions of the outputs of a layer.
_ACTIVATIONS = {
    "identity": lambda vectors: vectors,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
}


class DenseLayers(nn.Module):
    """Layers that map the vector of a text to another one.

    Parameters
    ----------
    layers : sequence of (weight, bias, activation)
        The layers in their order (see `skxmc.nn.encoder_files.DenseLayer`).
    width : int
        Width of the vectors that the first layer takes.

    Attributes
    ----------
    maps : ModuleList
        The linear maps of the layers.
    activations : list of str
        What their outputs pass through.
    out_features : int
        Width of the vectors that the last layer returns, or `width` without layers.

    Raises
    ------
    ValueError
        If a layer takes vectors of another width than the layer before it returns.
    """

    def __init__(self, layers, width):
        super().__init__()
        self.maps = nn.ModuleList(map(_make_linear, layers))
        self.activations = [layer[2] for layer in layers]
        widths = [width, *(layer.out_features for layer in self.maps)]
        if widths[:-1] != [layer.in_features for layer in self.maps]:
            raise ValueError(
                f"The Dense layers of the encoder take vectors of other widths than "
                f"{widths[:-1]}, those that come before them."
            )
        self.out_features = widths[-1]

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        # Without layers it is the width of the transformer, which the encoder knows.
        width = number(1, whole=True)
        if isinstance(self.maps, nn.ModuleList) and len(self.maps):
            width = choice(self.maps[-1].out_features)
        return {
            "maps": self._check_maps,
            "activations": self._check_activations,
            "out_features": width,
        }

    def _check_maps(self, maps, name):
        if type(maps) is not nn.ModuleList:
            refuse(name, "a list of linear maps", maps)
        for i, layer in enumerate(maps):
            part(nn.Linear)(layer, f"{name}.{i}")

    def _check_activations(self, names, name):
        if not isinstance(names, list) or len(names) != len(self.maps):
            refuse(name, "the names of an activation for each layer", names)
        for activation in names:
            choice(*_ACTIVATIONS)(activation, name)

    def to_tuples(self):
        """Return the layers as the constructor takes them."""
        layers = zip(self.maps, self.activations, strict=True)
        return [(layer.weight, layer.bias, name) for layer, name in layers]

    def forward(self, vectors):
        """Map vectors of shape (n_docs, width) to those of the last layer."""
        for layer, activation in zip(self.maps, self.activations, strict=True):
            vectors = _ACTIVATIONS[activation](layer(vectors))
        return vectors


def _make_linear(layer):
    weight, bias, _ = layer
    with isolate_torch():  # it draws random weights, which are then replaced
        linear = nn.Linear(*weight.T.shape, bias=bias is not None)
    linear.weight.data.copy_(weight)
    if bias is not None:
        linear.bias.data.copy_(bias)
    return linear
