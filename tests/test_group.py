"""Fits that several processes share, beside those of one process."""

import itertools

import numpy as np
import pytest
from group_processes import Processes

import skxmc

COMMON = dict(
    max_epochs=3,
    batch_size=8,
    learning_rate=1e-2,
    head_learning_rate=1e-2,
    dropout=0.0,
    validation_fraction=0.1,
    precision="fp32",
    device="cpu",
    random_state=0,
)
TEXTS = dict(n_layers=1, max_length=16, bag_of_words=False, trained_layers="all")
GRANK = TEXTS | dict(n_negatives=None, label_learning_rate=None)
CASES = {
    "GRank": ("GRankClassifier", GRANK),
    "GRank, all labels": ("GRankClassifier", GRANK | dict(head="all")),
}


def make(case, encoder, names, **options):
    name, own = CASES[case]
    system = getattr(skxmc, name)
    own = COMMON | own | options
    if "encoder" in system().get_params():
        own["encoder"] = encoder
    if name == "GUDNClassifier":
        own["label_texts"] = names
    return system(**own)


def outcome(model, texts):
    """What a fit comes to: its history, and rankings with their probabilities."""
    probabilities = model.predict_proba(texts).toarray()
    return model.history_, probabilities, model.calibration_


def assert_close(found, expected, tolerance=1e-5):
    history, probabilities, calibration = found
    assert len(history) == len(expected[0])
    for one, other in zip(history, expected[0], strict=True):
        assert one == pytest.approx(other, rel=tolerance, abs=tolerance)
    np.testing.assert_allclose(probabilities, expected[1], rtol=0, atol=10 * tolerance)
    assert calibration == pytest.approx(expected[2], rel=1e-2)


@pytest.fixture
def start(tmp_path):
    numbers = itertools.count()

    def start(n, function):
        return Processes(n, function, tmp_path / f"group-{next(numbers)}")

    return start


@pytest.mark.parametrize("n", [2, 3])
def test_fits_as_one_process(n, tiny_encoder, colours, start):
    texts, Y, names = colours

    def fit(rank):
        found = {}
        for case in CASES:
            model = make(case, tiny_encoder, names).fit(texts, Y)
            found[case] = outcome(model, texts)
        return found

    found = start(n, fit).results()
    for case in CASES:
        expected = outcome(make(case, tiny_encoder, names).fit(texts, Y), texts)
        for each in found:
            assert_close(each[case], expected)
