/**
 * What was drawn on one photo, with undo and redo. A state is never changed, only replaced, so the
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
 * @typedef {{items: readonly Item[], chosen: number | null}} State
 */
export class Session extends EventTarget {
  /** @type {State} */
  state = { items: [], chosen: null };
  /** Objects that are not drawn. To hide one is no step of the history. */
  hidden = new Set();
  /** The number of a click of the chosen object, or null. */
  chosenClick = null;
  /** Whether something was drawn since the last export. */
  unsaved = false;
  #past = [];
  #future = [];
  #step = null;
  #number = 0;
  #photo = null;
  #kept = new Map();

  /** Another photo; what was drawn on it before is there again. @param {string} photo its digest */
  open(photo) {
    if (this.#photo) {
      const { state, hidden } = this;
      this.#kept.set(this.#photo, [state, hidden, this.#past, this.#future, this.#number]);
    }
    this.#photo = photo;
    const fresh = [{ items: [], chosen: null }, new Set(), [], [], 0];
    [this.state, this.hidden, this.#past, this.#future, this.#number] =
      this.#kept.get(photo) ?? fresh;
    this.#step = null;
    this.chosenClick = null;
    this.#tell();
  }

  get chosen() {
    return this.find(this.state.chosen);
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  get canRedo() {
    return this.#future.length > 0;
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
    if (!step || step !== this.#step) this.#past.push(this.state);
    this.#step = step ?? null;
    this.#future = [];
    this.unsaved = true;
    this.#show(state);
  }

  /** Ends a row of steps that are undone together. */
  settle() {
    this.#step = null;
  }

  undo() {
    if (!this.canUndo) return;
    this.#future.push(this.state);
    this.#step = null;
    this.#show(this.#past.pop());
  }

  redo() {
    if (!this.canRedo) return;
    this.#past.push(this.state);
    this.#step = null;
    this.#show(this.#future.pop());
  }

  /** Adds objects and chooses the last. @param {Partial<Item>[]} news */
  add(news) {
    const items = news.map((item) => ({
      id: ++this.#number,
      label: "",
      clicks: [],
      threshold: null,
      start: null,
      ...item,
    }));
    this.commit({ items: [...this.state.items, ...items], chosen: this.#number });
    return items;
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
    this.state = state;
    const after = this.chosen;
    const same = before?.id === after?.id && before?.clicks.length === after?.clicks.length;
    if (!same) this.chosenClick = null;
    this.#tell();
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}
