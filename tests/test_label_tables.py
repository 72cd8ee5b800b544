"""Labels in tables and columns of pandas, polars and pyarrow, wherever y goes."""

import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from sklearn.model_selection import GridSearchCV

from skxmc import EnsembleClassifier, GRankClassifier
from skxmc._validation import check_labels, encode_labels
from skxmc.metrics import (
    precision_at_1_scorer,
    precision_at_k,
    propensity,
    psp_at_1_scorer,
    ranking_report,
)
from skxmc.model_selection import (
    MultilabelKFold,
    MultilabelShuffleSplit,
    cross_val_predict,
    cross_val_score,
)

DENSE = (np.random.default_rng(0).random((40, 6)) < 0.4).astype(np.int64)
DENSE[:2] = np.eye(6, dtype=int)[:2]
X = sp.csr_array(DENSE @ np.random.default_rng(1).random((6, 9)), dtype=np.float32)
FRAME = pd.DataFrame(DENSE, columns=list("abcdef"), index=np.arange(40)[::-1])


def as_type(dtype):
    return lambda frame: frame.astype(dtype)


def with_two_levels(frame):
    columns = pd.MultiIndex.from_product([["x", "y"], [1, 2, 3]])
    return frame.set_axis(columns, axis=1)


def of_many_types(frame):
    types = ["Int64", "boolean", bool, np.float32, object, "int8[pyarrow]"]
    return frame.astype(dict(zip(frame.columns, types, strict=True)))


def polars_of_many_types(frame):
    types = [pl.Boolean, pl.Int8, pl.UInt64, pl.Float32, pl.Boolean, pl.Int64]
    schema = dict(zip(frame.columns, types, strict=True))
    return pl.DataFrame({n: pl.Series(frame[n]).cast(t) for n, t in schema.items()})


TABLES = {
    "Int64": as_type("Int64"),
    "boolean": as_type("boolean"),
    "Float32": as_type("Float32"),
    "arrow": as_type("int64[pyarrow]"),
    "arrow bool": as_type("bool[pyarrow]"),
    "object": as_type(object),
    "category": as_type("category"),
    "two types": as_type({"a": bool}),
    "many types": of_many_types,
    "two levels": with_two_levels,
    "two levels, Int64": lambda frame: with_two_levels(frame).astype("Int64"),
    "polars": pl.DataFrame,
    "polars bool": lambda frame: pl.DataFrame(frame.astype(bool)),
    "polars, many types": polars_of_many_types,
    "pyarrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "pyarrow bool": lambda frame: pa.Table.from_pandas(
        frame.astype(bool), preserve_index=False
    ),
    "rows": lambda frame: frame.astype(object).to_numpy().tolist(),
    "column of lists": lambda frame: pd.Series(frame.to_numpy().tolist()),
    "column of arrays": lambda frame: pl.Series(frame.to_numpy()),
    "masked": lambda frame: np.ma.array(frame.to_numpy(), mask=False),
}
SPARSE = {
    "int": as_type(pd.SparseDtype(int, 0)),
    "bool": as_type(pd.SparseDtype(bool, False)),
    "1 not stored": as_type(pd.SparseDtype(int, 1)),
    "with dense columns": as_type({"a": pd.SparseDtype(float, 0), "b": "Int64"}),
    "two levels": lambda frame: with_two_levels(frame).astype(pd.SparseDtype(int, 0)),
}


@pytest.mark.parametrize("form", TABLES)
def test_tables_of_labels(form):
    Y, classes, kind = check_labels(TABLES[form](FRAME))
    assert kind == "dense"
    assert_array_equal(Y.toarray(), DENSE)
    assert_array_equal(classes, np.arange(6))


@pytest.mark.parametrize("form", SPARSE)
def test_sparse_tables_of_labels(form):
    Y, _, kind = check_labels(SPARSE[form](FRAME))
    assert kind == "sparse" and Y.nnz == DENSE.sum()
    assert_array_equal(Y.toarray(), DENSE)


def test_sparse_tables_are_never_dense():
    Y = sp.random_array((2000, 5000), density=1e-4, rng=0, format="csr")
    Y.data[:] = 1
    frame = pd.DataFrame.sparse.from_spmatrix(Y)
    tracemalloc.start()
    got = check_labels(frame)[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (got != Y).nnz == 0
    assert peak < 10e6  # 40 MB as dense float32; 16 bytes a stored value


@pytest.fixture(scope="module")
def params():
    return dict(
        label_dim=8,
        max_epochs=2,
        validation_fraction=0,
        head_learning_rate=0.03,
        random_state=0,
        precision="fp32",
    )


@pytest.fixture(scope="module")
def fitted(params):
    return GRankClassifier(**params).fit(X, DENSE)


@pytest.mark.parametrize("form", ["Int64", "two levels", "polars bool", "many types"])
def test_tables_wherever_y_goes(form, fitted, params):
    y = TABLES[form](FRAME)
    model = GRankClassifier(**params)
    ids = fitted.predict_topk(X, k=6)[0]
    assert_array_equal(model.fit(X, y).predict_topk(X, k=6)[0], ids)
    assert_array_equal(model.predict(X), fitted.predict(X))
    assert model.score(X, y) == fitted.score(X, DENSE)
    weights = np.arange(40)
    assert model.score(X, y, weights) == fitted.score(X, DENSE, weights)
    assert model.label_lists(y) == fitted.label_lists(DENSE)

    assert precision_at_k(y, ids, 3) == precision_at_k(DENSE, ids, 3)
    assert ranking_report(y, ids) == ranking_report(DENSE, ids)
    assert_array_equal(propensity(y), propensity(DENSE))
    for scorer in (precision_at_1_scorer, psp_at_1_scorer):
        assert scorer(fitted, X, y) == scorer(fitted, X, DENSE)
    for splitter in (MultilabelKFold(3), MultilabelShuffleSplit(3, random_state=0)):
        for one, other in zip(
            splitter.split(X, y), splitter.split(X, DENSE), strict=True
        ):
            assert_array_equal(one[0], other[0])
            assert_array_equal(one[1], other[1])


def test_tables_in_searches(params):
    y, model = FRAME.astype("Int64"), GRankClassifier(**params)
    options = dict(cv=MultilabelKFold(2), scoring=precision_at_1_scorer)
    expected = cross_val_score(model, X, DENSE, **options)
    assert_array_equal(cross_val_score(model, X, y, **options), expected)
    assert_array_equal(
        cross_val_predict(model, X, y, cv=2), cross_val_predict(model, X, DENSE, cv=2)
    )
    search = GridSearchCV(model, {"label_dim": [8]}, **options).fit(X, y)
    assert search.best_score_ == expected.mean()
    members = [("a", model)]
    ensemble = EnsembleClassifier(members).fit(X, y)
    assert ensemble.score(X, y) == model.fit(X, DENSE).score(X, DENSE)


def test_tables_in_searches_of_scikit_learn(params):
    model = GRankClassifier(**params)
    expected = GridSearchCV(model, {"label_dim": [8]}, cv=2).fit(X, DENSE)
    for form in ("Int64", "two levels", "many types", "polars bool", "pyarrow"):
        y = TABLES[form](FRAME)
        search = GridSearchCV(model, {"label_dim": [8]}, cv=2).fit(X, y)
        assert search.best_score_ == expected.best_score_


def test_metrics_of_one_label():
    column = FRAME[["a"]].astype("Int64")
    ids = np.zeros((40, 1), int)
    assert precision_at_k(column, ids, 1) == DENSE[:, 0].mean()


# ------------------------------------------------------------ what is missing


def without(frame, row, column, value):
    frame = frame.copy()
    frame.iloc[row, column] = value
    return frame


@pytest.mark.parametrize(
    "y",
    [
        without(FRAME.astype("Int64"), 7, 4, pd.NA),
        without(FRAME.astype("boolean"), 7, 4, pd.NA),
        without(FRAME.astype("bool[pyarrow]"), 7, 4, pd.NA),
        without(FRAME.astype(object), 7, 4, None),
        without(FRAME.astype(object), 7, 4, pd.NaT),
        without(FRAME.astype(float), 7, 4, np.nan),
        without(FRAME.astype("category"), 7, 4, np.nan),
        without(of_many_types(FRAME), 7, 4, None),
        without(with_two_levels(FRAME).astype("Int64"), 7, 4, pd.NA),
        without(FRAME.astype(float), 7, 4, np.nan).astype(pd.SparseDtype(float, 0)),
        without(FRAME.astype(float), 7, 4, np.nan).astype(pd.SparseDtype(float)),
        pl.DataFrame(without(FRAME.astype("Int64"), 7, 4, pd.NA)),
        pl.DataFrame(without(FRAME.astype("boolean"), 7, 4, pd.NA)),
        pa.Table.from_pandas(
            without(FRAME.astype("Int64"), 7, 4, pd.NA), preserve_index=False
        ),
        without(FRAME.astype(object), 7, 4, None).to_numpy().tolist(),
        np.ma.array(DENSE, mask=np.arange(240).reshape(40, 6) == 7 * 6 + 4),
    ],
    ids=lambda y: type(y).__name__,
)
def test_place_of_what_is_missing(y, fitted):
    for function in (
        lambda: check_labels(y),
        lambda: fitted.score(X, y),
        lambda: precision_at_k(y, np.zeros((40, 1), int), 1),
        lambda: precision_at_1_scorer(fitted, X, y),
        lambda: list(MultilabelKFold(2).split(X, y)),
    ):
        with pytest.raises(ValueError, match="(?i)nan.* in row 7, column 4"):
            function()


@pytest.mark.parametrize("value", [2, 0.5, "1"])
def test_place_of_what_is_no_label(value):
    frame = without(FRAME.astype(object), 7, 4, value)
    tables = [frame, frame.to_numpy()]
    if not isinstance(value, str):
        tables += [frame.to_numpy().tolist(), pl.DataFrame(frame.astype(float))]
        tables += [sp.csr_array(frame.to_numpy().astype(float))]
    for y in tables:
        for function in (check_labels, lambda y: precision_at_k(y, DENSE[:, :1], 1)):
            message = f"0 and 1 only, got {value}.* in row 7, column 4"
            with pytest.raises(ValueError, match=message):
                function(y)


def test_score_looks_at_the_values(fitted):
    for weights in (None, np.ones(40)):
        with pytest.raises(ValueError, match="y must hold 0 and 1 only, got 2"):
            fitted.score(X, FRAME * 2, weights)


NAMES = ["b", "a", "c", "a"]


@pytest.mark.parametrize(
    "y",
    [
        pd.Series(NAMES),
        pd.Series(NAMES, dtype=object),
        pd.Series(NAMES, dtype="string"),
        pd.Series(NAMES, dtype="string[pyarrow]"),
        pd.Series(NAMES, dtype="category"),
        pd.DataFrame({"class": NAMES}),
        np.array(NAMES, dtype=np.dtypes.StringDType()),
        pl.Series(NAMES),
        pl.Series(NAMES, dtype=pl.Categorical),
        pa.array(NAMES),
        pa.chunked_array([NAMES[:1], NAMES[1:]]),
        pa.array(NAMES).dictionary_encode(),
    ],
    ids=lambda y: type(y).__name__,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
def test_columns_of_classes(y):
    Y, classes, kind = check_labels(y)
    assert kind == "single" and classes.tolist() == ["a", "b", "c"]
    assert_array_equal(Y.indices, [1, 0, 2, 0])
    assert_array_equal(encode_labels(y, classes, kind).toarray(), Y.toarray())
    assert_array_equal(encode_labels(NAMES, classes, kind).toarray(), Y.toarray())


@pytest.mark.parametrize("dtype", ["Int64", "Int8", "int64[pyarrow]", object])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
def test_columns_of_numbers(dtype):
    column = pd.Series([5, -1, 5], dtype=dtype)
    for y in (column, column.to_frame()):
        Y, classes, _ = check_labels(y)
        assert classes.dtype.kind == "i" and classes.tolist() == [-1, 5]
        assert_array_equal(encode_labels(y, classes, "single").indices, [1, 0, 1])


def test_fit_on_a_column(params):
    names = np.array(["p", "q"])[DENSE[:, 0]]
    expected = GRankClassifier(**params).fit(X, names)
    for y in (
        pd.Series(names, dtype="string"),
        names.astype(np.dtypes.StringDType()),
        pl.Series(names),
    ):
        model = GRankClassifier(**params).fit(X, y)
        assert model.predict(X).tolist() == expected.predict(X).tolist()
        assert model.score(X, y) == expected.score(X, names)
        assert precision_at_1_scorer(model, X, y) == expected.score(X, names)


@pytest.mark.parametrize(
    "y",
    [
        ["a", "b", None, "a"],
        ["a", "b", np.nan, "a"],
        [1, 2, None, 1],
        [1.0, 2.0, np.nan, 1.0],
        [True, False, None, True],
        np.array(["a", "b", None, "a"], dtype=object),
        np.array(
            ["a", "b", np.nan, "a"], dtype=np.dtypes.StringDType(na_object=np.nan)
        ),
        np.array(["2026-01-01", "2026-01-02", "NaT", "2026-01-01"], "datetime64[D]"),
        np.ma.array([1, 2, 3, 1], mask=[0, 0, 1, 0]),
        pd.Series(["a", "b", None, "a"]),
        pd.Series(["a", "b", None, "a"], dtype="string"),
        pd.Series(["a", "b", None, "a"], dtype="category"),
        pd.Series([1, 2, None, 1], dtype="Int64"),
        pd.Series([True, False, None, True], dtype="boolean"),
        pd.Series([["a"], ["b"], None, ["a"]]),
        pl.Series(["a", "b", None, "a"]),
        pl.Series([1, 2, None, 1]),
        pa.array(["a", "b", None, "a"]),
        pa.array([1, 2, None, 1]),
    ],
    ids=lambda y: type(y).__name__,
)
def test_row_of_a_missing_class(y, params):
    for function in (
        check_labels,
        lambda y: GRankClassifier(**params).fit(X[:4], y),
        lambda y: encode_labels(y, np.array(["a", "b"]), "single"),
    ):
        with pytest.raises(ValueError, match="Input y contains NaN.* in row 2"):
            function(y)


def test_classes_of_several_types():
    y = pd.Series(["a", 3, "b"], dtype=object)
    with pytest.raises(ValueError, match="y holds 3 in row 1 and a text in row 0"):
        check_labels(y)
    with pytest.raises(ValueError, match="such as a; fit saw int64, such as 3"):
        encode_labels(["a", "b"], np.array([3, 4]), "single")


@pytest.mark.parametrize(
    "y, message",
    [
        (pl.DataFrame(DENSE).lazy(), "got LazyFrame. Call its collect()"),
        ((row for row in DENSE), "got generator"),
        (dict(a=[0, 1]), "got dict"),
        ("abc", "got str"),
        ([], "y is empty"),
        (pd.Series([], dtype=object), "y is empty"),
        (pd.Series([["a"], ["b", "c"]]), "list of labels for each document"),
        (pd.Series([{"a"}, {"b"}]), "list of labels for each document"),
        (pd.Series([np.array(["a"]), np.array(["b", "c"])]), "list of labels for"),
        (pd.Series([["a"], 3, "b"]), "list of labels for each document"),
        (pl.Series([["a"], ["b", "c"]]), "list of labels for each document"),
        ([np.array([1]), np.array([2, 3])], "list of labels for each document"),
    ],
)
def test_what_is_no_table(y, message):
    with pytest.raises(ValueError) as error:
        check_labels(y)
    assert message in str(error.value)


def test_metrics_say_what_lists_of_labels_are():
    with pytest.raises(ValueError, match="y_true holds a list of labels for each doc"):
        precision_at_k([["a"], ["b", "c"]], np.zeros((2, 1), int), 1)
