"""What threads are worth in a fit, alone and beside another fit.

    python benchmarks/threads.py
    python benchmarks/threads.py --wait ACTIVE

Fits GRankClassifier on chapter 7 of ICD-10-CM in processes of their own: as it is by
default, and for one epoch that trains the encoder. Each is fitted with one thread and
with as many as there are cores; and then two such fits run side by side. `--wait` is
the value of OMP_WAIT_POLICY, which says whether waiting threads sleep (PASSIVE, as
`import skxmc` sets it) or keep their cores busy.
"""

import argparse
import json
import os
import subprocess
import sys
import time

from _common import write_json

FITS = {
    "read once": {},
    "encoder trained": dict(trained_layers="all", max_epochs=1, neighbor_weight=0),
}


def fit(name):
    """Fit in this process; return seconds by the clock and by the processors."""
    from skxmc import GRankClassifier
    from skxmc.datasets import load_icd10cm

    data = load_icd10cm(chapters=[7])
    model = GRankClassifier(label_texts=data.label_names, random_state=0, **FITS[name])
    start, start_cpu = time.perf_counter(), time.process_time()
    model.fit(data.texts_train, data.Y_train)
    seconds = time.perf_counter() - start, time.process_time() - start_cpu
    return dict(zip(("s", "cpu_s"), (round(x, 1) for x in seconds), strict=True))


def run(name, n_threads, wait, n_fits):
    """Fit in that many processes at once; return the slowest."""
    env = os.environ | {"OMP_NUM_THREADS": str(n_threads), "OMP_WAIT_POLICY": wait}
    command = [sys.executable, __file__, "--fit", name]
    running = [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(n_fits)
    ]
    done = [json.loads(process.communicate()[0]) for process in running]
    return max(done, key=lambda one: one["s"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--wait", default="PASSIVE", choices=("PASSIVE", "ACTIVE"))
    parser.add_argument("--fit", choices=FITS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fit:
        print(json.dumps(fit(options.fit)))
        return
    rows = []
    for name in FITS:
        for n_fits in (1, 2):
            for n_threads in sorted({1, len(os.sched_getaffinity(0))}):
                about = {"fit": name, "fits_at_once": n_fits, "threads": n_threads}
                rows.append(about | run(name, n_threads, options.wait, n_fits))
                print(rows[-1], flush=True)
    file = "threads" if options.wait == "PASSIVE" else "threads-active"
    write_json(file, {"wait": options.wait, "rows": rows})


if __name__ == "__main__":
    main()
