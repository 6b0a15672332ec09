import { COLOURS } from "./colours.js";
import { holesOf, polygonsOf } from "./coco.js";

const byId = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");

/** The list of objects and what can be changed about the chosen one. */
export class Panel {
  #desk;
  #colours = new Map();
  /** The model's threshold, for objects that have none of their own. */
  threshold = 0.5;

  /** @param {import("./desk.js").Desk} desk */
  constructor(desk) {
    this.#desk = desk;
    const { session } = desk;
    this.#makeColours();
    byId("label").addEventListener("input", () =>
      session.change({ label: byId("label").value.trim() }, "label"),
    );
    byId("label").addEventListener("change", () => session.settle());
    byId("label").addEventListener(
      "keydown",
      (event) => event.key === "Enter" && byId("stage").focus(),
    );
    byId("threshold").addEventListener("input", (event) => {
      desk.segmenter.dragging = true;
      this.#changeThreshold(event, Number(byId("threshold").value));
    });
    byId("threshold").addEventListener("change", () => {
      session.settle();
      desk.segmenter.dragging = false;
      desk.segmenter.update();
    });
    byId("threshold-reset").addEventListener("click", (event) =>
      this.#changeThreshold(event, null),
    );
    byId("objects").addEventListener("click", (event) => this.#objectClicked(event));
    byId("clicks").addEventListener("click", (event) => this.#clickClicked(event));
    byId("clicks").addEventListener("keydown", (event) => {
      if (event.key !== "Delete" && event.key !== "Backspace") return;
      event.preventDefault();
      this.#deleteClick(indexOf(event.target));
    });
    byId("sheet").addEventListener("click", () => {
      const open = byId("sheet").getAttribute("aria-expanded") === "true";
      byId("sheet").setAttribute("aria-expanded", String(!open));
    });
    for (const id of ["form-rle", "form-polygon", "tolerance"]) {
      byId(id).addEventListener("input", () => this.#showPolygons());
    }
    this.update();
  }

  /** The tolerance of polygons, or null where masks are exported as RLE. */
  get tolerance() {
    return byId("form-polygon").checked ? Number(byId("tolerance").value) : null;
  }

  #makeColours() {
    for (const [name, value] of COLOURS) {
      const label = document.createElement("label");
      const input = Object.assign(document.createElement("input"), {
        type: "radio",
        name: "colour",
        value: name,
      });
      input.setAttribute("aria-label", name);
      label.title = name;
      label.style.setProperty("--colour", value);
      label.append(input);
      input.addEventListener("input", () => this.#desk.session.change({ colour: name }));
      byId("colours").append(label);
      this.#colours.set(name, input);
    }
  }

  #changeThreshold(event, threshold) {
    const { session, segmenter } = this.#desk;
    if (!session.chosen) return;
    segmenter.because(event, "change");
    session.change({ threshold }, "threshold");
  }

  update() {
    const { session, photo } = this.#desk;
    const { items } = session.state;
    const { chosen } = session;
    byId("undo").disabled = !session.canUndo;
    byId("redo").disabled = !session.canRedo;
    byId("clear").disabled = !chosen?.clicks.length;
    byId("new-object").disabled = !photo || !chosen;
    byId("no-objects").hidden = items.length > 0;
    byId("no-objects").textContent = photo
      ? "Drag a box around an object in the photo."
      : "Open a photo first.";
    byId("export").hidden = !photo;
    byId("sheet-text").textContent = items.length
      ? `Objects (${items.length}) and export`
      : "Objects and export";
    rows(byId("objects"), byId("object-row"), items, (row, item) => this.#showObject(row, item));
    byId("labels").replaceChildren(
      ...session.labels.map((value) => Object.assign(document.createElement("option"), { value })),
    );
    byId("details").hidden = !chosen;
    if (chosen) this.#showDetails(chosen);
    this.#showExport(items, chosen);
  }

  #showObject(row, item) {
    const { session, segmenter } = this.#desk;
    const name = session.nameOf(item);
    const score = segmenter.shown(item)?.mask.score?.toFixed(2) ?? "";
    const hidden = session.hidden.has(item.id);
    const chosen = item.id === session.state.chosen;
    row.dataset.id = item.id;
    row.toggleAttribute("data-chosen", chosen);
    row.toggleAttribute("data-hidden", hidden);
    row.style.setProperty("--colour", COLOURS.get(item.colour));
    const [pick, show, remove] = row.querySelectorAll("button");
    pick.setAttribute("aria-label", score ? `${name}, score ${score}` : name);
    if (chosen) pick.setAttribute("aria-current", "true");
    else pick.removeAttribute("aria-current");
    row.querySelector(".name").textContent = name;
    row.querySelector(".score").textContent = score;
    called(show, `${hidden ? "Show" : "Hide"} ${name}`);
    show.querySelector("use").setAttribute("href", hidden ? "#i-eye-off" : "#i-eye");
    called(remove, `Delete ${name}`);
  }

  #showDetails(item) {
    const { session, segmenter } = this.#desk;
    if (document.activeElement !== byId("label")) byId("label").value = item.label;
    this.#colours.get(item.colour).checked = true;
    const threshold = item.threshold ?? this.threshold;
    byId("threshold").value = threshold;
    byId("threshold-value").textContent = threshold.toFixed(2);
    byId("threshold-reset").hidden = item.threshold === null;
    byId("no-clicks").hidden = item.clicks.length > 0;
    rows(byId("clicks"), byId("click-chip"), item.clicks, (chip, click, index) => {
      const kind = click.label ? "add" : "remove";
      const [choose, remove] = chip.querySelectorAll("button");
      chip.dataset.kind = kind;
      chip.toggleAttribute("data-chosen", index === session.chosenClick);
      choose.textContent = `${click.label ? "+" : "−"} ${index + 1}`;
      choose.setAttribute(
        "aria-label",
        `Click ${index + 1}, ${kind}, at ${Math.round(click.x)}, ${Math.round(click.y)}`,
      );
      choose.setAttribute("aria-pressed", String(index === session.chosenClick));
      called(remove, `Delete click ${index + 1}`);
    });
    byId("facts").textContent = factsOf(segmenter.shown(item));
  }

  #showExport(items, chosen) {
    const { segmenter } = this.#desk;
    const has = (item) => Boolean(item && segmenter.shown(item)?.mask.box);
    byId("save-mask").disabled = byId("save-cutout").disabled = !has(chosen);
    byId("show-code").disabled = !chosen;
    byId("save-coco").disabled = !items.some(has);
    this.#showPolygons();
  }

  #showPolygons() {
    const desk = this.#desk;
    const { tolerance } = this;
    byId("tolerance-field").hidden = tolerance === null;
    const changed = desk.tolerance !== tolerance;
    desk.tolerance = tolerance;
    if (changed) desk.changed();
    if (tolerance === null) return;
    byId("tolerance-value").textContent = `${tolerance} px`;
    const mask = desk.session.chosen && desk.segmenter.shown(desk.session.chosen)?.mask;
    byId("polygon-note").textContent = mask?.box ? polygonNote(mask, tolerance) : "";
  }

  #objectClicked(event) {
    const button = event.target.closest("button");
    if (!button) return;
    const row = button.closest("li");
    const id = Number(row.dataset.id);
    const { session, status } = this.#desk;
    const name = session.nameOf(session.find(id));
    if (button.classList.contains("pick")) session.choose(id);
    else if (button.classList.contains("show")) session.toggle(id);
    else {
      const next = (row.nextElementSibling ?? row.previousElementSibling)?.querySelector(".delete");
      session.remove(id);
      (next?.isConnected ? next : byId("stage")).focus();
      status.say(`${name} deleted.`);
    }
  }

  #clickClicked(event) {
    const button = event.target.closest("button");
    if (!button) return;
    const index = indexOf(button);
    if (button.classList.contains("remove")) return this.#deleteClick(index);
    this.#desk.session.chooseClick(this.#desk.session.chosenClick === index ? null : index);
  }

  /** Deletes a click; the focus goes to the one that takes its place. */
  #deleteClick(index) {
    this.#desk.deleteClick(index);
    const rest = byId("clicks").children;
    const next = rest[Math.min(index, rest.length - 1)];
    (next?.querySelector(".remove") ?? byId("stage")).focus();
  }
}

/** The number of the row that a button belongs to. */
function indexOf(button) {
  const row = button.closest("li");
  return [...row.parentElement.children].indexOf(row);
}

/** Gives a list one row for each value; rows that are there already stay, and keep the focus. */
function rows(list, template, values, fill) {
  while (list.children.length > values.length) list.lastElementChild.remove();
  while (list.children.length < values.length) list.append(template.content.cloneNode(true));
  values.forEach((value, index) => fill(list.children[index], value, index));
}

function called(button, name) {
  button.setAttribute("aria-label", name);
  button.title = name;
}

/** @param {import("./prompt.js").Result | null} shown */
function factsOf(shown) {
  if (!shown) return "";
  const { mask, ms, server } = shown;
  if (!mask.box) return "The mask is empty. Try a click on the object, or a lower threshold.";
  const took = ms
    ? `${Math.round(ms)} ms${server === null ? "" : ` (server ${Math.round(server)} ms)`}`
    : "from the file";
  const score = mask.score === null ? "" : `Score ${mask.score.toFixed(2)}, `;
  return `${score}${number.format(mask.area)} pixels, ${took}`;
}

function polygonNote(mask, tolerance) {
  const points = polygonsOf(mask, tolerance).reduce((sum, polygon) => sum + polygon.length / 2, 0);
  const holes = holesOf(mask);
  const lost = holes
    ? ` Polygons leave out ${holes === 1 ? "its hole" : `its ${holes} holes`}; RLE keeps them.`
    : "";
  return `${number.format(points)} points.${lost}`;
}
