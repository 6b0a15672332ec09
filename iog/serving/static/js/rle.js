/**
 * COCO's run lengths. Pixels are counted down the columns, the first column first; runs of
 * background and object take turns, background first. `edges` are the pixel numbers at which the
 * value changes, so that a mask of any size takes a few kilobytes.
 */

/**
 * @param {string | number[]} counts COCO's compressed text, or plain run lengths
 * @returns {Uint32Array} where the value changes, in rising order
 */
export function edgesOf(counts) {
  const runs = typeof counts === "string" ? unpacked(counts) : counts;
  const edges = new Uint32Array(runs.length);
  let at = 0,
    kept = 0;
  for (const run of runs) {
    if (!(run >= 0)) throw new RangeError("A run length is negative or not a number.");
    at += run;
    // An empty run joins its neighbours.
    if (run === 0 && kept > 0) kept -= 1;
    else edges[kept++] = at;
  }
  return edges.slice(0, kept);
}

/** COCO's text: six-bit groups, low ones first, from the third run on as the step from two before. */
function unpacked(text) {
  const runs = new Array(text.length);
  let count = 0;
  for (let at = 0; at < text.length;) {
    let value = 0,
      shift = 0,
      group;
    do {
      group = text.charCodeAt(at++) - 48;
      if (!(group >= 0 && group < 64)) throw new RangeError("The run lengths are not COCO's.");
      value |= (group & 31) << shift;
      shift += 5;
    } while (group & 32);
    if (group & 16 && shift < 32) value |= -1 << shift;
    runs[count] = count > 2 ? value + runs[count - 2] : value;
    count += 1;
  }
  runs.length = count;
  return runs;
}

/**
 * @param {ArrayLike<number>} edges
 * @param {number} pixels of the whole image
 * @returns {string} COCO's compressed text
 */
export function countsOf(edges, pixels) {
  const runs = Array.from(edges, (edge, i) => edge - (i ? edges[i - 1] : 0));
  const last = edges.length ? edges[edges.length - 1] : 0;
  if (last < pixels || !edges.length) runs.push(pixels - last);
  let text = "";
  runs.forEach((run, i) => {
    let value = i > 2 ? run - runs[i - 2] : run;
    for (let more = true; more;) {
      let group = value & 31;
      value >>= 5;
      more = group & 16 ? value !== -1 : value !== 0;
      if (more) group |= 32;
      text += String.fromCharCode(group + 48);
    }
  });
  return text;
}

/**
 * Calls `each(x, top, bottom)` for every run of object in every column, bottom exclusive.
 * @param {Uint32Array} edges
 * @param {number} height of the image
 * @param {number} pixels of the image; a last run of object may end with it
 */
export function eachRun(edges, height, pixels, each) {
  for (let i = 0; i < edges.length; i += 2) {
    let at = edges[i];
    const end = i + 1 < edges.length ? edges[i + 1] : pixels;
    while (at < end) {
      const x = Math.floor(at / height),
        top = at - x * height;
      const bottom = Math.min(height, top + end - at);
      each(x, top, bottom);
      at += bottom - top;
    }
  }
}

/**
 * The edges of a bitmap that covers a part of an image.
 * @param {(x: number, y: number) => boolean} inside asked within the box only
 * @param {number[]} box x0, y0, x1, y1 in whole pixels
 * @param {number} height of the image
 */
export function edgesWithin(inside, [x0, y0, x1, y1], height) {
  const edges = [];
  for (let x = x0; x < x1; x++) {
    for (let y = y0, was = false; y <= y1; y++) {
      const is = y < y1 && inside(x, y);
      if (is === was) continue;
      const at = x * height + y;
      if (edges.length && edges[edges.length - 1] === at) edges.pop();
      else edges.push(at);
      was = is;
    }
  }
  return Uint32Array.from(edges);
}
