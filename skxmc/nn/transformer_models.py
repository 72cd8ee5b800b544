"""What pretrained transformers differ in: layers, arguments, outputs and dropout."""

import functools
import inspect

from torch import nn
from torch.utils.checkpoint import checkpoint

# Names under which modules keep the rate of a dropout without a module of its own.
_RATES = ("dropout", "dropout_prob", "attention_dropout", "activation_dropout")


def find_layers(model):
    """Return the list of a transformer's layers, lowest first.

    Raises
    ------
    ValueError
        If the model has no list of as many layers as its configuration says.
    """
    n_layers = model.config.num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == n_layers:
            return module
    raise ValueError(
        f"{type(model).__name__} has no list of {n_layers} layers, so that its top "
        'layers cannot be trained alone: use trained_layers="all" or 0.'
    )


def reads_forward(model):
    """Return whether the tokens of a text read only those before them (a decoder)."""
    return any(
        getattr(module, "is_causal", False) is True for module in model.modules()
    )


def choose_taken(model, options):
    """Return those of some arguments that the forward method of a model takes."""
    taken = _names_of_arguments(type(model))
    return {name: value for name, value in options.items() if name in taken}


@functools.cache
def _names_of_arguments(kind):
    parameters = inspect.signature(kind.forward).parameters
    names = set(parameters)
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        # transformers itself takes these two, which not all methods name.
        names |= {"output_hidden_states", "return_dict"}
    return names


def find_states(output, n_states):
    """Return the states of all layers in the output of a transformer, or None."""
    if not isinstance(output, tuple):
        return getattr(output, "hidden_states", None)
    found = (part for part in output[1:] if isinstance(part, tuple))
    return next((part for part in found if len(part) == n_states), None)


def set_checkpointing(model, enable):
    """Set whether the layers of a model compute their states again for the gradient.

    Raises
    ------
    ValueError
        If the model does not offer this.
    """
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise ValueError(
            f"{type(model).__name__} has no gradient checkpointing: set "
            "gradient_checkpointing=False."
        )
    # The public method would also let untrained embeddings take part in the gradient.
    function = functools.partial(checkpoint, use_reentrant=False)
    model._set_gradient_checkpointing(enable, function)


def remove_pooler(model):
    """Take the pooler off a model, and return the model."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # it would never get a gradient
    return model


def set_dropout(model, dropout):
    """Set all dropout rates of a model unless None is given; return the model."""
    for module in model.modules() if dropout is not None else ():
        if isinstance(module, nn.Dropout):
            module.p = dropout
        # Fused attention has no dropout module, but an attribute with the rate.
        for name in _RATES:
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, float(dropout))
    return model
