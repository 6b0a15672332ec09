/** CSS pixels of a step of the cursor, and with Shift. */
const STEP = 8,
  LEAP = 48;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
/** CSS pixels from the cursor to the click that a key means. */
const NEAR = 16;

const byId = (id) => document.getElementById(id);

/** The keyboard: shortcuts everywhere, and a cursor on the photo that does what a pointer does. */
export class Keys {
  #desk;
  #stage;
  #commands;
  #corner = null;
  #moved = false;
  #back = null;
  #spoken = 0;
  /** Whether a single letter or sign is a shortcut. */
  single = true;

  /**
   * @param {import("./desk.js").Desk} desk
   * @param {HTMLElement} stage
   * @param {Record<string, () => void>} commands by key
   */
  constructor(desk, stage, commands) {
    this.#desk = desk;
    this.#stage = stage;
    this.#commands = commands;
    addEventListener("keydown", (event) => this.#anywhere(event));
    stage.addEventListener("keydown", (event) => this.#onPhoto(event));
    stage.addEventListener("focus", () => {
      if (!desk.photo || !stage.matches(":focus-visible")) return;
      this.#cursor();
      desk.changed();
    });
  }

  #anywhere(event) {
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const typing = event.target.matches?.("input:not([type=radio]):not([type=range]), textarea");
    // Many keyboards have a sign such as [ on AltGr, which may come as Ctrl and Alt, or on Option.
    const third = event.altKey || event.getModifierState("AltGraph");
    const sign = third && !event.metaKey && !/[\p{L}\p{N}]/u.test(event.key);
    if ((event.ctrlKey || event.metaKey) && !sign) {
      const key = event.key.toLowerCase();
      if (typing || !["z", "y"].includes(key)) return;
      event.preventDefault();
      this.#commands[key === "y" || event.shiftKey ? "redo" : "undo"]();
      return;
    }
    if (typing || (third && !sign)) return;
    if (event.key === "Escape") return this.#escape();
    const command = this.#commands[event.key.toLowerCase()];
    if (!command || !this.single) return;
    event.preventDefault();
    command();
  }

  #escape() {
    this.#corner = null;
    if (this.#desk.carried !== null) {
      this.#putDown();
      if (this.#moved) this.#back();
    }
    this.#desk.preview.stop();
    this.#desk.session.chooseClick(null);
    this.#desk.giveUp();
  }

  #onPhoto(event) {
    const desk = this.#desk;
    if (!desk.photo || event.ctrlKey || event.metaKey || event.altKey) return;
    clearTimeout(this.#spoken);
    if (event.key in ARROWS) this.#step(ARROWS[event.key], event);
    else if (event.key === "Enter") this.#enter(event);
    else if (event.key === "Delete" || event.key === "Backspace") this.#delete();
    else if (event.key === "m" || event.key === "M") this.#carry();
    else return;
    event.preventDefault();
  }

  /** Where the keys act; in the middle of what is seen at first. */
  #cursor() {
    const { viewport, photo } = this.#desk;
    const middle = () => {
      const { x, y } = viewport.toImage(viewport.width / 2, (viewport.height - 48) / 2);
      return {
        x: Math.max(0, Math.min(x, photo.width)),
        y: Math.max(0, Math.min(y, photo.height)),
      };
    };
    this.#desk.cursor ??= middle();
    return this.#desk.cursor;
  }

  #step([dx, dy], event) {
    const desk = this.#desk;
    const { viewport, photo, session } = desk;
    const from = this.#cursor();
    const length = (event.shiftKey ? LEAP : STEP) / viewport.scale;
    // At least a pixel, and in whole pixels unless they are shown large.
    const by = viewport.scale < 3 ? Math.max(1, Math.round(length)) : length;
    const to = { x: from.x + dx * by, y: from.y + dy * by };
    to.x = Math.max(0, Math.min(to.x, photo.width));
    to.y = Math.max(0, Math.min(to.y, photo.height));
    desk.cursor = viewport.round(to);
    viewport.reveal(desk.cursor);
    if (desk.carried !== null && session.chosen?.clicks[desk.carried]) {
      desk.segmenter.because(event, "change");
      this.#moved = true;
      session.moveClick(desk.carried, desk.cursor.x, desk.cursor.y, "carry");
    } else if (this.#corner && desk.draft) {
      desk.drawing(this.#corner, desk.cursor);
    } else {
      desk.hover(desk.cursor);
    }
    desk.changed();
    this.#tellPlace();
  }

  #enter(event) {
    const desk = this.#desk;
    // After the mouse nobody sees where the cursor is: it is shown before it does anything.
    const seen = desk.cursor !== null;
    const here = this.#cursor();
    if (!seen) {
      desk.changed();
      return this.#tellPlace();
    }
    if (desk.carried !== null) return this.#putDown();
    if (this.#corner && desk.draft) {
      const corner = this.#corner;
      this.#corner = null;
      return desk.finishBox(corner, here, event);
    }
    if (!desk.needsBox) return desk.click(here, event.shiftKey ? 0 : desk.mode, event);
    this.#corner = here;
    desk.drawing(here, here);
    desk.status.say("First corner set. Move to the opposite corner and press Enter.");
  }

  #delete() {
    const desk = this.#desk;
    const { session } = desk;
    const count = session.chosen?.clicks.length ?? 0;
    if (!count) return desk.status.note("There is no click to delete.");
    if (desk.carried !== null) this.#putDown();
    desk.deleteClick(session.chosenClick ?? this.#clickHere() ?? count - 1);
  }

  #carry() {
    const desk = this.#desk;
    if (desk.carried !== null) return this.#putDown();
    const index = desk.session.chosenClick ?? this.#clickHere();
    if (index === null) return desk.status.note("There is no click under the cursor.");
    const { x, y } = desk.session.chosen.clicks[index];
    desk.session.settle();
    desk.session.chooseClick(index);
    this.#back = desk.session.mark();
    desk.cursor = { x, y };
    desk.carried = index;
    desk.segmenter.dragging = true;
    this.#moved = false;
    desk.status.say("Click taken. The arrow keys move it, Enter puts it down.");
    desk.changed();
  }

  #putDown() {
    const desk = this.#desk;
    desk.carried = null;
    desk.session.settle();
    desk.segmenter.dragging = false;
    desk.segmenter.update();
    desk.status.say("Click put down.");
    desk.changed();
  }

  #clickHere() {
    const { cursor, session, viewport } = this.#desk;
    if (!cursor || !session.chosen) return null;
    const near = ({ x, y }) => Math.hypot(x - cursor.x, y - cursor.y) * viewport.scale <= NEAR;
    const index = session.chosen.clicks.findLastIndex(near);
    return index < 0 ? null : index;
  }

  /** Says where the cursor is, once it rests. */
  #tellPlace() {
    clearTimeout(this.#spoken);
    this.#spoken = setTimeout(() => {
      const { cursor, session, segmenter, preview, status } = this.#desk;
      if (!cursor) return;
      const { x, y } = cursor;
      const item = session.chosen;
      const [x1, y1, x2, y2] = item?.box ?? [];
      const covered = item && segmenter.shown(item)?.mask.contains(x, y);
      const boxed = x >= x1 && x <= x2 && y >= y1 && y <= y2;
      const place = covered ? ", on the mask" : boxed ? ", in the box" : "";
      const gives = preview.mask ? `. A click here gives ${preview.mask.area} pixels` : "";
      status.say(`${Math.round(x)}, ${Math.round(y)}${place}${gives}`);
    }, 500);
  }
}
