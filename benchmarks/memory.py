"""Peak memory of the classifier's own fit with millions of labels.

    python benchmarks/memory.py --labels 3000000 --steps 300
    python benchmarks/memory.py --head all --steps 4 --batch-size 64 --name memory-all

The documents are synthetic, with a Zipf distribution of labels. With the head
"clusters", labels are clustered by TF-IDF rows, as usual. The peak is that of the whole
process, including data, clustering and calibration. The time of a step is the CPU time
of training over the steps, in which the encoder has its part.
"""

import argparse
import resource
import time

import torch
from _common import write_json

import skxmc.base
from skxmc import LightXMLClassifier
from skxmc.datasets import make_xmc


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--labels", type=int, default=3_000_000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--max-length", type=int, default=32)
    parser.add_argument("--head", default="clusters", choices=("clusters", "all"))
    parser.add_argument("--label-dim", type=int, default=400)
    parser.add_argument("--label-precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2")
    parser.add_argument("--name", default="memory", help="name of the file in results")
    return parser.parse_args()


def main():
    options = parse()
    n_docs = options.batch_size * options.steps
    data = make_xmc(
        n_docs, options.labels, words_per_doc=options.max_length, random_state=0
    )
    model = LightXMLClassifier(
        options.encoder,
        head=options.head,
        label_init="random",
        label_dim=options.label_dim,
        label_precision=options.label_precision,
        max_length=options.max_length,
        batch_size=options.batch_size,
        max_epochs=1,
        swa_start=None,
        validation_fraction=0,
        random_state=0,
        verbose=1,
    )
    start, trained = time.perf_counter(), []
    train = skxmc.base.train

    def timed(*args, **kwargs):
        begin = time.process_time()
        train(*args, **kwargs)
        trained.append(time.process_time() - begin)

    skxmc.base.train = timed
    model.fit(data.texts, data.Y)
    network = model.network_
    clusters = network.clusters
    vectors = network.recall.vectors if clusters is None else network.ranker.identity
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    gpu = next(network.parameters()).is_cuda
    result = {
        "settings": vars(options),
        "clusters": clusters and clusters.n_clusters,
        "label_vectors_MB": vectors.nbytes >> 20,
        "weights_MB": weights >> 20,
        "peak_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "peak_GPU_MB": gpu and torch.cuda.max_memory_allocated() >> 20,
        "fit_s": round(time.perf_counter() - start, 1),
        "cpu_s_a_step": round(sum(trained) / options.steps, 2),
    }
    print(result)
    write_json(options.name, result)


if __name__ == "__main__":
    main()
