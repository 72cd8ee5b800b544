"""All checks on a GPU in six minutes: tests, equality with the CPU, time, memory.

    python benchmarks/gpu.py --out results
    python benchmarks/gpu.py --device cpu --small   # a rehearsal

It needs no network and no pretrained encoder: transformers have random weights. Parts
run one after the other, each in a process of its own with a limit of time, so that one
that fails does not end the others. The file gpu.json is written after each part.

tests
    The tests of the suite that need a GPU (``pytest -m gpu``).
equality
    Every system is fitted on both devices in float32. Predictions of one model on both
    devices must be equal to 1e-4; those of the two fits are compared, too.
scale
    Rows of `scale.py`, with the share of the card's rate of matrix products that the
    head reaches.
memory
    Steps of LightXML with three million label vectors of 768 dimensions in bf16 and an
    encoder as large as BERT; the peak against the estimate that `fit` makes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _common import PACKAGES, machine, versions

HERE = Path(__file__).parent
# Seconds of each part.
LIMITS = {"tests": 60, "equality": 90, "scale": 120, "memory": 60}
SYSTEMS = ("GRank", "LightXML", "LightDXML", "TReaderXML", "GUDN")
CLOSE = 1e-4
UNFINISHED = "it did not come to its end"


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="few labels and documents")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--parts", nargs="+", choices=LIMITS, default=list(LIMITS))
    parser.add_argument("--one", choices=LIMITS, help=argparse.SUPPRESS)
    return parser.parse_args()


def test_suite(options):
    """Run the tests that need a GPU; without one they are collected and skipped."""
    tests = HERE.parent / "tests"
    files = [p for p in sorted(tests.glob("test_*.py")) if "mark.gpu" in p.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", *files]
    done = subprocess.run(
        command, cwd=HERE.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    lines = done.stdout.decode().splitlines()
    print("\n".join(lines))
    return {"passed": done.returncode == 0, "summary": lines[-1]}


def make_encoder(**sizes):
    """Make a random BERT, and a tokenizer of whole words of `make_xmc`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    from skxmc.datasets import make_xmc

    texts = make_xmc(200, 40, random_state=0).texts
    words = sorted({word for text in texts for word in text.split()})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(special + words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad", "unk", "cls", "sep"), special, strict=True))
    names = {f"{name}_token": token for name, token in names.items()}
    torch.manual_seed(0)
    model = BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).eval()
    return model, PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def equality(options):
    """Compare predictions on the device with those on the CPU, for every system."""
    import skxmc
    from skxmc.datasets import make_xmc

    encoder = make_encoder(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    data = make_xmc(200 if options.small else 1000, 40, random_state=0)
    found = {}
    for system in SYSTEMS:
        reads = system in ("GRank", "LightXML", "GUDN")
        parameters = dict(encoder=encoder, max_length=16) if reads else {}
        if system == "GUDN":
            parameters["label_texts"] = data.label_names
        kind = getattr(skxmc, f"{system}Classifier")
        models = [
            kind(
                max_epochs=1,
                precision="fp32",
                device=device,
                random_state=0,
                **parameters,
            ).fit(data.texts, data.Y)
            for device in ("cpu", options.device)
        ]
        on_cpu = models[0].predict_topk(data.texts, 10)
        models[0].set_params(device=options.device)
        on_device = models[0].predict_topk(data.texts, 10)
        other_fit = models[1].predict_topk(data.texts, 10)
        found[system] = {
            "largest_difference": float(np.abs(on_cpu[1] - on_device[1]).max()),
            "same_labels": float((on_cpu[0] == on_device[0]).mean()),
            "same_labels_of_two_fits": float((on_cpu[0] == other_fit[0]).mean()),
        }
        print(system, found[system], flush=True)
    passed = all(one["largest_difference"] <= CLOSE for one in found.values())
    return {"passed": passed, **found}


def scale_rows(options):
    """Measure the rows of `scale.py`, for small and large batches."""
    import scale

    labels = ["500", "2000"] if options.small else ["131000", "670000", "3000000"]
    rows = []
    for batch_size in (8, 16) if options.small else (64, 512):
        arguments = [
            *("--labels", *labels, "--device", options.device, "--encoder", "random"),
            *("--batch-size", str(batch_size), "--most-gb", "100", "--one-process"),
            *("--max-length", "16" if options.small else "128"),
        ]
        for row in scale.heads(scale.parse(arguments)):
            rows.append({"batch_size": batch_size, **row})
            print(rows[-1], flush=True)
            write(
                options, "scale", {"passed": False, "error": UNFINISHED, "rows": rows}
            )
    return {"passed": True, "rows": rows}


def memory(options):
    """Train the largest table of label vectors that the docs speak of."""
    import scale
    from _heads import make_batches, make_network
    from _steps import stepper
    from transformers import AutoModel, BertConfig

    from skxmc.nn.devices import choose_precision
    from skxmc.nn.encoders import TransformerEncoder

    n_labels, dim = (2000, 64) if options.small else (3_000_000, 768)
    small = dict(hidden_size=dim, num_hidden_layers=2, num_attention_heads=4)
    config = BertConfig(**small if options.small else {})
    length, batch_size = (8, 4) if options.small else (128, 64)
    meter = scale.Meter(options.device)
    meter.forget_peak()
    encoder = TransformerEncoder(AutoModel.from_config(config), n_layers=1)
    about = ("bce", "all, bf16", n_labels, dim)
    precision = choose_precision("auto", options.device)
    settings = dict(length=length, batch_size=batch_size, precision=precision)
    estimate = scale.estimate(*about, options.device, encoder=encoder, **settings)
    network = make_network(*about, encoder=encoder, device=options.device)
    network.to(options.device).train()
    step = stepper(network, options.device, precision, label_learning_rate=1e-3)
    ids = torch.randint(1000, 2000, (batch_size, length), device=options.device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    positives = [ids for _, ids in make_batches(n_labels, dim, batch_size)]
    batches = [(inputs, some.to(options.device)) for some in positives]
    seconds = meter.steps(step, batches, 3)
    peak = meter.peak() / 2**30
    found = {"labels": n_labels, "dim": dim, "step_s": seconds, "peak_GiB": peak}
    found["estimated_GiB"] = estimate
    # On a CPU the peak is that of the process.
    return {"passed": not meter.on_gpu or peak <= 1.05 * estimate, **found}


PARTS = {
    "tests": test_suite,
    "equality": equality,
    "scale": scale_rows,
    "memory": memory,
}


def run_part(part, options):
    """Run a part in a process of its own, and return what it found."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--one", part, "--out", folder]
        command += ["--device", options.device, *["--small"] * options.small]
        start = time.perf_counter()
        limit = LIMITS[part] * (10 if options.small else 1)  # a CPU may be busy
        try:
            code = subprocess.run(command, timeout=limit).returncode
            error = f"it ended with {code}"
        except subprocess.TimeoutExpired:
            error = f"it took more than {limit} s"
        file = Path(folder, f"{part}.json")
        found = {"passed": False, "error": error}
        if file.exists():
            found = json.loads(file.read_text())
        return {**found, "seconds": round(time.perf_counter() - start, 1)}


def write(options, name, content):
    text = json.dumps(content, indent=2)
    (options.out / f"{name}.json").write_text(text + "\n")


def main():
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.one:
        write(options, options.one, PARTS[options.one](options))
        return
    content = {"machine": machine(), "versions": versions(PACKAGES)}
    if options.device.startswith("cuda"):
        content["gpu"] = torch.cuda.get_device_name(options.device)
    content["settings"] = {"device": options.device, "small": options.small}
    for part in options.parts:
        content[part] = run_part(part, options)
        about = {k: v for k, v in content[part].items() if k != "rows"}
        print(part, json.dumps(about), flush=True)
        write(options, "gpu", content)
    sys.exit(not all(content[part]["passed"] for part in options.parts))


if __name__ == "__main__":
    main()
