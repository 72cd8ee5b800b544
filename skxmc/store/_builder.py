"""The builder of a store: it appends documents to files, and makes the label matrix."""

import contextlib

import numpy as np

from .._stored_texts import DESCRIPTION, JOURNAL, TEXTS, TOKENS, map_rows
from ..datasets._table import check_multi_hot, check_separator, read_documents
from ..nn.maps import check_room, explain_full_disk
from ..nn.text import tokenize
from ._files import (
    GrowingArray,
    GrowingNames,
    GrowingRows,
    hash_json,
    write_json,
)
from ._open import FOUND, LABELS, NAMES, ONES, index_dtype, split_rows

# Names of labels in the order in which a build finds them.
_FOUND_NAMES = "found.jsonl"
# Documents that are tokenised and written together, and their largest number of
# characters together.
_DOCS, _CHARS = 4096, 2**21
# Rows of a Parquet file that are read together.
_ROWS = 512
_ADVICE = (
    "Make room, and call build_store again with the same arguments: files that are "
    "finished are not read again."
)


class Builder:
    """Appends documents to the files of a store.

    It is a context manager, which closes the files.

    Parameters
    ----------
    folder : Path
    plan : dict
        What the store is made of, as in its ``store.json``.
    sources : list of dict
        What is known of the files that are finished.
    tokenizer : PreTrainedTokenizerFast
    known_labels : list of str or None
    """

    def __init__(self, folder, plan, sources, tokenizer, known_labels):
        self.folder, self.plan, self.sources = folder, plan, sources
        self.tokenizer, self.known_labels = tokenizer, known_labels
        self.known = None
        if known_labels is not None:  # of several labels of one name, the first
            n = len(known_labels)
            self.known = {known_labels[j]: j for j in reversed(range(n))}
        kinds = {TOKENS: plan["dtype"]}
        if plan["keep_texts"]:
            kinds[TEXTS] = "|u1"
        if plan["labels"] is not None:
            kinds[FOUND] = "<i4"
        with explain_full_disk(folder, "a list of the files", _ADVICE):
            # A build that is killed here or later goes on from what the journal counts.
            self._write_journal()
            (folder / DESCRIPTION).unlink(missing_ok=True)
            self._open_files(kinds)

    def _open_files(self, kinds):
        """Open the files of the given types of values."""
        folder, sources = self.folder, self.sources
        n_docs = sum(source["documents"] for source in sources)
        last = sources[-1] if sources else {"names": 0, "name_bytes": 0}
        with contextlib.ExitStack() as stack:
            self.names = GrowingNames(
                folder / _FOUND_NAMES, last["names"], last["name_bytes"]
            )
            stack.callback(self.names.close)
            self.rows = {}
            for name, kind in kinds.items():
                n_values = sum(source["sizes"][name] for source in sources)
                rows = GrowingRows(folder, name, np.dtype(kind), n_docs, n_values)
                self.rows[name] = rows
                stack.callback(rows.close)
            self._files = stack.pop_all()

    def __enter__(self):
        self._files.__enter__()
        return self

    def __exit__(self, *error):
        return self._files.__exit__(*error)

    def _write_journal(self):
        journal = self.plan | {"sources": self.sources}
        write_json(self.folder / JOURNAL, journal)

    def add_file(self, path, update=None):
        """Read a file, and add its documents.

        Parameters
        ----------
        path : Path
        update : callable or None, default=None
            ``update(n)`` is called after each n documents.
        """
        plan, source = self.plan, describe_file(path)
        before = {name: rows.n_values for name, rows in self.rows.items()}
        texts, lists, cells, n_chars, n_before = [], [], [], 0, 0
        columns = plan["text"], plan["labels"], plan["separator"]

        def add():
            self._add_documents(path, n_before, texts, lists, cells)
            if update is not None:
                update(len(texts))

        documents = read_documents(
            path, *columns, quoted=plan["quoted"], batch_size=_ROWS
        )
        with explain_full_disk(self.folder, f"what {path} holds", _ADVICE):
            for document, names, split_cells in _name_damaged_file(path, documents):
                texts.append(document)
                lists.append(names)
                cells += split_cells
                n_chars += len(document)
                if len(texts) >= _DOCS or n_chars >= _CHARS:
                    add()
                    n_before += len(texts)
                    texts, lists, cells, n_chars = [], [], [], 0
            if texts:
                add()
            self._finish_file(source, n_before + len(texts), before)

    def add_part(self, folder, source):
        """Add the documents of a file that another builder has read.

        Parameters
        ----------
        folder : Path
            Folder of the other builder, which has read this file only.
        source : dict
            What its journal says of the file.
        """
        before = {name: rows.n_values for name, rows in self.rows.items()}
        what = f"what {source['name']} holds"
        with explain_full_disk(self.folder, what, _ADVICE):
            for name, rows in self.rows.items():
                values, offsets = map_rows(
                    folder, name, rows.dtype, source["documents"], source["sizes"][name]
                )
                columns = None
                if name == FOUND and self.known is None:
                    path, known = folder / _FOUND_NAMES, ("names", "name_bytes")
                    names = GrowingNames(path, *(source[key] for key in known))
                    names.close()
                    columns = np.array(self.names.find(list(names.ids)), rows.dtype)
                for start, stop in split_rows(offsets):
                    part = values[offsets[start] : offsets[stop]]
                    part = part if columns is None else columns[part]
                    rows.append(part, np.diff(offsets[start : stop + 1]))
            described = {key: source[key] for key in ("name", "bytes", "modified_ns")}
            self._finish_file(described, source["documents"], before)

    def _finish_file(self, source, n_docs, before):
        """Write a file's documents to the disk, and note it in the journal.

        Parameters
        ----------
        source : dict
            By `describe_file`, which was called before the file was read.
        n_docs : int
            Number of its documents.
        before : dict of int
            Numbers of values before it.
        """
        self.names.sync()
        hashes = {name: rows.finish_file() for name, rows in self.rows.items()}
        hashes.pop(FOUND, None)  # the labels of the finished store have their own
        sizes = {name: rows.n_values - before[name] for name, rows in self.rows.items()}
        self.sources.append(
            source
            | {
                "documents": n_docs,
                "sizes": sizes,
                "hashes": hashes,
                "names": len(self.names.ids),
                "name_bytes": self.names.n_bytes,
            }
        )
        self._write_journal()

    def _add_documents(self, path, n_before, texts, lists, cells):
        if not n_before and self.plan["labels"] is not None:
            # What is wrong with all cells of a file shows at its beginning.
            check_multi_hot(path, self.plan["labels"], lists, self.known_labels)
            check_separator(path, cells, self.plan["separator"])
        prompt = self.plan.get("prompt", "")
        prompted = [prompt + text for text in texts] if prompt else texts
        tokens = tokenize(prompted, self.tokenizer, self.plan["max_length"])
        self.rows[TOKENS].append(tokens.ids, tokens.lengths)
        if TEXTS in self.rows:
            encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
            lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
            self.rows[TEXTS].append(np.frombuffer(b"".join(encoded), "u1"), lengths)
        if FOUND in self.rows:
            found = [
                self._find_labels(path, n_before + i, dict.fromkeys(names))
                for i, names in enumerate(lists)
            ]
            lengths = np.fromiter(map(len, found), np.int64, len(found))
            ids = np.fromiter((i for row in found for i in row), "i4", lengths.sum())
            self.rows[FOUND].append(ids, lengths)

    def _find_labels(self, path, row, names):
        """Return the numbers of a document's labels."""
        if self.known is None:
            return self.names.find(names)
        if self.plan["unknown"] == "error":
            for name in names:
                if name not in self.known:
                    raise ValueError(
                        f"{path}, document {row} (counted from 0) has the label "
                        f"{name!r:.60}, which is not among the {len(self.known)} "
                        'known_labels. Correct it, or set unknown="ignore" to leave '
                        "such labels out."
                    )
        return [self.known[name] for name in names if name in self.known]

    def finish(self, files):
        """Write the label matrix and the description of the finished store.

        Parameters
        ----------
        files : list of Path
            All files, which have been added.
        """
        with explain_full_disk(self.folder, "the label matrix", _ADVICE):
            for rows in self.rows.values():  # which may have lost files at their ends
                rows.finish_file()
            self._finish(files)

    def _finish(self, files):
        n_docs = sum(source["documents"] for source in self.sources)
        if not n_docs:
            raise ValueError(
                f"The {len(files)} files, the first of which is {files[0]}, hold no "
                "documents."
            )
        sizes = {
            name: sum(source["sizes"][name] for source in self.sources)
            for name in self.rows
        }
        description = self.plan | {"documents": n_docs, "sizes": sizes}
        if self.plan["labels"] is not None:
            description |= self._write_labels(n_docs, sizes[FOUND])
        parts = [source["hashes"] for source in self.sources if source["documents"]]
        keys = "tokenizer", "max_length", "labels_hash"
        described = [description.get(key) for key in keys]
        description |= {
            "documents_hash": hash_json(parts),
            "fingerprint": hash_json([parts, described]),
            "sources": self.sources,
        }
        write_json(self.folder / DESCRIPTION, description)
        (self.folder / JOURNAL).unlink()

    def _write_labels(self, n_docs, n_entries):
        """Write the label matrix, and return its entries of the description."""
        check_room(
            self.folder,
            8 * (n_entries + n_docs),
            "The labels of the store",
            "Make room, and call build_store again with the same arguments.",
        )
        names, columns = self.known_labels, None
        if names is None:
            # The columns are those of load_table: names in their order.
            found = list(self.names.ids)
            order = sorted(range(len(found)), key=found.__getitem__)
            names = [found[i] for i in order]
            columns = np.empty(len(found), np.int32)
            columns[order] = np.arange(len(found))
        ids, offsets = map_rows(self.folder, FOUND, "<i4", n_docs, n_entries)
        kind = index_dtype(n_entries)
        labels = GrowingRows(self.folder, LABELS, kind, 0, 0, kind)
        ones = GrowingArray(self.folder / ONES, np.dtype("<f4"), 0)
        with contextlib.closing(labels), contextlib.closing(ones):
            for start, stop in split_rows(offsets):
                part = ids[offsets[start] : offsets[stop]]
                part = part if columns is None else columns[part]
                lengths = np.diff(offsets[start : stop + 1])
                owners = np.repeat(np.arange(stop - start), lengths)
                labels.append(part[np.lexsort((part, owners))], lengths)
                ones.append(np.ones(len(part), np.float32))
            ones.sync()
            digest = labels.finish_file()
        write_json(self.folder / NAMES, names)
        return {"n_labels": len(names), "labels_hash": hash_json([digest, names])}


def describe_file(path):
    stat = path.stat()
    return {"name": path.name, "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}


def _name_damaged_file(path, documents):
    """Yield documents; errors of the library that reads a file get its name."""
    try:
        yield from documents
    except (OSError, ValueError) as error:
        if str(path) in str(error):
            raise
        raise ValueError(
            f"{path} cannot be read: {error}. It may be damaged or truncated: write or "
            "copy it again, and then call build_store again."
        ) from error
