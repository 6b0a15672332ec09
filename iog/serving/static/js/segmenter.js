import { pause } from "./connection.js";
import { repacked } from "./photo.js";
import { requestFor, resultOf, untouched } from "./prompt.js";
import { Lost, Refused, putImage, segment } from "./server.js";

/** Answers that are kept beyond those that are drawn. */
const REMEMBERED = 300;
/** Times in a row that a server may say it does not know the photo. */
const SENDINGS = 5;

/**
 * Gets a mask for every object that lacks one, the chosen object first. One request is under way at
 * a time. Answers are kept by what was asked, so that undo needs no server.
 *
 * Events: `mask` when there is a new one, `failed` with the error, `work` when `work` changes.
 */
export class Segmenter extends EventTarget {
  /** @type {null | "sending" | "waiting" | "busy"} */
  work = null;
  /** The part of the photo that was sent, 0..1. */
  sent = 0;
  /** While the user drags something, requests are not given up for newer ones. */
  dragging = false;
  #session;
  #connection;
  #photo = null;
  #upload = null;
  #leaving = null;
  #running = null;
  #cause = null;
  #results = new Map();
  #failures = new Map();
  #shown = new Map();

  constructor(session, connection) {
    super();
    this.#session = session;
    this.#connection = connection;
  }

  /** Another photo; begins to send it. */
  open(photo) {
    this.#leaving?.abort();
    this.#leaving = new AbortController();
    this.#running?.abort.abort();
    this.#running = null;
    this.#photo = photo;
    this.#shown.clear();
    this.#failures.clear();
    this.#upload = null;
    this.upload().catch((error) => this.#failed(error));
  }

  /**
   * What the next request is for.
   * @param {Event} event tells when the user acted
   * @param {"prompt" | "change"} kind a box or click, or a change that goes on, such as a drag
   */
  because(event, kind) {
    this.#cause = { at: event.timeStamp, kind };
  }

  /** The mask to draw for an object; the one before while a new one is under way. */
  shown(item) {
    return this.result(item) ?? this.#shown.get(item.id) ?? null;
  }

  /** @returns {import("./prompt.js").Result | null} the mask for exactly this prompt */
  result(item) {
    if (untouched(item)) return { mask: item.start, ms: 0, server: null };
    return this.#results.get(this.keyOf(item)) ?? null;
  }

  keyOf(item) {
    const clicks = item.clicks.map((click) => [click.x, click.y, click.label]);
    const { box, threshold } = item;
    return JSON.stringify([this.#photo?.digest, box, clicks, threshold, item.start && item.id]);
  }

  remember(key, result) {
    this.#results.delete(key);
    this.#results.set(key, result);
    const most = REMEMBERED + this.#session.state.items.length;
    if (this.#results.size > most) this.#results.delete(this.#results.keys().next().value);
  }

  /** Looks for what is to be asked now. */
  update() {
    const chosen = this.#session.chosen;
    const known = chosen && this.result(chosen);
    if (known) {
      this.#shown.set(chosen.id, known);
      if (this.#cause && chosen.clicks.length) this.#tell(chosen, known, { cached: true });
      this.#cause = null;
    }
    const next = this.#wanted();
    if (!next) {
      if (this.#running) this.#drop();
      return;
    }
    const key = this.keyOf(next);
    if (this.#running?.key === key) return;
    if (this.#running) {
      if (this.dragging) return;
      this.#drop();
    }
    this.#run(next, key);
  }

  /** Whether the server has the photo and nothing to do. */
  get idle() {
    return !this.#running && Boolean(this.#upload?.over);
  }

  /** Whether masks are under way that will come; none do while the server is away. */
  get pending() {
    return this.#connection.state !== "lost" && Boolean(this.#running || this.#wanted());
  }

  /** Resolves when no mask is pending. */
  async rest() {
    while (this.pending) {
      const heard = new AbortController();
      await new Promise((resolve) => {
        const { signal } = heard;
        for (const kind of ["work", "mask", "failed"]) {
          this.addEventListener(kind, resolve, { signal });
        }
        this.#connection.addEventListener("change", resolve, { signal });
      });
      heard.abort();
    }
  }

  /** Asks again for what failed. */
  retry() {
    this.#failures.clear();
    if (this.#upload?.failed) this.upload().catch((error) => this.#failed(error));
    this.update();
  }

  /** Whether an object has no mask because of an error. */
  get failing() {
    if (this.#upload?.failed) return true;
    return this.#session.state.items.some((item) => this.#failures.has(this.keyOf(item)));
  }

  /** Sends the photo, unless that was done. */
  upload() {
    if (this.#upload && !this.#upload.failed) return this.#upload.done;
    const upload = { failed: false, over: false, done: null };
    const sent = this.#send(this.#photo, this.#leaving.signal);
    upload.done = sent.then(
      () => (upload.over = true),
      (error) => {
        upload.failed = true;
        throw error;
      },
    );
    this.#upload = upload;
    return upload.done;
  }

  async #send(photo, signal) {
    const progress = (fraction) => {
      this.sent = fraction;
      this.#works("sending");
    };
    progress(0);
    try {
      const put = () => putImage(photo.digest, photo.blob, progress, signal);
      const read = await this.#patiently(put, signal, "sending");
      if (read.width === photo.width && read.height === photo.height) return;
      Object.assign(photo, await repacked(photo));
      await this.#patiently(put, signal, "sending");
    } finally {
      if (this.#photo === photo) this.#works(this.#running ? "waiting" : null);
    }
  }

  /** One answer of the server, with patience and the photo if it asks for that. */
  async ask(item, signal) {
    await this.upload();
    let sendings = 0;
    const attempt = async () => {
      for (;;) {
        try {
          return await segment(requestFor(item, this.#photo.digest), signal);
        } catch (error) {
          if (error.code !== "unknown_image" || ++sendings > SENDINGS) throw error;
          this.#upload = null;
          await this.upload();
        }
      }
    };
    return this.#patiently(attempt, signal, "waiting");
  }

  async #patiently(attempt, signal, work) {
    for (;;) {
      try {
        const answer = await attempt();
        this.#connection.reached();
        return answer;
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof Lost) {
          this.#connection.lost();
          await this.#connection.ok(signal);
        } else if (error instanceof Refused && error.status === 503) {
          if (error.code === "loading") this.#connection.loading();
          this.#works("busy");
          await pause(error.retryAfter * 1000, signal);
        } else {
          throw error;
        }
        this.#works(work);
      }
    }
  }

  #wanted() {
    if (!this.#photo) return null;
    const { items } = this.#session.state;
    const chosen = this.#session.chosen;
    const order = chosen ? [chosen, ...items] : items;
    return order.find((item) => !this.result(item) && !this.#failures.has(this.keyOf(item)));
  }

  async #run(item, key) {
    const run = { key, abort: new AbortController() };
    const cause = this.#cause;
    this.#cause = null;
    this.#running = run;
    if (this.work !== "sending") this.#works("waiting");
    try {
      const answer = await this.ask(item, run.abort.signal);
      if (this.#running !== run) return;
      const result = resultOf(answer);
      this.remember(key, result);
      this.#shown.set(item.id, result);
      this.#end(run);
      this.#tell(item, result, { cause, asked: answer.asked, arrived: answer.arrived });
    } catch (error) {
      if (this.#running !== run) return;
      this.#failures.set(key, error);
      this.#end(run);
      this.#failed(error);
    }
    this.update();
  }

  #drop() {
    this.#running.abort.abort();
    this.#end(this.#running);
  }

  #end(run) {
    if (this.#running !== run) return;
    this.#running = null;
    if (this.work !== "sending") this.#works(null);
  }

  #tell(item, result, detail) {
    const cause = detail.cause ?? (detail.cached ? this.#cause : null);
    this.dispatchEvent(new CustomEvent("mask", { detail: { item, result, ...detail, cause } }));
  }

  #failed(error) {
    if (error.name === "AbortError") return;
    this.dispatchEvent(new CustomEvent("failed", { detail: error }));
  }

  #works(work) {
    this.work = work;
    this.dispatchEvent(new Event("work"));
  }
}
