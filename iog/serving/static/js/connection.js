import { health } from "./server.js";

const OFTEN = 1000,
  SELDOM = 15000;

/** Whether the server can be reached, and what it says of itself. Asks it from time to time. */
export class Connection extends EventTarget {
  /** @type {"starting" | "loading" | "ok" | "lost"} */
  state = "starting";
  about = {};
  #timer = 0;
  #asking = false;

  start() {
    addEventListener("online", () => this.ask());
    document.addEventListener("visibilitychange", () => document.hidden || this.ask());
    this.ask();
  }

  /** Someone found that the server does not answer. */
  lost() {
    this.#become("lost");
    this.#later();
  }

  /** The server said that its model is not there yet. */
  loading() {
    this.#become("loading");
    this.#later();
  }

  /** The server answered. */
  reached() {
    this.#become("ok");
  }

  /** Resolves when the server can take requests. */
  async ok(signal) {
    while (this.state !== "ok") {
      await new Promise((resolve, reject) => {
        const stop = () => reject(signal.reason);
        signal?.addEventListener("abort", stop, { once: true });
        this.addEventListener(
          "change",
          () => {
            signal?.removeEventListener("abort", stop);
            resolve();
          },
          { once: true },
        );
      });
    }
  }

  async ask() {
    if (this.#asking) return;
    this.#asking = true;
    try {
      const about = await health();
      this.about = about;
      this.dispatchEvent(new Event("about"));
      this.#become(about.alive ? "ok" : "loading");
    } catch {
      this.#become("lost");
    } finally {
      this.#asking = false;
      this.#later();
    }
  }

  #later() {
    clearTimeout(this.#timer);
    if (document.hidden) return;
    this.#timer = setTimeout(() => this.ask(), this.state === "ok" ? SELDOM : OFTEN);
  }

  #become(state) {
    const changed = state !== this.state;
    const before = this.state;
    this.state = state;
    if (changed) this.dispatchEvent(new CustomEvent("change", { detail: { before } }));
  }
}

export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        reject(signal.reason);
      },
      { once: true },
    );
  });
}
