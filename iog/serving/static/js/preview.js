import { requestFor, resultOf } from "./prompt.js";
import { Lost, Refused, segment } from "./server.js";

/** Milliseconds between two requests; after a refusal the preview rests for longer. */
const APART = 60,
  REST = 3000;

/**
 * The mask that a first click under the pointer would give. One request is under way at a time, the
 * newest place comes next, and a real click goes before all of them.
 */
export class Preview extends EventTarget {
  /** @type {import("./mask.js").Mask | null} */
  mask = null;
  #segmenter;
  #place = null;
  #flight = null;
  #asked = null;
  #timer = 0;
  #notBefore = 0;

  constructor(segmenter) {
    super();
    this.#segmenter = segmenter;
  }

  /**
   * The pointer rests here.
   * @param {import("./session.js").Item} item that has a box and no click
   */
  at(item, point, digest) {
    this.#place = { item: { ...item, clicks: [{ ...point, label: 1 }] }, digest };
    if (!this.#flight) this.#next();
  }

  /** Nothing to show: a click was made, or the pointer is elsewhere. */
  stop() {
    this.#place = null;
    this.#asked = null;
    clearTimeout(this.#timer);
    this.#flight?.abort();
    this.#flight = null;
    this.#show(null);
  }

  #next() {
    clearTimeout(this.#timer);
    const wait = this.#notBefore - performance.now();
    this.#timer = setTimeout(() => this.#ask(), Math.max(0, wait));
  }

  async #ask() {
    const place = this.#place;
    if (!place || this.#flight || !this.#segmenter.idle || document.hidden) return;
    const key = this.#segmenter.keyOf(place.item);
    if (key === this.#asked) return;
    const known = this.#segmenter.result(place.item);
    this.#asked = key;
    if (known) return this.#show(known.mask);
    const flight = (this.#flight = new AbortController());
    this.#notBefore = performance.now() + APART;
    try {
      const answer = await segment(requestFor(place.item, place.digest), flight.signal);
      if (this.#flight !== flight) return;
      const result = resultOf(answer);
      this.#segmenter.remember(key, result);
      this.#show(result.mask);
    } catch (error) {
      if (this.#flight !== flight) return;
      // A click will find out what is wrong, and say so.
      if (error instanceof Lost || error instanceof Refused)
        this.#notBefore = performance.now() + REST;
      this.#asked = null;
    }
    this.#flight = null;
    if (this.#place && this.#place !== place) this.#next();
  }

  #show(mask) {
    if (mask === this.mask) return;
    this.mask = mask;
    this.dispatchEvent(new Event("change"));
  }
}
