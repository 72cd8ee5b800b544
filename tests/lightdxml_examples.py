"""A LightDXML network of random weights, its documents, and its cycle."""

import numpy as np
import scipy.sparse as sp
import torch
from torch.nn.functional import normalize, relu

from skxmc.nn.heads import LabelScores
from skxmc.nn.label_cycle import ShortlistedExamples, drop_positives
from skxmc.nn.networks.lightdxml import LightDXMLNetwork
from skxmc.nn.sparse_encoder import LabelEncoder, SparseEncoder
from skxmc.nn.text import Features, padded_columns

N_DOCS, N_FEATURES, N_LABELS, DIM = 12, 8, 11, 6
EMPTY = 3  # a document without labels
NEVER = 8  # a label without documents
# Labels from the most frequent on.
ORDER = torch.tensor([4, 0, 7, 2, 9, 1, 3, 5, 10, 6])
LABEL_TRAINING = dict(
    max_epochs=1,
    batch_size=4,
    learning_rate=1e-2,
    head_learning_rate=1e-2,
    weight_decay=0.0,
    warmup=0.0,
)


def make_network(n_frequent=3, *, order=ORDER, seed=0, dropout=0.0, **options):
    """A network of random weights in evaluation mode, in float64."""
    torch.manual_seed(seed)
    encoder = SparseEncoder(torch.randn(N_FEATURES, DIM), dropout=dropout)
    encoder.block.weight.data += 0.3 * torch.randn(DIM, DIM)
    encoder.block.bias.data = 0.3 * torch.randn(DIM)
    label_encoder = LabelEncoder(DIM, 2 * DIM)
    ranker = LabelScores(torch.randn(N_LABELS, DIM + 1), row_wise=True)
    indexed = order[n_frequent:].sort().values
    network = LightDXMLNetwork(
        encoder, label_encoder, ranker, order[:n_frequent], indexed, **options
    )
    network.label_vectors.copy_(torch.randn(len(order), DIM))
    network = network.double().eval()
    network.label_vectors = normalize(network.label_vectors, dim=1)
    converge(network.encoder.block)
    return network


def converge(block):
    """Let power iteration stand where it ends."""
    block.direction.copy_(torch.linalg.svd(block.weight.detach()).Vh[0])


def make_data(n_docs=N_DOCS, seed=0):
    rng = np.random.default_rng(seed)
    X = sp.random_array((n_docs, N_FEATURES), density=0.6, rng=rng, format="csr")
    Y = rng.random((n_docs, N_LABELS)) < 0.3
    Y[np.delete(np.arange(n_docs), EMPTY)[: len(ORDER)], ORDER] = True
    Y[EMPTY], Y[:, NEVER] = False, False
    return Features(X), sp.csr_array(Y.astype("f4"))


def make_batch(network, n_shortlist=None, seed=0):
    """Inputs and targets: shortlists at random, or all labels, less the positives."""
    docs, Y = make_data(seed=seed)
    rng = np.random.default_rng(seed)
    indexed = network.indexed.numpy()
    n = len(indexed) if n_shortlist is None else n_shortlist
    lists = np.array([rng.permutation(indexed)[:n] for _ in range(N_DOCS)])
    positives = padded_columns(Y, np.arange(N_DOCS))
    lists = torch.from_numpy(lists.reshape(N_DOCS, n).astype(np.int64))
    shortlist = drop_positives(lists, positives, N_LABELS)
    targets = {"positives": positives, "shortlist": shortlist}
    return docs.batch(np.arange(N_DOCS)), targets, Y


def vectors_of(network, batch):
    """Document vectors, by operations that torch differentiates."""
    encoder = network.encoder
    each = encoder.features.table[batch["features"]]
    states = relu((each * batch["weights"][:, :, None]).sum(dim=1))
    weight = encoder.block.weight / torch.linalg.matrix_norm(encoder.block.weight, 2)
    return relu(states @ weight.T + encoder.block.bias) + states


def make_cycle(
    network,
    *,
    n_docs=N_DOCS,
    rows=None,
    every=2,
    label_init="random",
    n_texts=0,
    text_negatives=1.0,
    **label_params,
):
    docs, Y = make_data(n_docs)
    return ShortlistedExamples(
        docs,
        Y,
        np.flatnonzero(np.diff(Y.indptr)) if rows is None else rows,
        network,
        every=every,
        label_init=label_init,
        n_user_docs=n_docs - n_texts,
        repeats_text=np.zeros(n_docs - n_texts, bool),
        text_negatives=text_negatives,
        rng=np.random.default_rng(0),
        batch_size=4,
        label_options=LABEL_TRAINING | label_params,
        options=dict(device="cpu", precision="fp64", verbose=0),
    )
