// One call of the API: JSON in, JSON out, and two kinds of failure: the server refused (Problem), or it was not reached.

/** The server answered, and it was no. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {{ code?: string, title?: string, detail?: string, data?: any }} body
   * @param {number} retryAfter seconds, 0 where the server named none
   */
  constructor(status, body, retryAfter) {
    super(body.detail || body.title || `The server answered ${status}.`);
    this.status = status;
    this.code = body.code || "";
    this.data = body.data || {};
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later: then nothing was decided. */
  get passing() {
    return this.status >= 500 || this.status === 429 || this.status === 408 || this.status === 401;
  }
}

/** Nobody answered: no connection, a restart, or fifteen seconds of silence. */
export class Unreachable extends Error {
  passing = true;
  status = 0;
  retryAfter = 0;
}

export class Api {
  /** @param {string} base the project's API, with a slash at the end */
  constructor(base) {
    this.base = base;
  }

  /**
   * @param {string} method
   * @param {string} path below the base
   * @param {{ body?: any, key?: string }} [options]
   * @returns {Promise<any>}
   */
  async call(method, path, { body, key } = {}) {
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json" };
    if (method !== "GET") headers["X-CSRFToken"] = cookie("csrftoken");
    if (body !== undefined && body !== null) headers["Content-Type"] = "application/json";
    if (key) headers["Idempotency-Key"] = key;
    let response;
    let text;
    try {
      response = await fetch(this.base + path, {
        method,
        headers,
        body: headers["Content-Type"] ? JSON.stringify(body) : undefined,
        credentials: "same-origin",
        signal: AbortSignal.timeout(15_000),
      });
      text = await response.text();
    } catch (error) {
      throw new Unreachable(String(error));
    }
    if (response.ok) return text ? JSON.parse(text) : null;
    throw new Problem(response.status, readable(text), Number(response.headers.get("Retry-After")) || 0);
  }
}

/** @param {string} text */
function readable(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

/** @param {string} name */
function cookie(name) {
  const found = document.cookie.split("; ").find((pair) => pair.startsWith(`${name}=`));
  return found ? decodeURIComponent(found.slice(name.length + 1)) : "";
}

/** A key for one write; works without https too. */
export function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
