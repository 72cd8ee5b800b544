"""Damage model folders, and tell what is loaded of them: run by test_hostile.

    python tests/hostile.py FOLDER SEED N

FOLDER holds models, each with ``inputs.json`` or ``inputs.npy`` beside it. Each is
copied and damaged N times; every damage is printed before the folder is loaded, so
that the last line of the output names one that ends the process.
"""

import contextlib
import faulthandler
import hashlib
import json
import random
import resource
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import skxmc
from skxmc.persistence import _folder

# Seconds and bytes that a damage may cost.
LONGEST, MOST = 30, 1 << 29
REFUSALS = (ValueError, FileNotFoundError)
ODD = (
    *(None, True, False, 0, -1, 1, 7, 2**31, 2**40, 10**30, 0.5, -1.5, 1e308, "", "x"),
    *([], {}, [1], {"tensor": "x"}, {"float": "nan"}, {"float": "inf"}, {"tuple": []}),
)


def sign(folder):
    """Make all hashes right again, as somebody who means harm would."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for name in config["files"]:
        content = (folder / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        config["files"][name] = {"bytes": len(content), "sha256": digest}
    config["sha256"] = _folder.hash_config(config)
    path.write_text(json.dumps(config))


def change_byte(folder, rng):
    """Change one byte of one file."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    path = rng.choice(paths)
    content = bytearray(path.read_bytes())
    # The beginning says what the rest is.
    end = rng.choice([len(content), min(len(content), 500)])
    place = rng.randrange(end)
    content[place] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return f"byte {place} of {path.relative_to(folder)}"


def change_tensor(folder, rng):
    """Change one tensor: a number of it, its shape or its dtype."""
    path = rng.choice(sorted(folder.rglob("model.safetensors")))
    tensors = load_file(path)
    name = rng.choice(sorted(tensors))
    kind = rng.choice(CHANGES)
    tensors[name] = kind(tensors[name].clone(), rng).contiguous()
    save_file(tensors, path, {"format": "pt"})
    sign(folder)
    return f"{kind.__name__} of {name}"


def odd_number(tensor, rng):
    flat = tensor.reshape(-1)
    if len(flat):
        odd = [-1, 0, 1, len(tensor) if tensor.ndim else 2, 10**6, -(10**6), 2**31 - 1]
        if tensor.is_floating_point():
            odd += [float("nan"), float("inf"), -float("inf"), 1e30, -1e30]
        elif tensor.dtype == torch.int64:
            odd += [2**40, -(2**62)]
        elif tensor.dtype in (torch.bool, torch.uint8, torch.int8):
            odd = [0, 1]
        flat[rng.randrange(len(flat))] = rng.choice(odd)
    return flat.view(tensor.shape)


def every_number(tensor, rng):
    return torch.full_like(tensor, rng.choice([0, 1, 3]))


def shorter(tensor, rng):
    return tensor[:-1] if tensor.ndim else tensor[None]


def longer(tensor, rng):
    return torch.cat([tensor, tensor[-1:]]) if tensor.ndim else tensor[None]


def empty(tensor, rng):
    return tensor[:0] if tensor.ndim else tensor


def flat(tensor, rng):
    return tensor.reshape(-1)


def turned(tensor, rng):
    return tensor.T if tensor.ndim == 2 else tensor.flip(0) if tensor.ndim else tensor


def other_dtype(tensor, rng):
    dtypes = torch.float32, torch.float64, torch.int64, torch.int32, torch.bfloat16
    return tensor.to(rng.choice(dtypes))


def put(value, *places):
    """A change of a tensor: that value in a place, or in all."""

    def changed(tensor):
        tensor[places or ...] = value
        return tensor

    return changed


CHANGES = (
    odd_number,
    odd_number,
    odd_number,
    every_number,
    shorter,
    longer,
    empty,
    flat,
    turned,
    other_dtype,
)


def change_json(folder, rng):
    """Put another value into config.json, or a file of JSON in a part of it."""
    paths = sorted(folder.rglob("*.json"))
    path = rng.choice([folder / "config.json", folder / "config.json", *paths])
    content = json.loads(path.read_text())
    top = content["model"] if path == folder / "config.json" else content
    places = list(walk(top)) or [(top, "x")]
    where, key = rng.choice(places)
    how = rng.choice(["odd", "odd", "gone", "other", "more"]) if where else "odd"
    if how == "odd":
        where[key] = rng.choice(ODD)
    elif how == "gone":
        del where[key]
    elif how == "other":
        source, other = rng.choice(places)
        where[key] = json.loads(json.dumps(source[other]))
    elif isinstance(where, dict):
        where[rng.choice(["predict_topk", "rank", "_modules", "x"])] = rng.choice(ODD)
    else:
        where.append(rng.choice(ODD))
    path.write_text(json.dumps(content))
    sign(folder)
    return f"{how} at {key!r} in {path.relative_to(folder)}: {str(where)[:200]}"


def walk(value):
    """Every place of a value below it: what it stands in, and the key."""
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from walk(value[key])


def answers(model, X):
    """What a model answers, which is in range and finite whatever it holds."""
    ids, scores = model.predict_topk(X, 5)
    n_labels = model.n_labels_
    assert ids.shape == scores.shape and ((ids >= -1) & (ids < n_labels)).all(), ids
    assert (scores >= 0).all() and (scores <= 1).all(), scores
    proba, odds = model.predict_proba(X), model.decision_function(X)
    for values in (proba, odds):
        values = getattr(values, "data", values)
        assert np.isfinite(np.asarray(values)).all()
    model.predict(X)
    return ids, scores


def too_late(number, frame):
    raise TimeoutError(f"it took more than {LONGEST} s")


def try_one(source, X, expected, folder, rng):
    """Damage a copy, and hold what it answers against what it should."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    damage = rng.choice([change_byte, change_tensor, change_json, change_json])
    verify = rng.random() < 0.7
    said = damage(folder, rng)
    crafted = damage is not change_byte or not verify
    if damage is change_byte and not verify and rng.random() < 0.5:
        with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
            sign(folder)
    print(f"{source.name}, verify={verify}: {said}", flush=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.alarm(LONGEST)
    try:
        model = skxmc.load(folder, device="cpu", verify=verify)
    except REFUSALS:
        model = None
    finally:
        signal.alarm(0)
    if model is not None:
        print("it is loaded", flush=True)
        signal.alarm(LONGEST)
        try:
            found = answers(model, X)
        except ValueError as error:
            # Numbers so large that they are harmless until they are multiplied.
            if crafted and "are not finite" in str(error):
                return False
            raise
        finally:
            signal.alarm(0)
        if not crafted:
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert used << 10 < MOST, f"it took {used >> 10} MiB"
    return model is not None


def main(folder, seed, n):
    faulthandler.enable()
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, too_late)
    failed = 0
    for source in sorted(path for path in folder.iterdir() if path.is_dir()):
        texts = folder / f"{source.name}.json"
        X = (
            json.loads(texts.read_text())
            if texts.exists()
            else np.load(texts.with_suffix(".npy"))
        )
        expected = answers(skxmc.load(source, device="cpu"), X)
        loaded = 0
        for i in range(n):
            rng = random.Random(f"{source.name} {seed} {i}")
            copy = folder.with_name(f"{folder.name}-{seed}")
            try:
                loaded += try_one(source, X, expected, copy, rng)
            except BaseException as error:
                failed += 1
                print(f"FAILED: {type(error).__name__}: {str(error)[:300]}", flush=True)
                if "-v" in sys.argv:
                    import traceback

                    traceback.print_exc(limit=-6)
        print(f"{source.name}: {loaded} of {n} were loaded", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])) > 0)
