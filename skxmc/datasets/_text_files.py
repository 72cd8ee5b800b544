"""Text files in UTF-8, with or without a byte order mark, compressed or not."""

import contextlib
import gzip


@contextlib.contextmanager
def open_text(path, newline=None):
    """Open a text file to read it, and name it in the error for other encodings.

    Parameters
    ----------
    path : Path
        Compressed if its name ends in ``.gz``.
    newline : str or None, default=None
        As for `open`.
    """
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline=newline) as file:
            yield file
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 ({error}). Save the file as UTF-8."
        ) from error
    except (gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"{path} cannot be decompressed: {error}.") from error
