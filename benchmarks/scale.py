"""Time and memory of the heads and of training, by the number of labels and documents.

    python benchmarks/scale.py
    OMP_NUM_THREADS=1 python benchmarks/scale.py --labels --documents --processes 1 2
    python benchmarks/scale.py --device cuda --one-process --name scale-gpu
    python benchmarks/scale.py --tables

The networks of GRankClassifier and LightXMLClassifier make their own training steps on
given vectors of documents, so that all of the time is that of the head. Its scores are
dense, in chunks of labels ("all"), or those of clusters of 100 labels. The bare encoder
makes steps and predictions in the same run. Each of them runs in processes of its own,
which take turns. On a CPU, the time is the CPU time of the fastest step, since other
processes may run on the machine; on a GPU it is that of the clock. The memory is the
largest during steps, less that before the network was made. "documents" are whole fits
on more and more documents, "processes" are fits by one and by two processes that share
the work (by the clock, so that each needs a core or a GPU of its own), and "estimates"
is what `fit` expects training to need.

Rows of the results file that are not measured again are kept. `--tables` measures
nothing. It writes docs/tables/scale.csv and scale-documents.csv, and the picture
docs/scale.png.
"""

import argparse
import gc
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from _common import RESULTS, write_json
from _heads import HEADS, make_batches, make_network
from _scale_tables import LOSSES, SHOWN, write_tables
from _steps import bare_stepper, stepper

from skxmc.nn.devices import choose_precision, estimate_memory

# Products of documents, label vectors and scores in a step, if it scores all labels.
PRODUCTS = {"bce": 3, "grank": 4}
# From this number of labels on, label vectors have 128 dimensions instead of 384.
MANY_LABELS = 1_000_000
# Labels of the fits by several processes.
PROCESSES_LABELS = 47_000
# What is estimated: labels, dimensions, head, device.
ESTIMATES = [
    (3_000_000, 128, "all", "cpu"),
    (3_000_000, 128, "all, bf16", "cpu"),
    (3_000_000, 400, "all", "cpu"),
    (3_000_000, 400, "all, bf16", "cpu"),
    (3_000_000, 768, "all, bf16", "cuda"),
]


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    default = [4000, 47_000, 131_000, 670_000, 3_000_000]
    parser.add_argument("--labels", type=int, nargs="*", default=default)
    parser.add_argument("--heads", nargs="+", default=SHOWN, choices=HEADS)
    default = [4000, 16_000, 64_000]
    parser.add_argument("--documents", type=int, nargs="*", default=default)
    parser.add_argument(
        "--processes", type=int, nargs="*", default=[], help="such as 1 2; by the clock"
    )
    parser.add_argument("--dim", type=int, help="default: 384, and 128 from 1 M labels")
    parser.add_argument("--batch-size", type=int, default=64)
    default = "all-MiniLM-L6-v2"
    parser.add_argument("--encoder", default=default, help='or "random", of its size')
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3, help="steps of a process")
    parser.add_argument("--turns", type=int, default=1, help="processes of each head")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--most-gb", type=float, default=8.0, help="leave out heads that need more"
    )
    parser.add_argument("--name", default="scale", help="name of the file in results")
    parser.add_argument(
        "--one-process", action="store_true", help="quick; peaks on a CPU are rough"
    )
    parser.add_argument("--tables", action="store_true", help="only write tables")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # what a process measures
    return parser.parse_args(argv)


# What a process of its own measures


class Meter:
    """Time and memory of a device."""

    def __init__(self, device):
        self.device, self.on_gpu = device, device.startswith("cuda")
        if self.on_gpu:
            torch.zeros(1, device=device)  # which makes the context
        self.before = self._held()

    def _held(self):
        if self.on_gpu:
            return torch.cuda.memory_allocated(self.device)
        return resident("VmRSS")

    def forget_peak(self):
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            Path("/proc/self/clear_refs").write_text("5")

    def peak(self):
        """Return the most bytes since `forget_peak`, less those of the beginning."""
        if self.on_gpu:
            return torch.cuda.max_memory_allocated(self.device) - self.before
        return resident("VmHWM") - self.before

    def seconds(self, function):
        """Return the time of a call: of the clock on a GPU, of the processor else."""
        clock = time.perf_counter if self.on_gpu else time.process_time
        self._wait()
        start = clock()
        function()
        self._wait()
        return clock() - start

    def _wait(self):
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def steps(self, step, batches, n_steps):
        """Return the time of the fastest step; the first one is a warm-up."""
        self.forget_peak()
        times = [
            self.seconds(lambda: step(*batches[i % len(batches)]))  # noqa: B023
            for i in range(n_steps + 1)
        ]
        return min(times[1:])

    def predictions(self, function, n_docs):
        """Return the milliseconds a document of the fastest of three calls."""
        with torch.inference_mode():
            return 1e3 * min(self.seconds(function) for _ in range(3)) / n_docs


def resident(name):
    """Return the resident memory in bytes; "VmHWM" is the largest so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def measure_head(loss, kind, n_labels, options):
    """Measure the steps and the predictions of a head."""
    torch.manual_seed(0)
    meter, dim = Meter(options.device), options.dim
    batches = [
        ({"vectors": vectors["vectors"].to(options.device)}, ids.to(options.device))
        for vectors, ids in make_batches(n_labels, dim, options.batch_size)
    ]
    network = make_network(loss, kind, n_labels, dim, device=options.device)
    network.to(options.device).train()
    step = stepper(network, options.device, "fp32", label_learning_rate=1e-5)
    found = {"step_s": meter.steps(step, batches, options.steps)}
    found["peak_MB"] = meter.peak() >> 20
    network.eval()
    docs = batches[0][0]
    predict = meter.predictions(lambda: network.rank(docs, 10), options.batch_size)
    return found | {"predict_ms": predict}


def random_encoder():
    """Make a transformer of the size of all-MiniLM-L6-v2."""
    from transformers import AutoModel, BertConfig

    config = BertConfig(
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
    )
    return AutoModel.from_config(config)


def measure_encoder(options):
    """Measure the bare encoder, and the rate of products of matrices in float32."""
    from skxmc.nn.devices import autocast
    from skxmc.nn.encoder_files import load_encoder
    from skxmc.nn.encoders import TransformerEncoder

    meter, device = Meter(options.device), options.device
    if options.encoder == "random":
        model = random_encoder()
    else:
        model = load_encoder(options.encoder)[0]
    model = TransformerEncoder(model, n_layers=1).model.to(device).train()
    shape = options.batch_size, options.max_length
    ids = torch.randint(1000, 2000, shape, device=device)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    precision = choose_precision("auto", device)
    step = bare_stepper(model, device, precision)
    found = {"step_s": meter.steps(step, [(batch, None)], max(1, options.steps - 1))}
    found["peak_MB"] = meter.peak() >> 20
    model.eval()

    def predict():
        with autocast(device, precision):
            model(**batch)

    found["predict_ms"] = meter.predictions(predict, options.batch_size)
    size = 8192 if meter.on_gpu else 1024
    a = torch.randn(size, size, device=device)
    seconds = min(meter.seconds(lambda: a @ a) for _ in range(4))
    return found | {"precision": precision, "tflops": 2e-12 * size**3 / seconds}


def measure_fit(n_docs, options):
    """Measure a whole fit on feature vectors of so many documents."""
    from skxmc import LightXMLClassifier
    from skxmc.datasets import make_xmc

    data = make_xmc(n_docs, 4000, kind="features", random_state=0)
    meter = Meter(options.device)
    model = LightXMLClassifier(
        head="all",
        label_init="random",
        label_dim=128,
        batch_size=options.batch_size,
        max_epochs=1,
        validation_fraction=0,
        device=options.device,
        precision="fp32",
        random_state=0,
    )
    meter.forget_peak()
    seconds = meter.seconds(lambda: model.fit(data.X, data.Y))
    return {"documents": n_docs, "fit_s": seconds, "peak_MB": meter.peak() >> 20}


def measure_processes(options):
    """Measure a fit that this process shares with those that torchrun has started."""
    import skxmc.distributed
    from skxmc.datasets import make_xmc

    skxmc.distributed.start()
    n_labels, n_docs = *options.labels, 8 * options.batch_size
    data = make_xmc(n_docs, n_labels, words_per_doc=options.max_length, random_state=0)
    model = skxmc.LightXMLClassifier(
        options.encoder,
        head="all",
        label_init="random",
        label_dim=128,
        trained_layers="all",
        bag_of_words=False,
        max_length=options.max_length,
        batch_size=options.batch_size,
        max_epochs=1,
        validation_fraction=0,
        swa_start=None,
        random_state=0,
    )
    start = time.perf_counter()
    model.fit(data.texts, data.Y)
    seconds = time.perf_counter() - start
    return {"labels": n_labels, "documents": n_docs, "fit_s": seconds}


def measure(what, options):
    """Measure in this process what the name of a measurement says."""
    if what == "encoder":
        return measure_encoder(options)
    if what == "processes":
        return measure_processes(options)
    if what == "documents":
        return measure_fit(*options.documents, options)
    loss, _, kind = what.partition(" ")
    return measure_head(loss, kind, *options.labels, options)


def lists(changed):
    """Put the values of options that take several into lists."""
    several = ("labels", "documents")
    return {k: [value] if k in several else value for k, value in changed.items()}


def run_alone(what, options, n_processes=None, **changed):
    """Measure in a process of its own, in this one, or in several by torchrun."""
    if options.one_process and not n_processes:
        gc.collect()
        if options.device.startswith("cuda"):
            torch.cuda.empty_cache()
        return measure(what, argparse.Namespace(**vars(options) | lists(changed)))
    command = [sys.executable]
    if n_processes:
        command += ["-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc_per_node={n_processes}"]
    command += [__file__, "--one", what]
    shared = ("dim", "batch_size", "steps", "device", "encoder", "max_length")
    for name, value in (
        {name: getattr(options, name) for name in shared} | changed
    ).items():
        if value is not None:
            command += [f"--{name.replace('_', '-')}", str(value)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}.")
    return json.loads(done.stdout.splitlines()[-1])


# Sections of the results


def dim_of(n_labels, options):
    return options.dim or (128 if n_labels >= MANY_LABELS else 384)


def estimate(loss, kind, n_labels, dim, device, *, encoder=None, **options):
    """Return the GiB that training needs in all, by the estimate that fit makes."""
    network = make_network(
        loss, kind, n_labels, dim, encoder=encoder, device="meta"
    ).train()
    options = {"length": 128, "batch_size": 64} | options
    weights, states, step = estimate_memory(network, device=device, **options)
    # On a CPU the weights are where they are; on a GPU they are one of the copies.
    return (states + step + weights * (device == "cpu")) / 2**30


def heads(options):
    """Measure all heads in turns, and yield the best figures of each."""
    encoder = run_alone("encoder", options)
    print("encoder", encoder, flush=True)
    for n_labels in options.labels:
        dim, found = dim_of(n_labels, options), {}
        sizes = {"batch_size": options.batch_size, "device": options.device}
        pairs = [
            (loss, kind)
            for loss in LOSSES
            for kind in options.heads
            if estimate(loss, kind, n_labels, dim, **sizes) < options.most_gb
        ]
        for loss, kind in pairs * options.turns:
            own = run_alone(f"{loss} {kind}", options, labels=n_labels, dim=dim)
            best = found.setdefault((loss, kind), own)
            found[loss, kind] = {key: min(own[key], best[key]) for key in own}
        for (loss, kind), own in found.items():
            row = {"labels": n_labels, "dim": dim, "loss": loss, "head": kind, **own}
            row |= compare(own, found.get((loss, "dense")), encoder)
            if kind != "clusters":
                products = 2 * PRODUCTS[loss] * options.batch_size * n_labels * dim
                row["of_matrix_rate"] = products * 1e-12 / own["step_s"]
                row["of_matrix_rate"] /= encoder["tflops"]
            yield round_all(row)


def compare(own, dense, encoder):
    """Relate figures of a head to those of the dense head and of the bare encoder."""
    step, encoder_step = own["step_s"], encoder["step_s"]
    found = {
        "share_of_step": step / (step + encoder_step),
        "encoder_step_s": encoder_step,
        "encoder_predict_ms": encoder["predict_ms"],
        "matrix_tflops": encoder["tflops"],
    }
    if dense:
        found["step_ratio"] = step / dense["step_s"]
        found["peak_ratio"] = own["peak_MB"] / max(1, dense["peak_MB"])
    return found


def documents(options):
    """Yield whole fits on more and more documents."""
    for n_docs in options.documents:
        yield round_all(run_alone("documents", options, documents=n_docs))


def processes(options):
    """Yield fits by more and more processes. Each uses OMP_NUM_THREADS cores."""
    alone = None
    for n in options.processes:
        row = run_alone("processes", options, n, labels=PROCESSES_LABELS)
        alone = alone or row["fit_s"]
        yield round_all({"processes": n, **row, "speed_up": alone / row["fit_s"]})


def estimates(options):
    """Yield estimates of the memory of training with an encoder as large as BERT."""
    from transformers import AutoModel, BertConfig

    from skxmc.nn.encoders import TransformerEncoder

    encoder = TransformerEncoder(AutoModel.from_config(BertConfig()), n_layers=1)
    for n_labels, dim, kind, device in ESTIMATES:
        row = {"labels": n_labels, "dim": dim, "head": kind, "device": device}
        settings = {"encoder": encoder, "precision": "bf16"}
        row["GiB"] = estimate("bce", kind, n_labels, dim, device, **settings)
        yield round_all(row)


def round_all(row):
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()}


SECTIONS = {
    "heads": heads,
    "documents": documents,
    "processes": processes,
    "estimates": estimates,
}
# What tells the rows of a section from each other.
KEYS = {
    "heads": ("labels", "loss", "head"),
    "documents": ("documents",),
    "processes": ("processes",),
    "estimates": ("labels", "dim", "head", "device"),
}


def read_sections(name):
    file = RESULTS / f"{name}.json"
    content = json.loads(file.read_text()) if file.exists() else {}
    return {section: content.get(section, []) for section in SECTIONS}


def replace_rows(section, old, new):
    """Return old rows that are not in the new ones, and the new ones, in order."""

    def key(row):
        return tuple(row[name] for name in KEYS[section])

    kept = {key(row): row for row in old} | {key(row): row for row in new}
    # The sort keeps the order of heads.
    return sorted(kept.values(), key=lambda row: row[KEYS[section][0]])


def main():
    options = parse()
    if options.one:
        print(json.dumps(measure(options.one, options)))
        return
    sections = read_sections(options.name)
    for section, rows_of in SECTIONS.items() if not options.tables else ():
        rows = []
        for row in rows_of(options):
            rows.append(row)
            print(section, row, flush=True)
        sections[section] = replace_rows(section, sections[section], rows)
    if not options.tables:
        leave_out = (
            "one",
            "labels",
            "heads",
            "documents",
            "processes",
            "tables",
            "dim",
        )
        settings = {k: v for k, v in vars(options).items() if k not in leave_out}
        settings["threads"] = torch.get_num_threads()
        write_json(options.name, {"settings": settings, **sections})
    if options.name == "scale":
        write_tables(sections)


if __name__ == "__main__":
    main()
