// How labels and probabilities are written.

/** What is shown of a label: its text if it has one, and then its name as a code. */
export function shownName(label) {
  return label.text ? { title: label.text, code: label.name } : { title: label.name, code: "" };
}

export function percent(probability) {
  const value = 100 * probability;
  if (value > 0 && value < 0.1) return "< 0.1 %";
  return `${value.toFixed(value < 10 ? 1 : 0)} %`;
}
