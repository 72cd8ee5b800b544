"""Train a model in several processes, with the same script as in one.

One process:

    python with_torchrun.py TABLE MODEL

One machine, a process for each of its GPUs, or for each of some cores:

    torchrun --nproc_per_node=2 with_torchrun.py TABLE MODEL

Two machines of two processes each. Run it on both, with the same address, which is that
of the first machine, and --node-rank=1 on the second:

    torchrun --nnodes=2 --node-rank=0 --nproc_per_node=2 \
        --master-addr=10.0.0.1 --master-port=29500 with_torchrun.py TABLE MODEL

TABLE is a file that skxmc.datasets.load_table reads, or the folder of a store, which
skxmc.store.build_store has filled before. All machines must see it. The first process
writes MODEL.
"""

import argparse
from pathlib import Path

import skxmc.distributed
from skxmc import LightXMLClassifier
from skxmc.datasets import load_table
from skxmc.metrics import precision_at_k
from skxmc.store import open_store

parser = argparse.ArgumentParser()
parser.add_argument("table", type=Path)
parser.add_argument("model", type=Path)
parser.add_argument("--encoder", default="all-MiniLM-L6-v2")
parser.add_argument("--head", default="auto", choices=["auto", "dense", "all"])
parser.add_argument("--max-length", type=int, default=64)
parser.add_argument("--max-epochs", type=int, default=3)
parser.add_argument("--checkpoints", type=Path, help="folder that all machines share")
args = parser.parse_args()

skxmc.distributed.start()  # without torchrun, it does nothing

data = open_store(args.table) if args.table.is_dir() else load_table(args.table)
X = data.X if "X" in data else data.texts

model = LightXMLClassifier(
    encoder=args.encoder,
    head=args.head,
    label_names=data.label_names,
    max_length=args.max_length,
    max_epochs=args.max_epochs,
    checkpoint_dir=args.checkpoints,
    random_state=0,
    verbose=1,
)
model.fit(X, data.Y)  # all processes together
model.save_pretrained(args.model)  # the first process

if skxmc.distributed.is_first():  # each process has the whole model
    ids, _ = model.predict_topk(X[:1000], k=1)
    print(f"P@1 of training documents: {precision_at_k(data.Y[:1000], ids, 1):.3f}")
