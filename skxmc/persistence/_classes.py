"""The classes that a model folder may name, and where each of them lives.

A folder holds the names on the left, and they never change. When a class is moved or
renamed, change the path on the right; folders that exist still load. What a folder
keeps of each class is told by the class itself (see `skxmc.nn.state`).
"""

import importlib

# Classifiers, which are kept with their parameters.
ESTIMATORS = {
    "EnsembleClassifier": "skxmc.ensemble.EnsembleClassifier",
    "GRankClassifier": "skxmc.grank.GRankClassifier",
    "GUDNClassifier": "skxmc.gudn.GUDNClassifier",
    "LightDXMLClassifier": "skxmc.lightdxml.LightDXMLClassifier",
    "LightXMLClassifier": "skxmc.lightxml.LightXMLClassifier",
    "TReaderXMLClassifier": "skxmc.treaderxml.TReaderXMLClassifier",
}
# What classifiers consist of.
PARTS = {
    "AllLabels": "skxmc.nn.all_labels.AllLabels",
    "BagEncoder": "skxmc.nn.bags.BagEncoder",
    "DenseLayers": "skxmc.nn.dense_layers.DenseLayers",
    "DocumentVectors": "skxmc.nn.document_vectors.DocumentVectors",
    "ExtractedVectors": "skxmc.nn.networks.gudn.ExtractedVectors",
    "Extractor": "skxmc.nn.networks.gudn.Extractor",
    "FeatureVectors": "skxmc.nn.bags.FeatureVectors",
    "GRankNetwork": "skxmc.nn.networks.grank.GRankNetwork",
    "GUDNNetwork": "skxmc.nn.networks.gudn.GUDNNetwork",
    "LabelClusters": "skxmc.nn.shortlist.LabelClusters",
    "LabelEncoder": "skxmc.nn.sparse_encoder.LabelEncoder",
    "LabelScores": "skxmc.nn.heads.LabelScores",
    "LightDXMLNetwork": "skxmc.nn.networks.lightdxml.LightDXMLNetwork",
    "LightXMLNetwork": "skxmc.nn.networks.lightxml.LightXMLNetwork",
    "LinearHead": "skxmc.nn.heads.LinearHead",
    "NearestVectors": "skxmc.nn.search.NearestVectors",
    "NeighborVotes": "skxmc.nn.neighbors.NeighborVotes",
    "RankingBranch": "skxmc.nn.networks.lightxml.RankingBranch",
    "Reading": "skxmc.nn.networks.treaderxml.Reading",
    "SameVectors": "skxmc.nn.networks.treaderxml.SameVectors",
    "SelfAttention": "skxmc.nn.self_attention.SelfAttention",
    "SparseEncoder": "skxmc.nn.sparse_encoder.SparseEncoder",
    "SpectralBlock": "skxmc.nn.sparse_encoder.SpectralBlock",
    "Teacher": "skxmc.nn.teacher.Teacher",
    "TReaderEncoder": "skxmc.nn.networks.treaderxml.TReaderEncoder",
    "TReaderXMLNetwork": "skxmc.nn.networks.treaderxml.TReaderXMLNetwork",
    "TransformerEncoder": "skxmc.nn.encoders.TransformerEncoder",
    "WordReader": "skxmc.nn.bags.WordReader",
    # Layers of torch; their checks are in skxmc.nn.state.
    "Dropout": "torch.nn.Dropout",
    "Identity": "torch.nn.Identity",
    "LayerNorm": "torch.nn.LayerNorm",
    "Linear": "torch.nn.Linear",
    "ModuleList": "torch.nn.ModuleList",
    "ReLU": "torch.nn.ReLU",
    "Sequential": "torch.nn.Sequential",
}


def find_class(name, paths):
    """Return the class that a folder names.

    Parameters
    ----------
    name : str
    paths : dict of str to str
        `ESTIMATORS` or `PARTS`.

    Raises
    ------
    ValueError
        If there is no class of that name.
    """
    if not isinstance(name, str) or name not in paths:
        raise ValueError(
            f"it names the class {name!r:.60}, and what it may name there is "
            f"{', '.join(paths)}."
        )
    module, _, attribute = paths[name].rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def name_of_class(kind, paths):
    """Return the name of a class in folders, or None if folders cannot keep it."""
    for name, path in paths.items():
        if path.rpartition(".")[2] == kind.__name__:
            if find_class(name, paths) is kind:
                return name
    return None
