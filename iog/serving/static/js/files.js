import { coloursFor } from "./colours.js";
import { openPhoto } from "./photo.js";
import { address } from "./server.js";
import { read } from "./source.js";

const byId = (id) => document.getElementById(id);

/** Photos and COCO files, however they come in: chosen, dropped, pasted or as an example. */
export class Files {
  #desk;
  /** A COCO file that waits for its photo. */
  #waiting = null;
  #opening = 0;

  /** @param {import("./desk.js").Desk} desk */
  constructor(desk) {
    this.#desk = desk;
    byId("open").addEventListener("click", () => this.choose());
    byId("choose").addEventListener("click", () => this.choose());
    byId("open-coco").addEventListener("click", () => this.choose());
    byId("file").addEventListener("change", () => {
      this.take([...byId("file").files]);
      byId("file").value = "";
    });
    for (const button of document.querySelectorAll(".example")) {
      button.addEventListener("click", () => this.#example(button.dataset.name));
    }
    addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length) this.take(files);
    });
    this.#acceptDrops();
  }

  choose() {
    byId("file").click();
  }

  #acceptDrops() {
    const root = document.documentElement;
    const carries = (event) => event.dataTransfer?.types.includes("Files");
    addEventListener("dragover", (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      root.classList.add("dropping");
    });
    addEventListener(
      "dragleave",
      (event) => event.relatedTarget || root.classList.remove("dropping"),
    );
    addEventListener("drop", (event) => {
      root.classList.remove("dropping");
      if (!carries(event)) return;
      event.preventDefault();
      this.take([...event.dataTransfer.files]);
    });
  }

  async #example(name) {
    const { status } = this.#desk;
    try {
      const response = await fetch(address(`static/examples/${name}`));
      if (!response.ok) throw new Error();
      const blob = await response.blob();
      await this.take([new File([blob], name, { type: "image/jpeg" })]);
    } catch {
      status.fail(
        new Error("The example could not be fetched. Is the server running?"),
        "Not opened",
      );
    }
  }

  /** @param {File[]} files one photo, one COCO file, or both */
  async take(files) {
    const isCoco = (file) => /\.json$/i.test(file.name) || file.type === "application/json";
    const [photo, ...photos] = files.filter((file) => !isCoco(file));
    const [coco, ...cocos] = files.filter(isCoco);
    const told = [...rest(photo, photos, "photo"), ...rest(coco, cocos, "JSON file")];
    try {
      if (photo) await this.#openPhoto(photo);
      if (coco) this.#waiting = { name: coco.name, data: parsed(await coco.text(), coco.name) };
      if (this.#waiting) told.push(...this.#openCoco());
      if (told.length) this.#desk.status.note(told.join(" "));
    } catch (error) {
      this.#desk.status.fail(error, "Not opened");
    }
  }

  async #openPhoto(file) {
    const desk = this.#desk;
    const turn = ++this.#opening;
    desk.status.clear();
    desk.status.hint("Opening the photo");
    const photo = await openPhoto(file).finally(() => desk.changed());
    if (turn !== this.#opening) return;
    desk.open(photo);
    byId("empty").hidden = true;
    byId("zooming").hidden = false;
    byId("photo-name").textContent = `${photo.name}, ${photo.width} × ${photo.height}`;
    byId("stage").setAttribute("aria-label", `Photo ${photo.name}`);
    byId("stage").tabIndex = 0;
    byId("stage").focus({ preventScroll: true, focusVisible: false });
    document.title = `${photo.name} – IOG`;
    const { length } = desk.session.state.items;
    const next = length
      ? `It has ${length === 1 ? "an object" : `${length} objects`} from before.`
      : "Draw a box around an object.";
    desk.status.say(`${photo.name} is open, ${photo.width} by ${photo.height} pixels. ${next}`);
  }

  /** @returns {string[]} sentences that say what the file brought */
  #openCoco() {
    const { photo, session, status } = this.#desk;
    const { name, data } = this.#waiting;
    if (!photo) {
      status.ask(`${name} is ready. Now open the photo that it belongs to.`);
      return [];
    }
    this.#waiting = null;
    const { source, objects, lost } = read(data, photo);
    session.categories.learn(source.categories);
    const news = objects.filter((object) => !this.#isHere(object));
    const colours = coloursFor(news.length, session.state.items.length);
    const items = news.map(({ label, mask, box, row }, i) => ({
      label,
      colour: colours[i],
      box,
      start: mask,
      from: { row, label, source },
    }));
    if (items.length) session.add(items, source);
    const boxes = news.filter(({ mask }) => !mask).length;
    const here = objects.length - news.length;
    return [
      `${many(news.length, "object")} from ${name}.`,
      here && `${many(here, "object")} ${here === 1 ? "was" : "were"} here already.`,
      boxes &&
        `${many(boxes, "box", "boxes")} without a mask: the model makes ${boxes === 1 ? "it" : "them"}.`,
      lost && `${many(lost, "annotation")} with neither mask nor box left out.`,
    ].filter(Boolean);
  }

  /** Whether an annotation was opened or exported before, or an object has its label and mask. */
  #isHere({ label, mask, row }) {
    const { session, segmenter } = this.#desk;
    const text = JSON.stringify(row);
    return session.state.items.some((item) => {
      const rows = [item.from?.row, session.written.get(item.id)?.row];
      if (rows.some((known) => known && JSON.stringify(known) === text)) return true;
      const known = segmenter.result(item)?.mask;
      return mask && known?.counts === mask.counts && item.label === label;
    });
  }
}

const many = (count, one, more = `${one}s`) => `${count} ${count === 1 ? one : more}`;

/** What is said of files that were chosen beside the first of their kind. */
function rest(first, others, kind) {
  if (!others.length) return [];
  const were = others.length === 1 ? "was" : "were";
  const left = `${many(others.length, `other ${kind}`)} ${were} not opened: open one at a time.`;
  return [`Opened ${first.name}. ${left}`];
}

function parsed(text, name) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`${name} is not JSON.`);
  }
}
