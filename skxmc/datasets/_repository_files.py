"""Files of the extreme classification repository; messages name the bad line."""

import gzip
import json
import zlib
from array import array

import numpy as np

from .._damage import refuse_repeated_fields
from .._words import nfc
from ._csr import MAX_ID, build_csr

_MAX_FLOAT32 = float(np.finfo(np.float32).max)


def find_file(folder, name):
    """Return the path of a file or of its .gz in a folder; None if neither exists."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None


def _require_file(folder, name, companion):
    path = find_file(folder, name)
    if path is None:
        raise FileNotFoundError(
            f"{folder} has {companion}, but neither {name} nor {name}.gz. Add the file."
        )
    return path


def find_features(folder, split):
    """Return the path of the train or test file of the features layout, or None."""
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
            f"{folder} holds no data set: none of trn.json, train_texts.txt, "
            "train.txt, *_train.txt is there, plain or as .gz. Give the folder that "
            "holds one, or the path of a file in the features layout."
        )
    return found


def _read_lines(path):
    """Yield each line of a UTF-8 file, plain or .gz, after its place.

    A place is a pair of path and line number, counted from 1.
    """
    number = 0
    # Text mode would also end lines at a carriage return within a text.
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as stream:
        try:
            for number, line in enumerate(stream, 1):
                line = line.decode("utf-8-sig" if number == 1 else "utf-8")
                yield (path, number), nfc(line.rstrip("\r\n"))
        except UnicodeDecodeError as error:
            message = f"not UTF-8 ({error.reason}). Convert the file."
            raise _line_error((path, number), message) from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            message = f"broken gzip ({error}). Get the file again."
            raise _line_error((path, number + 1), message) from None


def _read_names(path):
    """Return the lines of a file of names.

    A blank line is an empty name, but blank lines at the end are not names.
    """
    names = [line for _, line in _read_lines(path)]
    while names and not names[-1].strip():
        names.pop()
    return names


def _line_error(place, message):
    path, number = place
    return ValueError(f"{path}, line {number}: {message}")


def _shorten(text):
    """Quote a part of a line, at most 60 characters of it."""
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}..."


def _parse_ids(tokens, n_ids, what, place):
    """Return the integers that tokens spell; all must be below n_ids."""
    for token in tokens:
        if not (token.isdecimal() and int(token) < n_ids):
            message = (
                f"{what} {_shorten(token)} is not an integer from 0 to {n_ids - 1}. "
                "Correct it, or the header or the number of names, which set the bound."
            )
            raise _line_error(place, message)
    return map(int, tokens)


def _parse_floats(tokens, place):
    for token in tokens:
        try:
            value = float(token)
        except ValueError:
            value = np.nan
        if not abs(value) <= _MAX_FLOAT32:  # also refuses NaN
            message = f"value {_shorten(token)} is not a finite float32. Correct it."
            raise _line_error(place, message)
        yield value


def load_features(data, train, test):
    """Fill `data` from the files of the features layout; `test` may be None."""
    data.X_train, data.Y_train = _read_features(train)
    if test is None:
        return
    data.X_test, data.Y_test = _read_features(test)
    expected = data.X_train.shape[1], data.Y_train.shape[1]
    got = data.X_test.shape[1], data.Y_test.shape[1]
    if got != expected:
        message = (
            f"the header has (features, labels) = {got}, but that of {train} has "
            f"{expected}. Use two files of one data set."
        )
        raise _line_error((test, 1), message)


def _read_features(path):
    """Return X and Y of a file with a header and lines "label,label feature:value"."""
    lines = _read_lines(path)
    n_docs, n_features, n_labels = _read_header(path, lines)
    labels, label_ends = array("i"), array("q", [0])
    columns, ends, values = array("i"), array("q", [0]), array("f")
    for place, line in lines:
        if len(ends) > n_docs:
            if not line.strip():
                continue
            message = (
                f"the header has only {n_docs} documents. Correct it, or cut the line."
            )
            raise _line_error(place, message)
        tokens = line.split()
        # A document without labels may start with blanks or with its first feature.
        has_labels = tokens and not line[0].isspace() and ":" not in tokens[0]
        names = tokens.pop(0).split(",") if has_labels else []
        labels.extend(_parse_ids(names, n_labels, "label", place))
        label_ends.append(len(labels))
        if line.count(":") < len(tokens):
            raise _pair_error(tokens, place)
        pairs = [token.partition(":") for token in tokens]
        columns.extend(
            _parse_ids([pair[0] for pair in pairs], n_features, "feature", place)
        )
        values.extend(_parse_floats([pair[2] for pair in pairs], place))
        ends.append(len(columns))
    if len(ends) <= n_docs:
        message = (
            f"the header has {n_docs} documents, but the file has {len(ends) - 1}. "
            "Correct the header, or get the complete file."
        )
        raise _line_error((path, 1), message)
    X = build_csr(columns, ends, n_features, values)
    return X, build_csr(labels, label_ends, n_labels)


def _pair_error(tokens, place):
    token = next(token for token in tokens if ":" not in token)
    message = (
        f"{_shorten(token)} is not of the form feature:value. Write the line as "
        "label,label feature:value feature:value."
    )
    return _line_error(place, message)


def _read_header(path, lines):
    place, line = next(lines, ((path, 1), ""))
    tokens = line.split()
    if len(tokens) != 3:
        message = (
            f"the header is {line[:40]!r}. Write three numbers: "
            "n_docs n_features n_labels."
        )
        raise _line_error(place, message)
    return _parse_ids(tokens, MAX_ID, "header", place)


def load_raw_text(data, folder):
    """Fill `data` from the files of the raw-text layout."""
    for field, name in [
        ("label_names", "label_names.txt"),
        ("label_codes", "label_ids.txt"),
        ("parent_names", "parent_names.txt"),
    ]:
        path = find_file(folder, name)
        data[field] = path and _read_names(path)
    for split in ("train", "test"):
        path = find_file(folder, f"{split}_texts.txt")
        data[f"texts_{split}"] = path and [line for _, line in _read_lines(path)]

    n_labels = MAX_ID if data.label_names is None else len(data.label_names)
    id_of = _map_names_to_ids(data, folder)
    for split in ("train", "test"):
        texts = data[f"texts_{split}"]
        if texts is not None:
            path = _require_file(folder, f"{split}_labels.txt", f"{split}_texts.txt")
            data[f"Y_{split}"] = _read_rows(path, len(texts), n_labels, id_of)
    _equalize_n_labels(data)
    n_labels = data.Y_train.shape[1]
    if data.label_codes is not None and len(data.label_codes) != n_labels:
        place = find_file(folder, "label_ids.txt"), len(data.label_codes)
        message = (
            f"this is the last code, but there are {n_labels} labels. Write one code "
            "for each label."
        )
        raise _line_error(place, message)
    if data.parent_names is not None:
        n_parents = len(data.parent_names)
        path = _require_file(folder, "label_parents.txt", "parent_names.txt")
        data.label_parents = _read_rows(path, n_labels, n_parents)
        path = _require_file(folder, "parent_parents.txt", "parent_names.txt")
        data.parent_parents = _read_rows(path, n_parents, n_parents)


def _map_names_to_ids(data, folder):
    """Return the ids of label names if documents give labels by name, else None."""
    if data.label_names is None:
        return None
    path = _require_file(folder, "train_labels.txt", "train_texts.txt")
    first = next((line for _, line in _read_lines(path) if line.strip()), "")
    if all(token.isdecimal() for token in first.split()):
        return None
    id_of = {}
    for i, name in enumerate(data.label_names):
        before = id_of.setdefault(name.strip(), i)
        if before != i:
            place = find_file(folder, "label_names.txt"), i + 1
            message = (
                f"{_shorten(name)} is also on line {before + 1}. Give labels as ids."
            )
            raise _line_error(place, message)
    return id_of


def _read_rows(path, n_rows, n_ids, id_of=None):
    """Return a binary matrix from a file with a line of ids, or names, per row."""
    indices, indptr = array("i"), array("q", [0])
    for place, line in _read_lines(path):
        if len(indptr) > n_rows and not line.strip():
            continue  # blank lines at the end
        if id_of is None:
            indices.extend(_parse_ids(line.split(), n_ids, "id", place))
        else:
            indices.extend(_look_up_names(line.split("\t"), id_of, place))
        indptr.append(len(indices))
    n_lines = len(indptr) - 1
    if n_lines != n_rows:
        message = (
            f"there are {n_lines} lines for {n_rows} rows. Write an empty line for a "
            "row without ids."
        )
        raise _line_error((path, min(n_lines, n_rows) + 1), message)
    return build_csr(indices, indptr, n_ids)


def _look_up_names(names, id_of, place):
    for name in map(str.strip, names):
        if name and name not in id_of:
            message = (
                f"label {_shorten(name)} is not in label_names.txt. Separate names by "
                "tabs; if labels are ids, the first line with labels must hold ids."
            )
            raise _line_error(place, message)
    return [id_of[name.strip()] for name in names if name.strip()]


def _equalize_n_labels(data):
    """Without label names, give both parts as many columns as the largest id needs."""
    if data.label_names is None:
        matrices = [Y for Y in (data.Y_train, data.Y_test) if Y is not None]
        n_labels = max((int(Y.indices.max()) + 1 for Y in matrices if Y.nnz), default=0)
        for Y in matrices:
            Y.resize(Y.shape[0], n_labels)


def load_json(data, folder):
    """Fill `data` from the files of the raw JSON layout."""
    path = find_file(folder, "lbl.json")
    n_labels = MAX_ID
    if path:
        data.label_names, data.label_codes = [], []
        for place, line in _read_lines(path):
            row = _parse_object(place, line)
            data.label_names.append(row["title"])
            data.label_codes.append(str(row.get("uid", "")))
        n_labels = len(data.label_names)
    for split, name in [("train", "trn.json"), ("test", "tst.json")]:
        path = find_file(folder, name)
        if path:
            texts, Y = _read_json(path, n_labels)
            data[f"texts_{split}"], data[f"Y_{split}"] = texts, Y
    _equalize_n_labels(data)


def _read_json(path, n_labels):
    """Return texts and Y of a file with one JSON object per line."""
    texts, indices, indptr = [], array("i"), array("q", [0])
    for place, line in _read_lines(path):
        row = _parse_object(place, line)
        texts.append(f"{row['title']} {row['content']}".strip())
        ids = row.get("target_ind")
        if not isinstance(ids, list):
            message = f"target_ind is {ids!r:.60}; it must be a list of label ids."
            raise _line_error(place, message)
        # Spelled out, JSON's 1.0 and true are not mistaken for ids.
        indices.extend(_parse_ids([str(i) for i in ids], n_labels, "label", place))
        indptr.append(len(indices))
    return texts, build_csr(indices, indptr, n_labels)


def _parse_object(place, line):
    try:
        row = json.loads(line, object_pairs_hook=refuse_repeated_fields)
    except (ValueError, RecursionError) as error:
        raise _line_error(
            place, f"not valid JSON ({error}). Write one object per line."
        ) from None
    if isinstance(row, dict):
        row["content"] = row.get("content") or ""  # some data sets have titles only
        if isinstance(row.get("title"), str) and isinstance(row["content"], str):
            # NFC again: characters written as \u escapes appear only now.
            return {n: nfc(v) if isinstance(v, str) else v for n, v in row.items()}
    message = "the line must be an object with strings title and content."
    raise _line_error(place, message)


def read_filter(folder, split, Y):
    """Return the pairs (document, label) to leave out of evaluation, or None."""
    path = find_file(folder, f"filter_labels_{split}.txt")
    if path is None or Y is None:
        return None
    pairs = array("q")
    for place, line in _read_lines(path):
        tokens = line.split()
        if not tokens:
            continue
        if len(tokens) != 2:
            raise _line_error(
                place, f"{line[:40]!r} is not a pair. Write: document label."
            )
        pairs.extend(_parse_ids(tokens[:1], Y.shape[0], "document", place))
        pairs.extend(_parse_ids(tokens[1:], Y.shape[1], "label", place))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
