"""Other libraries ("peers") on real data: linear models, nearest neighbours and more.

    python benchmarks/peers.py icd10cm
    python benchmarks/peers.py DIR --peers pecos knn

DIR holds a data set in a layout of `skxmc.datasets.load_xmc_repository`. All peers get
the same features: TF-IDF of the texts, or the given features in the features layout.
They run one after the other, each in its own process and with its default parameters.
The first run installs PECOS, omikuji and napkinXC into an environment of their own.
A baseline predicts the most frequent labels. LightDXML of this package takes part too.

Training time starts from matrices in memory and includes the label tree. (omikuji only
takes files, so its time includes loading one.) Prediction is timed for all test
documents together, and for single documents: the median over documents, of the faster
of two runs each. TF-IDF is timed separately, and is not part of a model's size.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The peers' environment runs this file too: it has numpy, scipy and scikit-learn.
import numpy as np
import scipy.sparse as sp

TOP = 100
# Number of documents whose single predictions are timed.
ALONE = 200
TFIDF = dict(sublinear_tf=True, ngram_range=(1, 2), min_df=2, max_features=200_000)
PROPENSITY = {"a": 0.55, "b": 1.5}
METRICS = ["P@1", "P@3", "P@5", "nDCG@3", "nDCG@5", "PSP@1", "PSP@3", "PSP@5"]
METRICS += ["R@10", "R@100"]


def timed(function, *args, **options):
    start = time.perf_counter()
    answer = function(*args, **options)
    return answer, time.perf_counter() - start


def padded(ids, lengths):
    """Arrange concatenated ids of rows in TOP columns, padded with -1."""
    places = np.arange(max(lengths)) < np.asarray(lengths)[:, None]
    table = np.full(places.shape, -1, dtype=np.int64)
    table[places] = ids
    return table[:, :TOP]


def best_ids(scores):
    rows = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
    best = np.lexsort((scores.indices, -scores.data, rows))
    return padded(scores.indices[best], np.diff(scores.indptr))


# Each function takes X, Y, a folder for the model and a number of threads. It returns
# the training seconds, a function that predicts for a matrix, a function that turns its
# result into ids of shape (n_docs, TOP), and the settings.


def run_frequent(X, Y, folder, threads):
    counts, train_s = timed(np.bincount, Y.indices, minlength=Y.shape[1])
    best = np.argsort(-counts, kind="stable")[:TOP]

    def ids(X):
        return padded(np.tile(best, X.shape[0]), [len(best)] * X.shape[0])

    return train_s, lambda X: X, ids, {}


def run_knn(X, Y, folder, threads):
    from sklearn.neighbors import NearestNeighbors

    def predict(X):
        weights = model.kneighbors_graph(X, mode="distance")
        weights.data = 1 - weights.data
        scores = sp.csr_matrix(weights @ Y)
        scores.eliminate_zeros()  # neighbours of texts without known words
        return scores

    model = NearestNeighbors(n_neighbors=min(30, X.shape[0]), metric="cosine")
    _, train_s = timed(model.fit, X)
    return train_s, predict, best_ids, {"n_neighbors": 30, "weights": "cosine"}


def run_lightdxml(X, Y, folder, threads):
    import joblib

    from skxmc import LightDXMLClassifier

    def predict(X):
        return model.predict_topk(X, TOP)[0]

    model = LightDXMLClassifier(random_state=0)
    _, train_s = timed(model.fit, X, Y)
    folder.mkdir()
    joblib.dump(model, folder / "model")
    return train_s, predict, lambda ids: ids, {"random_state": 0}


def run_pecos(X, Y, folder, threads):
    from pecos.xmc import Indexer, LabelEmbeddingFactory
    from pecos.xmc.xlinear.model import XLinearModel

    def train(Y):
        labels = LabelEmbeddingFactory.create(Y, X, method="pifa", threads=threads)
        kind = "hierarchicalkmeans"
        chain = Indexer.gen(labels, indexer_type=kind, threads=threads, seed=0)
        return XLinearModel.train(X, Y, C=chain, threads=threads)

    def predict(X):
        return model.predict(X, threads=threads, **settings)

    model, train_s = timed(train, Y.tocsc())
    model.save(str(folder))
    model = XLinearModel.load(str(folder), is_predict_only=True)
    settings = {"beam_size": 10, "only_topk": TOP}
    return train_s, predict, best_ids, settings | {"label_features": "pifa", "seed": 0}


def run_omikuji(X, Y, folder, threads):
    import omikuji
    from sklearn.datasets import dump_svmlight_file

    def predict(X):  # omikuji only predicts one row of pairs at a time
        pairs = list(zip(X.indices.tolist(), X.data.tolist(), strict=True))
        ends = X.indptr.tolist()
        rows = [pairs[i:j] for i, j in zip(ends, ends[1:], strict=False)]
        return [model.predict(row, beam_size=10, top_k=TOP) for row in rows]

    def ids(rows):
        return padded([i for row in rows for i, _ in row], [len(row) for row in rows])

    path = folder.with_suffix(".txt")
    with path.open("wb") as file:
        dump_svmlight_file(X, Y, file, multilabel=True)
    # omikuji's parser rejects the blank at the end of a line without features.
    lines = path.read_bytes().replace(b" \n", b"\n")
    path.write_bytes(b"%d %d %d\n" % (*X.shape, Y.shape[1]) + lines)
    train = omikuji.Model.train_on_data
    model, train_s = timed(train, str(path), n_threads=threads)
    model.save(str(folder))
    model.init_prediction_thread_pool(threads)
    return train_s, predict, ids, {"beam_size": 10, "top_k": TOP}


def run_napkinxc(X, Y, folder, threads):
    from napkinxc.models import PLT

    def predict(X):
        return model.predict(X, top_k=TOP)

    def ids(rows):
        return padded(np.concatenate(rows), [len(row) for row in rows])

    model = PLT(str(folder), threads=threads, seed=0)
    _, train_s = timed(model.fit, X, Y)
    model.load()
    return train_s, predict, ids, {"seed": 0, "top_k": TOP}


OURS = {
    "frequent": (run_frequent, "numpy"),
    "knn": (run_knn, "scikit-learn"),
    "lightdxml": (run_lightdxml, "torch"),
}
THEIRS = {
    "pecos": (run_pecos, "libpecos"),
    "omikuji": (run_omikuji, "omikuji"),
    "napkinxc": (run_napkinxc, "napkinxc"),
}


def worker(peer, folder, threads):
    """Run a peer in this process, and write its ids and results to the folder."""
    from _common import versions

    run, package = (OURS | THEIRS)[peer]
    files = [Path(folder, f"{name}.npz") for name in ("X", "Y", "X_test")]
    X, Y, X_test = [sp.csr_matrix(sp.load_npz(file)) for file in files]
    target = Path(folder, f"{peer}-model")
    train_s, predict, ids_of, settings = run(X, Y, target, int(threads))
    answer, predict_s = timed(predict, X_test)
    np.save(Path(folder, f"{peer}.npy"), ids_of(answer))
    rows = [X_test[i] for i in range(min(ALONE, X_test.shape[0]))]
    alone = [min(timed(predict, row)[1] for _ in range(2)) for row in rows]
    size = sum(file.stat().st_size for file in target.rglob("*"))
    result = {
        "fit_s": round(train_s, 1),
        "predict_ms_a_document": round(1e3 * predict_s / X_test.shape[0], 3),
        "predict_ms_alone": round(1e3 * float(np.median(alone)), 3),
        "model_MB": round(1e-6 * size, 1) if size else None,
        "peak_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "settings": settings,
        "versions": versions([package, "numpy", "scipy"]),
    }
    Path(folder, f"{peer}.json").write_text(json.dumps(result))


def load(name):
    """Features and labels of both splits, and how the features were computed."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    from skxmc.datasets import load_icd10cm, load_xmc_repository

    data = load_icd10cm() if name == "icd10cm" else load_xmc_repository(name)
    if data.Y_test is None:
        raise SystemExit(f"{name} has no test split: there is nothing to score.")
    Y, Y_test = data.Y_train.tocsr(), data.Y_test.tocsr()
    if data.get("X_train") is not None:
        return data.X_train, Y, data.X_test, Y_test, {"features": "of the data set"}
    tfidf = TfidfVectorizer(**TFIDF, dtype=np.float32)
    X, fit_s = timed(tfidf.fit_transform, data.texts_train)
    X_test, seconds = timed(tfidf.transform, data.texts_test)
    ms = round(1e3 * seconds / X_test.shape[0], 3)
    made = {"features": TFIDF, "tfidf_s": round(fit_s, 1), "tfidf_ms_a_document": ms}
    return X, Y, X_test, Y_test, made


def run_worker(peer, folder, threads):
    """Ids and results of a peer; None and the error if it fails."""
    from _common import peers_python

    # Threads that wait passively leave the processor to busy ones.
    wanted = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
    try:
        python = peers_python() if peer in THEIRS else sys.executable
    except (OSError, subprocess.CalledProcessError) as error:
        return None, {"error": f"The peers' environment: {error}"}
    call = [python, __file__, "--worker", peer, folder, str(threads)]
    done = subprocess.run(call, env=os.environ | wanted, capture_output=True)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        return None, {"error": f"Exit code {done.returncode}. {last}"}
    result = json.loads(Path(folder, f"{peer}.json").read_text())
    return np.load(Path(folder, f"{peer}.npy")), result


def compare(X, Y, X_test, Y_test, peers, threads):
    """Run the peers one after the other, and return the results of each."""
    from skxmc.metrics import propensity, ranking_report

    results, weights = {}, propensity(Y, **PROPENSITY)
    with tempfile.TemporaryDirectory() as folder:
        for name, matrix in {"X": X, "Y": Y, "X_test": X_test}.items():
            matrix.sort_indices()
            sp.save_npz(Path(folder, f"{name}.npz"), matrix, compressed=False)
        for peer in peers:
            print(f"running {peer}", flush=True)
            ids, results[peer] = run_worker(peer, folder, threads)
            if ids is not None:
                report = ranking_report(Y_test, ids, (1, 3, 5, 10, 100), weights)
                metrics = {
                    name: round(100 * float(report[name]), 2) for name in METRICS
                }
                results[peer] = {"metrics": metrics, **results[peer]}
    return results


def show(results):
    """Print an aligned table with one row per peer, and errors below."""
    numbers = ["fit_s", "predict_ms_a_document", "predict_ms_alone", "model_MB"]
    table = [["peer", *METRICS, "train s", "ms/doc", "alone", "MB"]]
    for peer, result in results.items():
        if "metrics" in result:
            cells = [f"{value:.2f}" for value in result["metrics"].values()]
            cells += ["-" if result[n] is None else f"{result[n]:g}" for n in numbers]
            table.append([peer, *cells])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print("  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)))
    for peer, result in results.items():
        if "error" in result:
            print(f"{peer} failed: {result['error']}")


def main():
    from _common import write_json

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    every = [*OURS, *THEIRS]
    parser.add_argument("data", help="icd10cm, or a folder with a data set")
    parser.add_argument("--peers", nargs="+", choices=every, default=every)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", help="name of the file in benchmarks/results")
    options = parser.parse_args()

    X, Y, X_test, Y_test, made = load(options.data)
    settings = {"split": "test", "threads": options.threads, "propensity": PROPENSITY}
    settings["load_average_before"] = round(os.getloadavg()[0], 1)
    results = compare(X, Y, X_test, Y_test, options.peers, options.threads)
    show(results)
    data = Path(options.data).resolve().name
    shape = {"n_train": X.shape[0], "n_test": X_test.shape[0]}
    shape |= {"n_features": X.shape[1], "n_labels": Y.shape[1]}
    content = {"data": data, **settings, **shape, **made, "results": results}
    write_json(options.name or f"peers-{data}", content)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        main()
