import { nextColour } from "./colours.js";

/** Pixels of the photo that a side of a box must at least have, and CSS pixels of the screen. */
const SMALLEST = 2,
  SEEN = 6;
/** Clicks count up to this part of the box's sides beside it: the network sees no farther. */
const BESIDE = 0.25;

const byId = (id) => document.getElementById(id);

/** The photo on the desk and what is being done to it, by whatever hand: mouse, touch or keys. */
export class Desk extends EventTarget {
  /** @type {import("./photo.js").Photo | null} */
  photo = null;
  /** The keyboard's cursor, image frame. */
  cursor = null;
  /** A box that is being drawn: x1, y1, x2, y2. */
  draft = null;
  /** The click that the keyboard carries, by its number. */
  carried = null;
  /** Whether the next box is for the chosen object. */
  redraws = false;
  /** Pixels that the exported polygon may stray; null where none is to be shown. */
  tolerance = null;

  /**
   * @param {object} parts
   * @param {import("./session.js").Session} parts.session
   * @param {import("./segmenter.js").Segmenter} parts.segmenter
   * @param {import("./preview.js").Preview} parts.preview
   * @param {import("./viewport.js").Viewport} parts.viewport
   * @param {import("./status.js").Status} parts.status
   */
  constructor({ session, segmenter, preview, viewport, status }) {
    super();
    this.session = session;
    this.segmenter = segmenter;
    this.preview = preview;
    this.viewport = viewport;
    this.status = status;
  }

  open(photo) {
    for (const level of this.photo?.levels ?? []) level.close();
    this.preview.stop();
    this.photo = photo;
    this.cursor = null;
    this.giveUp();
    this.segmenter.open(photo);
    this.session.open(photo.digest);
    this.viewport.show(photo);
  }

  /** What a plain click does: 1 adds, 0 removes. */
  get mode() {
    return byId("mode-add").checked ? 1 : 0;
  }

  changeMode() {
    byId(this.mode ? "mode-remove" : "mode-add").checked = true;
    this.status.say(this.mode ? "Clicks add to the mask." : "Clicks remove from the mask.");
    this.changed();
  }

  /** The next box is for a new object. */
  newObject() {
    this.giveUp();
    this.session.choose(null);
    this.status.say("New object. Draw a box around it.");
  }

  /** The next box replaces that of the chosen object. */
  redraw() {
    if (!this.session.chosen) return;
    this.redraws = true;
    this.preview.stop();
    this.status.say("Draw the box again.");
    this.changed();
  }

  /** Whether the next thing to do is to draw a box. */
  get needsBox() {
    return this.redraws || !this.session.chosen;
  }

  drawing(from, to) {
    this.draft = [from.x, from.y, to.x, to.y];
    this.changed();
  }

  /** The box that was begun is none. */
  undraw() {
    this.draft = null;
    this.changed();
  }

  /** Whether two corners are too near each other for a box. */
  tooSmall(a, b) {
    const least = Math.max(SMALLEST, SEEN / this.viewport.scale);
    return Math.min(Math.abs(a.x - b.x), Math.abs(a.y - b.y)) < least;
  }

  /** Ends a box that was drawn from one corner to another. */
  finishBox(from, to, event) {
    const a = this.viewport.round(from),
      b = this.viewport.round(to);
    const box = [Math.min(a.x, b.x), Math.min(a.y, b.y), Math.max(a.x, b.x), Math.max(a.y, b.y)];
    const again = this.redraws && this.session.chosen;
    this.giveUp();
    if (this.tooSmall(a, b)) return this.status.note("The box is too small.");
    this.segmenter.because(event, "prompt");
    if (again) return this.session.change({ box });
    const { items } = this.session.state;
    this.session.add([{ box, colour: nextColour(items) }]);
  }

  /** A click at a point of the photo. */
  click(point, label, event) {
    const item = this.session.chosen;
    if (!inside(point, [0, 0, this.photo.width, this.photo.height], 0)) return;
    if (item && !this.needsBox && inside(point, item.box, 0)) return this.#add(point, label, event);
    const other = this.itemAt(point);
    if (other && other !== item) return this.session.choose(other.id);
    if (this.needsBox) return this.status.note("Draw a box around an object first.");
    if (inside(point, item.box, BESIDE)) return this.#add(point, label, event);
    this.status.note("That is far from the box. Draw a box around a new object.");
  }

  #add(point, label, event) {
    this.preview.stop();
    const { chosen, hidden } = this.session;
    if (hidden.has(chosen.id)) this.session.toggle(chosen.id);
    this.segmenter.because(event, "prompt");
    this.session.addClick({ ...this.viewport.round(point), label });
  }

  deleteClick(index) {
    this.session.removeClick(index);
    this.status.say("Click deleted.");
  }

  /** The visible object whose mask covers a point; the one on top. */
  itemAt({ x, y }) {
    const { items } = this.session.state;
    const covers = (item) =>
      !this.session.hidden.has(item.id) && this.segmenter.shown(item)?.mask.contains(x, y);
    return items.findLast(covers) ?? null;
  }

  /** The pointer or cursor is over a point: shows what a first click there would give. */
  hover(point) {
    const item = this.session.chosen;
    const shows = item && point && !this.needsBox && !item.clicks.length && !item.start;
    if (!shows || this.draft || !inside(point, item.box, 0) || this.session.hidden.has(item.id)) {
      this.preview.stop();
    } else {
      this.preview.at(item, this.viewport.round(point), this.photo.digest);
    }
  }

  /** Ends what was begun and not finished. */
  giveUp() {
    this.draft = null;
    if (this.carried !== null) this.segmenter.dragging = false;
    this.carried = null;
    this.redraws = false;
    this.changed();
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/** Whether a point lies in a box, or beside it by no more than a part of its sides. */
function inside({ x, y }, [x1, y1, x2, y2], beside) {
  const across = (x2 - x1) * beside,
    down = (y2 - y1) * beside;
  return x >= x1 - across && x <= x2 + across && y >= y1 - down && y <= y2 + down;
}
