"""16-bit weights for predictions, which autocast would cast again in every call."""

import torch
from torch import nn


class CastsOnce(nn.Module):
    """Base of modules that keep the weights of their linear maps in 16 bits, too.

    Autocast casts the weights of a linear map whenever it is used, which takes a fifth
    of the time in which a small transformer reads a short text. A subclass calls
    `cast_once` instead of itself in a prediction, which computes the same bits.
    """

    _cast = None  # cache of the method cast_once

    def cast_once(self, device):
        """Return this module, or in a prediction under autocast a copy of it.

        The linear maps of the copy have 16-bit weights. It shares everything else with
        this module. The copy is made again when the weights have changed.

        Parameters
        ----------
        device : torch.device
            Device of the weights and of the input.

        Returns
        -------
        module of the same type
        """
        if torch.is_grad_enabled():
            # The weights may be about to change. torch does not count the changes by
            # its fused AdamW.
            self._cast = None
            return self
        if not torch.is_autocast_enabled(device.type):
            return self
        dtype = torch.get_autocast_dtype(device.type)
        cast = self._cast  # another thread may replace the attribute meanwhile
        if cast is None or not cast.suits(dtype):
            cast = self._cast = _Cast(self, dtype)
        return cast.module

    def train(self, mode=True):
        """Set the mode, and drop the copy."""
        self._cast = None
        return super().train(mode)

    def reset_unsaved(self):
        """Drop the copy (see `skxmc.nn.state`)."""
        self._cast = None

    def __getstate__(self):
        return {**super().__getstate__(), "_cast": None}


class _Cast:
    """A copy of a module with 16-bit weights, and the weights that it was made of."""

    def __init__(self, module, dtype):
        self.dtype = dtype
        self.weights = _weights_of_linear_maps(module)
        self.versions = self._list_versions()
        with torch.inference_mode(False), torch.no_grad():
            halves = {
                id(weight): nn.Parameter(weight.to(dtype), requires_grad=False)
                for weight in self.weights
            }
        self.module = _copy_with(halves, module, {})

    def suits(self, dtype):
        """Return whether the copy has that dtype, and the weights have not changed."""
        return dtype == self.dtype and self.versions == self._list_versions()

    def _list_versions(self):
        # torch counts the changes of a tensor in place. Assigning other values to
        # `weight.data` does not count, but changes their address.
        return [(weight.data_ptr(), weight._version) for weight in self.weights]


def _weights_of_linear_maps(module):
    """Return the weights and biases that only linear maps use."""
    linear, others = {}, set()
    for part in module.modules():
        for weight in part.parameters(recurse=False):
            # Subclasses may use their weights in other ways, or at full precision.
            if type(part) is nn.Linear:
                linear[id(weight)] = weight
            else:
                others.add(id(weight))
    return [weight for key, weight in linear.items() if key not in others]


def _copy_with(weights, module, copies):
    """Copy a module and its parts, with other weights, which are given by their ids."""
    if module is None or id(module) in copies:  # some parts occur twice
        return copies.get(id(module))
    new = copies[id(module)] = module.__new__(type(module))
    # Hooks that are attached to the copy are not attached to the module.
    vars(new).update(
        (name, value.copy() if isinstance(value, dict) else value)
        for name, value in vars(module).items()
    )
    new._parameters = {
        name: weights.get(id(weight), weight)
        for name, weight in module._parameters.items()
    }
    new._modules = {
        name: _copy_with(weights, part, copies)
        for name, part in module._modules.items()
    }
    return new
