import { CLICK, HANDLE, handlesOf } from "./handles.js";

/** CSS pixels that a pointer may move and still click; and how near it must be to grab a thing. */
const STILL = { mouse: 6, pen: 8, touch: 10 };
const REACH = { mouse: 4, pen: 8, touch: 14 };

/** What mouse, pen and touch do on the stage. */
export class Pointer {
  #desk;
  #stage;
  #gesture = null;
  #fingers = new Map();
  #space = false;
  #number = 0;

  /** @param {import("./desk.js").Desk} desk */
  constructor(desk, stage) {
    this.#desk = desk;
    this.#stage = stage;
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    stage.addEventListener("pointerup", (event) => this.#up(event));
    stage.addEventListener("pointercancel", (event) => this.#cancel(event));
    stage.addEventListener("pointerleave", () => this.#gesture || desk.hover(null));
    stage.addEventListener("contextmenu", (event) => event.preventDefault());
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    addEventListener("keydown", (event) => {
      this.#spaceKey(event, true);
      if (event.key === "Escape") this.#giveUp();
    });
    addEventListener("keyup", (event) => this.#spaceKey(event, false));
    addEventListener("blur", () => (this.#space = false));
  }

  #down(event) {
    if (!this.#desk.photo) return;
    // Keyboard users see the focus, those with a pointer need not.
    this.#stage.focus({ preventScroll: true, focusVisible: false });
    this.#stage.setPointerCapture(event.pointerId);
    this.#desk.cursor = null;
    if (event.pointerType === "touch") {
      this.#fingers.set(event.pointerId, this.#at(event));
      if (this.#fingers.size === 2) {
        this.#gesture?.giveUp?.();
        this.#gesture = this.#pinch();
        return;
      }
    }
    if (this.#gesture) return;
    event.preventDefault();
    this.#gesture = this.#begin(event, this.#at(event));
    this.#look(event);
  }

  #move(event) {
    const at = this.#at(event);
    if (this.#fingers.has(event.pointerId)) this.#fingers.set(event.pointerId, at);
    if (this.#gesture) this.#gesture.move?.(at, event);
    else if (event.pointerType !== "touch") {
      this.#look(event);
      const grabs = this.#space || this.#thingAt(at, event);
      this.#desk.hover(grabs ? null : this.#desk.viewport.toImage(at.x, at.y));
    }
  }

  #up(event) {
    this.#fingers.delete(event.pointerId);
    const gesture = this.#gesture;
    if (gesture?.pinch && this.#fingers.size) return;
    this.#gesture = null;
    gesture?.end?.(this.#at(event), event);
    this.#look(event);
  }

  #cancel(event) {
    this.#fingers.delete(event.pointerId);
    this.#gesture?.giveUp?.();
    this.#gesture = null;
  }

  /** Nothing more comes of the gesture, until the pointer is let go. */
  #giveUp() {
    if (!this.#gesture?.giveUp) return;
    this.#gesture.giveUp();
    this.#gesture = {};
  }

  #at(event) {
    const { left, top } = this.#stage.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  }

  #begin(event, at) {
    if (event.button === 1 || this.#space) return this.#panning(at);
    const thing = this.#thingAt(at, event);
    if (thing && event.button === 0) return this.#dragging(thing, at, event);
    return this.#pressing(at, event);
  }

  #panning(from) {
    return {
      pan: true,
      move: (to) => {
        this.#desk.viewport.pan(to.x - from.x, to.y - from.y);
        from = to;
      },
    };
  }

  #pinch() {
    const { viewport } = this.#desk;
    const measure = () => {
      const [a, b] = [...this.#fingers.values()];
      return {
        x: (a.x + b.x) / 2,
        y: (a.y + b.y) / 2,
        apart: Math.hypot(a.x - b.x, a.y - b.y) || 1,
      };
    };
    let before = measure();
    return {
      pinch: true,
      move: () => {
        if (this.#fingers.size < 2) return;
        const now = measure();
        viewport.pan(now.x - before.x, now.y - before.y);
        viewport.zoom(now.apart / before.apart, now.x, now.y);
        before = now;
      },
    };
  }

  /** A click, or a box if the pointer moves far enough. */
  #pressing(from, { pointerType, button }) {
    const still = STILL[pointerType] ?? STILL.mouse;
    const desk = this.#desk;
    const apart = (to) => Math.hypot(to.x - from.x, to.y - from.y);
    let boxed = false;
    return {
      move: (to) => {
        if (button !== 0) return;
        boxed ||= apart(to) > still;
        if (!boxed) return;
        desk.preview.stop();
        desk.drawing(this.#within(from), this.#within(to));
      },
      end: (to, event) => {
        const a = this.#within(from),
          b = this.#within(to);
        // A hand that slips a little means a click.
        const slipped = apart(to) <= 2 * still && (!boxed || desk.tooSmall(a, b));
        if (boxed && !slipped) return desk.finishBox(a, b, event);
        if (button > 2 || !slipped) return;
        desk.undraw();
        const plain = button === 0 && !event.shiftKey && !event.altKey;
        desk.click(desk.viewport.toImage(from.x, from.y), plain ? desk.mode : 0, event);
      },
      giveUp: () => desk.giveUp(),
    };
  }

  /** A click, a handle or the box is moved, and the mask follows. */
  #dragging(thing, from, { pointerType }) {
    const still = STILL[pointerType] ?? STILL.mouse;
    const { session, segmenter, viewport } = this.#desk;
    const { box, clicks } = session.chosen;
    const step = `drag ${++this.#number}`;
    let moved = false;
    if (thing.click !== undefined) session.chooseClick(thing.click);
    const back = session.mark();
    return {
      cursor: thing.cursor,
      move: (to, event) => {
        moved ||= Math.hypot(to.x - from.x, to.y - from.y) > still / 2;
        if (!moved) return;
        segmenter.dragging = true;
        segmenter.because(event, "change");
        const dx = (to.x - from.x) / viewport.scale,
          dy = (to.y - from.y) / viewport.scale;
        if (thing.click !== undefined) {
          const { x, y } = clicks[thing.click];
          const point = viewport.round({ x: x + dx, y: y + dy });
          session.moveClick(thing.click, point.x, point.y, step);
        } else {
          session.change({ box: this.#moved(box, thing.sides, dx, dy) }, step);
        }
      },
      end: () => {
        segmenter.dragging = false;
        session.settle();
        segmenter.update();
      },
      giveUp: () => {
        segmenter.dragging = false;
        if (moved) back();
      },
    };
  }

  /** A box of which some sides were moved; none beyond the photo, none past its opposite. */
  #moved(box, sides, dx, dy) {
    const { width, height } = this.#desk.photo;
    const most = [width, height, width, height];
    const whole = sides.length === 4;
    if (whole) {
      dx = Math.max(-box[0], Math.min(dx, width - box[2]));
      dy = Math.max(-box[1], Math.min(dy, height - box[3]));
    }
    const next = box.map((value, side) => {
      if (!sides.includes(side)) return value;
      return Math.max(0, Math.min(value + (side % 2 ? dy : dx), most[side]));
    });
    const least = 2;
    for (const side of whole ? [] : sides) {
      if (side < 2) next[side] = Math.min(next[side], next[side + 2] - least);
      else next[side] = Math.max(next[side], next[side - 2] + least);
    }
    const a = this.#desk.viewport.round({ x: next[0], y: next[1] });
    const b = this.#desk.viewport.round({ x: next[2], y: next[3] });
    return [a.x, a.y, b.x, b.y];
  }

  /** What can be grabbed at a point of the stage: a click, a handle, the edge of the box. */
  #thingAt({ x, y }, { pointerType }) {
    const { session, viewport } = this.#desk;
    const item = session.chosen;
    if (!item || this.#desk.needsBox || session.hidden.has(item.id)) return null;
    const reach = REACH[pointerType] ?? REACH.mouse;
    const near = (point, radius) => Math.hypot(point.x - x, point.y - y) <= radius;
    const click = item.clicks.findLastIndex((c) =>
      near(viewport.toScreen(c.x, c.y), CLICK + reach / 2),
    );
    if (click >= 0) return { click, cursor: "move" };
    const handle = handlesOf(item.box, viewport).find((h) => near(h, HANDLE + reach));
    if (handle) return handle;
    const a = viewport.toScreen(item.box[0], item.box[1]),
      b = viewport.toScreen(item.box[2], item.box[3]);
    const within = x > a.x - reach && x < b.x + reach && y > a.y - reach && y < b.y + reach;
    const deep = x > a.x + reach && x < b.x - reach && y > a.y + reach && y < b.y - reach;
    return within && !deep ? { sides: [0, 1, 2, 3], cursor: "move" } : null;
  }

  /** A point of the stage as a point of the photo, moved into it. */
  #within({ x, y }) {
    const point = this.#desk.viewport.toImage(x, y);
    const { width, height } = this.#desk.photo;
    return { x: Math.max(0, Math.min(point.x, width)), y: Math.max(0, Math.min(point.y, height)) };
  }

  #wheel(event) {
    if (!this.#desk.photo) return;
    event.preventDefault();
    const { x, y } = this.#at(event);
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    // A pinch on a touch pad comes as small steps with Ctrl.
    const strength = event.ctrlKey ? 0.01 : 0.0016;
    const factor = Math.exp(-event.deltaY * lines * strength);
    this.#desk.viewport.zoom(Math.max(0.5, Math.min(factor, 2)), x, y);
  }

  #spaceKey(event, down) {
    if (event.key !== " ") return;
    const { activeElement } = document;
    if (activeElement !== this.#stage && activeElement !== document.body) return;
    event.preventDefault();
    this.#space = down;
    this.#stage.dataset.cursor = down ? "grab" : "cross";
    if (down) this.#desk.hover(null);
  }

  #look(event) {
    if (!this.#desk.photo) return;
    const gesture = this.#gesture;
    const thing = gesture ? null : this.#thingAt(this.#at(event), event);
    const pan = gesture?.pan ? "grabbing" : this.#space ? "grab" : null;
    this.#stage.dataset.cursor = pan ?? gesture?.cursor ?? thing?.cursor ?? "cross";
  }
}
