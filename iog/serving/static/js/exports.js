import { cocoOf } from "./coco.js";
import { curlFor, pythonFor } from "./code.js";
import { cutOut, maskPng, save } from "./save.js";

const byId = (id) => document.getElementById(id);

/** The buttons that give files and lines to take along. No file has a mask of an earlier prompt. */
export class Exports {
  #desk;
  #panel;
  #connection;

  /**
   * @param {import("./desk.js").Desk} desk
   * @param {import("./panel.js").Panel} panel
   * @param {import("./connection.js").Connection} connection
   */
  constructor(desk, panel, connection) {
    this.#desk = desk;
    this.#panel = panel;
    this.#connection = connection;
    byId("save-mask").addEventListener("click", () => this.#picture("mask", maskPng));
    byId("save-cutout").addEventListener("click", () =>
      this.#picture("cutout", (mask) => cutOut(mask, desk.photo.levels[0])),
    );
    byId("save-coco").addEventListener("click", () => this.#coco());
    byId("show-code").addEventListener("click", () => this.#code());
    for (const kind of ["curl", "python"]) {
      byId(`copy-${kind}`).addEventListener("click", () => this.#copy(byId(`code-${kind}`)));
    }
  }

  /** Waits for the masks under way. @returns {Promise<boolean>} whether the photo is still there */
  async #rest() {
    const { photo, segmenter, status } = this.#desk;
    if (segmenter.pending) status.note("The file comes with the mask that is under way.");
    await segmenter.rest();
    return this.#desk.photo === photo;
  }

  /** @param {(mask: import("./mask.js").Mask) => Promise<Blob>} draw */
  async #picture(kind, draw) {
    const { session, segmenter, status } = this.#desk;
    const { id } = session.chosen;
    if (!(await this.#rest())) return;
    const item = session.find(id);
    const mask = item && segmenter.result(item)?.mask;
    if (!mask?.box) return status.note("This object has no mask yet. Nothing was saved.");
    const name = session.nameOf(item).replace(/[^\p{L}\p{N}]+/gu, "-");
    save(await draw(mask), `${this.#stem}-${name.toLowerCase()}-${kind}.png`);
  }

  async #coco() {
    const { session, segmenter, status } = this.#desk;
    if (!(await this.#rest())) return;
    const { photo } = this.#desk;
    const { items } = session.state;
    const objects = items
      .map((item) => ({ item, mask: segmenter.result(item)?.mask }))
      .filter(({ mask }) => mask?.box);
    if (!objects.length) return status.note("No object has a mask yet. Nothing was saved.");
    const data = cocoOf(photo, objects, session, this.#panel.tolerance);
    const name = `${this.#stem}.json`;
    save(new Blob([JSON.stringify(data)], { type: "application/json" }), name);
    const rows = objects.map(({ item }, i) => [item.id, data.annotations[i]]);
    session.exported(new Map(rows), objects.length === items.length);
    status.note(summary(name, objects.length, items.length, session.source?.images ?? 1));
  }

  get #stem() {
    return this.#desk.photo.name.replace(/\.[^.]+$/, "");
  }

  #code() {
    const { photo, session } = this.#desk;
    byId("code-curl").textContent = curlFor(session.chosen, photo);
    byId("code-python").textContent = pythonFor(
      session.chosen,
      photo,
      this.#connection.about.model,
    );
    byId("code-note").textContent = "";
    byId("code").showModal();
  }

  async #copy(text) {
    // Within the dialog, since nothing behind it is read or seen.
    const note = byId("code-note");
    try {
      await navigator.clipboard.writeText(text.textContent);
      note.textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(text);
      note.textContent = "Selected. Copy it with Ctrl and C.";
    }
  }
}

/** What an exported file has, and what it has not. */
function summary(name, written, all, images) {
  const left = all - written;
  const has = left === 1 ? "has no mask yet and is" : "have no mask yet and are";
  return [
    left
      ? `${left} of ${all} objects ${has} not in the file.`
      : `${name} has ${all === 1 ? "1 object" : `${all} objects`}.`,
    images > 1 && `It is for this photo only, one of ${images} in the file that you opened.`,
  ]
    .filter(Boolean)
    .join(" ");
}
