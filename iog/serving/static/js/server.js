/** This page's server. Addresses are relative, so a prefix of a proxy does no harm. */

/** The server answered, and said no. */
export class Refused extends Error {
  constructor(status, error, retryAfter) {
    super(error.message ?? `The server answered with status ${status}.`);
    this.status = status;
    this.code = error.code ?? "";
    this.hint = error.hint ?? "";
    /** Seconds. */
    this.retryAfter = retryAfter;
  }
}

/** Nobody answered. */
export class Lost extends Error {}

/** @returns {Promise<{alive: boolean, status: string, model?: string, engine?: string, version?: string, threshold?: number}>} */
export async function health() {
  const response = await reach("health", { cache: "no-store" });
  const about = await response.json().catch(() => ({}));
  return { ...about, alive: response.ok };
}

/**
 * Has the server segment.
 * @param {object} body see docs/api.md
 * @returns {Promise<{objects: object[], server: number | null, asked: number, arrived: number}>} with
 *   the milliseconds that the server took, and when the request left and the answer was here
 */
export async function segment(body, signal) {
  const asked = performance.now();
  const response = await reach("", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  const text = await response.text().catch(interrupted);
  const arrived = performance.now();
  if (!response.ok) throw refusal(response.status, text, response.headers.get("Retry-After"));
  const timing = response.headers.get("Server-Timing") ?? "";
  return { objects: JSON.parse(text).objects, server: total(timing), asked, arrived };
}

/**
 * Gives the server a photo to keep.
 * @param {(fraction: number) => void} progress of what was sent
 * @returns {Promise<{width: number, height: number}>} as the server reads it
 */
export function putImage(digest, blob, progress, signal) {
  // fetch does not tell how much of a body has been sent.
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", address(`images/${digest}`));
    request.upload.onprogress = (event) => progress(event.loaded / event.total);
    request.onerror = () => reject(new Lost());
    request.onabort = () => reject(new DOMException("", "AbortError"));
    request.onload = () => {
      if (request.status === 200 || request.status === 201)
        resolve(JSON.parse(request.responseText));
      else
        reject(
          refusal(request.status, request.responseText, request.getResponseHeader("Retry-After")),
        );
    };
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.send(blob);
  });
}

export const address = (path) => new URL(path, new URL(".", document.baseURI)).href;

async function reach(path, options) {
  return fetch(address(path), options).catch(interrupted);
}

function interrupted(error) {
  throw error.name === "AbortError" ? error : new Lost();
}

function refusal(status, text, retryAfter) {
  let error = {};
  try {
    error = JSON.parse(text).error ?? {};
  } catch {
    // A proxy answers in its own words.
  }
  return new Refused(status, error, Number(retryAfter) || 1);
}

/** The milliseconds of a Server-Timing header: what the host took, else what the function took. */
function total(header) {
  const stages = new Map(
    [...header.matchAll(/([\w-]+);dur=([\d.]+)/g)].map(([, name, ms]) => [name, Number(ms)]),
  );
  return stages.get("host") ?? stages.get("total") ?? null;
}
