// Requests to the service. The token lives in this variable only.

let token = null;

export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function setToken(value) {
  token = value;
}

async function call(path, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.authorization = `Bearer ${token}`;
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch {
    throw new Refusal(0, "The server does not answer. Is it still running?");
  }
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok)
    throw new Refusal(answer.status, content.error || `The server said ${answer.status}.`);
  return content;
}

export function get(path, fields = {}) {
  const query = new URLSearchParams(fields).toString();
  return call(query ? `${path}?${query}` : path);
}

export function post(path, content) {
  return call(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(content),
  });
}
