import { polygonsOf } from "./coco.js";
import { COLOURS } from "./colours.js";
import { CLICK, HANDLE, handlesOf } from "./handles.js";
import { pathOf } from "./outline.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Draws the photo on one canvas and everything else on another above it. */
export class Painter {
  #desk;
  #photo = document.getElementById("photo").getContext("2d", { alpha: true });
  #overlay = document.getElementById("overlay").getContext("2d");
  #ratio = 1;
  #frame = 0;
  #photoIsOld = true;
  #polygons = new WeakMap();

  /** @param {import("./desk.js").Desk} desk */
  constructor(desk, stage) {
    this.#desk = desk;
    desk.viewport.addEventListener("change", () => {
      this.#photoIsOld = true;
      this.soon();
    });
    for (const source of [desk, desk.session, desk.preview]) {
      source.addEventListener("change", () => this.soon());
    }
    stage.addEventListener("focus", () => this.soon());
    stage.addEventListener("blur", () => this.soon());
    new ResizeObserver(() => this.#resize(stage)).observe(stage);
    this.#resize(stage);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.soon());
  }

  /** Draws with the next frame. */
  soon() {
    this.#frame ||= requestAnimationFrame(() => this.now());
  }

  /** Draws at once. */
  now() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (this.#photoIsOld) this.#paintPhoto();
    this.#photoIsOld = false;
    this.#paintOverlay();
  }

  #resize(stage) {
    const { width, height } = stage.getBoundingClientRect();
    this.#ratio = devicePixelRatio || 1;
    for (const { canvas } of [this.#photo, this.#overlay]) {
      canvas.width = Math.round(width * this.#ratio);
      canvas.height = Math.round(height * this.#ratio);
    }
    this.#desk.viewport.resize(width, height);
    this.#photoIsOld = true;
    this.now();
  }

  /** Pixels of the screen for one of the photo. */
  get #scale() {
    return this.#desk.viewport.scale * this.#ratio;
  }

  /** From here on lengths are pixels of the photo. */
  #inImage(context) {
    const { scale, left, top } = this.#desk.viewport;
    const ratio = this.#ratio;
    context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * left, ratio * top);
  }

  /** From here on lengths are CSS pixels of the stage. */
  #onScreen(context) {
    context.setTransform(this.#ratio, 0, 0, this.#ratio, 0, 0);
  }

  #paintPhoto() {
    const context = this.#photo;
    const { photo, viewport } = this.#desk;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    if (!photo) return;
    const scale = this.#scale;
    const level =
      photo.levels.findLast((copy) => copy.width >= photo.width * scale) ?? photo.levels[0];
    this.#inImage(context);
    context.imageSmoothingEnabled = scale < 4;
    context.imageSmoothingQuality = "medium";
    context.drawImage(level, 0, 0, photo.width, photo.height);
  }

  #paintOverlay() {
    const context = this.#overlay;
    const { session, segmenter, preview } = this.#desk;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    if (!this.#desk.photo) return;
    const { chosen } = session;
    const rest = session.state.items.filter((item) => item !== chosen);
    for (const item of chosen ? [...rest, chosen] : rest) {
      if (session.hidden.has(item.id)) continue;
      const shown = segmenter.shown(item);
      if (!shown || (item === chosen && preview.mask)) continue;
      this.#paintMask(context, shown.mask, COLOURS.get(item.colour), item === chosen);
    }
    if (chosen && !session.hidden.has(chosen.id)) this.#paintPrompt(context, chosen, preview.mask);
    if (this.#desk.draft) this.#paintBox(context, this.#desk.draft, true);
    this.#paintCursor(context);
  }

  #paintMask(context, mask, colour, chosen) {
    const { tolerance, viewport } = this.#desk;
    const simple = chosen && tolerance !== null;
    const path = simple ? this.#polygon(mask, tolerance).path : mask.drawn(this.#scale);
    this.#inImage(context);
    context.globalAlpha = chosen ? 0.38 : 0.26;
    context.fillStyle = colour;
    context.fill(path, "evenodd");
    context.globalAlpha = 1;
    context.lineJoin = "bevel";
    const widths = chosen
      ? [
          [4, "rgb(0 0 0 / 40%)"],
          [2, colour],
        ]
      : [
          [3, "rgb(0 0 0 / 30%)"],
          [1.5, colour],
        ];
    for (const [width, style] of widths) {
      context.lineWidth = width / viewport.scale;
      context.strokeStyle = style;
      context.stroke(path);
    }
    if (simple) this.#paintCorners(context, this.#polygon(mask, tolerance).loops, colour);
  }

  /** @returns {{path: Path2D, loops: number[][]}} what a COCO file would hold */
  #polygon(mask, tolerance) {
    let known = this.#polygons.get(mask);
    if (known?.tolerance !== tolerance) {
      const loops = polygonsOf(mask, tolerance);
      known = { tolerance, loops, path: pathOf(loops) };
      this.#polygons.set(mask, known);
    }
    return known;
  }

  #paintCorners(context, loops, colour) {
    this.#onScreen(context);
    context.fillStyle = "#fff";
    context.strokeStyle = colour;
    context.lineWidth = 1;
    const { viewport } = this.#desk;
    for (const loop of loops) {
      for (let i = 0; i < loop.length; i += 2) {
        const { x, y } = viewport.toScreen(loop[i], loop[i + 1]);
        context.fillRect(x - 1.5, y - 1.5, 3, 3);
        context.strokeRect(x - 1.5, y - 1.5, 3, 3);
      }
    }
  }

  #paintPrompt(context, item, preview) {
    if (preview) this.#paintPreview(context, preview, COLOURS.get(item.colour));
    if (!this.#desk.redraws) {
      this.#paintBox(context, item.box, false);
      this.#paintHandles(context, item.box);
    }
    item.clicks.forEach((click, index) =>
      this.#paintClick(context, click, index === this.#desk.session.chosenClick),
    );
  }

  #paintPreview(context, mask, colour) {
    const { scale } = this.#desk.viewport;
    const path = mask.drawn(this.#scale);
    this.#inImage(context);
    context.globalAlpha = 0.22;
    context.fillStyle = colour;
    context.fill(path, "evenodd");
    context.globalAlpha = 1;
    context.lineWidth = 3 / scale;
    context.strokeStyle = "rgb(0 0 0 / 45%)";
    context.stroke(path);
    context.setLineDash([5 / scale, 4 / scale]);
    context.lineWidth = 1.5 / scale;
    context.strokeStyle = "#fff";
    context.stroke(path);
    context.setLineDash([]);
  }

  #paintBox(context, [x1, y1, x2, y2], dashed) {
    const a = this.#desk.viewport.toScreen(x1, y1),
      b = this.#desk.viewport.toScreen(x2, y2);
    this.#onScreen(context);
    const rectangle = [a.x, a.y, b.x - a.x, b.y - a.y];
    context.lineWidth = 3;
    context.strokeStyle = "rgb(0 0 0 / 45%)";
    context.strokeRect(...rectangle);
    context.lineWidth = 1.25;
    context.strokeStyle = "#fff";
    context.setLineDash(dashed ? [6, 4] : []);
    context.strokeRect(...rectangle);
    context.setLineDash([]);
  }

  #paintHandles(context, box) {
    this.#onScreen(context);
    context.lineWidth = 1.5;
    for (const { x, y } of handlesOf(box, this.#desk.viewport)) {
      context.beginPath();
      context.roundRect(x - HANDLE, y - HANDLE, 2 * HANDLE, 2 * HANDLE, 3);
      context.fillStyle = "#fff";
      context.fill();
      context.strokeStyle = "rgb(0 0 0 / 65%)";
      context.stroke();
    }
  }

  #paintClick(context, { x, y, label }, chosen) {
    const at = this.#desk.viewport.toScreen(x, y);
    this.#onScreen(context);
    const disc = (radius, style) => {
      context.beginPath();
      context.arc(at.x, at.y, radius, 0, 2 * Math.PI);
      context.fillStyle = style;
      context.fill();
    };
    if (chosen) disc(CLICK + 5, css("--accent"));
    disc(CLICK + 2.5, "rgb(0 0 0 / 45%)");
    disc(CLICK + 1.5, "#fff");
    disc(CLICK, label ? "#12853f" : "#cc2d26");
    context.lineWidth = 2;
    context.lineCap = "round";
    context.strokeStyle = "#fff";
    context.beginPath();
    context.moveTo(at.x - 4, at.y);
    context.lineTo(at.x + 4, at.y);
    if (label) {
      context.moveTo(at.x, at.y - 4);
      context.lineTo(at.x, at.y + 4);
    }
    context.stroke();
  }

  #paintCursor(context) {
    const { cursor, viewport } = this.#desk;
    if (!cursor || document.activeElement?.id !== "stage") return;
    const { x, y } = viewport.toScreen(cursor.x, cursor.y);
    this.#onScreen(context);
    for (const [width, style] of [
      [4, "rgb(0 0 0 / 60%)"],
      [1.75, "#fff"],
    ]) {
      context.lineWidth = width;
      context.strokeStyle = style;
      context.beginPath();
      for (const [dx, dy] of [
        [1, 0],
        [-1, 0],
        [0, 1],
        [0, -1],
      ]) {
        context.moveTo(x + 4 * dx, y + 4 * dy);
        context.lineTo(x + 16 * dx, y + 16 * dy);
      }
      context.stroke();
    }
  }
}
