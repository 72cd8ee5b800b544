"""The file to which tagged texts are appended."""

import json
import os
import threading
from pathlib import Path

from .._words import nfc
from ..datasets._label_cells import begins_list


class TaggedFile:
    """JSON lines in the form that ``skxmc train`` reads.

    Parameters
    ----------
    path : path-like
        Created if it does not exist.

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError
        If its name does not end in .jsonl, which ``skxmc train`` needs.
    """

    def __init__(self, path):
        self.path = Path(path)
        if self.path.suffix.lower() not in (".jsonl", ".ndjson"):
            raise ValueError(f"{path} must end in .jsonl, for skxmc train to read it.")
        self._lock = threading.Lock()
        with self.path.open("ab"):
            pass

    def append(self, row):
        """Append an object as a line; after this, it is on the disk."""
        line = json.dumps(row, allow_nan=False).encode() + b"\n"
        with self._lock, self.path.open("a+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            # A line that a full disk or a crash has cut off must not spoil this one.
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":
                    line = b"\n" + line
            if file.write(line) != len(line):
                file.truncate(end)
                raise OSError("the disk is full")
            os.fsync(file.fileno())


def check_names(names):
    """Return label names as ``skxmc train`` will read them.

    Raises
    ------
    ValueError
        If ``skxmc train`` would refuse the file because of a name.
    """
    names = [nfc(name).strip() for name in names]
    for name in names:
        if not name:
            raise ValueError("A label has no name: leave it out.")
        if begins_list(name):
            raise ValueError(
                f"The label {name!r:.60} looks like a list: send one name a label."
            )
    return list(dict.fromkeys(names))
