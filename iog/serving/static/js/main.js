import { Connection } from "./connection.js";
import { Desk } from "./desk.js";
import { Exports } from "./exports.js";
import { Files } from "./files.js";
import { Keys } from "./keys.js";
import { Painter } from "./paint.js";
import { Panel } from "./panel.js";
import { Pointer } from "./pointer.js";
import { Preview } from "./preview.js";
import { Segmenter } from "./segmenter.js";
import { Session } from "./session.js";
import { Status } from "./status.js";
import { measured } from "./timing.js";
import { Viewport } from "./viewport.js";

const byId = (id) => document.getElementById(id);
const stage = byId("stage");

const session = new Session();
const connection = new Connection();
const segmenter = new Segmenter(session, connection);
const preview = new Preview(segmenter);
const viewport = new Viewport();
const status = new Status(connection, segmenter, { retry: () => segmenter.retry() });
const desk = new Desk({ session, segmenter, preview, viewport, status });
const painter = new Painter(desk, stage);
const panel = new Panel(desk);
const files = new Files(desk);
new Exports(desk, panel, connection);
new Pointer(desk, stage);

session.addEventListener("change", () => {
  segmenter.update();
  if (!segmenter.failing) status.clear();
  panel.update();
  const shown = session.chosen && segmenter.result(session.chosen);
  status.ready(shown?.ms ? tookOf(shown) : "Ready");
  hint();
});
desk.addEventListener("change", () => hint());
viewport.addEventListener("change", () => {
  byId("zoom").textContent = `${Math.round(viewport.scale * 100)} %`;
});
connection.addEventListener("about", () => {
  const { model, engine, version, threshold } = connection.about;
  byId("about").textContent = model ? `${model}, ${engine}, version ${version}` : "";
  if (typeof threshold === "number") panel.threshold = threshold;
  panel.update();
});

segmenter.addEventListener("mask", ({ detail }) => {
  const { item, result, cause, cached, asked, arrived } = detail;
  // Drawn before anything else: this is what the user waits for.
  if (!cached) painter.now();
  if (cause) {
    const prompt = ["iog:box", "iog:first-click"][item.clicks.length] ?? "iog:next-click";
    measured(cause.kind === "prompt" ? prompt : "iog:change", cause.at, {
      asked,
      arrived,
      server: result.server,
      cached,
    });
  }
  if (!cached) {
    status.clear();
    panel.update();
  }
  if (item.id === session.state.chosen) tellMask(item, result);
});
segmenter.addEventListener("failed", ({ detail }) => {
  status.fail(detail, "Not segmented", true);
  panel.update();
});

const tookOf = ({ ms }) => `Mask in ${Math.round(ms)} ms`;

function tellMask(item, result) {
  const { mask } = result;
  status.ready(tookOf(result));
  if (segmenter.dragging) return;
  const name = session.nameOf(item);
  const score = mask.score?.toFixed(2);
  status.say(
    mask.box ? `${name}: ${mask.area} pixels, score ${score}.` : `${name}: the mask is empty.`,
  );
}

function hint() {
  const { chosen } = session;
  const touch = matchMedia("(pointer: coarse)").matches;
  if (!desk.photo) return status.hint("");
  if (desk.cursor) return status.hint(keyHint(chosen));
  if (desk.draft) return status.hint("Let go at the opposite corner");
  if (desk.redraws) return status.hint("Drag the box of this object again");
  if (!chosen) return status.hint("Drag a box around an object");
  if (!chosen.clicks.length) return status.hint(touch ? "Tap the object" : "Click on the object");
  status.hint(touch ? "Tap to correct" : "Left click adds, right click removes");
}

function keyHint(chosen) {
  if (desk.carried !== null) return "Arrow keys move the click, Enter puts it down";
  if (desk.draft) return "Move to the opposite corner, then Enter";
  if (!chosen || desk.redraws) return "Move to a corner of the object, then Enter";
  return "Enter adds, Shift and Enter removes";
}

/** What the user sees is undone or done again. */
function through(history, word) {
  desk.giveUp();
  preview.stop();
  const could = history === "undo" ? session.canUndo : session.canRedo;
  session[history]();
  if (could) status.say(`${word}.`);
  else status.note(`Nothing to ${history}.`);
}

function clear() {
  if (!session.chosen?.clicks.length) return;
  session.change({ clicks: [] });
  status.say("Clicks cleared.");
}

function choose(by) {
  const { items, chosen } = session.state;
  if (!items.length) return;
  const at = items.findIndex((item) => item.id === chosen);
  const next = items.at(at < 0 ? (by > 0 ? 0 : -1) : (at + by) % items.length);
  session.choose(next.id);
  status.say(`${session.nameOf(next)}.`);
}

function editLabel() {
  if (!session.chosen) return;
  byId("sheet").setAttribute("aria-expanded", "true");
  byId("label").focus();
}

function toggle() {
  const { chosen } = session;
  if (!chosen) return;
  session.toggle(chosen.id);
  status.say(`${session.nameOf(chosen)} ${session.hidden.has(chosen.id) ? "hidden" : "shown"}.`);
}

const commands = {
  undo: () => through("undo", "Undone"),
  redo: () => through("redo", "Done again"),
  clear,
  n: () => desk.newObject(),
  b: () => desk.redraw(),
  c: clear,
  x: () => desk.changeMode(),
  h: toggle,
  l: editLabel,
  o: () => files.choose(),
  "[": () => choose(-1),
  "]": () => choose(1),
  "+": () => viewport.zoom(1.25),
  "=": () => viewport.zoom(1.25),
  "-": () => viewport.zoom(0.8),
  0: () => viewport.fit(),
  "?": () => byId("help").showModal(),
};
const keys = new Keys(desk, stage, commands);
const buttons = {
  undo: "undo",
  redo: "redo",
  clear: "clear",
  "new-object": "n",
  "zoom-in": "+",
  "zoom-out": "-",
  fit: "0",
  "help-button": "?",
};
for (const [id, command] of Object.entries(buttons)) {
  byId(id).addEventListener("click", () => commands[command]());
}
byId("new-object").addEventListener("click", () => stage.focus());
byId("single-keys").addEventListener("change", (event) => (keys.single = event.target.checked));
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}

addEventListener("beforeunload", (event) => session.unsaved && event.preventDefault());

connection.start();
painter.now();
