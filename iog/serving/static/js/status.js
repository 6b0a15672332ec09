const SENTENCES = {
  starting: "Connecting",
  loading: "The model is loading",
  waiting: "Segmenting",
  busy: "The server is busy. Trying again",
  lost: "No connection. Trying again, your work is kept",
};
/** Milliseconds before a short wait is worth a word. */
const SHORT = 120;

const byId = (id) => document.getElementById(id);

/** What the page says: the state in its corner, errors, and what a screen reader hears. */
export class Status {
  #connection;
  #segmenter;
  #error = null;
  #last = "Ready";
  #timer = 0;
  #spoken = 0;
  #hint = "";
  #noted = 0;

  constructor(connection, segmenter, { retry }) {
    this.#connection = connection;
    this.#segmenter = segmenter;
    connection.addEventListener("change", (event) => this.#connected(event.detail.before));
    segmenter.addEventListener("work", () => this.update());
    byId("dismiss").addEventListener("click", () => this.clear());
    byId("retry").addEventListener("click", () => {
      this.clear();
      retry();
    });
  }

  /** Shows the state; a wait that ends soon is not shown. */
  update() {
    clearTimeout(this.#timer);
    const name = this.#name();
    if (name === "waiting") this.#timer = setTimeout(() => this.#show(name), SHORT);
    else this.#show(name);
  }

  #name() {
    const { state } = this.#connection;
    const { work } = this.#segmenter;
    if (state === "lost" || state === "loading") return state;
    return work ?? (this.#error ? "error" : state === "starting" ? state : "ready");
  }

  #show(name) {
    const percent = Math.round(this.#segmenter.sent * 100);
    const more = {
      ready: this.#last,
      sending: `Sending the photo, ${percent} %`,
      error: this.#error?.state,
    };
    const text = SENTENCES[name] ?? more[name];
    const { dataset } = document.documentElement;
    if (name === "busy" && dataset.state !== "busy") this.say(text);
    dataset.state = name;
    byId("state-text").textContent = text;
  }

  #connected(before) {
    const { state } = this.#connection;
    if (state === "lost") this.say("The connection to the server is lost. Your work is kept.");
    if (state === "loading") this.say("The model is loading.");
    if (state === "ok" && before === "lost") this.say("The connection is back.");
    if (state === "ok" && before === "loading") this.say("The model is ready.");
    this.update();
  }

  /** @param {string} text what the corner shows while there is nothing to wait for */
  ready(text) {
    this.#last = text;
    this.update();
  }

  /**
   * @param {Error & {hint?: string}} error
   * @param {string} state what it means, in two words
   * @param {boolean} [again] whether to offer another try
   */
  fail(error, state, again = false) {
    this.#error = { state };
    byId("alert").removeAttribute("data-kind");
    this.#alert(error, again);
  }

  /** Something that the user has to do, and no error. */
  ask(text) {
    this.#error = null;
    byId("alert").dataset.kind = "note";
    this.#alert({ message: text }, false);
  }

  #alert(error, again) {
    byId("alert-text").textContent = error.message;
    byId("alert-hint").textContent = error.hint ?? "";
    byId("retry").hidden = !again;
    byId("alert").hidden = false;
    this.update();
  }

  /** Takes the error away. */
  clear() {
    if (byId("alert").hidden) return;
    const held = byId("alert").contains(document.activeElement);
    this.#error = null;
    byId("alert").hidden = true;
    byId("alert-text").textContent = byId("alert-hint").textContent = "";
    if (held) byId("stage").focus();
    this.update();
  }

  /** Speaks through the live region, the same words again if need be. */
  say(text) {
    clearTimeout(this.#spoken);
    byId("live").textContent = "";
    this.#spoken = setTimeout(() => (byId("live").textContent = text), 60);
  }

  /** Speaks, and shows the same for a while in the place of the hint. */
  note(text) {
    this.say(text);
    clearTimeout(this.#noted);
    byId("hint").textContent = text;
    byId("hint").dataset.note = "";
    this.#noted = setTimeout(() => this.#endNote(), Math.max(4000, 80 * text.length));
  }

  #endNote() {
    clearTimeout(this.#noted);
    delete byId("hint").dataset.note;
    byId("hint").textContent = this.#hint;
  }

  /** One line at the foot of the photo: what to do next. It takes the place of a note. */
  hint(text) {
    if (this.#hint === text) return;
    this.#hint = text;
    this.#endNote();
  }
}
