// Shows /openapi.json, without the help of another site.

function element(name, text = "", ...children) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...children);
  return made;
}

function resolve(schema, all) {
  const name = schema?.$ref?.split("/").pop();
  return name ? all[name] : (schema ?? {});
}

/** Write a type as a reader would: "list of text", "number from 0 to 1". */
function describeType(schema, all) {
  if (schema.$ref) return describeFields(resolve(schema, all), all);
  if (schema.anyOf)
    return schema.anyOf
      .filter(({ type }) => type !== "null")
      .map((each) => describeType(each, all))
      .join(" or ");
  if (schema.enum) return schema.enum.join(" or ");
  if (schema.type === "array") return `list of ${describeType(schema.items, all)}`;
  const name = { string: "text", integer: "whole number", boolean: "true or false" };
  let type = name[schema.type] ?? schema.type;
  if (schema.minimum !== undefined && schema.maximum !== undefined)
    type += ` from ${schema.minimum} to ${schema.maximum}`;
  return type;
}

function describeFields(schema, all) {
  return `{${Object.keys(schema.properties ?? {}).join(", ")}}`;
}

function table(fields, all) {
  const rows = fields.map(({ name, schema, required, description }) => {
    const notes = [describeType(schema, all)];
    if (required) notes.push("required");
    else if (schema.default !== undefined && schema.default !== null)
      notes.push(`default ${JSON.stringify(schema.default)}`);
    const about = description ?? schema.description ?? "";
    return element(
      "tr", "",
      element("td", "", element("code", name)),
      element("td", about ? `${about} (${notes.join(", ")})` : notes.join(", ")),
    );
  });
  return element("table", "", element("tbody", "", ...rows));
}

function fieldsOf(schema, isRequest) {
  return Object.entries(schema.properties ?? {}).map(([name, each]) => ({
    name,
    schema: each,
    required: isRequest && schema.required?.includes(name),
  }));
}

function section(path, method, operation, all) {
  const card = element("section");
  card.className = "card";
  card.append(
    element("h2", `${method.toUpperCase()} ${path}`),
    element("p", operation.description ?? operation.summary),
  );
  if (operation.parameters?.length)
    card.append(element("h3", "Query"), table(operation.parameters, all));
  const json = "application/json";
  const body = resolve(operation.requestBody?.content[json]?.schema, all);
  if (body.properties) card.append(element("h3", "JSON"), table(fieldsOf(body, true), all));
  const answer = resolve(operation.responses["200"].content?.[json]?.schema, all);
  if (answer.properties) card.append(element("h3", "Answer"), table(fieldsOf(answer, false), all));
  if (method === "post") {
    const example = { "/predict": { text: "no sound after the update", k: 3 } }[path];
    if (example)
      card.append(
        element("h3", "Example"),
        element(
          "pre",
          `curl ${location.origin}${path} -H 'Content-Type: ${json}' ` +
            `-d '${JSON.stringify(example)}'`,
        ),
      );
  }
  return card;
}

const description = await (await fetch("/openapi.json")).json();
const all = description.components?.schemas ?? {};
const about = element("section");
about.className = "card";
about.append(element("h2", "Requests and errors"), element("p", description.info.description));
const sections = Object.entries(description.paths).flatMap(([path, operations]) =>
  Object.entries(operations).map(([method, operation]) =>
    section(path, method, operation, all),
  ),
);
document.getElementById("paths").append(about, ...sections);
