/** Where the photo lies on the screen: scale and offset, in CSS pixels of the stage. */
export class Viewport extends EventTarget {
  scale = 1;
  left = 0;
  top = 0;
  /** Of the stage. */
  width = 1;
  height = 1;
  /** Of the photo. */
  photo = { width: 1, height: 1 };
  #fitted = true;

  show(photo) {
    this.photo = photo;
    this.fit();
  }

  resize(width, height) {
    const middle = this.toImage(this.width / 2, this.height / 2);
    [this.width, this.height] = [width, height];
    if (this.#fitted) return this.fit();
    this.left = width / 2 - middle.x * this.scale;
    this.top = height / 2 - middle.y * this.scale;
    this.#moved();
  }

  fit() {
    const { scale, margin, foot } = this.#fitting();
    this.scale = scale;
    this.left = (this.width - this.photo.width * scale) / 2;
    this.top = margin + (this.height - margin - foot - this.photo.height * scale) / 2;
    this.#fitted = true;
    this.#moved();
  }

  #fitting() {
    const narrow = this.width < 560,
      short = this.height < 400;
    const margin = narrow || short ? 8 : 20;
    const foot = short ? 60 : narrow ? 68 : 64;
    const across = (this.width - 2 * margin) / this.photo.width;
    const down = (this.height - margin - foot) / this.photo.height;
    return { scale: Math.max(0.005, Math.min(across, down, 8)), margin, foot };
  }

  pan(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.#fitted = false;
    this.#moved();
  }

  /** Zooms so that what lies under a point of the stage stays there. */
  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const { scale: fitting } = this.#fitting();
    const scale = Math.max(Math.min(fitting, 1) / 2, Math.min(this.scale * factor, 64));
    this.left = x - ((x - this.left) * scale) / this.scale;
    this.top = y - ((y - this.top) * scale) / this.scale;
    this.scale = scale;
    this.#fitted = false;
    this.#moved();
  }

  /** Moves the photo just so far that a point of it can be seen. */
  reveal(point) {
    const { x, y } = this.toScreen(point.x, point.y);
    const edge = 24;
    const dx = Math.min(0, this.width - edge - x) || Math.max(0, edge - x);
    const dy = Math.min(0, this.height - 72 - y) || Math.max(0, edge - y);
    if (dx || dy) this.pan(dx, dy);
  }

  toImage(x, y) {
    return { x: (x - this.left) / this.scale, y: (y - this.top) / this.scale };
  }

  toScreen(x, y) {
    return { x: x * this.scale + this.left, y: y * this.scale + this.top };
  }

  /** A point of the photo, moved into it, without digits that nobody can see. */
  round({ x, y }) {
    const digits = this.scale < 3 ? 1 : 10;
    const tidy = (value, most) => Math.round(Math.max(0, Math.min(value, most)) * digits) / digits;
    return { x: tidy(x, this.photo.width), y: tidy(y, this.photo.height) };
  }

  #moved() {
    // The photo cannot be lost out of sight.
    const keep = 48;
    const clamp = (at, size, room) => Math.max(keep - size, Math.min(at, room - keep));
    this.left = clamp(this.left, this.photo.width * this.scale, this.width);
    this.top = clamp(this.top, this.photo.height * this.scale, this.height);
    this.dispatchEvent(new Event("change"));
  }
}
