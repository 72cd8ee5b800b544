"""The files of a model folder: their names, their hashes, and config.json."""

import hashlib
import importlib
import json
import os
import re

from .._damage import damage_error, parse_json
from ._transformer_files import ENCODER_FILES, TOKENIZER_FILES

# Number of the format that this version writes. Later versions read it, or say why
# they cannot.
FORMAT = 3
# All formats that this version reads.
FORMATS = (2, 3)
# Files that every folder has, beside config.json.
VALUE_FILES = {"model.safetensors", "labels.json"}
# Names that config.json may list.
_MODEL_FILE = re.compile(
    r"model\.safetensors|labels\.json|index(-\d+)?\.bin"  # the last is refused later
    rf"|encoder(-\d+)?/({'|'.join(map(re.escape, ENCODER_FILES))})"
    rf"|tokenizer(-\d+)?/({'|'.join(map(re.escape, TOKENIZER_FILES))})"
)
# Files that people, hubs and version control put beside a model. They are never opened.
_OTHER_FILE = re.compile(r"\..*|(README|LICENSE)(\..*)?", re.IGNORECASE)
_FIELDS = {"format", "class", "versions", "files", "model", "sha256"}


def list_files(folder):
    """Return the names of all files below a folder."""
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return [path.relative_to(folder).as_posix() for path in paths]


def hidden_prefix(folder):
    """Return the prefix of the hidden folders in which a model is written."""
    return f".{folder.name}.saving-"


def hidden_folders(folder):
    """List the hidden folders beside a model, of saves that run or were killed."""
    if not folder.parent.is_dir():
        return []
    names = os.listdir(folder.parent)
    return [folder.with_name(n) for n in names if n.startswith(hidden_prefix(folder))]


def hash_file(path):
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_config(config):
    """Return the SHA-256 of the content of a config.json, without its white space."""
    rest = {name: value for name, value in config.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest).encode()).hexdigest()


def read_config(folder, *, links_to=None, any_format=False):
    """Read config.json, and check all of it except the model that it describes.

    Parameters
    ----------
    folder : Path
    links_to : Path or None, default=None
        Folder that links may lead to. None means `folder`.
    any_format : bool, default=False
        Also accept formats that this version cannot read, and check less.

    Raises
    ------
    FileNotFoundError
        If there is no config.json.
    ValueError
        If skxmc did not write it, or if it is damaged or of another format.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(_missing_model(folder))
    check_inside(path, links_to or folder)
    config = parse_json(path)
    if not isinstance(config, dict) or not _has_header(config):
        raise ValueError(
            f"{path} was not written by skxmc. Give the path of a folder that "
            "save_pretrained wrote."
        )
    if not any_format and config["format"] not in FORMATS:
        raise ValueError(
            f"{folder} has format {config['format']} of skxmc "
            f"{config['versions']['skxmc']}; skxmc {_version()} reads formats "
            f"{' and '.join(map(str, FORMATS))}. Load it with that version, or fit and "
            "save the model again."
        )
    if not isinstance(config.get("files"), dict) or "model" not in config:
        raise damage_error(path, "it lists no files")
    if not any_format:
        _check_config(config, path)
        _check_listed(folder, config["files"])
    return config


def _has_header(config):
    versions = config.get("versions")
    return (
        type(config.get("format")) is int
        and isinstance(config.get("class"), str)
        and isinstance(versions, dict)
        and "skxmc" in versions
    )


def _check_config(config, path):
    fields = set(config)
    if config["format"] == 2:  # its first folders had no hash of config.json
        fields.add("sha256")
    if fields != _FIELDS:
        raise damage_error(path, "its fields are not those of a model")
    if "sha256" in config and config["sha256"] != hash_config(config):
        raise damage_error(path, "its SHA-256 is not the one in it")


def _version():
    return importlib.import_module("skxmc").__version__


def _missing_model(folder):
    if folder.exists():
        return f"{folder} holds no model: config.json is missing."
    message = f"There is no folder {folder}."
    for hidden in hidden_folders(folder.absolute()):
        if (hidden / "replaced").exists():
            message += (
                " Saving was interrupted, and the model that was there is now in "
                f"{hidden / 'replaced'}. Rename that folder, or save again."
            )
    return message


def check_files(folder, files, verify, links_to=None):
    """Compare the files of a folder with what config.json says about them.

    Parameters
    ----------
    folder : Path
    files : dict
        The field of config.json.
    verify : bool
        Whether to compare hashes as well as sizes.
    links_to : Path or None, default=None
        Folder that links may lead to. None means `folder`.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged, or is not part of a model.
    """
    _check_others(folder, files)
    for name, about in files.items():
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing, so the model is not complete. Copy the folder "
                "again, or save the model again."
            )
        check_inside(path, links_to or folder)
        if set(about) != {"bytes", "sha256"}:
            raise damage_error(
                folder / "config.json", f"it says too little about {name}"
            )
        n_bytes = path.stat().st_size
        if n_bytes != about["bytes"]:
            raise damage_error(
                path, f"it has {n_bytes} bytes instead of {about['bytes']}"
            )
        if verify and hash_file(path) != about["sha256"]:
            raise damage_error(path, "its SHA-256 is not the one in config.json")


def is_model_file(name):
    """Whether a file of this name may be part of a model, beside config.json."""
    return _MODEL_FILE.fullmatch(name) is not None


def _check_listed(folder, files):
    for name in files:
        if not is_model_file(name):
            raise damage_error(
                folder / "config.json", f"{name!r} is no file of a model"
            )
    for name in VALUE_FILES - set(files):
        raise damage_error(folder / "config.json", f"it does not list {name}")


def _check_others(folder, files):
    folders = {name.partition("/")[0] for name in files if "/" in name}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        listed = path.is_dir() and name in folders or name in files
        if not (listed or name == "config.json" or _is_other_file(name)):
            raise ValueError(
                f"{folder / name} is no part of the model that {folder} holds, and "
                "might be loaded in place of a part. Remove it."
            )


def _is_other_file(name):
    """Whether a file that is no part of a model may be in its folder."""
    top, _, below = name.partition("/")
    return bool(_OTHER_FILE.fullmatch(top)) and (not below or top.startswith("."))


def check_inside(path, folder):
    """Refuse a file that is not below a folder, since links lead out of it.

    Raises
    ------
    ValueError
        If it is one. The message says how to copy a folder with such links.
    """
    if folder.resolve() not in path.resolve().parents:
        raise ValueError(
            f"{path} is a link that leads out of {folder}. Put the file itself there: "
            "cp -rL copies a folder with the files that its links lead to."
        )
