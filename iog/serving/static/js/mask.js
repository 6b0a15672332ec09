import { pathOf, simplify, softened, trace } from "./outline.js";
import { countsOf, eachRun, edgesOf } from "./rle.js";

/** Pixels of the screen by which a drawn outline may stray from the softened one. */
const UNSEEN = 0.3;
/** Pixels of the screen for one of the photo from which on outlines follow its pixels exactly. */
const PIXELS_SEEN = 6;

/** The pixels of one object. Everything is worked out from its run lengths when it is asked for. */
export class Mask {
  #loops;
  #path;
  #drawn = new Map();

  /**
   * @param {object} of
   * @param {number[]} of.size height and width of the image
   * @param {Uint32Array} of.edges see rle.js
   * @param {string} [of.counts] COCO's text, if it is at hand
   * @param {number | null} [of.score] mean probability over the mask; null where it is not known
   */
  constructor({ size, edges, counts, score = null }) {
    if (edges.length && edges[edges.length - 1] > size[0] * size[1]) {
      throw new RangeError("The run lengths do not fit the size of the mask.");
    }
    this.size = size;
    this.edges = edges;
    this.counts = counts ?? countsOf(edges, size[0] * size[1]);
    this.score = score;
    this.area = 0;
    let x0 = Infinity,
      y0 = Infinity,
      x1 = 0,
      y1 = 0;
    eachRun(edges, size[0], size[0] * size[1], (x, top, bottom) => {
      this.area += bottom - top;
      if (x < x0) x0 = x;
      if (x >= x1) x1 = x + 1;
      if (top < y0) y0 = top;
      if (bottom > y1) y1 = bottom;
    });
    /** Tight, in whole pixels, right and bottom exclusive; null for an empty mask. */
    this.box = this.area ? [x0, y0, x1, y1] : null;
  }

  /**
   * @param {{size: number[], counts: string | number[]}} rle COCO's
   * @param {number | null} [score]
   */
  static ofRle({ size, counts }, score = null) {
    const edges = edgesOf(counts);
    return new Mask({
      size,
      edges,
      counts: typeof counts === "string" ? counts : undefined,
      score,
    });
  }

  get rle() {
    return { size: this.size, counts: this.counts };
  }

  /** Closed outlines along pixel edges, see outline.js. */
  get loops() {
    this.#loops ??= this.box ? trace(this.edges, this.size, this.box) : [];
    return this.#loops;
  }

  /** The same as a path; fill it with the rule "evenodd". */
  get path() {
    this.#path ??= pathOf(this.loops);
    return this.#path;
  }

  /**
   * The outlines to draw, without corners that nobody can see.
   * @param {number} scale pixels of the screen for one of the photo
   */
  drawn(scale) {
    if (scale >= PIXELS_SEEN) return this.path;
    const step = Math.min(2, Math.round(Math.log2(scale)));
    if (!this.#drawn.has(step)) {
      const loops = this.loops.map((loop) => simplify(softened(loop), UNSEEN / 2 ** step));
      this.#drawn.set(step, pathOf(loops.filter((loop) => loop.length)));
    }
    return this.#drawn.get(step);
  }

  /** Whether the pixel under a point belongs to the mask. */
  contains(x, y) {
    const [height, width] = this.size;
    if (x < 0 || y < 0 || x >= width || y >= height) return false;
    const at = Math.floor(x) * height + Math.floor(y);
    let low = 0,
      high = this.edges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.edges[middle] <= at) low = middle + 1;
      else high = middle;
    }
    return low % 2 === 1;
  }
}
