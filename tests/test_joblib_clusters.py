"""Predictions and cross-validation on joblib's backends for clusters equal serial ones.

Dask's workers are threads of this process here, which nevertheless get all of their
work through sockets, as messages. Ray starts processes.
"""

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import skxmc
from skxmc import GRankClassifier, LightDXMLClassifier
from skxmc.model_selection import cross_val_predict

QUICK = dict(max_epochs=1, validation_fraction=0.2, batch_size=16, random_state=0)


@pytest.fixture(scope="module")
def dask_cluster():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            protocol="tcp://",
            dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def ray_cluster():
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    register_ray()
    ray.init(num_cpus=2, include_dashboard=False)
    yield
    ray.shutdown()


@pytest.fixture(params=["dask", "ray"])
def backend(request):
    request.getfixturevalue(f"{request.param}_cluster")
    return request.param


@pytest.fixture(scope="module")
def classifier(colours, tiny_encoder):
    texts, Y, names = colours
    return GRankClassifier(
        tiny_encoder, max_length=16, n_layers=2, label_texts=names, **QUICK
    ).fit(texts, Y)


def test_parallel_predictions(backend, classifier, colours, tmp_path):
    texts = colours[0]
    parts = [texts[start : start + 16] for start in range(0, 60, 16)]
    expected = [classifier.predict_topk(part, 5) for part in parts]
    classifier.save_pretrained(tmp_path / "model")

    def predict_folder(folder, part):  # the workers do not find this module
        return skxmc.load(folder, device="cpu").predict_topk(part, 5)

    sent = [joblib.delayed(classifier.predict_topk)(part, 5) for part in parts]
    sent += [joblib.delayed(predict_folder)(tmp_path / "model", part) for part in parts]
    with joblib.parallel_config(backend=backend):
        found = joblib.Parallel(n_jobs=2)(sent)
    for one, other in zip(found, expected * 2, strict=True):
        assert_array_equal(one[0], other[0])
        assert_array_equal(one[1], other[1])


@pytest.mark.parametrize("method", ["predict_topk", "predict_proba", "predict"])
def test_cross_validation(backend, colours, method):
    texts, Y, names = colours
    model = LightDXMLClassifier(label_texts=names, label_dim=8, **QUICK)
    options = dict(cv=2, method=method)
    expected = cross_val_predict(model, texts, Y, **options)
    with joblib.parallel_config(backend=backend):
        found = cross_val_predict(model, texts, Y, n_jobs=2, **options)
    if method == "predict_topk":
        for one, other in zip(found, expected, strict=True):
            assert_array_equal(one, other)
    else:
        assert_array_equal(*(np.asarray(Y.toarray()) for Y in (found, expected)))
