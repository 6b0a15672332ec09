import { Categories } from "./categories.js";

/**
 * What was drawn on each photo, with undo and redo. A state is never changed, only replaced, so the
 * history is a list of states.
 *
 * @typedef {{x: number, y: number, label: 0 | 1}} Click image frame; 1 object, 0 background
 * @typedef {object} Item one object
 * @property {number} id
 * @property {string} label
 * @property {string} colour a name of colours.js
 * @property {number[]} box x1, y1, x2, y2
 * @property {Click[]} clicks in the order they were made
 * @property {number | null} threshold null: the model's
 * @property {import("./mask.js").Mask | null} start the mask to correct, from a file
 * @property {{row: object, label: string, source: Source} | null} from its annotation in a file
 * @typedef {{items: readonly Item[], chosen: number | null}} State
 * @typedef {import("./source.js").Source} Source
 */
export class Session extends EventTarget {
  /** The number of a click of the chosen object, or null. */
  chosenClick = null;
  /** Of all photos. */
  categories = new Categories();
  #step = null;
  #work = fresh();
  #works = new Map();

  /** Another photo; what was drawn on it before is there again. @param {string} photo its digest */
  open(photo) {
    this.#work = this.#works.get(photo) ?? fresh();
    this.#works.set(photo, this.#work);
    this.#step = null;
    this.chosenClick = null;
    this.#tell();
  }

  /** @returns {State} */
  get state() {
    return this.#work.state;
  }

  /** Objects that are not drawn. To hide one is no step of the history. */
  get hidden() {
    return this.#work.hidden;
  }

  /** The COCO file whose ids and other keys an export keeps. @returns {Source | null} */
  get source() {
    return this.#work.source;
  }

  /** The annotations of the last export by object, and the source that gave them their ids. */
  get written() {
    return this.#work.written;
  }

  /** Whether something was drawn on any photo since its last export. */
  get unsaved() {
    const differs = ({ state, saved }) => state.items.length && state.items !== saved;
    return [...this.#works.values()].some(differs);
  }

  /** All labels that were used, and those of the files that were opened. */
  get labels() {
    const items = [...this.#works.values()].flatMap(({ state }) => state.items);
    const used = items.map((item) => item.label).filter(Boolean);
    return [...new Set([...used, ...this.categories.names])];
  }

  /**
   * An export was written.
   * @param {Map<number, object>} rows the annotations by object
   * @param {boolean} whole whether it has every object
   */
  exported(rows, whole) {
    const { source, written, state } = this.#work;
    for (const [id, row] of rows) written.set(id, { row, source });
    if (whole) this.#work.saved = state.items;
  }

  get chosen() {
    return this.find(this.state.chosen);
  }

  get canUndo() {
    return this.#work.past.length > 0;
  }

  get canRedo() {
    return this.#work.future.length > 0;
  }

  find(id) {
    return this.state.items.find((item) => item.id === id) ?? null;
  }

  /** How an object is called: by its label, or by its number. */
  nameOf(item) {
    return item.label || `Object ${item.id}`;
  }

  /**
   * Replaces the state.
   * @param {State} state
   * @param {string} [step] steps of the same name, one after the other, are undone together
   */
  commit(state, step) {
    if (!step || step !== this.#step) this.#work.past.push(this.state);
    this.#step = step ?? null;
    this.#work.future = [];
    this.#show(state);
  }

  /** Ends a row of steps that are undone together. */
  settle() {
    this.#step = null;
  }

  /** @returns {() => void} makes everything as it is now, as if it had never been changed */
  mark() {
    const { state, past, future } = this.#work;
    const kept = { past: [...past], future: [...future] };
    return () => {
      Object.assign(this.#work, kept);
      this.#step = null;
      this.#show(state);
    };
  }

  undo() {
    if (!this.canUndo) return;
    this.#work.future.push(this.state);
    this.#step = null;
    this.#show(this.#work.past.pop());
  }

  redo() {
    if (!this.canRedo) return;
    this.#work.past.push(this.state);
    this.#step = null;
    this.#show(this.#work.future.pop());
  }

  /**
   * Adds objects and chooses the last.
   * @param {Partial<Item>[]} news
   * @param {Source} [source] the file that they come from; the first one of a photo stays
   */
  add(news, source = null) {
    const work = this.#work;
    work.source ??= source;
    const items = news.map((item) => ({
      id: ++work.number,
      label: "",
      clicks: [],
      threshold: null,
      start: null,
      from: null,
      ...item,
    }));
    this.commit({ items: [...this.state.items, ...items], chosen: work.number });
  }

  /**
   * Changes the chosen object.
   * @param {Partial<Item>} change
   * @param {string} [step] see commit
   */
  change(change, step) {
    const { items, chosen } = this.state;
    const next = items.map((item) => (item.id === chosen ? { ...item, ...change } : item));
    this.commit({ items: next, chosen }, step && `${step} ${chosen}`);
  }

  remove(id) {
    const items = this.state.items.filter((item) => item.id !== id);
    const chosen = this.state.chosen === id ? (items.at(-1)?.id ?? null) : this.state.chosen;
    this.commit({ items, chosen });
  }

  /** Chooses an object, or none. This is no step of the history. */
  choose(id) {
    if (id === this.state.chosen) return;
    this.#step = null;
    this.#show({ ...this.state, chosen: id });
  }

  chooseClick(index) {
    this.chosenClick = index;
    this.#tell();
  }

  toggle(id) {
    if (!this.hidden.delete(id)) this.hidden.add(id);
    this.#tell();
  }

  addClick(click) {
    this.change({ clicks: [...this.chosen.clicks, click] });
  }

  moveClick(index, x, y, step) {
    const clicks = this.chosen.clicks.map((c, i) => (i === index ? { ...c, x, y } : c));
    this.change({ clicks }, step);
  }

  removeClick(index) {
    this.change({ clicks: this.chosen.clicks.filter((_, i) => i !== index) });
  }

  #show(state) {
    const before = this.chosen;
    this.#work.state = state;
    const after = this.chosen;
    const same = before?.id === after?.id && before?.clicks.length === after?.clicks.length;
    if (!same) this.chosenClick = null;
    this.#tell();
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}

/** What there is of a photo before anything is drawn. */
function fresh() {
  const state = { items: [], chosen: null };
  return {
    state,
    saved: state.items,
    hidden: new Set(),
    source: null,
    written: new Map(),
    past: [],
    future: [],
    number: 0,
  };
}
