"""Rows of CSV and TSV files, read strictly: what is open to doubt is refused."""

import csv
import re
import sys
import warnings

_PART_OF_TEXTS = (
    "If quotes are part of the texts and enclose no cells, read the table with "
    "quoted=False (--unquoted)."
)


def read_delimited(path, columns, quoted):
    """Yield where each row stands and its cells; the first is the header."""
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # texts are longer than 128 KiB
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(newline="", encoding="utf-8-sig") as file:
        if delimiter == ",":
            delimiter = _delimiter(path, file, columns, quoted)
        rows = _rows(path, file, delimiter, quoted)
        header = next(rows, None)
        if header is None:
            raise ValueError(
                f"{path} is empty: its first line must name the columns, such as "
                f"{delimiter.join(columns)}."
            )
        yield path, header[1]
        yield from _checked(path, rows, len(header[1]), delimiter, quoted)


def _delimiter(path, file, columns, quoted):
    """A comma, or a semicolon where the header names the columns only so."""
    # Spreadsheets write semicolons where numbers have a decimal comma.
    for delimiter in ",;":
        try:
            _, header, _ = next(_rows(path, file, delimiter, quoted), (0, (), 0))
        except ValueError:  # with the other one a quote may stand where it should
            header = ()
        file.seek(0)
        if set(columns) <= set(header):
            return delimiter
    return ","


def _rows(path, file, delimiter, quoted):
    """Yield where a row stands, its cells and its lines; blank lines are left out.

    In a table of one column a blank line before another row is an empty cell.
    """
    lines, blank, width, line_end = [], [], 0, None
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.reader(
        _kept(file, lines), delimiter=delimiter, quoting=quoting, strict=True
    )
    while True:
        lines.clear()
        first = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise _broken(path, first, reader.line_num, error) from error
        if cells is None:
            return
        where = _place(path, first, reader.line_num)
        end = lines[-1][-1:]  # a line ends at \n, or at a \r without it
        if not cells:
            # A \r\n behind a \r is one end of a line, written in text mode.
            if width == 1 and end == line_end:
                blank.append(where)
            continue
        line_end = line_end or end
        if end in "\r\n" and end != line_end:
            raise ValueError(
                f"{where} ends in {end!r}, and the header in {line_end!r}. Quote cells "
                "that hold a line end."
            )
        width = width or len(cells)
        yield from ((there, [""], ["\n"]) for there in blank)
        blank.clear()
        yield where, cells, lines


def _kept(file, lines):
    for line in file:
        lines.append(line)
        yield line


def _place(path, first, last):
    lines = f"line {last}" if first == last else f"lines {first} to {last}"
    return f"{path}, {lines}"


def _broken(path, first, last, error):
    where = _place(path, first, last)
    if "unexpected end" in str(error):
        where, problem = f"{path}, line {first}", "a quote opens a cell, none closes it"
    elif "expected after" in str(error):
        problem = "text stands behind the quote that closes a cell"
        problem += f", in line {last}" if last > first else ""
    else:
        problem = str(error)
    advice = f'Write a quote within a quoted cell twice (""). {_PART_OF_TEXTS}'
    return ValueError(f"{where}: {problem}. {advice}")


def _checked(path, rows, width, delimiter, quoted):
    n_long, doubtful = 0, []
    for where, cells, lines in rows:
        if len(cells) != width:
            raise ValueError(
                f"{where} has another number of cells than the header: {len(cells)}, "
                f"not {width}. Quote cells that hold {delimiter!r}."
                f"{f' {_PART_OF_TEXTS}' if len(lines) > 1 else ''}"
            )
        if quoted:
            _check_blanks(where, cells, lines, delimiter)
        if len(lines) > 1:
            n_long += 1
            if width > 1 and all(x.count(delimiter) == width - 1 for x in lines):
                doubtful.append(where)
        yield where, cells
    # Two stray quotes, one before a text and one behind another, are no error.
    if len(doubtful) > n_long / 2:
        warnings.warn(
            f"{doubtful[0]}: the quotes make this one row, yet each line has as many "
            f"cells as the header ({len(doubtful)} such rows). {_PART_OF_TEXTS}",
            stacklevel=7,
        )


def _check_blanks(where, cells, lines, delimiter):
    """Refuse a quote behind blanks: it may open the cell or be part of it."""
    if not [cell for cell in cells if cell.startswith((" ", "\t"))]:
        return
    # In a quoted cell the blanks stand behind the quote that opens it.
    pattern = f'(?:^|{delimiter})("(?:[^"]|"")*"|[^{delimiter}]*)'
    for cell in re.findall(pattern, "".join(lines)):
        if cell.lstrip(" \t")[:1] == '"' != cell[0]:
            raise ValueError(
                f"{where}: a quote stands behind blanks in the cell "
                f"{cell.rstrip()!r:.40}. Remove the blanks if it opens the cell; "
                "otherwise quote the cell, or read the table with quoted=False "
                "(--unquoted)."
            )
