// The page for tagging. Everything that users or models give goes through textContent.

import { get, post, setToken } from "./api.js";
import { download, readDocuments } from "./files.js";
import { percent, shownName } from "./names.js";
import { setUpSearch } from "./search.js";

const $ = (id) => document.getElementById(id);
const LEVELS = 4; // shades of marked words
const LEAST_SHARE = 0.1; // of the largest weight: weaker words are not marked
const LEAST_WEIGHT = 0.005;

let models = [], keepsLog = false;
let documents = [makeDocument("")], at = 0;
// Counts requests for suggestions and explanations: an answer to an old one is dropped.
let asked = 0;

const current = () => documents[at];
const model = () => $("model").value;

function makeDocument(text, labels = []) {
  return {
    text,
    ranking: null,
    accepted: new Map(labels.map((name) => [name, { name }])),
    rejected: new Set(),
    explained: null, // the name of a label
    saved: false,
    exported: true,
  };
}

const isTagged = (doc) => doc.accepted.size > 0 || doc.rejected.size > 0;
const toRow = (doc) => ({
  text: doc.text,
  labels: [...doc.accepted.keys()],
  rejected: [...doc.rejected],
});

function report(what) {
  const isError = what instanceof Error;
  $("status").className = isError ? "error" : "";
  $("status").textContent = isError ? what.message : what;
  clearTimeout(report.timer);
  report.timer = setTimeout(() => ($("status").textContent = ""), isError ? 12_000 : 5_000);
}

/** Run what a button does; show an error, and ask for the token if it was that. */
async function attempt(action, element = null) {
  element?.setAttribute("aria-busy", "true");
  try {
    await action();
  } catch (error) {
    if (error.status === 401) askForToken();
    else report(error);
  } finally {
    element?.removeAttribute("aria-busy");
  }
}

// Suggestions

async function suggest() {
  const doc = current(), number = ++asked;
  if (!doc.text.trim()) {
    $("text").focus();
    return report("Paste a text first.");
  }
  report("Reading the text …");
  const answer = await post("/predict", {
    text: doc.text,
    k: Number($("k").value),
    model: model(),
  });
  if (number !== asked) return;
  doc.ranking = answer.results[0].labels;
  doc.explained = null;
  show();
  report(`${doc.ranking.length} labels, the best: ${shownName(doc.ranking[0]).title}.`);
  $("labels").scrollIntoView({ block: "nearest" });
}

function showRanking() {
  const doc = current(), rows = doc.ranking ?? [];
  const focused = document.activeElement?.closest?.("#ranking .row");
  const place = focused && [...$("ranking").children].indexOf(focused);
  const role = focused && document.activeElement.classList[0];
  $("ranking").replaceChildren(...rows.map(makeRow));
  $("empty").hidden = rows.length > 0;
  $("keys").hidden = !rows.length;
  if (focused) $("ranking").children[place]?.querySelector(`.${role}`)?.focus();
}

function makeRow(label) {
  const doc = current();
  const row = $("row").content.firstElementChild.cloneNode(true);
  const part = (name) => row.querySelector(`.${name}`);
  const { title, code } = shownName(label);
  const accepted = doc.accepted.has(label.name), rejected = doc.rejected.has(label.name);
  row.classList.toggle("accepted", accepted);
  row.classList.toggle("rejected", rejected);
  part("title").textContent = title;
  part("code").textContent = code;
  part("percent").textContent = percent(label.probability);
  part("bar").style.width = `${100 * label.probability}%`;
  part("name").setAttribute("aria-pressed", String(doc.explained === label.id));
  part("name").title = "Mark the words behind this label";
  part("accept").setAttribute("aria-pressed", String(accepted));
  part("accept").setAttribute("aria-label", `Accept ${title}`);
  part("reject").setAttribute("aria-pressed", String(rejected));
  part("reject").setAttribute("aria-label", `Reject ${title}`);
  part("name").addEventListener("click", () =>
    attempt(() => explain(label), $("reading")),
  );
  part("accept").addEventListener("click", () => accept(label));
  part("reject").addEventListener("click", () => reject(label));
  row.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "a" || event.key === "A") accept(label);
    else if (event.key === "r" || event.key === "R") reject(label);
    else if (event.key === "ArrowDown") row.nextElementSibling?.querySelector(".name").focus();
    else if (event.key === "ArrowUp")
      row.previousElementSibling?.querySelector(".name").focus();
    else return;
    event.preventDefault();
  });
  return row;
}

// Decisions

function accept(label) {
  const doc = current();
  doc.rejected.delete(label.name);
  const was = doc.accepted.delete(label.name);
  if (!was) doc.accepted.set(label.name, label);
  decided(`${shownName(label).title} ${was ? "is undecided" : "accepted"}.`);
}

function reject(label) {
  const doc = current();
  doc.accepted.delete(label.name);
  const was = doc.rejected.delete(label.name);
  if (!was) doc.rejected.add(label.name);
  decided(`${shownName(label).title} ${was ? "is undecided" : "rejected"}.`);
}

function decided(message) {
  current().saved = current().exported = false;
  showRanking();
  showChosen();
  report(message);
}

function showChosen() {
  const doc = current();
  $("none").hidden = doc.accepted.size > 0;
  $("chosen").replaceChildren(
    ...[...doc.accepted.values()].map((label) => {
      const chip = $("chip").content.firstElementChild.cloneNode(true);
      const { title } = shownName(label);
      chip.querySelector("span").textContent = title;
      const button = chip.querySelector("button");
      button.setAttribute("aria-label", `Remove ${title}`);
      button.addEventListener("click", () => {
        accept(label);
        ($("chosen").querySelector("button") ?? $("search")).focus();
      });
      return chip;
    }),
  );
  const n = documents.filter(isTagged).length;
  $("new").hidden = !isTagged(doc);
  $("export").disabled = !n;
  $("count").hidden = !n;
  $("count").textContent = n === 1 ? "1 text tagged" : `${n} texts tagged`;
  $("save").disabled = !doc.text.trim() || doc.saved;
  $("save").textContent = doc.saved ? "Saved" : at + 1 < documents.length ? "Save, then next" : "Save";
}

// Words behind a label

async function explain(label) {
  const doc = current();
  if (doc.explained === label.id) return stopExplaining();
  const number = ++asked;
  report("Leaving out each word in turn …");
  const answer = await post("/explain", { text: doc.text, label: label.id, model: model() });
  if (number !== asked) return;
  doc.explained = label.id;
  showWords(doc.text, answer.words, label);
  showRanking();
}

function showWords(text, words, label) {
  // Places are counted in characters; strings here, in halves of them.
  const characters = [...text];
  const scale = Math.max(...words.map(({ weight }) => Math.abs(weight)));
  const least = Math.max(LEAST_WEIGHT, LEAST_SHARE * scale);
  const parts = [];
  let end = 0;
  for (const word of words) {
    if (Math.abs(word.weight) < least) continue;
    parts.push(characters.slice(end, word.start).join(""));
    const mark = document.createElement("mark");
    const level = Math.ceil((LEVELS * Math.abs(word.weight)) / scale);
    mark.className = `${word.weight > 0 ? "for" : "against"}-${level}`;
    mark.title = `${word.weight > 0 ? "+" : "−"}${Math.abs(word.weight).toFixed(2)}`;
    mark.textContent = characters.slice(word.start, word.end).join("");
    parts.push(mark);
    end = word.end;
  }
  parts.push(characters.slice(end).join(""));
  $("reading").replaceChildren(...parts);
  $("some-marked").hidden = $("how-marked").hidden = parts.length === 1;
  $("none-marked").hidden = parts.length > 1;
  $("legend-label").textContent = shownName(label).title;
  showReading(true);
  const best = words
    .filter(({ weight }) => weight >= least)
    .sort((a, b) => b.weight - a.weight)
    .slice(0, 5)
    .map(({ start, end }) => characters.slice(start, end).join(""));
  report(
    best.length
      ? `Words that speak most for ${shownName(label).title}: ${best.join(", ")}.`
      : `No single word speaks for ${shownName(label).title}.`,
  );
}

function showReading(isReading) {
  $("reading").hidden = $("legend").hidden = !isReading;
  $("text").hidden = isReading;
}

function stopExplaining() {
  current().explained = null;
  showReading(false);
  showRanking();
}

// Documents

function show() {
  const doc = current();
  $("text").value = doc.text;
  $("steps").hidden = documents.length < 2;
  $("position").textContent = `${at + 1} of ${documents.length}`;
  $("previous").disabled = at === 0;
  $("next").disabled = at + 1 === documents.length;
  showReading(false);
  showRanking();
  showChosen();
}

async function goTo(place) {
  asked++;
  current().explained = null;
  at = place;
  show();
  report(`Text ${at + 1} of ${documents.length}.`);
  if (!current().ranking && current().text.trim()) await suggest();
}

/** Begin another text, and keep those that are there. */
async function startText() {
  documents.push(makeDocument(""));
  await goTo(documents.length - 1);
  $("text").focus();
}

async function openFile(file) {
  const read = await readDocuments(file);
  if (hasUnsaved() && !confirm("Some tagged texts are neither saved nor exported. Go on?"))
    return;
  documents = read.map(({ text, labels }) => makeDocument(text, labels));
  await goTo(0);
}

const hasUnsaved = () => documents.some((doc) => isTagged(doc) && !doc.saved && !doc.exported);

async function save() {
  const doc = current();
  const { unknown } = await post("/tagged", { ...toRow(doc), model: model() });
  doc.saved = true;
  showChosen();
  const more = unknown.length ? ` The model does not know ${unknown.join(", ")}.` : "";
  if (at + 1 < documents.length) await goTo(at + 1);
  report(`Saved.${more}`);
}

function exportTagged() {
  const tagged = documents.filter(isTagged);
  download("tagged.jsonl", tagged.map(toRow));
  tagged.forEach((doc) => (doc.exported = true));
  report(`${tagged.length} texts exported as tagged.jsonl, for skxmc train.`);
}

// The server

function askForToken() {
  if (!$("ask").open) $("ask").showModal();
}

function describeModel() {
  const found = models.find(({ name }) => name === model());
  const n = found.labels.toLocaleString("en");
  $("about").textContent = `${found.name}: ${n} labels, ${found.system}`;
}

async function start() {
  const answer = await get("/models");
  models = answer.models;
  keepsLog = answer.log;
  $("model").replaceChildren(
    ...models.map(({ name }) => {
      const option = document.createElement("option");
      option.value = option.textContent = name;
      return option;
    }),
  );
  $("model-choice").hidden = models.length < 2;
  $("save").hidden = !keepsLog;
  describeModel();
  show();
}

function listen() {
  const on = (id, kind, action) => $(id).addEventListener(kind, action);
  const click = (id, action) => on(id, "click", () => attempt(action, $(id)));
  click("suggest", suggest);
  click("save", save);
  click("export", exportTagged);
  click("open", () => $("file").click());
  click("new", startText);
  click("previous", () => goTo(at - 1));
  click("next", () => goTo(at + 1));
  click("edit", () => {
    stopExplaining();
    $("text").focus();
  });
  on("text", "input", () => {
    const doc = current();
    doc.text = $("text").value;
    doc.saved = doc.exported = false;
    doc.ranking = null; // it was that of another text
    asked++;
    showRanking();
    showChosen();
  });
  on("document", "keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) attempt(suggest);
    else if (event.key === "Escape" && current().explained !== null) {
      stopExplaining();
      $("text").focus();
    }
  });
  on("file", "change", () => {
    const [file] = $("file").files;
    $("file").value = "";
    if (file) attempt(() => openFile(file));
  });
  on("k", "change", () => current().ranking && attempt(suggest));
  on("model", "change", () => {
    describeModel();
    documents.forEach((doc) => ((doc.ranking = null), (doc.explained = null)));
    show();
    if (current().text.trim()) attempt(suggest);
  });
  on("ask-form", "submit", (event) => {
    event.preventDefault();
    setToken($("token").value.trim());
    $("ask").close();
    $("token").value = "";
    attempt(start);
  });
  const card = $("document");
  for (const kind of ["dragover", "drop", "dragleave"])
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      card.classList.toggle("dropping", kind === "dragover");
      const file = kind === "drop" && event.dataTransfer.files[0];
      if (file) attempt(() => openFile(file));
    });
  window.addEventListener("beforeunload", (event) => {
    if (hasUnsaved()) event.preventDefault();
  });
  setUpSearch($("search"), $("found"), {
    model,
    report: (what) => attempt(() => {
      if (what instanceof Error) throw what;
      report(what);
    }),
    choose: (label) => {
      if (current().accepted.has(label.name)) return report("This label is there already.");
      accept(label);
    },
  });
}

// A link may carry the token behind #, which browsers do not send to servers.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  setToken(given);
  history.replaceState(null, "", location.pathname);
}
listen();
attempt(start);
