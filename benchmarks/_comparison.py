"""What was measured, beside what the papers report."""

from _published import COSTS, MACHINES, METRICS, MODULES, RECALL, RESULTS


def costs(measured, n_docs, n_epochs):
    """What was measured in all units of the papers; a GB is 2**30 bytes."""
    seconds, size = measured["fit_s"], measured["model_MiB"]
    found = {
        "training s": seconds,
        "training h": seconds / 3600,
        "training min an epoch": seconds / 60 / n_epochs,
        "training ms a document": 1e3 * seconds / (n_docs * n_epochs),
        "prediction ms": measured["predict_ms_a_document"],
        "size MB": size,
        "size GB": None if size is None else size / 1024,
    }
    return {k: None if v is None else float(f"{v:.4g}") for k, v in found.items()}


def mean(rows):
    """The mean of several rows, value by value; None where a row has None."""
    return {
        name: None
        if any(row[name] is None for row in rows)
        else round(sum(row[name] for row in rows) / len(rows), 4)
        for name in rows[0]
    }


def table(columns, rows):
    """Rows as text. None is shown as a dash."""
    width = max(map(len, rows)) + 2
    widths = [max(8, len(name) + 2) for name in columns]

    def line(title, cells):
        cells = [f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True)]
        return f"{title:<{width}}" + "".join(cells)

    lines = [line("", columns)]
    for title, row in rows.items():
        sign = "+" if title == "difference" else ""
        cells = [row[column] for column in columns]
        lines.append(
            line(title, ["-" if c is None else f"{c:{sign}.2f}" for c in cells])
        )
    return "\n".join(lines)


def published_row(system, dataset, kind):
    """Kind and results of the paper's row, or of its ensemble for a single model.

    The results are None if the paper has none.
    """
    rows = RESULTS[system][dataset]
    if kind not in rows and kind in ("single model", "no-label-texts"):
        kind = "ensemble"
    return kind, rows.get(kind)


def beside(paper, measured):
    """Measured minus published; None where one of them is missing."""
    return {
        name: None
        if value is None or measured[name] is None
        else round(measured[name] - value, 2)
        for name, value in paper.items()
    }


def compare(options, texts, metrics):
    """Print the paper's row and the measured one; return them."""
    kind = options.row or ("ensemble" if options.ensemble else "single model")
    wanted = kind
    if options.system == "grank" and texts is None and kind == "single model":
        wanted = "no-label-texts"
    row, paper = published_row(options.system, options.dataset, wanted)
    runs = "" if options.runs == 1 else f", mean of {options.runs} runs"
    rows = {f"measured, {wanted}{runs}": metrics}
    if paper is not None:
        rows = {f"paper, {row}": paper, **rows, "difference": beside(paper, metrics)}
    print(table(METRICS, rows))
    if paper is None:
        print(f"The paper has no figures of {wanted} on {options.dataset}.")
    elif row != wanted:
        print(f'The paper has no row "{wanted}" here: its ensemble is shown.')
    return rows


def compare_costs(options, found):
    """Print the paper's costs and the measured ones; return them, or None."""
    paper = COSTS[options.system].get(options.dataset)
    if paper is None or options.ensemble:
        return None
    rows = {"paper": paper, "measured": {name: found[name] for name in paper}}
    machine = MACHINES[options.system]
    print(f"\nCosts of a single model (the paper's: {machine})")
    print(table(list(paper), rows))
    return rows


def compare_recall(options, found):
    """Print the recall of retrieved labels; return the rows, or None."""
    if not found:
        return None
    paper = RECALL.get(options.system, {}).get(options.dataset, {})
    rows = {"paper": {name: paper.get(name) for name in found}} if paper else {}
    rows |= {"measured": found}
    print("\nRecall of the labels that are retrieved, before any is ranked")
    print(table(list(found), rows))
    return rows


def compare_modules(options, found):
    """Print the seconds of LightDXML's modules; return the rows, or None."""
    if options.system != "lightdxml":
        return None
    paper = MODULES.get(options.dataset)
    rows = {"paper": paper} if paper else {}
    rows |= {"measured": found}
    print("\nSeconds of the modules")
    print(table(list(found), rows))
    return rows
