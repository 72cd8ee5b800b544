"""Several processes that fit together, forked from the tests, and what they fit.

A fork has imported everything already, which takes seconds otherwise.
"""

import os
import pickle
import signal
import sys
import time
import traceback

import numpy as np
import pytest
import torch
import torch.distributed as dist
from sklearn.feature_extraction.text import CountVectorizer

import skxmc

# Seconds after which processes hang: they have some seconds' work.
PATIENCE = 60.0


class Processes:
    """Processes of one group.

    Parameters
    ----------
    n : int
    function : callable
        ``function(rank)``, which returns something that can be pickled.
    folder : Path
        Folder for what the processes return.
    """

    def __init__(self, n, function, folder):
        self.folder = folder
        folder.mkdir()
        sys.stdout.flush()
        self.ids = [self._fork(rank, n, function) for rank in range(n)]

    def _fork(self, rank, n, function):
        child = os.fork()
        if child:
            return child
        status = 1
        try:
            torch.set_num_threads(1)
            store = dist.FileStore(str(self.folder / "store"), n)
            dist.init_process_group("gloo", store=store, rank=rank, world_size=n)
            found = function(rank)
            (self.folder / f"{rank}.pickle").write_bytes(pickle.dumps(found))
            if dist.is_initialized():  # else a process closes what another still reads
                dist.barrier()
            status = 0
        except BaseException:
            (self.folder / f"{rank}.error").write_text(traceback.format_exc())
        finally:
            os._exit(status)

    def wait(self):
        """Return the exit status of each process; those that hang are killed."""
        end, status = time.monotonic() + PATIENCE, {}
        while len(status) < len(self.ids):
            for child in set(self.ids) - set(status):
                ended, code = os.waitpid(child, os.WNOHANG)
                if ended:
                    status[child] = os.waitstatus_to_exitcode(code)
            if time.monotonic() > end:
                for child in set(self.ids) - set(status):
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                    status[child] = "hangs"
            time.sleep(0.01)
        return [status[child] for child in self.ids]

    def errors(self):
        """Return the traceback of each process that has failed, by its number."""
        found = self.folder.glob("*.error")
        return {int(path.stem): path.read_text() for path in found}

    def results(self):
        """Return what the processes returned, one after the other."""
        status = self.wait()
        assert status == [0] * len(status), (status, self.errors())
        paths = (self.folder / f"{rank}.pickle" for rank in range(len(self.ids)))
        return [pickle.loads(path.read_bytes()) for path in paths]


COMMON = dict(
    max_epochs=2,
    batch_size=8,
    learning_rate=1e-2,
    head_learning_rate=1e-2,
    dropout=0.0,
    validation_fraction=0.1,
    precision="fp64",
    device="cpu",
    random_state=0,
)
TEXTS = dict(n_layers=1, max_length=16, bag_of_words=False, trained_layers="all")
NAMES = dict(label_reinforcement=None)
WORDS = dict(word_dim=16, min_df=1, train_vectors=False)
GRANK = TEXTS | dict(n_negatives=None, label_learning_rate=None)
# The defaults, which train word vectors and the labels of the best scores.
BEST = dict(n_layers=1, max_length=16, n_negatives=3)
MANNERS = dict(accumulate=2, clip_norm=0.5, swa_start=0.3, swa_every=2)
CASES = {
    "GRank": ("GRankClassifier", GRANK),
    "GRank, read once": (
        "GRankClassifier",
        GRANK | dict(trained_layers=0, batch_size=4),
    ),
    "GRank, all labels": (
        "GRankClassifier",
        GRANK | dict(head="all", accumulate=2, clip_norm=0.5, swa_start=0.3),
    ),
    "GRank, all labels by BCE": (
        "GRankClassifier",
        GRANK | dict(head="all", loss="bce", label_learning_rate=0.03),
    ),
    "LightXML": (
        "LightXMLClassifier",
        TEXTS
        | dict(accumulate=3, clip_norm=0.5, swa_start=0.3, swa_every=2)
        | dict(gradient_checkpointing=True),
    ),
    "LightXML, all labels": (
        "LightXMLClassifier",
        TEXTS | dict(head="all", head_optimizer="adamw", early_stopping=True),
    ),
    "GUDN": ("GUDNClassifier", TEXTS | NAMES),
    "GUDN, all labels": ("GUDNClassifier", TEXTS | NAMES | dict(head="all")),
    "GRank, defaults": ("GRankClassifier", BEST),
    "GRank, defaults, all labels": ("GRankClassifier", BEST | dict(head="all")),
    "GRank, best labels by AdamW": (
        "GRankClassifier",
        BEST | MANNERS | dict(label_learning_rate=None, batch_size=5),
    ),
    "GRank, best of all labels by AdamW": (
        "GRankClassifier",
        BEST | MANNERS | dict(label_learning_rate=None, head="all"),
    ),
    "GRank, best labels by BCE": (
        "GRankClassifier",
        BEST | dict(head="all", loss="bce", trained_layers=1, n_layers=2),
    ),
    "LightXML, words": ("LightXMLClassifier", TEXTS | dict(bag_of_words=True)),
    "LightXML, features": (
        "LightXMLClassifier",
        MANNERS | dict(batch_size=3, label_init="random"),
    ),
    "GRank, features": ("GRankClassifier", BEST | dict(head="all")),
    "GUDN, words": ("GUDNClassifier", TEXTS | NAMES | dict(bag_of_words=True)),
    "GUDN, labels": ("GUDNClassifier", TEXTS | dict(label_branch="multi-hot")),
    "GUDN, features alone": (
        "GUDNClassifier",
        TEXTS
        | dict(label_branch="multi-hot", stop_gradient_labels=True, link_weight=0),
    ),
    "GUDN, links alone": (
        "GUDNClassifier",
        TEXTS | NAMES | dict(variant="paper", feature_weight=0),
    ),
    "TReaderXML, trained words": (
        "TReaderXMLClassifier",
        WORDS | dict(train_vectors=True, batch_size=5),
    ),
    "TReaderXML": ("TReaderXMLClassifier", WORDS),
    "TReaderXML, all labels": ("TReaderXMLClassifier", WORDS | dict(head="all")),
}


def make(case, encoder, names, **options):
    name, own = CASES[case]
    system = getattr(skxmc, name)
    own = COMMON | own | options
    if "encoder" in system().get_params():
        own["encoder"] = encoder
    if name == "GUDNClassifier":
        # Batches differ in how many of their documents have a label with a name.
        own["label_texts"] = names[:2] + [""] * (len(names) - 2)
    return system(**own)


def documents(case, texts):
    """The texts as the case takes them."""
    return CountVectorizer().fit_transform(texts) if "features" in case else texts


def outcome(model, texts):
    """What a fit comes to: its history, and rankings with their probabilities."""
    probabilities = model.predict_proba(texts).toarray()
    return model.history_, probabilities, model.calibration_


def assert_close(found, expected):
    history, probabilities, calibration = found
    assert len(history) == len(expected[0])
    for one, other in zip(history, expected[0], strict=True):
        # Losses are added up, and documents' vectors are kept, in float32.
        assert one == pytest.approx(other, rel=1e-6)
    np.testing.assert_allclose(probabilities, expected[1], rtol=0, atol=1e-6)
    assert calibration == pytest.approx(expected[2], rel=1e-6, abs=1e-7)
