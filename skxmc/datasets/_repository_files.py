"""Files of the XML repository, read line by line; a bad line is named."""

import gzip
import json
import zlib
from array import array

import numpy as np

from .._damage import without_repetition
from .._words import nfc
from ._csr import MAX_ID, build_csr

_MAX_FLOAT32 = float(np.finfo(np.float32).max)


def find_file(folder, name):
    """Path of a file or of its .gz in a folder; None if there is neither."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None


def _need(folder, name, companion):
    path = find_file(folder, name)
    if path is None:
        raise FileNotFoundError(
            f"{folder} has {companion}, but no {name} (or .gz). Add the file."
        )
    return path


def find_features(folder, split):
    found = find_file(folder, f"{split}.txt")
    if found is None:
        files = [*folder.glob(f"*_{split}.txt"), *folder.glob(f"*_{split}.txt.gz")]
        files = sorted(f for f in files if not f.name.startswith("filter_labels"))
        if len(files) > 1:
            raise ValueError(
                f"{folder} has several files *_{split}.txt: "
                f"{', '.join(f.name for f in files)}. Rename one to {split}.txt."
            )
        found = files[0] if files else None
    if found is None and split == "train":
        raise FileNotFoundError(
            f"{folder} has no data set: looked for trn.json, train_texts.txt, "
            "train.txt, *_train.txt, plain or .gz. Give the folder that holds them, "
            "or the path of a file in the features layout."
        )
    return found


def _lines(path):
    """Yield ((path, line number from 1), line) of a UTF-8 file, plain or gz."""
    number = 0
    # Bytes, as text mode would also end lines at a carriage return within a text.
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as stream:
        try:
            for number, line in enumerate(stream, 1):
                line = line.decode("utf-8-sig" if number == 1 else "utf-8")
                yield (path, number), nfc(line.rstrip("\r\n"))
        except UnicodeDecodeError as error:
            message = f"not UTF-8 ({error.reason}). Convert the file."
            raise _error((path, number), message) from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            message = f"broken gzip ({error}). Get the file again."
            raise _error((path, number + 1), message) from None


def _name_lines(path):
    """Lines of a file of names; a line is blank where a name is, but at the end."""
    names = [line for _, line in _lines(path)]
    while names and not names[-1].strip():
        names.pop()
    return names


def _error(where, message):
    return ValueError(f"{where[0]}, line {where[1]}: {message}")


def _shown(text):
    """A part of a line that fits a message."""
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}..."


def _ids(tokens, n_ids, what, where):
    """Integers of tokens, all below n_ids."""
    for token in tokens:
        if not (token.isdecimal() and int(token) < n_ids):
            message = (
                f"{what} {_shown(token)} is no integer from 0 to {n_ids - 1}. Correct "
                "it, or what sets the bound: the header or the number of names."
            )
            raise _error(where, message)
    return map(int, tokens)


def _floats(tokens, where):
    for token in tokens:
        try:
            value = float(token)
        except ValueError:
            value = np.nan
        if not abs(value) <= _MAX_FLOAT32:  # true for NaN as well
            message = f"value {_shown(token)} is no finite float32. Correct it."
            raise _error(where, message)
        yield value


def load_features(data, train, test):
    data.X_train, data.Y_train = _read_features(train)
    if test is None:
        return
    data.X_test, data.Y_test = _read_features(test)
    expected = data.X_train.shape[1], data.Y_train.shape[1]
    got = data.X_test.shape[1], data.Y_test.shape[1]
    if got != expected:
        message = (
            f"the header has (features, labels) = {got}, that of {train} {expected}. "
            "Give the two files of one data set."
        )
        raise _error((test, 1), message)


def _read_features(path):
    """Return X and Y of a file with a header and "l,l f:v f:v" lines."""
    lines = _lines(path)
    n_docs, n_features, n_labels = _read_header(path, lines)
    labels, label_ends = array("i"), array("q", [0])
    columns, ends, values = array("i"), array("q", [0]), array("f")
    for where, line in lines:
        if len(ends) > n_docs:
            if not line.strip():
                continue
            message = f"the header has {n_docs} documents only. Correct either."
            raise _error(where, message)
        tokens = line.split()
        # No labels, with blanks in their place or without.
        none = not tokens or line[0].isspace() or ":" in tokens[0]
        names = [] if none else tokens.pop(0).split(",")
        labels.extend(_ids(names, n_labels, "label", where))
        label_ends.append(len(labels))
        if line.count(":") < len(tokens):
            raise _no_pair(tokens, where)
        pairs = [token.partition(":") for token in tokens]
        columns.extend(_ids([pair[0] for pair in pairs], n_features, "feature", where))
        values.extend(_floats([pair[2] for pair in pairs], where))
        ends.append(len(columns))
    if len(ends) <= n_docs:
        message = (
            f"the header has {n_docs} documents, the file {len(ends) - 1}. Correct "
            "the header, or get the whole file."
        )
        raise _error((path, 1), message)
    X = build_csr(columns, ends, n_features, values)
    return X, build_csr(labels, label_ends, n_labels)


def _no_pair(tokens, where):
    token = next(token for token in tokens if ":" not in token)
    message = f"{_shown(token)} is no feature:value. Write: label,label f:v f:v."
    return _error(where, message)


def _read_header(path, lines):
    where, line = next(lines, ((path, 1), ""))
    tokens = line.split()
    if len(tokens) != 3:
        message = f"header {line[:40]!r}. Write three: n_docs n_features n_labels."
        raise _error(where, message)
    return _ids(tokens, MAX_ID, "header", where)


def load_raw_text(data, folder):
    for field, name in [
        ("label_names", "label_names.txt"),
        ("label_codes", "label_ids.txt"),
        ("parent_names", "parent_names.txt"),
    ]:
        path = find_file(folder, name)
        data[field] = path and _name_lines(path)
    for split in ("train", "test"):
        path = find_file(folder, f"{split}_texts.txt")
        data[f"texts_{split}"] = path and [line for _, line in _lines(path)]

    n_labels = MAX_ID if data.label_names is None else len(data.label_names)
    id_of = _name_ids(data, folder)
    for split in ("train", "test"):
        texts = data[f"texts_{split}"]
        if texts is not None:
            path = _need(folder, f"{split}_labels.txt", f"{split}_texts.txt")
            data[f"Y_{split}"] = _read_rows(path, len(texts), n_labels, id_of)
    _settle_n_labels(data)
    n_labels = data.Y_train.shape[1]
    if data.label_codes is not None and len(data.label_codes) != n_labels:
        where = find_file(folder, "label_ids.txt"), len(data.label_codes)
        message = f"the last of the codes, for {n_labels} labels. Give one a label."
        raise _error(where, message)
    if data.parent_names is not None:
        n_parents = len(data.parent_names)
        path = _need(folder, "label_parents.txt", "parent_names.txt")
        data.label_parents = _read_rows(path, n_labels, n_parents)
        path = _need(folder, "parent_parents.txt", "parent_names.txt")
        data.parent_parents = _read_rows(path, n_parents, n_parents)


def _name_ids(data, folder):
    """Map names to ids if the labels are given by name, else None."""
    if data.label_names is None:
        return None
    path = _need(folder, "train_labels.txt", "train_texts.txt")
    first = next((line for _, line in _lines(path) if line.strip()), "")
    if all(token.isdecimal() for token in first.split()):
        return None
    id_of = {}
    for i, name in enumerate(data.label_names):
        before = id_of.setdefault(name.strip(), i)
        if before != i:
            where = find_file(folder, "label_names.txt"), i + 1
            message = f"{_shown(name)} is on line {before + 1} too. Give labels as ids."
            raise _error(where, message)
    return id_of


def _read_rows(path, n_rows, n_ids, id_of=None):
    """Binary matrix of a file with a line of ids (or names) for each row."""
    indices, indptr = array("i"), array("q", [0])
    for where, line in _lines(path):
        if len(indptr) > n_rows and not line.strip():
            continue  # blank lines at the end
        if id_of is None:
            indices.extend(_ids(line.split(), n_ids, "id", where))
        else:
            indices.extend(_ids_of_names(line.split("\t"), id_of, where))
        indptr.append(len(indices))
    n_lines = len(indptr) - 1
    if n_lines != n_rows:
        message = f"{n_lines} lines for {n_rows} rows. Leave a line empty for no ids."
        raise _error((path, min(n_lines, n_rows) + 1), message)
    return build_csr(indices, indptr, n_ids)


def _ids_of_names(names, id_of, where):
    for name in map(str.strip, names):
        if name and name not in id_of:
            message = (
                f"label {_shown(name)} is not in label_names.txt. Separate names by "
                "tabs, or start with a line of ids if labels are ids."
            )
            raise _error(where, message)
    return [id_of[name.strip()] for name in names if name.strip()]


def _settle_n_labels(data):
    """Without names, the largest id of both sets gives the number of labels."""
    if data.label_names is None:
        matrices = [Y for Y in (data.Y_train, data.Y_test) if Y is not None]
        n_labels = max((int(Y.indices.max()) + 1 for Y in matrices if Y.nnz), default=0)
        for Y in matrices:
            Y.resize(Y.shape[0], n_labels)


def load_json(data, folder):
    path = find_file(folder, "lbl.json")
    n_labels = MAX_ID
    if path:
        data.label_names, data.label_codes = [], []
        for where, line in _lines(path):
            row = _json_row(where, line)
            data.label_names.append(row["title"])
            data.label_codes.append(str(row.get("uid", "")))
        n_labels = len(data.label_names)
    for split, name in [("train", "trn.json"), ("test", "tst.json")]:
        path = find_file(folder, name)
        if path:
            texts, Y = _read_json(path, n_labels)
            data[f"texts_{split}"], data[f"Y_{split}"] = texts, Y
    _settle_n_labels(data)


def _read_json(path, n_labels):
    """Return texts and Y of a file with a JSON object a line."""
    texts, indices, indptr = [], array("i"), array("q", [0])
    for where, line in _lines(path):
        row = _json_row(where, line)
        texts.append(f"{row['title']} {row['content']}".strip())
        ids = row.get("target_ind")
        if not isinstance(ids, list):
            message = f"target_ind is {ids!r:.60}. Give a list of label ids."
            raise _error(where, message)
        # As strings, JSON's 1.0 and true are not mistaken for ids.
        indices.extend(_ids([str(i) for i in ids], n_labels, "label", where))
        indptr.append(len(indices))
    return texts, build_csr(indices, indptr, n_labels)


def _json_row(where, line):
    try:
        row = json.loads(line, object_pairs_hook=without_repetition)
    except (ValueError, RecursionError) as error:
        raise _error(where, f"no JSON ({error}). Write an object a line.") from None
    if isinstance(row, dict):
        row["content"] = row.get("content") or ""  # title-only sets have none
        if isinstance(row.get("title"), str) and isinstance(row["content"], str):
            # Escaped characters take their form here.
            return {n: nfc(v) if isinstance(v, str) else v for n, v in row.items()}
    raise _error(where, "no object with title and content. Give both as strings.")


def read_filter(folder, split, Y):
    path = find_file(folder, f"filter_labels_{split}.txt")
    if path is None or Y is None:
        return None
    pairs = array("q")
    for where, line in _lines(path):
        tokens = line.split()
        if not tokens:
            continue
        if len(tokens) != 2:
            raise _error(where, f"{line[:40]!r} is no pair. Write: document label.")
        pairs.extend(_ids(tokens[:1], Y.shape[0], "document", where))
        pairs.extend(_ids(tokens[1:], Y.shape[1], "label", where))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
