"""Rows of CSV and TSV files, read strictly: ambiguous quotes are errors.

A lenient reader lets one stray quote join all rows up to the next one. Here every row
has the header's number of cells, and quotes enclose whole cells.
"""

import csv
import re
import sys
import warnings

_UNQUOTED_ADVICE = (
    "If quotes are part of the texts and do not enclose cells, read the table with "
    "quoted=False (--unquoted)."
)


def read_delimited(path, columns, quoted):
    """Yield the place of each row, for messages, and its cells; the header first."""
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the default is 128 KiB
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(newline="", encoding="utf-8-sig") as file:
        if delimiter == ",":
            delimiter = _find_delimiter(path, file, columns, quoted)
        rows = _read_rows(path, file, delimiter, quoted)
        header = next(rows, None)
        if header is None:
            raise ValueError(
                f"{path} is empty: its first line must name the columns, such as "
                f"{delimiter.join(columns)}."
            )
        yield path, header[1]
        yield from _check_rows(rows, len(header[1]), delimiter, quoted)


def _find_delimiter(path, file, columns, quoted):
    """Return a semicolon if the header has all columns only then, else a comma."""
    # Spreadsheets write semicolons in countries where numbers have a decimal comma.
    for delimiter in ",;":
        try:
            _, header, _ = next(_read_rows(path, file, delimiter, quoted), (0, (), 0))
        except ValueError:  # quotes may be misplaced under the wrong delimiter
            header = ()
        file.seek(0)
        if set(columns) <= set(header):
            return delimiter
    return ","


def _read_rows(path, file, delimiter, quoted):
    """Yield the place of each row, its cells and its lines; blank lines are skipped.

    In a table of one column, a blank line before another row is an empty cell.
    """
    lines, blank_places, width, line_end = [], [], 0, None
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.reader(
        _record_lines(file, lines), delimiter=delimiter, quoting=quoting, strict=True
    )
    while True:
        lines.clear()
        first = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise _quote_error(path, first, reader.line_num, error) from error
        if cells is None:
            return
        place = _name_place(path, first, reader.line_num)
        end = lines[-1][-1:]  # a line ends at \n, or at a \r that no \n follows
        if not cells:
            # Programs that write \r\n in text mode end lines in \r\r\n: a line that
            # ends in \r, and a blank one that ends in \n and is not an empty cell.
            if width == 1 and end == line_end:
                blank_places.append(place)
            continue
        line_end = line_end or end
        if end in "\r\n" and end != line_end:
            raise ValueError(
                f"{place} ends in {end!r}, but the header ends in {line_end!r}. Quote "
                "cells that hold a line end."
            )
        width = width or len(cells)
        yield from ((blank, [""], ["\n"]) for blank in blank_places)
        blank_places.clear()
        yield place, cells, lines


def _record_lines(file, lines):
    """Yield the lines of a file, and append each to `lines`."""
    for line in file:
        lines.append(line)
        yield line


def _name_place(path, first, last):
    lines = f"line {last}" if first == last else f"lines {first} to {last}"
    return f"{path}, {lines}"


def _quote_error(path, first, last, error):
    place = _name_place(path, first, last)
    if "unexpected end" in str(error):
        place = f"{path}, line {first}"
        problem = "a quote opens a cell and no quote closes it"
    elif "expected after" in str(error):
        problem = "text follows the quote that closes a cell"
        problem += f", in line {last}" if last > first else ""
    else:
        problem = str(error)
    return ValueError(
        f'{place}: {problem}. Write a quote within a quoted cell twice (""). '
        f"{_UNQUOTED_ADVICE}"
    )


def _check_rows(rows, width, delimiter, quoted):
    """Yield places and cells; refuse a wrong number of cells, warn of joined rows."""
    n_multiline, suspects = 0, []
    for place, cells, lines in rows:
        if len(cells) != width:
            raise ValueError(
                f"{place}: the row has {len(cells)} cells, but the header has {width}. "
                f"Quote cells that hold {delimiter!r}."
                f"{f' {_UNQUOTED_ADVICE}' if len(lines) > 1 else ''}"
            )
        if quoted:
            _check_blanks(place, cells, lines, delimiter)
        if len(lines) > 1:
            n_multiline += 1
            if width > 1 and all(x.count(delimiter) == width - 1 for x in lines):
                suspects.append(place)
        yield place, cells
    # Two stray quotes, one before a text and one behind a later one, make a legal row.
    # Texts of several lines rarely look like rows; a majority that does is suspicious.
    if len(suspects) > n_multiline / 2:
        warnings.warn(
            f"{suspects[0]}: quotes join these lines into one row, although each line "
            f"has as many cells as the header. The file has {len(suspects)} such rows. "
            f"{_UNQUOTED_ADVICE}",
            stacklevel=8,  # the caller of load_table
        )


def _check_blanks(place, cells, lines, delimiter):
    """Refuse a quote after blanks: it may open the cell or be part of its text."""
    if not [cell for cell in cells if cell.startswith((" ", "\t"))]:
        return
    # The reader returns the same cell for `" x"` and ` x`, so the lines are searched:
    # blanks inside a quoted cell stand after its opening quote.
    pattern = f'(?:^|{delimiter})("(?:[^"]|"")*"|[^{delimiter}]*)'
    for cell in re.findall(pattern, "".join(lines)):
        if cell.lstrip(" \t")[:1] == '"' != cell[0]:
            raise ValueError(
                f"{place}: a quote follows blanks at the start of the cell "
                f"{cell.rstrip()!r:.40}. Remove the blanks if the quote opens the "
                "cell; otherwise quote the cell, or read the table with quoted=False "
                "(--unquoted)."
            )
