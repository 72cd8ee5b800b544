"""Ray Train. Run: python with_ray.py TABLE MODEL N_WORKERS."""

import sys

import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer


def train(paths):
    """What each worker does. Ray has initialised the process group that fit joins."""
    from skxmc import LightXMLClassifier
    from skxmc.datasets import load_table

    data = load_table(paths["table"])
    options = dict(label_names=data.label_names, max_length=64, random_state=0)
    model = LightXMLClassifier(**options | paths.get("options", {}))
    model.fit(data.texts, data.Y).save_pretrained(paths["model"])


if __name__ == "__main__":
    table, model, n_workers = sys.argv[1:]
    ray.init(ignore_reinit_error=True)
    scaling = ScalingConfig(num_workers=int(n_workers), use_gpu=False)  # or True
    TorchTrainer(
        train,
        train_loop_config={"table": table, "model": model},
        scaling_config=scaling,
        run_config=RunConfig(storage_path="/tmp/ray"),
    ).fit()
