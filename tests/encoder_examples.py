"""Folders of encoders, with the files of sentence-transformers beside them."""

import json

import torch
from safetensors.torch import save_file


def write_settings(folder, pooling=None, prompts=None, default=None, other=()):
    """Write the files that sentence-transformers puts beside a transformer."""
    kinds = ["Transformer", *(["Pooling"] if pooling else []), *other]
    write_modules(folder, kinds)
    if pooling:
        (folder / "1_Pooling").mkdir(exist_ok=True)
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if prompts:
        settings = {"prompts": prompts, "default_prompt_name": default}
        name = "config_sentence_transformers.json"
        (folder / name).write_text(json.dumps(settings))


def write_modules(folder, kinds, first=""):
    """Write the list of an encoder's layers, of which the first lies in a folder."""
    paths = [first, *(f"{i}_{kind}" for i, kind in enumerate(kinds) if i)]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"x.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))


def write_dense(folder, shape, *, bias=True, **config):
    """Write a Dense layer of random weights; return these."""
    folder.mkdir(exist_ok=True)
    weights = {"linear.weight": torch.randn(shape)}
    if bias:
        weights["linear.bias"] = torch.randn(shape[0])
    save_file(weights, folder / "model.safetensors")
    config = {"in_features": shape[1], "out_features": shape[0], "bias": bias} | config
    (folder / "config.json").write_text(json.dumps(config))
    return list(weights.values())
