"""Networks of one head each, with random label vectors, for benchmarks."""

import numpy as np
import torch
from torch import nn

from skxmc.nn.all_labels import AllLabels
from skxmc.nn.document_vectors import DocumentVectors
from skxmc.nn.heads import LabelScores, cluster_head
from skxmc.nn.networks.grank import GRankNetwork
from skxmc.nn.networks.lightxml import LightXMLNetwork
from skxmc.nn.shortlist import LabelClusters

HEADS = ["dense", "all", "all, SGD", "all, AdamW", "all, bf16", "clusters"]
LABELS_A_DOCUMENT, LABELS_A_CLUSTER = 5, 100
N_BATCHES = 3


class Given(nn.Module):
    """Encoder of documents that are vectors already."""

    at_encoder_rate = False

    def __init__(self, dim):
        super().__init__()
        self.width = self.hidden_size = dim

    def forward(self, batch):
        return batch["vectors"], batch["vectors"]

    def floats_per_document(self, length):
        return self.width


def make_network(loss, kind, n_labels, dim, *, encoder=None, device="cpu"):
    """Make a network with random label vectors and random clusters.

    Its heads are on the device. The encoder, if one is given, stays where it is.
    """
    encoder = encoder or Given(dim)
    dtype = torch.bfloat16 if kind == "all, bf16" else torch.float32
    vectors = torch.empty(n_labels, dim, dtype=dtype, device=device)
    vectors.normal_(std=dim**-0.5)
    clusters = order = None
    if kind == "clusters":
        groups = np.random.default_rng(0).permutation(n_labels) // LABELS_A_CLUSTER
        clusters = LabelClusters(groups)
        order = torch.from_numpy(np.argsort(groups, kind="stable"))
    if kind.startswith("all"):
        bias = -5.0 if loss == "bce" else None
        trained_by = "adamw" if kind == "all, AdamW" else "rowwise"
        head = AllLabels(vectors, bias=bias, trained_by=trained_by)
        head.by_sgd = kind == "all, SGD"
    elif kind == "clusters" or loss == "grank":
        head = LabelScores(vectors, row_wise=kind == "clusters", order=order)
    n_clusters = clusters.n_clusters if clusters else 0
    if loss == "grank":
        return GRankNetwork(
            encoder,
            head,
            clusters=clusters,
            n_retrieved=n_clusters,
            n_shortlist=min(32, n_clusters),
            predict_shortlist=128,
        )
    doc_vectors = DocumentVectors(encoder, dim)
    recall = head if kind.startswith("all") else None
    if recall is None:
        with torch.device(device):
            recall = cluster_head(doc_vectors, n_clusters or n_labels)
    return LightXMLNetwork(
        encoder,
        doc_vectors,
        recall,
        clusters=clusters,
        ranker=head if clusters else None,
        n_shortlist=min(75, n_clusters or 75),
        loss_reduction="sum",
    )


def make_batches(n_labels, dim, batch_size):
    """Draw vectors of documents, and labels with a Zipf distribution."""
    rng = np.random.default_rng(1)
    frequencies = 1 / np.arange(1, n_labels + 1)
    shape = batch_size, LABELS_A_DOCUMENT
    for _ in range(N_BATCHES):
        vectors = torch.randn(batch_size, dim)
        ids = rng.choice(n_labels, shape, p=frequencies / frequencies.sum())
        ids.sort(axis=1)
        ids[:, 1:][ids[:, 1:] == ids[:, :-1]] = n_labels
        ids.sort(axis=1)
        yield {"vectors": vectors}, torch.from_numpy(ids)
