"""Adapters that peft has put into a transformer: found, copied, kept and merged.

peft is an optional dependency: nothing here imports it unless there are adapters.
"""

import copy
import math
import re

import torch
from torch import nn

from .process import isolate_torch
from .state import flag, floats, number
from .transformer_models import remove_pooler

# Parts of an adapter of the kind LoRA (and of DoRA, which has the third).
_PARTS = ("lora_A", "lora_B", "lora_magnitude_vector")
# Fields of a LoraConfig that a folder keeps in other words, or that say how adapters
# were made. All others must have their defaults.
_FREE_FIELDS = {
    *("alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias"),
    *("exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights"),
    *("layers_pattern", "layers_to_transform", "lora_alpha", "lora_dropout"),
    *("peft_type", "peft_version", "r", "rank_pattern", "revision", "target_modules"),
    *("task_type", "use_dora", "use_rslora", "loftq_config", "eva_config"),
    *("corda_config", "lora_ga_config", "runtime_config", "megatron_core"),
}


def unwrap(model):
    """Return the transformer within a model that peft has wrapped, with its adapters.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel

    Returns
    -------
    PreTrainedModel
        The same one if it was not wrapped.

    Raises
    ------
    ValueError
        If the model has no adapters in its layers, several of them, other trained
        parts, or adapters that are merged or switched off.
    """
    if _is_wrapped(model):
        config = model.peft_config
        if any(one.is_prompt_learning for one in config.values()):
            raise ValueError(
                f"The encoder has {_name_methods(model)}, which puts vectors before a "
                "text instead of adapters into the layers. Use adapters such as LoRA."
            )
        if getattr(model.base_model, "uses_shared_state", False):
            raise ValueError(
                f"The encoder has {_name_methods(model)}, whose adapters share "
                "weights, which is not supported. Use adapters such as LoRA."
            )
        model = model.get_base_model()
    if find_adapter(model) is None:
        return model
    if len(model.peft_config) > 1:
        raise ValueError(
            f"The encoder has the adapters {', '.join(model.peft_config)}, and one can "
            "be trained: remove the others by its method delete_adapter."
        )
    for name in ("modules_to_save", "trainable_token_indices", "layer_replication"):
        if getattr(find_adapter(model)[1], name, None):
            raise ValueError(
                f"The adapter of the encoder was made with {name}, which is not "
                "supported: adapters alone are trained and kept."
            )
    layers = _find_layers(model)
    if any(layer.merged or layer.disable_adapters for _, layer in layers):
        raise ValueError(
            "The adapter of the encoder is merged or switched off. Call "
            "unmerge_adapter of the PeftModel, or give the model that merge_and_unload "
            "returns."
        )
    return model


def _is_wrapped(model):
    return type(model).__module__.partition(".")[0] == "peft"


def _name_methods(model):
    kinds = {str(getattr(c.peft_type, "value", c.peft_type)) for c in _configs(model)}
    return " and ".join(sorted(kinds))


def _configs(model):
    return model.peft_config.values()


def find_adapter(model):
    """Return the name and the configuration of a model's adapter, or None."""
    configs = getattr(model, "peft_config", None)
    return next(iter(configs.items())) if configs else None


def _find_layers(model):
    """Return the names and the layers of a model that hold an adapter."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, BaseTunerLayer)
    ]


def inject(model, name, config):
    """Put new adapters into the layers of a model, in place."""
    from peft import inject_adapter_in_model

    with isolate_torch():  # they are drawn at random
        inject_adapter_in_model(copy.deepcopy(config), model, adapter_name=name)


def merge(model):
    """Add the adapters of a model to the weights of its layers, in place."""
    for name, layer in _find_layers(model):
        layer.merge(safe_merge=True)
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, layer.get_base_layer())
    del model.peft_config
    model._hf_peft_config_loaded = False  # of adapters that transformers has added


def without_adapter(model):
    """Return a model with the same weights that has no adapter; they are not copied."""
    name, _ = find_adapter(model)
    kept = {
        key.replace(".base_layer.", "."): weight
        for key, weight in model.state_dict().items()
        if not _is_part(key, name)
    }
    with isolate_torch(), torch.device("meta"):
        plain = type(model)(copy.deepcopy(model.config))
    if getattr(model, "pooler", None) is None:
        remove_pooler(plain)
    plain.load_state_dict(kept, assign=True)
    return plain


def _is_part(key, adapter):
    return any(f".{part}.{adapter}." in f"{key}." for part in _PARTS)


def describe(model):
    """Return what a model folder keeps of a model's adapters.

    Returns
    -------
    dict
        ``weights``, the tensors by their names, such as "layer.0.query.lora_A";
        ``alphas``, by the names of the layers; ``dropout``, and ``rslora``.

    Raises
    ------
    TypeError
        If they are no plain LoRA of linear layers.
    """
    from peft.tuners import lora

    name, config = find_adapter(model)
    layers = _find_layers(model)
    weights = {
        re.sub(rf"\.{re.escape(name)}(\.weight)?$", "", key): weight
        for key, weight in model.state_dict().items()
        if _is_part(key, name)
    }
    is_plain = (
        type(config) is lora.LoraConfig
        and all(type(layer) is lora.Linear for _, layer in layers)
        and _unusual_fields(config) == []
        and {key.rpartition(".")[0] for key in weights} == {n for n, _ in layers}
        and {key.rpartition(".")[2] for key in weights} <= set(_PARTS)
        and len({_is_turned(layer.get_base_layer()) for _, layer in layers}) == 1
        and all(layer.scaling[name] == _scaling(layer, name) for _, layer in layers)
    )
    if not is_plain:
        raise TypeError(
            "The encoder has adapters that are no plain LoRA of linear layers, which a "
            "model folder cannot keep. Call merge_adapters() before, or use pickle or "
            "joblib for this model."
        )
    return {
        "weights": weights,
        "alphas": {n: float(layer.lora_alpha[name]) for n, layer in layers},
        "dropout": float(config.lora_dropout),
        "rslora": bool(config.use_rslora),
    }


def _unusual_fields(config):
    """Return the fields of a LoraConfig that nothing here knows, and that are set."""
    usual = type(config)().to_dict()
    return [
        field
        for field, value in config.to_dict().items()
        if field not in _FREE_FIELDS and value != usual.get(field)
    ]


def _scaling(layer, name):
    rank, alpha = layer.r[name], layer.lora_alpha[name]
    return alpha / (math.sqrt(rank) if layer.use_rslora.get(name) else rank)


def _is_turned(layer):
    """Whether a layer's weight is (in_features, out_features), as in GPT-2."""
    return not isinstance(layer, nn.Linear)


def add_described(model, about):
    """Put the adapters that `describe` returned into a model, in place.

    Raises
    ------
    ValueError
        If these are no adapters of linear layers of the model.
    ImportError
        If peft is not installed.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise ImportError(
            "This model holds adapters of its encoder, for which peft is needed: pip "
            "install peft. A model that was saved after merge_adapters() needs no peft."
        ) from error
    weights, alphas = _check_description(model, about)
    ranks = {name: len(weights[f"{name}.lora_A"]) for name in alphas}
    layers = {name: model.get_submodule(name) for name in alphas}
    # The names become regular expressions, which match whole names alone.
    patterns = {name: f"^{re.escape(name)}" for name in alphas}
    config = LoraConfig(
        target_modules=sorted(alphas),
        rank_pattern={patterns[name]: rank for name, rank in ranks.items()},
        alpha_pattern={patterns[name]: alpha for name, alpha in alphas.items()},
        lora_dropout=about["dropout"],
        use_rslora=about["rslora"],
        use_dora=any(key.endswith(_PARTS[2]) for key in weights),
        fan_in_fan_out=any(map(_is_turned, layers.values())),
    )
    inject(model, "default", config)
    places = {
        re.sub(r"\.default(\.weight)?$", "", key): parameter
        for key, parameter in model.named_parameters()
        if _is_part(key, "default")
    }
    if {n: p.shape for n, p in places.items()} != {
        n: w.shape for n, w in weights.items()
    }:
        raise ValueError("The adapters do not fit the layers of the encoder.")
    for key, parameter in places.items():
        parameter.data = weights[key].to(parameter.dtype)


def _check_description(model, about):
    """Check what a folder says of adapters before peft sees it."""
    fields = {"weights", "alphas", "dropout", "rslora"}
    if not isinstance(about, dict) or set(about) != fields:
        raise ValueError(
            "The adapters of the encoder have other fields than " + str(fields)
        )
    weights, alphas = about["weights"], about["alphas"]
    number(0, 1)(about["dropout"], "adapters.dropout")
    flag(about["rslora"], "adapters.rslora")
    for value, what in ((weights, "weights"), (alphas, "alphas")):
        if not isinstance(value, dict) or not value:
            raise ValueError(f"adapters.{what} must be a dict that is not empty.")
    modules = dict(model.named_modules())
    for name, alpha in alphas.items():
        number()(alpha, f"adapters.alphas.{name}")
        if type(modules.get(name)).__name__ not in ("Linear", "Conv1D"):
            raise ValueError(f"The encoder has no linear layer {name!r:.80}.")
    turned = {_is_turned(modules[name]) for name in alphas}
    parts = {key.rpartition(".")[2] for key in weights}
    expected = {f"{name}.{part}" for name in alphas for part in parts}
    are_lora = set(_PARTS[:2]) <= parts <= set(_PARTS)
    if len(turned) > 1 or set(weights) != expected or not are_lora:
        raise ValueError("The adapters of the encoder do not have the parts of a LoRA.")
    for name in alphas:
        n_out, n_in = modules[name].weight.shape
        if True in turned:
            n_out, n_in = n_in, n_out
        path = f"adapters.weights.{name}"
        floats(None, n_in)(weights[f"{name}.lora_A"], f"{path}.lora_A")
        rank = len(weights[f"{name}.lora_A"])
        floats(n_out, rank)(weights[f"{name}.lora_B"], f"{path}.lora_B")
        if _PARTS[2] in parts:
            floats(n_out)(weights[f"{name}.{_PARTS[2]}"], f"{path}.{_PARTS[2]}")
    return weights, alphas
