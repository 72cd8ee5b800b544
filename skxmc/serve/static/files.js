// Texts, and the labels that they may have, from files; and tagged texts as a file.

const MAX_BYTES = 20 * 2 ** 20;

/** Return the documents of a file as [{text, labels}]. */
export async function readDocuments(file) {
  if (file.size > MAX_BYTES)
    throw new Error(`${file.name} has more than 20 MB. Split it, or use skxmc predict.`);
  let content;
  try {
    content = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    throw new Error(`${file.name} is not UTF-8. Save it as UTF-8.`);
  }
  const ending = file.name.toLowerCase().split(".").pop();
  let documents;
  if (ending === "jsonl" || ending === "ndjson") documents = readLines(content, file.name);
  else if (ending === "csv" || ending === "tsv")
    documents = readTable(content, file.name, ending === "tsv" ? "\t" : null);
  else if (ending === "txt" || ending === "text" || ending === "md")
    documents = [{ text: content.trim(), labels: [] }];
  else throw new Error(`${file.name}: only .txt, .csv, .tsv and .jsonl can be opened.`);
  if (!documents.length) throw new Error(`${file.name} holds no texts.`);
  return documents;
}

function readLines(content, name) {
  const documents = [];
  content.split("\n").forEach((line, i) => {
    if (!line.trim()) return;
    let row;
    try {
      row = JSON.parse(line);
    } catch {
      throw new Error(`${name}, line ${i + 1} is not valid JSON.`);
    }
    if (typeof row?.text !== "string")
      throw new Error(`${name}, line ${i + 1} has no field "text".`);
    documents.push({ text: row.text, labels: splitLabels(row.labels) });
  });
  return documents;
}

function readTable(content, name, separator) {
  const first = content.slice(0, content.indexOf("\n") + 1 || undefined);
  if (separator === null) {
    const names = (by) => first.trim().split(by).map(unquote);
    separator = !names(",").includes("text") && names(";").includes("text") ? ";" : ",";
  }
  const rows = readCells(content, separator, name);
  const header = rows.shift() ?? [];
  const text = header.indexOf("text"), labels = header.indexOf("labels");
  if (text < 0)
    throw new Error(`${name} has no column "text"; there are ${header.join(", ")}.`);
  return rows.map((cells, i) => {
    if (cells.length !== header.length)
      throw new Error(
        `${name}: row ${i + 1} has ${cells.length} cells, and the header ${header.length}.`,
      );
    return { text: cells[text], labels: splitLabels(labels < 0 ? "" : cells[labels]) };
  });
}

function unquote(name) {
  return name.trim().replace(/^"|"$/g, "");
}

/** Split a table into rows of cells; quotes enclose cells that hold separators. */
function readCells(content, separator, name) {
  const rows = [];
  let cells = [], cell = "", quoted = false, started = false;
  const endRow = () => {
    cells.push(cell);
    if (cells.length > 1 || cell !== "" || started) rows.push(cells);
    cells = [], cell = "", started = false;
  };
  for (let i = 0; i < content.length; i++) {
    const character = content[i];
    if (quoted) {
      if (character !== '"') cell += character;
      else if (content[i + 1] === '"') (cell += '"'), i++;
      else quoted = false;
    } else if (character === '"' && cell === "") (quoted = true), (started = true);
    else if (character === separator) cells.push(cell), (cell = ""), (started = true);
    else if (character === "\n") endRow();
    else if (character !== "\r" || content[i + 1] !== "\n") cell += character;
  }
  if (quoted) throw new Error(`${name}: a quote is not closed.`);
  if (cell !== "" || cells.length) endRow();
  return rows;
}

function splitLabels(labels) {
  if (typeof labels === "string" && labels.trim().startsWith("["))
    try {
      labels = JSON.parse(labels);
    } catch {
      // a name that begins with a bracket
    }
  if (typeof labels === "string") labels = labels.split("|");
  if (!Array.isArray(labels)) return [];
  return [...new Set(labels.map((name) => String(name).trim()).filter(Boolean))];
}

/** Let the browser save rows as JSON lines. */
export function download(name, rows) {
  const lines = rows.map((row) => `${JSON.stringify(row)}\n`);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(lines, { type: "application/jsonl" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
