"""The prediction loop, driven by a toy network."""

import numpy as np
import pytest
import torch
from torch import nn
from toy_network import Toy, make_data

from skxmc.nn.prediction import encode, rank


def ranked_by(network, docs, rows=None, k=3, batch_size=5, precision="fp32"):
    rows = np.arange(len(docs)) if rows is None else rows
    options = dict(batch_size=batch_size, device="cpu", precision=precision)
    return rank(network, docs, rows, k, **options)


@pytest.mark.parametrize(
    "rows",
    [np.arange(24), np.array([7]), np.array([20, 3, 11, 0]), np.array([5, 2, 5])],
)
def test_rows_are_ranked_in_order(rows):
    network, docs = Toy().double(), make_data()[0]
    ids, scores = ranked_by(network, docs, rows, batch_size=2)
    assert ids.shape == scores.shape == (len(rows), 3)
    assert ids.dtype == np.int64
    for i, row in enumerate(rows):
        with torch.no_grad():
            expected = network.eval().rank(docs.batch(np.array([row])), 3)
        assert ids[i].tolist() == expected[0][0].tolist()
        np.testing.assert_allclose(scores[i], expected[1][0], rtol=1e-12)


@pytest.mark.parametrize("training_before", [True, False])
def test_prediction_leaves_the_mode_and_the_gradients(training_before):
    network = Toy().train(training_before)
    ranked_by(network, make_data()[0])
    assert network.training == training_before
    assert all(p.grad is None for p in network.parameters())


def test_vectors_in_order():
    encoder, docs = Toy().encoder, make_data()[0]
    options = dict(batch_size=5, device="cpu", precision="fp32")
    vectors = encode(encoder, docs, **options)
    assert vectors.shape == (24, 4)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(24))
    for i in range(24):
        alone = encoder(docs.batch(np.array([i])))[1][0]
        torch.testing.assert_close(vectors[i], alone / alone.norm())
    # They start label vectors, so they must be able to learn.
    vectors = nn.Parameter(vectors)
    vectors.square().sum().backward()
    assert vectors.grad is not None


def test_vector_of_one_document_can_learn():
    encoder, docs = Toy().encoder, make_data(1)[0]
    options = dict(batch_size=5, device="cpu", precision="fp32")
    vectors = nn.Parameter(encode(encoder, docs, **options))
    vectors.square().sum().backward()
    assert vectors.shape == (1, 4) and vectors.grad is not None


def test_out_of_memory_in_prediction():
    network = Toy()

    def ranked(batch, k):
        raise torch.OutOfMemoryError("CUDA out of memory")

    network.rank = ranked
    with pytest.raises(MemoryError, match="at batch_size=6: try batch_size=3"):
        ranked_by(network, make_data()[0], batch_size=6)
