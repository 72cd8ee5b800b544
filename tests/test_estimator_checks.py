"""The shared checks, that they can fail, and scikit-learn's own suite."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import (
    check_estimator,
    check_sample_weight_equivalence_on_dense_data,
    check_sample_weight_equivalence_on_sparse_data,
)
from sklearn.utils.validation import validate_data
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from skxmc import (
    GRankClassifier,
    GUDNClassifier,
    LightDXMLClassifier,
    LightXMLClassifier,
    TReaderXMLClassifier,
)
from skxmc._pretrained import count_layers
from skxmc._testing import random_states
from skxmc.estimator_checks import CHECKS, check_random_state, check_xmc_estimator
from skxmc.nn.search import has_hnswlib

TINY = dict(
    n_layers=1,
    max_epochs=2,
    batch_size=8,
    max_length=16,
    label_dim=8,
    validation_fraction=0.2,
    precision="fp32",
)
CLUSTERS = dict(max_leaf_size=2, n_shortlist=2, predict_shortlist=2)
# Labels of LightDXML that are classified; of 6 that there are.
FEW = dict(n_frequent=2, n_shortlist=2, predict_shortlist=2)
MULTI_HOT = dict(label_branch="multi-hot")
TINY_LIGHT = {
    name: value
    for name, value in TINY.items()
    if name not in ("n_layers", "max_length")
}
TINY_READER = TINY_LIGHT | dict(word_dim=8, n_heads=2, n_neighbors=3, min_df=1)


@pytest.mark.parametrize("classifier", [GRankClassifier, LightXMLClassifier])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_classifier_passes(classifier, check, tiny_encoder):
    check(classifier(tiny_encoder, **TINY))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_head_of_all_labels_passes(check, tiny_encoder):
    check(GRankClassifier(tiny_encoder, **TINY, head="all", n_negatives=None))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_lightdxml_passes(check):
    check(LightDXMLClassifier(**TINY_LIGHT))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_gudn_passes(check, tiny_encoder):
    check(GUDNClassifier(tiny_encoder, **TINY | MULTI_HOT))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_treaderxml_passes(check):
    check(TReaderXMLClassifier(**TINY_READER))


@pytest.mark.parametrize(
    "params",
    [
        CLUSTERS,
        dict(use_teacher=False, reading="full-masked", mask="upper", swa_start=0),
        dict(token_vectors=None, train_vectors=False, label_parents=None),
    ],
    ids=str,
)
def test_treaderxml_passes_in_other_modes(params):
    check_xmc_estimator(TReaderXMLClassifier(**TINY_READER | params))


@pytest.mark.parametrize(
    "params",
    [
        FEW,
        dict(n_frequent=0, token_vectors=None, label_init="random", swa_start=0),
        dict(n_frequent=0, n_random_negatives=2, beta="auto", refresh_every=1),
        pytest.param(
            FEW | dict(search="hnsw"),
            marks=pytest.mark.skipif(not has_hnswlib(), reason="needs hnswlib"),
        ),
    ],
    ids=str,
)
def test_lightdxml_passes_in_other_modes(params):
    check_xmc_estimator(LightDXMLClassifier(**TINY_LIGHT | params))


@pytest.mark.parametrize(
    "classifier, params",
    [
        (GRankClassifier, CLUSTERS),
        (GRankClassifier, dict(small_label_mode="dual", swa_start=0)),
        (LightXMLClassifier, CLUSTERS),
        (GUDNClassifier, CLUSTERS | MULTI_HOT),
        (GUDNClassifier, MULTI_HOT | dict(variant="paper", label_dim=16)),
        (GUDNClassifier, dict(feature_weight=0, link_weight=0)),
    ],
)
def test_classifier_passes_in_other_modes(classifier, params, tiny_encoder):
    check_xmc_estimator(classifier(tiny_encoder, **TINY | params))


# Estimators that break a promise, each caught by the check of that promise.


class DenseOutput(GRankClassifier):
    def predict_proba(self, X):
        proba = super().predict_proba(X)
        return proba.toarray() if sp.issparse(proba) else proba


class OtherContainer(GRankClassifier):
    def predict_proba(self, X):
        proba = super().predict_proba(X)
        return sp.csr_matrix(proba) if sp.issparse(proba) else proba


class NotReproducible(GRankClassifier):
    _calls = itertools.count()

    def fit(self, X, y):
        return self.set_params(random_state=next(self._calls)).fit_again(X, y)

    fit_again = GRankClassifier.fit


class MovesGlobalState(GRankClassifier):
    def fit(self, X, y):
        torch.manual_seed(3)
        return super().fit(X, y)


class SwallowsInterrupt(GRankClassifier):
    def fit(self, X, y):
        try:
            return super().fit(X, y)
        except KeyboardInterrupt:
            return self


class LosesInterrupted(GRankClassifier):
    def fit(self, X, y):
        try:
            return super().fit(X, y)
        except KeyboardInterrupt:
            del self.network_
            raise


class AcceptsMissingTexts(GRankClassifier):
    def _check_X(self, X, *, fitting=False):
        if isinstance(X, list):
            X = [text if isinstance(text, str) else "" for text in X]
        return super()._check_X(X, fitting=fitting)


class AcceptsCounts(GRankClassifier):
    def fit(self, X, y):
        return super().fit(X, (y > 0).astype(np.float32) if sp.issparse(y) else y)


class ChangesY(GRankClassifier):
    def fit(self, X, y):
        if sp.issparse(y):
            y.eliminate_zeros()
        return super().fit(X, y)


class ChangesParameters(GRankClassifier):
    def fit(self, X, y):
        self.top_k = 1
        return super().fit(X, y)


class LooksFitted(GRankClassifier):
    def fit(self, X, y):
        try:
            return super().fit(X, y)
        except RuntimeError:
            self.network_ = None
            raise


class WorstFirst(GRankClassifier):
    def predict_topk(self, X, k=5):
        ids, scores = super().predict_topk(X, k)
        return ids[:, ::-1].copy(), scores[:, ::-1].copy()


class CutsLabelTexts(GRankClassifier):
    def _check_fit(self, X, y):
        if self.label_texts is not None:
            n_labels = y.shape[1]
            self.label_texts = (list(self.label_texts) + n_labels * [""])[:n_labels]
        return super()._check_fit(X, y)


class ForgetsOnPickle(GRankClassifier):
    def __getstate__(self):
        return super().__getstate__() | {"calibration_": (1.0, 0.0)}


class WantsFiveLayers(GRankClassifier):
    def _count_layers(self, n_states):
        return count_layers("n_layers", self.n_layers or 5, 5, n_states)


class NeedsTwoDocuments(GRankClassifier):
    def _check_fit(self, X, y):
        X, Y = super()._check_fit(X, y)
        if Y.shape[0] < 2:
            raise ValueError("at least 2 documents are needed")
        return X, Y


class RanksBeyondTheLabels(GRankClassifier):
    def predict_topk(self, X, k=5):
        ids, scores = super().predict_topk(X, k)
        return ids + (self.n_labels_ == 2), scores


class IgnoresZeros(GRankClassifier):
    def fit(self, X, y, sample_weight=None):
        return super().fit(X, y)


class NeedsTwoFeatures(GRankClassifier):
    def _check_X(self, X, *, fitting=False):
        X = super()._check_X(X, fitting=fitting)
        if not self._texts and X.shape[1] < 2:
            raise ValueError("at least 2 features are needed")
        return X


@pytest.mark.parametrize(
    "broken, check",
    [
        (DenseOutput, "check_sparse_output"),
        (OtherContainer, "check_sparse_output"),
        (NotReproducible, "check_random_state"),
        (MovesGlobalState, "check_random_state"),
        (SwallowsInterrupt, "check_interruption"),
        (LosesInterrupted, "check_interruption"),
        (AcceptsMissingTexts, "check_bad_texts"),
        (AcceptsCounts, "check_bad_labels"),
        (ChangesY, "check_nothing_mutated"),
        (ChangesParameters, "check_nothing_mutated"),
        (LooksFitted, "check_failure"),
        (WorstFirst, "check_topk"),
        (CutsLabelTexts, "check_bad_parameters"),
        (ForgetsOnPickle, "check_pickle"),
        (WantsFiveLayers, "check_defaults"),
        (NeedsTwoDocuments, "check_small_texts"),
        (RanksBeyondTheLabels, "check_small_texts"),
        (NeedsTwoFeatures, "check_small_features"),
        (IgnoresZeros, "check_sample_weight"),
    ],
)
def test_a_broken_estimator_fails(broken, check, tiny_encoder):
    (run,) = (function for function in CHECKS if function.__name__ == check)
    with pytest.raises((AssertionError, AttributeError, NotFittedError, ValueError)):
        run(broken(tiny_encoder, **TINY))


def test_a_failure_names_the_check(tiny_encoder):
    with pytest.raises(AssertionError) as caught:
        check_xmc_estimator(OtherContainer(tiny_encoder, **TINY))
    (note,) = caught.value.__notes__
    assert note.startswith("OtherContainer, check_sparse_output: Fitted on a sparse y")


# scikit-learn's suite, as somebody would call it, and in other modes, where few epochs
# are to do and no documents are held out: it demands accuracy on a few dozen rows.

SUITE = dict(
    validation_fraction=0,
    dropout=0,
    batch_size=32,
    learning_rate=1e-2,
    random_state=0,
)
FAST = dict(batch_size=64, max_epochs=8, head_learning_rate=0.1)
FAST_LIGHT = dict(max_epochs=15, head_learning_rate=3e-2)
FAST_READER = dict(max_epochs=6, head_learning_rate=3e-2, word_dim=32, max_length=1000)


# Whole weights repeat documents to rounding if nothing depends on the order or on the
# number of the documents, and if sums are made in float64. Dropout, held-out documents,
# several batches, and the latent semantic analysis of few documents are ruled out.
EQUIVALENCE = {
    f"check_sample_weight_equivalence_on_{kind}_data": "see test_sample_weight.py"
    for kind in ("dense", "sparse")
}


def assert_passes_whole_suite(estimator, expected_failed_checks=None):
    results = check_estimator(
        estimator,
        on_skip=None,
        on_fail=None,
        expected_failed_checks=expected_failed_checks,
    )
    kept = [r for r in results if r["check_name"] not in (expected_failed_checks or {})]
    failed = {r["check_name"]: r["exception"] for r in kept if r["exception"]}
    assert not failed
    assert {r["status"] for r in kept} == {"passed"}
    assert len(results) >= 59  # scikit-learn 1.9; fewer would mean checks left out


@pytest.mark.parametrize(
    "classifier, params",
    [
        (GRankClassifier, {}),
        (LightXMLClassifier, {}),
        (LightDXMLClassifier, {}),
        (GUDNClassifier, {}),
        (TReaderXMLClassifier, dict(word_dim=32)),  # 300 take a minute
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_sklearn_suite_with_defaults(classifier, params, float32_cpu):
    # With dropout and held-out documents, weights do not repeat documents.
    assert_passes_whole_suite(classifier(max_epochs=3, **params), EQUIVALENCE)


@pytest.mark.parametrize(
    "classifier, params, failing",
    [
        (LightXMLClassifier, FAST | CLUSTERS, EQUIVALENCE),
        (LightDXMLClassifier, FAST_LIGHT | FEW, EQUIVALENCE),
        (GUDNClassifier, FAST | MULTI_HOT | dict(variant="paper"), {}),
        (TReaderXMLClassifier, FAST_READER, EQUIVALENCE),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
def test_sklearn_suite_on_features(classifier, params, failing):
    assert_passes_whole_suite(classifier(label_dim=32, **SUITE | params), failing)


@pytest.mark.parametrize(
    "classifier, params",
    [
        (GRankClassifier, {}),
        (GRankClassifier, dict(loss="bce", small_label_mode="dual")),
        (GRankClassifier, dict(head="all", n_negatives=None)),
        (LightXMLClassifier, {}),
        (LightXMLClassifier, dict(head="all")),
        (LightDXMLClassifier, dict(token_vectors=None)),
        (LightDXMLClassifier, dict(token_vectors=None, label_epochs=2) | FEW),
        (GUDNClassifier, MULTI_HOT),
        # Its input is standardised in float32, which more epochs would make visible.
        (
            TReaderXMLClassifier,
            dict(word_dim=32, token_vectors=None, label_init="random", max_epochs=2),
        ),
    ],
)
@pytest.mark.parametrize(
    "check",
    [
        check_sample_weight_equivalence_on_dense_data,
        check_sample_weight_equivalence_on_sparse_data,
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
def test_sklearn_finds_that_weights_repeat_documents(check, classifier, params):
    model = classifier(
        label_dim=32, **SUITE | dict(max_epochs=4, batch_size=64) | params
    )
    check(classifier.__name__, model)


# Width of a bin, bins on each side of 0, and columns that have words of their own.
STEP, N_BINS, N_COLUMNS = 0.5, 16, 32


class RendersRows:
    """Makes a classifier that reads rows as texts: a word for a column and its bin."""

    def _check_X(self, X, *, fitting=False):
        X = validate_data(self, X, accept_sparse="csr", reset=fitting)
        known = self._start and self._start.attributes["n_features_in_"]
        if fitting and known and X.shape[1] != known:
            name = type(self).__name__
            raise ValueError(
                f"X has {X.shape[1]} features, but {name} is expecting {known} "
                "features as input"
            )
        X = X.toarray() if sp.issparse(X) else X
        bins = np.rint(X / STEP).clip(-N_BINS, N_BINS).astype(int)
        texts = [" ".join(word(j, b) for j, b in enumerate(row)) for row in bins]
        return super()._check_X(texts, fitting=fitting)


class GRankOnRows(RendersRows, GRankClassifier):
    pass


class LightXMLOnRows(RendersRows, LightXMLClassifier):
    pass


class LightDXMLOnRows(RendersRows, LightDXMLClassifier):
    pass


def word(column, value):
    return f"f{column % N_COLUMNS}_{value}"


@pytest.fixture(scope="module")
def row_encoder(tmp_path_factory):
    """A random BERT of one layer whose words are columns with binned values."""
    values = range(-N_BINS, N_BINS + 1)
    words = [word(j, b) for j in range(N_COLUMNS) for b in values]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]
    ids = {token: i for i, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(pad="[PAD]", unk="[UNK]", cls="[CLS]", sep="[SEP]")
    names = {f"{name}_token": token for name, token in names.items()}
    folder = tmp_path_factory.mktemp("row-bert")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(ids),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=128,
        hidden_dropout_prob=0,
        attention_probs_dropout_prob=0,
    )
    BertModel(config).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    "classifier, params",
    [
        (GRankOnRows, dict(max_epochs=10, head_learning_rate=1e-2)),
        (LightXMLOnRows, dict(max_epochs=8, head_learning_rate=3e-2) | CLUSTERS),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
def test_sklearn_suite_on_texts(classifier, params, row_encoder):
    # Texts are read in float32 or bf16 by default, which differs from batch to batch.
    params = SUITE | params | dict(precision="fp64")
    model = classifier(row_encoder, n_layers=1, **params)
    assert_passes_whole_suite(model, EQUIVALENCE)


@pytest.mark.parametrize("params", [{}, FEW])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
def test_sklearn_suite_of_lightdxml_on_texts(params):
    params = SUITE | FAST_LIGHT | params | dict(precision="fp64")
    model = LightDXMLOnRows(label_dim=32, **params)
    assert_passes_whole_suite(model, EQUIVALENCE)


def test_checks_leave_the_random_generators_alone():
    before = random_states()
    check_random_state(LightDXMLClassifier(**TINY_LIGHT))
    assert random_states() == before
