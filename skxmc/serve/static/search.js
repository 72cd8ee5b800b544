// The field that finds labels by the beginnings of their words and by meaning.

import { get } from "./api.js";
import { shownName } from "./names.js";

const PAUSE = 180; // milliseconds without a key before a search
const LIMIT = 8;

/** Make the field a combobox; `choose(label)` is called with the label that is picked. */
export function setUpSearch(input, list, { model, choose, report }) {
  let options = [], active = -1, timer = 0, latest = 0;

  function close() {
    latest++; // an answer that comes later is not shown
    clearTimeout(timer);
    list.hidden = true;
    list.replaceChildren();
    options = [], active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function activate(i) {
    active = i;
    options.forEach(({ element }, j) => element.setAttribute("aria-selected", j === i));
    const element = options[i].element;
    input.setAttribute("aria-activedescendant", element.id);
    element.scrollIntoView({ block: "nearest" });
  }

  function pick(label) {
    input.value = "";
    close();
    choose(label);
  }

  function addGroup(title, labels) {
    if (!labels.length) return;
    const group = document.createElement("div");
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", title);
    const head = document.createElement("div");
    head.className = "group";
    head.setAttribute("aria-hidden", "true");
    head.textContent = title;
    group.append(head);
    for (const label of labels) {
      const element = document.createElement("div");
      element.id = `found-${options.length}`;
      element.setAttribute("role", "option");
      element.setAttribute("aria-selected", "false");
      const { title: name, code } = shownName(label);
      element.textContent = code ? `${name} (${code})` : name;
      element.addEventListener("mousedown", (event) => {
        event.preventDefault(); // the field keeps the focus
        pick(label);
      });
      group.append(element);
      options.push({ element, label });
    }
    list.append(group);
  }

  async function search() {
    const q = input.value.trim(), number = ++latest;
    if (!q) return close();
    const ask = (by) => get("/labels", { q, by, limit: LIMIT, model: model() });
    const answers = await Promise.allSettled([ask("prefix"), ask("meaning")]);
    if (number !== latest) return;
    const failed = answers.find(({ status }) => status === "rejected");
    if (failed) return report(failed.reason);
    const [byName, byMeaning] = answers.map(({ value }) => value.labels);
    const known = new Set(byName.map(({ id }) => id));
    close();
    addGroup("By name", byName);
    addGroup("By meaning", byMeaning.filter(({ id }) => !known.has(id)));
    list.hidden = !options.length;
    input.setAttribute("aria-expanded", String(options.length > 0));
    report(options.length ? `${options.length} labels found.` : "No label found.");
  }

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, PAUSE);
  });
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (move && options.length) {
      event.preventDefault();
      const start = active < 0 && move < 0 ? 0 : active;
      activate((start + move + options.length) % options.length);
    } else if (event.key === "Enter" && options.length) {
      event.preventDefault();
      pick(options[Math.max(active, 0)].label);
    } else if (event.key === "Escape") close();
  });
  input.addEventListener("blur", close);
}
