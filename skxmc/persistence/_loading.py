"""Loading a model folder."""

from pathlib import Path

from .._damage import DamagedError, damage_error, parse_json
from ..nn.process import isolate_torch
from ._folder import VALUE_FILES, check_files, read_config
from ._format2 import upgrade
from ._from_json import Reader
from ._tensors import read_tensors


def load(folder, *, device="auto", verify=True, mmap=True):
    """Load a classifier that `save_pretrained` wrote.

    Parameters
    ----------
    folder : path
        The folder that was given to `save_pretrained`, or a copy of it.
    device : str, default="auto"
        The parameter `device` of the loaded classifier, such as "cpu" or "cuda:1".
        "auto" chooses a GPU if there is one.
    verify : bool, default=True
        Whether to compare each file with the hash that was saved with it. This takes
        about a second per gigabyte. Without it, the values in the files are still
        checked, and so is the hash of config.json.
    mmap : bool, default=True
        Whether the weights stay in the files of the folder, which are mapped into
        memory. All processes of a machine that load the same folder then share them.
        These files must not be changed in place while the model is used;
        `save_pretrained` replaces them, which is safe. False copies the weights into
        the memory of this process.

    Returns
    -------
    fitted classifier
        Of the class that was saved, in evaluation mode. It stays on the CPU until it
        predicts.

    Raises
    ------
    FileNotFoundError
        If the folder or a file of it is missing.
    ValueError
        If the folder is damaged, if it holds anything that saving does not write, or
        if this version cannot read its format.
    ImportError
        If the classifier searches with a graph, and hnswlib is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import skxmc
    >>> data = skxmc.datasets.make_xmc(60, 20, kind="features", random_state=0)
    >>> X, Y = data.X, data.Y
    >>> model = skxmc.GRankClassifier(max_epochs=1, validation_fraction=0).fit(X, Y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save_pretrained(folder)
    ...     again = skxmc.load(folder)
    >>> bool((again.predict_topk(X)[0] == model.predict_topk(X)[0]).all())
    True
    """
    folder = Path(folder)
    config = read_config(folder)
    try:
        check_files(folder, config["files"], verify)
        model, estimators = _load_model(folder, config, mmap)
    except (DamagedError, FileNotFoundError, ImportError, MemoryError):
        raise
    except Exception as error:
        # A folder that was crafted can fail anywhere, and with any kind of error.
        reason = str(error) if type(error) is ValueError else repr(error)
        raise ValueError(
            f"{folder / 'config.json'} does not describe a model, or its files do not: "
            f"{reason.removesuffix('.')}. They were changed after they were written. "
            "Save the model again."
        ) from error
    for estimator in estimators:
        if "device" in estimator.get_params(deep=False):
            estimator.device = device
    return model


def _load_model(folder, config, mmap):
    """Make the classifier of a folder; return it and all classifiers in it."""
    parts = {name.partition("/")[0] for name in config["files"]} - VALUE_FILES
    with isolate_torch():
        tensors = read_tensors(folder / "model.safetensors", mmap)
        texts = _load_texts(folder / "labels.json")
        content = config["model"]
        if config["format"] == 2:
            content = upgrade(content, tensors, folder)
        reader = Reader(folder, tensors, texts, parts, mmap)
        model = reader.read(content)
    if type(model).__name__ != config["class"]:
        raise TypeError(f"it holds a {type(model).__name__}")
    return model, reader.estimators


def _load_texts(path):
    texts = parse_json(path)
    are_lists = isinstance(texts, dict) and all(
        isinstance(part, list) and all(isinstance(text, str) for text in part)
        for part in texts.values()
    )
    if not are_lists:
        raise damage_error(path, "it does not consist of lists of texts")
    return texts
