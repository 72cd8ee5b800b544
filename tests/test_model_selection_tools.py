"""Searches, pipelines and routing on sparse labels, and their memory."""

import subprocess
import sys
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from model_selection_examples import METHODS, Frequent, by_hand, dense, quick, rows_of
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import randint
from sklearn import model_selection as sk
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.fixes import parse_version

from skxmc import LightDXMLClassifier
from skxmc import model_selection as ours
from skxmc.datasets import make_xmc
from skxmc.metrics import ranking_report_scorer, ranking_scorer
from skxmc.model_selection import MultilabelKFold, MultilabelShuffleSplit

# At home in scikit-learn


def assert_searched(search, texts, Y):
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert type(search.best_estimator_.predict_proba(texts)) is type(Y)
    got, expected = (m.predict_proba(texts) for m in (search, search.best_estimator_))
    assert_array_equal(got.toarray(), expected.toarray())


def test_grid_search(colours):
    texts, Y, _ = colours
    scorer = ranking_report_scorer(ks=(1, 5))
    grid = {"max_epochs": [1, 6], "beta": [0.3, 0.7]}
    search = GridSearchCV(
        quick(),
        grid,
        scoring=scorer,
        refit="PSP@5",
        cv=MultilabelKFold(3),
        error_score="raise",
    )
    search.fit(texts, Y)
    results = search.cv_results_
    means = results["mean_test_PSP@5"]
    assert search.best_score_ == means.max() > means.min()
    splits = list(MultilabelKFold(3).split(texts, Y))
    for i, params in enumerate(results["params"]):
        for j, parts in enumerate(by_hand(quick(**params), texts, Y, splits)):
            for name, value in scorer(*parts).items():
                assert results[f"split{j}_test_{name}"][i] == value
    expected = quick(**search.best_params_).fit(texts, Y).predict_topk(texts)
    assert_array_equal(search.best_estimator_.predict_topk(texts)[0], expected[0])
    assert search.score(texts, Y) == scorer(search.best_estimator_, texts, Y)["PSP@5"]


def test_randomized_search(colours):
    texts, Y, _ = colours
    search = RandomizedSearchCV(
        quick(),
        {"max_epochs": randint(1, 4), "beta": [0.3, 0.7]},
        n_iter=3,
        scoring=ranking_scorer("ndcg", 3),
        cv=MultilabelShuffleSplit(2, random_state=0),
        random_state=0,
        error_score="raise",
    )
    assert_searched(search.fit(texts, Y), texts, Y)


@pytest.mark.parametrize("resource", ["n_samples", "max_epochs"])
def test_halving_search(resource, colours):
    texts, Y, _ = colours
    search = sk.HalvingGridSearchCV(
        quick(),
        {"beta": [0.3, 0.7], "label_dim": [4, 8]},
        factor=2,
        resource=resource,
        min_resources=20 if resource == "n_samples" else 1,
        max_resources=40 if resource == "n_samples" else 2,
        scoring=ranking_scorer("precision", 3),
        cv=MultilabelKFold(2),
        random_state=0,
        error_score="raise",
    )
    search.fit(texts, Y)
    assert search.n_iterations_ == 2 and search.n_candidates_ == [4, 2]
    assert_searched(search, texts, Y)


def test_pipeline_with_memory(tmp_path, colours):
    texts, Y, _ = colours
    steps = [("tfidf", TfidfVectorizer()), ("model", quick())]
    plain, cached = Pipeline(steps), Pipeline(steps, memory=str(tmp_path))
    for _ in range(2):
        got, expected = (
            ours.cross_val_predict(m, texts, Y, cv=2, method="predict_proba")
            for m in (cached, plain)
        )
        assert_array_equal(got.toarray(), expected.toarray())
    assert any(tmp_path.rglob("output.pkl"))
    search = GridSearchCV(cached, {"model__max_epochs": [1, 2]}, cv=MultilabelKFold(2))
    assert_searched(search.fit(texts, Y), texts, Y)


def test_column_of_a_table(colours):
    texts, Y, _ = colours
    table = pd.DataFrame({"text": texts, "length": np.linspace(0, 1, 60)})
    columns = ColumnTransformer(
        [("tfidf", TfidfVectorizer(), "text"), ("rest", "passthrough", ["length"])]
    )
    model = make_pipeline(columns, quick())
    scores = ours.cross_val_score(model, table, Y, cv=MultilabelKFold(3))
    X = sp.hstack([TfidfVectorizer().fit_transform(texts), table[["length"]]], "csr")
    expected = ours.cross_val_predict(quick(), X, Y, cv=2, method="predict_proba")
    assert len(scores) == 3 and expected.shape == (60, 12)
    fitted = model.fit(table, Y)
    got = quick().fit(X, Y).predict_proba(X).toarray()
    assert_array_equal(fitted.predict_proba(table).toarray(), got)
    # The column itself, too.
    scores = ours.cross_val_score(quick(), table["text"], Y, cv=3)
    assert_array_equal(scores, ours.cross_val_score(quick(), texts, Y, cv=3))


def test_union_of_vectorizers(colours):
    texts, Y, _ = colours
    letters = TfidfVectorizer(analyzer="char", ngram_range=(2, 3))
    union = make_union(TfidfVectorizer(), letters)
    X = union.fit_transform(texts)
    model = make_pipeline(union, quick()).fit(texts, Y)
    expected = quick().fit(X, Y).predict_proba(X).toarray()
    assert_array_equal(model.predict_proba(texts).toarray(), expected)
    assert len(ours.cross_val_score(model, texts, Y, cv=2)) == 2


def test_nested_parameters(colours):
    texts, Y, _ = colours
    model = Pipeline([("tfidf", TfidfVectorizer()), ("model", quick())])
    assert model.get_params()["model__max_epochs"] == 2
    model.set_params(model__max_epochs=1, tfidf__sublinear_tf=True)
    assert model.fit(texts, Y)[-1].n_iter_ == 1
    with pytest.raises(ValueError, match="no_such"):
        model.set_params(model__no_such=1)
    grid = {"tfidf__use_idf": [True, False], "model": [quick(), quick(beta=0.3)]}
    search = GridSearchCV(model, grid, cv=2, scoring=ranking_scorer("psp", 3))
    assert_searched(search.fit(texts, Y), texts, Y)


def test_frozen_estimator(colours):
    texts, Y, _ = colours
    model = quick().fit(texts, Y)
    frozen = FrozenEstimator(model)
    splits = list(MultilabelKFold(3).split(texts, Y))
    for scoring in (None, ranking_scorer("psp", 3)):
        got = ours.cross_val_score(
            frozen, texts, Y, cv=MultilabelKFold(3), scoring=scoring
        )
        parts = [(model, rows_of(texts, test), Y[test]) for _, test in splits]
        score = LightDXMLClassifier.score if scoring is None else scoring
        assert_array_equal(got, [score(*part) for part in parts])
    proba = ours.cross_val_predict(frozen, texts, Y, cv=3, method="predict_proba")
    assert_allclose(proba.toarray(), model.predict_proba(texts).toarray(), rtol=1e-5)
    ids, _ = ours.cross_val_predict(frozen, texts, Y, cv=3, method="predict_topk")
    assert_array_equal(ids, model.predict_topk(texts)[0])
    vectors = FrozenEstimator(TfidfVectorizer().fit(texts))
    scores = ours.cross_val_score(make_pipeline(vectors, quick()), texts, Y, cv=2)
    assert np.isfinite(scores).all()


def test_sample_weight_is_routed_to_score(colours):
    texts, Y, _ = colours
    weights = np.arange(60) % 7
    cv = MultilabelKFold(3)
    expected, plain = [], []
    for train, test in cv.split(texts, Y):
        fitted = quick().fit(rows_of(texts, train), Y[train])
        part = rows_of(texts, test), Y[test]
        expected.append(fitted.score(*part, sample_weight=weights[test]))
        plain.append(fitted.score(*part))
    assert expected != plain
    with sklearn.config_context(enable_metadata_routing=True):
        last = quick().set_score_request(sample_weight=True)
        last.set_fit_request(sample_weight=False)
        pipeline = Pipeline([("nothing", FunctionTransformer()), ("model", last)])
        # Of older versions no pipeline hands them on.
        newer = parse_version(sklearn.__version__) >= parse_version("1.9")
        for model in (last, pipeline) if newer else (last,):
            got = ours.cross_val_score(
                model, texts, Y, cv=cv, params=dict(sample_weight=weights)
            )
            assert_array_equal(got, expected)
            grid = {"beta" if model is last else "model__beta": [0.5]}
            search = GridSearchCV(model, grid, cv=cv, error_score="raise")
            search.fit(texts, Y, sample_weight=weights)
            got = [search.cv_results_[f"split{i}_test_score"][0] for i in range(3)]
            assert_array_equal(got, expected)
        # Nothing is guessed: neither fit nor score says whether it wants them.
        for scoring in (None, ranking_scorer("psp", 3)):
            with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
                ours.cross_val_score(
                    quick(),
                    texts,
                    Y,
                    scoring=scoring,
                    params=dict(sample_weight=weights),
                )


def test_metadata_routing_changes_nothing_else(colours):
    texts, Y, _ = colours
    scorer = ranking_report_scorer(ks=(1, 3))
    model = make_pipeline(TfidfVectorizer(), quick())
    options = dict(cv=MultilabelKFold(2), scoring=scorer)
    grid = {"lightdxmlclassifier__max_epochs": [1, 2]}
    results, predicted = [], []
    for enabled in (True, False):
        with sklearn.config_context(enable_metadata_routing=enabled):
            search = GridSearchCV(
                model, grid, refit="PSP@3", error_score="raise", **options
            )
            results.append(search.fit(texts, Y).cv_results_["mean_test_PSP@3"])
            results.append(ours.cross_validate(model, texts, Y, **options)["test_P@1"])
            for method in METHODS:
                predicted.append(
                    ours.cross_val_predict(model, texts, Y, cv=2, method=method)
                )
            predicted += ours.cross_val_predict(
                quick(), texts, Y, cv=2, method="predict_topk", k=3
            )
    for one, two in zip(results[:2], results[2:], strict=True):
        assert_array_equal(one, two)
    for one, two in zip(predicted[:5], predicted[5:], strict=True):
        assert_array_equal(dense(one), dense(two))


def test_groups_are_routed(colours):
    texts, Y, _ = colours
    groups = np.arange(60) % 4
    expected = ours.cross_val_predict(
        quick(),
        texts,
        Y,
        cv=list(sk.GroupKFold(2).split(texts, Y, groups)),
        method="predict_topk",
    )
    for enabled in (True, False):
        given = dict(params={"groups": groups}) if enabled else dict(groups=groups)
        with sklearn.config_context(enable_metadata_routing=enabled):
            got = ours.cross_val_predict(
                quick(), texts, Y, cv=sk.GroupKFold(2), method="predict_topk", **given
            )
        assert_array_equal(got[0], expected[0])
        assert_array_equal(got[1], expected[1])


# Memory


@pytest.fixture(scope="module")
def wide():
    """3,000 documents for 100,000 labels: 300 MB at a byte a score."""
    Y = make_xmc(3000, 100_000, kind="features", words_per_doc=1, random_state=0).Y
    return ["text"] * 3000, Y


def search_wide(texts, Y):
    search = GridSearchCV(
        Frequent(),
        {"n_best": [5, 10]},
        cv=MultilabelKFold(3),
        scoring=ranking_report_scorer(),
        refit="PSP@5",
        error_score="raise",
    )
    return search.fit(texts, Y).predict_proba(texts)


def letters():
    return TfidfVectorizer(analyzer="char")


def search_halving(X, Y):
    search = sk.HalvingGridSearchCV(
        Frequent(),
        {"n_best": [5, 6, 7]},
        min_resources=500,
        cv=MultilabelKFold(2),
        error_score="raise",
    )
    return search.fit(X, Y).predict_proba(X)


def search_randomly(X, Y):
    search = RandomizedSearchCV(
        Frequent(), {"n_best": randint(5, 9)}, n_iter=2, cv=MultilabelKFold(2)
    )
    return search.fit(X, Y).predict_proba(X)


def score_cached(X, Y):
    with TemporaryDirectory() as folder:
        model = make_pipeline(letters(), Frequent(), memory=folder)
        return ours.cross_val_score(model, X, Y, cv=3)


def score_column(X, Y):
    column = ColumnTransformer([("letters", letters(), "text")])
    table = pd.DataFrame({"text": X})
    return ours.cross_val_score(make_pipeline(column, Frequent()), table, Y, cv=3)


def score_union(X, Y):
    model = make_pipeline(make_union(letters(), letters()), Frequent())
    return ours.cross_val_score(model, X, Y, cv=3)


def score_weighted(X, Y):
    with sklearn.config_context(enable_metadata_routing=True):
        model = Frequent().set_score_request(sample_weight=True)
        params = dict(sample_weight=np.ones(len(X)))
        return ours.cross_val_score(model, X, Y, cv=3, params=params)


@pytest.mark.parametrize(
    "call",
    [
        search_wide,
        search_randomly,
        search_halving,
        score_cached,
        score_column,
        score_union,
        score_weighted,
        lambda X, Y: ours.cross_validate(
            Frequent(),
            X,
            Y,
            cv=3,
            scoring=ranking_report_scorer(),
            return_train_score=True,
        ),
        lambda X, Y: ours.cross_val_predict(
            Frequent(), X, Y, cv=MultilabelKFold(3), method="predict_proba"
        ),
        lambda X, Y: ours.cross_val_predict(
            Frequent(), X, Y, cv=3, method="predict_topk"
        ),
        lambda X, Y: ours.cross_val_predict(
            FrozenEstimator(Frequent().fit(X, Y)), X, Y, cv=3, method="predict_proba"
        ),
        lambda X, Y: ours.learning_curve(
            Frequent(), X, Y, cv=3, train_sizes=[0.5, 1.0], error_score="raise"
        ),
        lambda X, Y: ours.validation_curve(
            Frequent(), X, Y, cv=3, param_name="n_best", param_range=[5, 9]
        ),
    ],
    ids=[
        "grid search",
        "randomized search",
        "halving search",
        "pipeline",
        "column",
        "union",
        "sample_weight",
        "cross_validate",
        "predict_proba",
        "predict_topk",
        "frozen",
        "learning curve",
        "validation curve",
    ],
)
def test_no_dense_array(call, wide):
    tracemalloc.start()
    try:
        call(*wide)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100e6


# tracemalloc does not see what torch holds.
WIDE_SEARCH = """
import sys
from pathlib import Path
import numpy as np, scipy.sparse as sp, torch
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.model_selection import GridSearchCV
from skxmc import GRankClassifier
from skxmc.datasets import make_xmc
from skxmc.metrics import ranking_report_scorer
from skxmc.model_selection import MultilabelKFold, cross_val_predict

def peak():
    # In MB, of this process alone: getrusage counts that which started it.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000

torch.set_num_threads(1)
X = sp.csr_array(np.random.default_rng(0).random((3000, 8)))
Y = make_xmc(3000, 100_000, kind="features", words_per_doc=1, random_state=0).Y
model = GRankClassifier(
    label_dim=4,
    max_epochs=1,
    batch_size=256,
    max_leaf_size=100,
    n_shortlist=2,
    predict_shortlist=2,
    validation_fraction=0,
    random_state=0,
)
model.fit(X, Y).predict_topk(X[:9])
before = peak()
if sys.argv[1] == "dense":
    torch.ones(3000, 100_000, dtype=torch.bool)
search = GridSearchCV(
    model,
    {"head_learning_rate": [1e-3, 1e-2]},
    cv=MultilabelKFold(2),
    scoring=ranking_report_scorer(),
    refit="PSP@5",
    error_score="raise",
)
search.fit(X, Y)
proba = cross_val_predict(model, X, Y, cv=2, method="predict_proba")
assert proba.shape == (3000, 100_000) and proba.nnz == 3000 * model.top_k
print(peak() - before)
"""


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_memory_of_a_search(kind):
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    done = subprocess.run(
        [sys.executable, "-c", WIDE_SEARCH, kind],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (float(done.stdout) < 200) == (kind == "sparse")
