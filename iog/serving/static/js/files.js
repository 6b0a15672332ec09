import { coloursFor, objectsFor } from "./coco.js";
import { openPhoto } from "./photo.js";
import { address } from "./server.js";

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
    const photo = files.find((file) => !isCoco(file));
    const coco = files.find(isCoco);
    try {
      if (photo) await this.#openPhoto(photo);
      if (coco) this.#waiting = { name: coco.name, data: parsed(await coco.text(), coco.name) };
      if (this.#waiting) this.#openCoco();
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

  #openCoco() {
    const { photo, session, status } = this.#desk;
    const { name, data } = this.#waiting;
    if (!photo) {
      return status.ask(`${name} is ready. Now open the photo that it belongs to.`);
    }
    this.#waiting = null;
    const objects = objectsFor(data, photo);
    const colours = coloursFor(objects.length, session.state.items.length);
    session.add(
      objects.map(({ label, mask }, i) => ({
        label,
        colour: colours[i],
        box: mask.box,
        start: mask,
      })),
    );
    status.say(
      `${objects.length} ${objects.length === 1 ? "object" : "objects"} from ${name}. Choose one and click to correct it.`,
    );
  }
}

function parsed(text, name) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`${name} is not JSON.`);
  }
}
