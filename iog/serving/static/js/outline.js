import { eachRun } from "./rle.js";

/** Steps east, south, west, north; the mask lies to the right of each. */
const DX = [1, 0, -1, 0],
  DY = [0, 1, 0, -1];
const SEEN = 2;

/**
 * The closed outlines of a mask, along pixel edges; holes run the other way round.
 * @param {Uint32Array} edges
 * @param {number[]} size height and width of the image
 * @param {number[]} box tight box of the mask
 * @returns {Int32Array[]} the corners of each, x and y in turn, image frame
 */
export function trace(edges, [height, width], [x0, y0, x1, y1]) {
  // The mask's own box with a margin of one, columns first as the runs are.
  const rows = y1 - y0 + 2;
  const cells = new Uint8Array((x1 - x0 + 2) * rows);
  const tops = [];
  eachRun(edges, height, height * width, (x, top, bottom) => {
    const column = (x - x0 + 1) * rows - y0 + 1;
    cells.fill(1, column + top, column + bottom);
    tops.push(column + top);
  });
  const loops = [];
  for (const top of tops) {
    if (!(cells[top] & SEEN)) loops.push(follow(cells, rows, top, x0 - 1, y0 - 1));
  }
  return loops;
}

/** One outline, from the upper edge of a cell that has none above it. */
function follow(cells, rows, start, left, above) {
  const corners = [];
  const startX = Math.floor(start / rows),
    startY = start - startX * rows;
  let x = startX,
    y = startY,
    way = 0;
  do {
    if (way === 0) cells[x * rows + y] |= SEEN;
    x += DX[way];
    y += DY[way];
    // The two cells ahead: on the right of the way, and on its left.
    const right = cells[(x + (way === 1 || way === 2 ? -1 : 0)) * rows + y + (way > 1 ? -1 : 0)];
    const port = cells[(x + (way > 1 ? -1 : 0)) * rows + y + (way === 0 || way === 3 ? -1 : 0)];
    const next = port ? (way + 3) & 3 : right ? way : (way + 1) & 3;
    if (next !== way) corners.push(x + left, y + above);
    way = next;
  } while (x !== startX || y !== startY || way !== 0);
  return Int32Array.from(corners);
}

/** @param {ArrayLike<number>[]} loops */
export function pathOf(loops) {
  const path = new Path2D();
  for (const loop of loops) {
    path.moveTo(loop[0], loop[1]);
    for (let i = 2; i < loop.length; i += 2) path.lineTo(loop[i], loop[i + 1]);
    path.closePath();
  }
  return path;
}

/**
 * An outline as it looks best: each step of a pixel is cut across, by no more than half a pixel.
 * @param {ArrayLike<number>} loop corners along pixel edges
 * @returns {Float32Array}
 */
export function softened(loop) {
  const soft = new Float32Array(2 * loop.length);
  let kept = 0;
  for (let i = 0; i < loop.length; i += 2) {
    const x = loop[i],
      y = loop[i + 1];
    const next = (i + 2) % loop.length;
    // Edges run along one axis, so one of these is 0.
    const dx = loop[next] - x,
      dy = loop[next + 1] - y;
    const length = Math.abs(dx + dy);
    const ux = (dx / length) * 0.5,
      uy = (dy / length) * 0.5;
    soft[kept++] = x + ux;
    soft[kept++] = y + uy;
    if (length === 1) continue;
    soft[kept++] = x + dx - ux;
    soft[kept++] = y + dy - uy;
  }
  return soft.subarray(0, kept);
}

/**
 * An outline with fewer corners (Douglas and Peucker); none of those left out lies farther away.
 * @param {ArrayLike<number>} loop x and y in turn
 * @param {number} tolerance in pixels
 * @returns {number[]} x and y in turn; empty where nothing with an area is left
 */
export function simplify(loop, tolerance) {
  const count = loop.length / 2;
  if (tolerance <= 0) return Array.from(loop);
  // A ring has no ends: it is cut at its first corner and at the one farthest from it.
  const kept = new Uint8Array(count);
  let far = 0,
    farthest = -1;
  for (let i = 0; i < count; i++) {
    const away = (loop[2 * i] - loop[0]) ** 2 + (loop[2 * i + 1] - loop[1]) ** 2;
    if (away > farthest) [far, farthest] = [i, away];
  }
  kept[0] = kept[far] = 1;
  const spans = [
    [0, far],
    [far, count],
  ];
  while (spans.length) {
    const [from, to] = spans.pop();
    const [middle, away] = farthestBetween(loop, from, to, count);
    if (away <= tolerance * tolerance) continue;
    kept[middle] = 1;
    spans.push([from, middle], [middle, to]);
  }
  const corners = [];
  for (let i = 0; i < count; i++) if (kept[i]) corners.push(loop[2 * i], loop[2 * i + 1]);
  return corners.length >= 6 ? corners : [];
}

function farthestBetween(loop, from, to, count) {
  const ax = loop[2 * from],
    ay = loop[2 * from + 1];
  const end = to % count;
  const dx = loop[2 * end] - ax,
    dy = loop[2 * end + 1] - ay;
  const length = dx * dx + dy * dy || 1;
  let middle = from,
    farthest = -1;
  for (let i = from + 1; i < to; i++) {
    const px = loop[2 * i] - ax,
      py = loop[2 * i + 1] - ay;
    const along = Math.max(0, Math.min(1, (px * dx + py * dy) / length));
    const away = (px - along * dx) ** 2 + (py - along * dy) ** 2;
    if (away > farthest) [middle, farthest] = [i, away];
  }
  return [middle, farthest];
}

/** The area inside an outline: above 0 around the mask, below 0 around a hole. */
export function areaOf(loop) {
  let twice = 0;
  for (let i = 0; i < loop.length; i += 2) {
    const j = (i + 2) % loop.length;
    twice += loop[i] * loop[j + 1] - loop[j] * loop[i + 1];
  }
  return twice / 2;
}
